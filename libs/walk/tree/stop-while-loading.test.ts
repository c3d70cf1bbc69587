/** A walk that was stopped by terminating its thread took the whole process down when the thread was just loading koffi. */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import { scratchDirectory } from '#libs/os/scratch-directory.js'

const directory = scratchDirectory()

test('a walk may be stopped at any moment of its start', () => {
  const script = `
    const { openTreeSource } = await import(${JSON.stringify(new URL('./tree-source.js', import.meta.url).href)})
    const request = { roots: [${JSON.stringify(directory)}], recursive: true, oneFileSystem: false, leaveOut: [], include: [], exclude: [] }
    for (let i = 0; i < 40; i++) {
      const signal = AbortSignal.timeout(20 + 3 * i)
      try {
        for await (const _ of openTreeSource().walk(request, { signal })) continue
      } catch (error) {
        if (error !== signal.reason) throw error
      }
    }
    console.log('alive')`
  const file = join(directory, 'script.mjs') // not -e: the options of a script that is given so go to its threads, too
  writeFileSync(file, script)
  const { stdout, stderr } = spawnSync(process.execPath, [file], { encoding: 'utf8' })
  expect({ stdout, stderr }).toEqual({ stdout: 'alive\n', stderr: '' })
})
