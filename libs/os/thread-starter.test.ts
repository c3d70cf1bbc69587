import { once } from 'node:events'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Worker } from 'node:worker_threads'
import { expect, test } from '@jest/globals'
import { scratchDirectory } from './scratch-directory.js'
import { threadStarter } from './thread-starter.js'

const directory = scratchDirectory()

function starterOf(name: string, script: string) {
  const path = join(directory, `${name}.mjs`)
  writeFileSync(path, `import { parentPort } from 'node:worker_threads'\n${script}`)
  return threadStarter(pathToFileURL(path), {})
}

const DOUBLES = `
  import { writeFileSync } from 'node:fs'
  parentPort.once('message', (data) => {
    if (data === undefined) writeFileSync(${JSON.stringify(join(directory, 'ended'))}, '')
    else parentPort.postMessage(2 * data.n)
  })`

test('a thread hears what it is for, whether it was waiting or not, and ends', async () => {
  const threads = starterOf('doubles', DOUBLES)
  for (const prepared of [false, true]) {
    if (prepared) threads.prepare()
    const worker = threads.start({ n: 21 })
    // Both at once: where the thread is fast, its last word and its end are told in one go.
    const [said] = await Promise.all([once(worker, 'message'), once(worker, 'exit')])
    expect(said).toEqual([42])
  }
  await threads.close()
})

test('one that waits is taken once, and ended where nobody needs it', async () => {
  const threads = starterOf('waits', DOUBLES)
  threads.prepare()
  threads.prepare()
  const [first, second] = [threads.start({ n: 1 }), threads.start({ n: 2 })]
  expect(second.threadId).toBeGreaterThan(first.threadId)
  expect(await Promise.all([once(first, 'message'), once(second, 'message')])).toEqual([[2], [4]])
  threads.prepare()
  await threads.close()
  expect(() => writeFileSync(join(directory, 'ended'), '', { flag: 'wx' })).toThrow('EEXIST')
  await threads.close()
})

test('one that breaks before it is needed is replaced', async () => {
  const mark = JSON.stringify(join(directory, 'broke'))
  const threads = starterOf(
    'breaks',
    `import { existsSync, writeFileSync } from 'node:fs'
    if (!existsSync(${mark})) {
      writeFileSync(${mark}, '')
      throw new Error('broken')
    }
    parentPort.once('message', ({ n }) => parentPort.postMessage(n))`,
  )
  threads.prepare()
  while (!existsSync(join(directory, 'broke'))) await new Promise((resolve) => setTimeout(resolve, 5))
  // Until its end is told, it may still be the one that is given out.
  const answer = (worker: Worker) =>
    Promise.race([once(worker, 'message'), once(worker, 'exit').then(() => undefined)]).catch(() => undefined)
  let said: unknown
  while (said === undefined) said = await answer(threads.start({ n: 7 }))
  expect(said).toEqual([7])
})
