/** The S3 vault: the suite on the emulator, hot and cold. */
import { afterAll, beforeAll } from '@jest/globals'
import { DAY_MS, HOUR_MS } from '../../../test/cloud/clock.js'
import { describeVault } from '../vault-suite.js'
import { FIRST_PART } from './part-sizes.js'
import { openScratchVault, type ScratchCloud, scratchCloud } from './scratch-s3.js'

let at: ScratchCloud
beforeAll(async () => {
  at = await scratchCloud({ thawHours: () => 12 })
})
afterAll(() => at.stop())

for (const [options, thawMs] of [
  ['', undefined],
  ['&class=DEEP_ARCHIVE', 12 * HOUR_MS],
] as const) {
  describeVault(
    `s3://${options}`,
    async () => {
      at.cloud.clock.set(new Date())
      const url = `s3://cold/${at.newPrefix()}?endpoint=${at.cloud.url}${options}`
      const vault = await openScratchVault(at, url)
      return {
        vault,
        reopen: () => openScratchVault(at, url),
        damage: async () => {},
        pass: (ms) => at.cloud.clock.pass(ms),
        done: () => vault.close(),
      }
    },
    {
      ...(thawMs !== undefined && { thawMs }),
      uploadsShowFrom: FIRST_PART,
      copyLastsLongerMs: DAY_MS,
      lacks: ['damage'],
    },
  )
}
