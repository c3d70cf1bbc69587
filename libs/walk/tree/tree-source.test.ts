/** The walk of local trees behind its port: the suite of every source, and what its thread does when nobody listens. */
import { spawnSync } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import type { Problem } from '#libs/bundle/entry.js'
import { type Raw, rawFromBytes, rawToBytes } from '#libs/os/raw.js'
import { describeWith } from '../../../test/tools.js'
import { sourceSuite } from '../source-suite.js'
import { below, gather, requestOf, scratchTree } from './scratch-tree.js'
import { openTreeSource } from './tree-source.js'

sourceSuite('a local tree', async () => {
  const tree = scratchTree({ many: true })
  return {
    source: openTreeSource(),
    root: tree.root,
    async makeFiles(relatives) {
      const made = new Set<string>()
      for (const relative of relatives) {
        const path = join(tree.path, relative)
        const directory = dirname(path)
        if (!made.has(directory)) mkdirSync(directory, { recursive: true })
        made.add(directory)
        closeSync(openSync(path, 'w'))
      }
    },
    [Symbol.asyncDispose]: async () => tree[Symbol.dispose](),
  }
})

/** Of this process, where the system tells. */
const threads = () => (existsSync('/proc/self/task') ? readdirSync('/proc/self/task').length : 0)

describe('the thread', () => {
  test('is gone when the walk ends, is left early, or is aborted in the middle of a large directory', async () => {
    using tree = scratchTree({ many: true })
    for (let i = 0; i < 50_000; i++) closeSync(openSync(join(tree.path, `f${i}`), 'w'))
    const { walk } = openTreeSource()
    for await (const _ of walk(requestOf([tree.root], { include: ['f1'] }))) break
    const before = threads()
    for (let i = 0; i < 3; i++) {
      for await (const _ of walk(requestOf([tree.root]))) break
      const controller = new AbortController()
      const never = walk(requestOf([tree.root], { include: ['none'] }), { signal: controller.signal })[Symbol.asyncIterator]()
      const next = never.next()
      controller.abort(new Error('stopped'))
      await expect(next).rejects.toThrow('stopped')
    }
    expect(threads()).toBeLessThanOrEqual(before)
  })

  test('waits for a slow consumer a few pages ahead', async () => {
    using tree = scratchTree({ many: true })
    const count = 100_000
    for (let i = 0; i < count; i++) closeSync(openSync(join(tree.path, `f${i}`), 'w'))
    const last = tree.at(`f${count - 1}`)
    let seen = 0
    const problems: Problem[] = []
    for await (const page of openTreeSource().walk(requestOf([tree.root]))) {
      if (seen === 0) {
        // Long enough to walk on as far as it may; then the last file vanishes, and that must be seen.
        await sleep(300)
        unlinkSync(last)
      }
      seen += page.entries.length
      problems.push(...page.problems)
    }
    expect(problems.map(({ path }) => path)).toEqual([last])
    expect(seen).toBe(count)
  })

  test('an error in it reaches the consumer', async () => {
    const request = requestOf(['/' as Raw], { leaveOut: undefined as never })
    const walk = async () => {
      for await (const _ of openTreeSource().walk(request)) throw new Error('a page after all')
    }
    await expect(walk()).rejects.toThrow(/iterable|undefined/)
  })
})

describeWith(['find'], 'against find', () => {
  /** Without `/` and NUL; any other byte. */
  const name = fc
    .uint8Array({ minLength: 1, maxLength: 12 })
    .map((bytes) => rawFromBytes(bytes).replace(/[/\0]/g, '_'))
    .filter((text) => text !== '.' && text !== '..')
  const directory = fc.array(name, { maxLength: 4 }).map((names) => names.join('/'))
  const entry = fc.record({ directory, name, type: fc.constantFrom('file', 'directory', 'symlink') })

  test('a random tree has exactly the entries that find prints', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(entry, { maxLength: 40 }), async (entries) => {
        using tree = scratchTree()
        for (const { directory, name, type } of entries) {
          const inside = directory === '' ? tree.root : tree.at(directory)
          try {
            mkdirSync(rawToBytes(inside), { recursive: true })
            const path = rawToBytes(`${inside}/${name}` as Raw)
            if (type === 'file') writeFileSync(path, '', { flag: 'wx' })
            else if (type === 'directory') mkdirSync(path)
            else symlinkSync('nowhere', path)
          } catch {
            // One of that name is there already.
          }
        }
        const printed = spawnSync('find', [tree.path, '-print0'], { maxBuffer: 2 ** 26 }).stdout.toString('latin1')
        const pages = []
        for await (const page of openTreeSource().walk(requestOf([tree.root]))) pages.push(page)
        const walked = gather(pages)
        expect(walked.problems).toEqual([])
        const byComponents = (a: string, b: string) => (a.replaceAll('/', '\0') < b.replaceAll('/', '\0') ? -1 : 1)
        const expected = printed.split('\0').slice(0, -1).sort(byComponents)
        expect(walked.entries.map(({ path }) => path)).toEqual(expected)
        expect(below(tree.root, walked.entries)[0]).toBe('.')
      }),
      { numRuns: 50 },
    )
  })
})
