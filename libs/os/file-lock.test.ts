import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { lstatSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { lockByOwnerFile } from './file-lock.js'
import { flock } from './libc.js'
import { isOwnerGone, thisOwner } from './owner.js'
import { scratchDirectory } from './scratch-directory.js'
import { runScript, startScript, WITHOUT_KOFFI } from './test-process.js'

const directory = scratchDirectory()
const urlOf = (module: string): string => new URL(module, import.meta.url).href

describe.each([
  { kind: 'the lock of the kernel', lock: flock, module: './libc.js', name: 'flock' },
  { kind: 'the lock by a file', lock: lockByOwnerFile, module: './file-lock.js', name: 'lockByOwnerFile' },
])('$kind', ({ lock, module, name }) => {
  const path = join(directory, name)

  test('is held by one at a time', async () => {
    let inside = 0
    let most = 0
    let turns = 0
    await Promise.all(
      Array.from({ length: 5 }, async () => {
        for (let turn = 0; turn < 3; turn++) {
          const held = await lock(path)
          most = Math.max(most, ++inside)
          await new Promise((resolve) => setTimeout(resolve, 1))
          inside--
          turns++
          held.release()
        }
      }),
    )
    expect({ most, turns }).toEqual({ most: 1, turns: 15 })
  })

  test('is held against other processes, and free again when they are killed', async () => {
    const script = `await lock.${name}(${JSON.stringify(path)}); say('held'); setInterval(() => {}, 1e6)`
    const { child } = await startScript({ lock: urlOf(module) }, script)
    let mine = false
    const waiting = lock(path).then((held) => {
      mine = true
      return held
    })
    for (let i = 0; i < 5; i++) await new Promise((resolve) => setTimeout(resolve, 20)) // some tries
    expect(mine).toBe(false)
    child.kill('SIGKILL')
    await once(child, 'exit')
    ;(await waiting).release()
  })

  test('is not waited for any more after an abort, and that disturbs nobody', async () => {
    const held = await lock(path)
    const abort = new AbortController()
    const waiting = lock(path, { signal: abort.signal })
    abort.abort()
    await expect(waiting).rejects.toThrow(/abort/i)
    held.release()
    ;(await lock(path)).release()
  })

  test('may be released twice', async () => {
    const first = await lock(path)
    first.release()
    const second = await lock(path)
    first.release()
    const third = lock(path, { signal: AbortSignal.timeout(100) })
    await expect(third).rejects.toThrow()
    second.release()
  })
})

test('the lock file is its user’s alone', async () => {
  const path = join(directory, 'private')
  ;(await flock(path)).release()
  expect(lstatSync(path).mode & 0o777).toBe(0o600)
})

test('a lock by a file leaves nothing, and does not touch the file that it stands for', async () => {
  const at = join(directory, 'stands-for')
  writeFileSync(at, 'content')
  const held = await lockByOwnerFile(at)
  expect(readdirSync(directory).filter((name) => name.startsWith('stands-for'))).toEqual(['stands-for', 'stands-for.owner'])
  held.release()
  expect(readdirSync(directory).filter((name) => name.startsWith('stands-for'))).toEqual(['stands-for'])
})

test('of many that find a dead owner’s file only one at a time gets in', async () => {
  const at = join(directory, 'dead')
  const dead = runScript({ owner: urlOf('./owner.js') }, 'say(owner.thisOwner())') as string
  expect(isOwnerGone(dead)).toBe(true)
  // It stays, unlike the lock: a child that comes late on a busy machine must begin, too.
  const begin = join(directory, 'begin')
  const children = await Promise.all(
    Array.from({ length: 3 }, () =>
      startScript(
        { lock: urlOf('./file-lock.js') },
        `say('ready')
         await new Promise((resolve) => { const look = () => fs.existsSync(${JSON.stringify(begin)}) ? resolve() : setTimeout(look, 1); look() })
         for (let turn = 0; turn < 5; turn++) {
           const held = await lock.lockByOwnerFile(${JSON.stringify(at)})
           fs.writeFileSync(${JSON.stringify(`${at}.inside`)}, '', { flag: 'wx' }) // fails if another is inside
           fs.unlinkSync(${JSON.stringify(`${at}.inside`)})
           held.release()
         }`,
      ),
    ),
  )
  const ends = children.map(async ({ child }) => (await once(child, 'exit'))[0])
  writeFileSync(`${at}.owner`, `${dead} x`)
  writeFileSync(begin, '')
  expect(await Promise.all(ends)).toEqual([0, 0, 0])
  expect(readdirSync(directory).filter((name) => name.startsWith('dead'))).toEqual([])
})

test('the heir of a dead owner may be dead as well', async () => {
  const at = join(directory, 'generations')
  const dead = runScript({ owner: urlOf('./owner.js') }, 'say(owner.thisOwner())') as string
  const willOf = (name: string) => `${at}.owner.${createHash('sha256').update(name).digest('hex').slice(0, 16)}`
  writeFileSync(`${at}.owner`, `${dead} x`)
  writeFileSync(willOf(`${dead} x`), `${dead} y`)
  const held = await lockByOwnerFile(at)
  expect(readdirSync(directory).filter((name) => name.startsWith('generations'))).toEqual(['generations.owner'])
  held.release()

  writeFileSync(`${at}.owner`, `${dead} x`)
  writeFileSync(willOf(`${dead} x`), `${thisOwner()} y`) // who lives, and has not done it yet
  await expect(lockByOwnerFile(at, { signal: AbortSignal.timeout(100) })).rejects.toThrow()
})

test('where koffi does not load, the lock by a file is taken', () => {
  const at = join(directory, 'fallback')
  const script = `const held = await libc.flock(${JSON.stringify(at)})
    const during = fs.existsSync(${JSON.stringify(`${at}.owner`)})
    held.release()
    say({ during, after: fs.existsSync(${JSON.stringify(`${at}.owner`)}) })`
  expect(runScript({ libc: urlOf('./libc.js') }, script, { before: WITHOUT_KOFFI })).toEqual({ during: true, after: false })
})
