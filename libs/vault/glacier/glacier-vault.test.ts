/** The Glacier vault on the emulated service: the suite of every vault. */
import { DAY_MS, HOUR_MS } from '../../../test/cloud/clock.js'
import { damageArchive } from '../../../test/cloud/glacier/vaults.js'
import { describeVault } from '../vault-suite.js'
import { describeKey } from './description.js'
import { scratchGlacier } from './scratch-glacier.js'

describeVault(
  'glacier: with its manifests in a local one',
  async () => {
    const at = await scratchGlacier()
    return {
      vault: at.vault,
      reopen: async () => at.open(),
      damage: (key) => damageArchive(at.emulated, ({ description }) => description === describeKey(key), 1000),
      pass: (ms) => at.cloud.clock.pass(ms),
      done: at.done,
    }
  },
  { thawMs: 4 * HOUR_MS, copyMs: DAY_MS, damageShowsWhenRead: true },
)
