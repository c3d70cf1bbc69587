/** The Glacier vault on the emulated service: the suite of every vault. */
import { DAY_MS, HOUR_MS } from '../../../test/cloud/clock.js'
import { damageArchive } from '../../../test/cloud/glacier/vaults.js'
import { newPrefix, openScratchVault } from '../s3/scratch-s3.js'
import { describeVault } from '../vault-suite.js'
import { describeKey } from './description.js'
import { scratchGlacier } from './scratch-glacier.js'

for (const kind of ['local', 's3']) {
  describeVault(
    `glacier: with its manifests in ${kind}:`,
    async () => {
      const at = await scratchGlacier({ buckets: ['cold'] })
      const prefix = newPrefix()
      const open = async () =>
        at.open(
          kind === 's3'
            ? { companion: await openScratchVault(at, `s3://cold/${prefix}?region=${at.cloud.region}&endpoint=${at.cloud.url}`) }
            : {},
        )
      const vault = await open()
      return {
        vault,
        reopen: open,
        damage: (key) => damageArchive(at.emulated, ({ description }) => description === describeKey(key), 1000),
        pass: (ms) => at.cloud.clock.pass(ms),
        async done() {
          await vault.close()
          await at.done()
        },
      }
    },
    { thawMs: 4 * HOUR_MS, copyMs: DAY_MS, damageShowsWhenRead: true },
  )
}
