/** A retrieval that is killed at any moment leaves only whole files, and the next run completes it. */
import { spawn } from 'node:child_process'
import { lstatSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import { restore, scratch, type TestTar, tarOf } from './test-tar.js'

/** Both processes make the same one. */
function crashTar(): TestTar {
  const members = Array.from({ length: 1500 }, (_, i) => ({
    at: `d${i % 13}/s${i % 101}/f${i}`,
    bytes: Buffer.alloc(i % 50 === 0 ? 900_000 : 3_000 + i, i),
    ino: BigInt(i + 1),
  }))
  const tar = tarOf([{ at: 'd1', mode: 0o751 }, { at: 'd1/s2', mode: 0o555 }, ...members])
  const linked = tar.entries.filter(({ type }, i) => type === 'file' && i % 10 === 0)
  const links = linked.map((entry) => ({ ...entry, nlink: 2, at: `links/${entry.ino}` as typeof entry.at }))
  const entries = tar.entries.map((entry) => (linked.includes(entry) ? { ...entry, nlink: 2 } : entry))
  return { ...tar, entries: [...entries, ...links] }
}

const SCRIPT = (tar: string, place: string, target: string) => `
  import * as fs from 'node:fs'
  const { entries } = JSON.parse(fs.readFileSync(${JSON.stringify(tar)}, 'utf8'), (key, value) =>
    /Ns$|^dev$|^ino$/.test(key) ? BigInt(value) : value)
  const { openPlacer } = await import(${JSON.stringify(place)})
  const placer = await openPlacer({ target: ${JSON.stringify(target)}, retrievalId: 'r1', overwrite: false, setuid: false })
  const read = ({ offset, length }) => fs.createReadStream(${JSON.stringify(`${tar}.tar`)}, { start: offset, end: offset + length - 1 })
  for await (const page of placer.place(entries, read)) fs.writeSync(1, page.length + '\\n')
  fs.writeSync(1, 'all\\n')
  await new Promise((resolve) => setTimeout(resolve, 60_000))`

test('killed, started again, killed, and completed', async () => {
  using at = scratch()
  const tar = crashTar()
  const target = join(at.path, 'out')
  const plan = join(at.path, 'plan')
  writeFileSync(
    plan,
    JSON.stringify({ entries: tar.entries }, (_, value) => (typeof value === 'bigint' ? String(value) : value)),
  )
  writeFileSync(`${plan}.tar`, tar.tar)
  writeFileSync(join(at.path, 'run.mjs'), SCRIPT(plan, new URL('../place.js', import.meta.url).href, target))

  let whole = 0
  for (const killAfter of [1, 4, 9, 2]) {
    await killedAfter(join(at.path, 'run.mjs'), killAfter)
    whole = 0
    for (const entry of tar.entries) {
      if (entry.type !== 'file') continue
      const path = join(target, entry.at)
      const stat = lstatSync(path, { bigint: true, throwIfNoEntry: false })
      if (stat === undefined) continue
      whole++
      expect([entry.at, Number(stat.size), stat.mtimeNs]).toEqual([entry.at, entry.size, entry.mtimeNs])
      expect(readFileSync(path).equals(tar.tar.subarray(entry.offset, (entry.offset ?? 0) + entry.size))).toBe(true)
    }
  }
  expect(whole).toBeGreaterThan(0)

  const results = await restore(target, tar)
  expect(results.filter(({ outcome }) => outcome === 'failed')).toEqual([])
  expect(results).toHaveLength(tar.entries.length)
  expect(results.some(({ outcome }) => outcome === 'present')).toBe(true)
  for (const { at: name, nlink, type } of tar.entries)
    if (type === 'file') expect([name, lstatSync(join(target, name)).nlink]).toEqual([name, nlink])
  expect(readdirSync(target).filter((name) => name.startsWith('.'))).toEqual([])
  expect(lstatSync(join(target, 'd1')).mode & 0o7777).toBe(0o751)
  expect(lstatSync(join(target, 'd1/s2'), { throwIfNoEntry: false })?.mode).toBe(0o40555)
  expect(lstatSync(join(target, 'd2')).mode & 0o7777).toBe(0o700)
})

/** Ends when the process is gone; it is killed after so many pages of results. */
async function killedAfter(script: string, pages: number): Promise<void> {
  const child = spawn(process.execPath, [script], { stdio: ['ignore', 'pipe', 'inherit'], env: {} })
  const gone = new Promise((resolve) => child.once('exit', resolve))
  let seen = ''
  for await (const chunk of child.stdout) {
    seen += String(chunk)
    if (seen.split('\n').length > pages || seen.includes('all')) break
  }
  child.kill('SIGKILL')
  await gone
}
