/** Text as every queue store takes it: Postgres refuses NUL and lone surrogates, and a job whose error it refuses would run for ever. */

/** Longer messages help nobody, and would be kept with every waiting job. */
const LONGEST = 2_000

export const cleanText = (text: string): string => text.slice(0, LONGEST).replace(/\0|\p{Surrogate}/gu, '\ufffd')
