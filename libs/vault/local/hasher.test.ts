import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import { scratchDirectory } from '#libs/os/scratch-directory.js'
import { runScript } from '#libs/os/test-process.js'

const directory = scratchDirectory()

test('a process that closes it waits for that, though an answer comes which nobody wants any more', () => {
  const path = join(directory, 'file')
  writeFileSync(path, 'abc')
  const said = runScript(
    { hashing: new URL('./hasher.js', import.meta.url).href },
    `
    const hasher = hashing.openHasher()
    await hasher.hash(${JSON.stringify(path)})
    const over = new AbortController()
    hasher.hash(${JSON.stringify(path)}, { signal: over.signal }).catch(() => {})
    // The thread answers meanwhile, and this one hears of it when it is closing.
    for (const until = performance.now() + 200; performance.now() < until; );
    over.abort()
    await hasher.close()
    say('closed')`,
  )
  expect(said).toBe('closed')
})
