/** Property tests try other values in every run, and the same ones again where `FIRN_TEST_SEED` names a seed: so does `.ci/run`. */
import fc from 'fast-check'

const seed = process.env.FIRN_TEST_SEED
if (seed !== undefined) fc.configureGlobal({ ...fc.readConfigureGlobal(), seed: Number(seed) })
