import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import { scratchDirectory } from '#libs/os/scratch-directory.js'

const directory = scratchDirectory()

test('a process that closes it waits for that, though an answer comes which nobody wants any more', () => {
  // As a file: what is given on the command line as text, threads are started with as well.
  const script = join(directory, 'script.mjs')
  writeFileSync(
    script,
    `
    import { openHasher } from ${JSON.stringify(new URL('./hasher.js', import.meta.url).href)}
    const hasher = openHasher()
    await hasher.hash(${JSON.stringify(script)})
    const over = new AbortController()
    hasher.hash(${JSON.stringify(script)}, { signal: over.signal }).catch(() => {})
    // The thread answers meanwhile, and this one hears of it when it is closing.
    for (const until = performance.now() + 200; performance.now() < until; );
    over.abort()
    await hasher.close()
    console.log('closed')`,
  )
  const { NODE_OPTIONS: _, ...env } = process.env
  const { stdout, status } = spawnSync(process.execPath, [script], { encoding: 'utf8', env })
  expect([stdout, status]).toEqual(['closed\n', 0])
})
