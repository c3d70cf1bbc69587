/** `npm run bench -- --one-file`: how many bytes of a bundle of 500 MB are read to bring one file of it back. */
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { openStory } from '#libs/archive/scratch-story.js'
import { rawFromText } from '#libs/os/raw.js'
import { counted } from '#libs/vault/wrappers/counted.js'
import { withEmbedded } from './embedded.js'

/** `tree`: all of it goes into one bundle. */
export async function benchOneFile(tree: string): Promise<void> {
  await withEmbedded({ durable: false }, async (url) => {
    process.env['FIRN_TEST_POSTGRES_URL'] = url
    await using story = await openStory()
    const set = await story.archive(story.request([tree], { filesPerBundle: 1_000_000, bundleBytes: 1e9 }))
    const [bundle] = await story.bundlesOf(set)
    let reads = 0
    let bytes = 0
    story.wrap((vault) =>
      counted(vault, ({ operation, begins, bytesRead }) => {
        if (operation === 'read' && begins) reads++
        bytes += bytesRead
      }),
    )
    const path = join(tree, 'd0/dir-0', readdirSync(join(tree, 'd0/dir-0'))[7] as string)
    await story.retrieve({ to: story.path('back'), selection: { paths: [rawFromText(path)] } })
    console.log(
      `One file of ${statSync(path).size} bytes out of ${set.counts.bundlesStored} bundle of ${bundle?.tarBytes} bytes: ${reads} read of ${bytes} bytes`,
    )
  })
}
