/** Trees that no archiver likes: changing while they are read, named by arbitrary bytes, linked, sparse, special, without end. */
import { execFileSync, spawnSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import type { Ran } from '../firn.js'
import type { Case, CaseContext } from './case.js'
import { checkRan, checkRestored, checkTree, checkVault, fail, removeTree } from './check-invariants.js'
import { differences, type Ledger, writeLedger } from './ledger.js'
import { type OpenPlace, openPlace } from './place.js'
import { type Random, randomFrom } from './random.js'

async function withPlace(run: (place: OpenPlace) => Promise<void>): Promise<void> {
  const place = await openPlace('local')
  try {
    await run(place)
  } finally {
    await place.close()
  }
}

async function archive(place: OpenPlace, codes: readonly number[], ...args: string[]): Promise<Ran> {
  const ran = await place.at.run('archive-files', ['-r', '--json', ...args])
  checkRan(place, ran, codes)
  const { files_found, files_archived, files_unchanged, files_skipped, files_failed } = ran.summary as Record<string, number>
  const sum = (files_archived ?? 0) + (files_unchanged ?? 0) + (files_skipped ?? 0) + (files_failed ?? 0)
  fail('I2: the summary', sum === files_found ? [] : [`${files_found} files were found, and ${sum} are accounted for`])
  return ran
}

async function restored(place: OpenPlace, root: string, ledger: Ledger): Promise<void> {
  const to = place.at.path(`back-${root.split('/').at(-1)}`)
  mkdirSync(to, { mode: 0o700 })
  const ran = await place.at.run('find-and-retrieve', ['--path', root, '--to', to, '--json'])
  checkRan(place, ran, [0])
  checkRestored(root, ledger, to)
  removeTree(to)
}

/** What others do to a directory of a tree that is being read, or to a file in it. `outside`: what symlinks lead to from then on. */
const DISTURBANCES: readonly ((directory: string, file: string, outside: string, random: Random) => void)[] = [
  (_, file, __, random) => appendFileSync(file, random.bytes(1 + random.below(50_000))),
  (_, file, __, random) => truncateSync(file, random.below(1_000)),
  (_, file) => renameSync(file, `${file}-renamed`),
  (_, file) => rmSync(file),
  (directory, _, outside) => {
    renameSync(directory, `${directory}-away`)
    symlinkSync(outside, directory)
  },
  (_, file) => {
    rmSync(file)
    spawnSync('mkfifo', [file])
  },
  (_, file, outside) => {
    rmSync(file)
    symlinkSync(join(outside, 'f1'), file)
  },
  (_, file) => {
    writeFileSync(`${file}-new`, 'new')
    renameSync(`${file}-new`, file)
  },
  (_, file, __, random) => chmodSync(file, random.below(0o1000)),
]

/**
 * Does one of them, to what is still a plain file in a directory of its own: an act that followed one of these symlinks would change what
 * lies outside, and one that opened a FIFO would never end.
 */
function disturb(root: string, outside: string, random: Random): void {
  const directory = join(root, `d${random.below(20)}`)
  const file = join(directory, `f${random.below(30)}`)
  const act = random.pick(DISTURBANCES)
  const isPlain =
    lstatSync(directory, { throwIfNoEntry: false })?.isDirectory() && lstatSync(file, { throwIfNoEntry: false })?.isFile()
  if (isPlain) act(directory, file, outside, random)
}

async function changing(context: CaseContext): Promise<void> {
  await withPlace(async (place) => {
    for (let round = 0; round < (context.profile === 'soak' ? 40 : 4); round++) {
      const random = randomFrom(context.seed, `changing ${round}`)
      const root = place.at.path(`changing-${round}`)
      for (let d = 0; d < 20; d++) {
        mkdirSync(join(root, `d${d}`), { recursive: true })
        for (let f = 0; f < 30; f++) writeFileSync(join(root, `d${d}`, `f${f}`), random.bytes(100 + random.below(1_000)))
        // What takes a while to read.
        writeFileSync(join(root, `d${d}`, 'f0'), Buffer.alloc(3_000_000, d))
      }
      // With the names that are looked for inside.
      const outside = place.at.path(`outside-${round}`)
      mkdirSync(outside)
      for (let f = 0; f < 30; f++) writeFileSync(join(outside, `f${f}`), random.bytes(100))
      const before = writeLedger(outside)
      const running = place.at.start('archive-files', ['-r', '--json', '--files-per-bundle', '60', root])
      let over = false
      void running.ended.then(() => {
        over = true
      })
      const limit = setTimeout(() => running.kill('SIGKILL'), 120_000)
      while (!over) {
        // Slow enough that a part of the tree is still there when it is read.
        for (let i = 0; i < 1 + random.below(4); i++) disturb(root, outside, random)
        context.count('changes under the crawler', 1)
        await sleep(2)
      }
      clearTimeout(limit)
      const ran = await running.ended
      checkRan(place, ran, [0, 3])
      fail('I6: what lies outside', differences(before, writeLedger(outside)))
      await noneOf(place, before)
      // Every row has its bytes, whatever the tree is now.
      await checkVault(place)
      const check = await place.at.run('firn', ['check', '--read-data'])
      checkRan(place, check, [0])
      removeTree(root)
      removeTree(outside)
    }
  })
}

/** I6: what lies behind the symlink that a directory became was not read. */
async function noneOf({ sql }: OpenPlace, outside: Ledger): Promise<void> {
  const hashes = [...outside.values()].flatMap(({ sha256 }) => (sha256 === undefined ? [] : [sha256]))
  const { rows } = await sql.query<{ path: string }>(
    `SELECT encode(d.path, 'escape') || '/' || encode(f.name, 'escape') AS path FROM file f JOIN directory d ON d.id = f.directory
     WHERE encode(f.sha256, 'hex') = ANY($1::text[])`,
    [hashes],
  )
  fail(
    'I6: files outside the roots',
    rows.map(({ path }) => `${path} has the bytes of a file outside`),
  )
}

/** Any bytes that a name can have, and those that programs stumble over. */
const anyName = fc
  .oneof(
    fc.uint8Array({ minLength: 1, maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
    fc.uint8Array({ minLength: 200, maxLength: 255 }).map((bytes) => Buffer.from(bytes)),
    fc.string({ unit: 'binary', minLength: 1, maxLength: 20 }).map((text) => Buffer.from(text)),
    fc
      .constantFrom(
        '-rf',
        '--help',
        '*',
        '?',
        '~',
        ' ',
        '  x',
        'x ',
        '...',
        '\\',
        '\\n',
        '\n',
        '\r',
        '\t',
        '"',
        "'",
        '`id`',
        '$(id)',
        ';',
        '%s%n',
        '\x1b[2J',
        '\x7f',
        '\ufeff',
        'CON',
        'aux.txt',
        'a:b',
        '.firn',
        'manifest.ndjson',
        'e\u0301',
        '\u00e9',
        '\u202etxt.exe',
        '\ud83d\ude00',
        '{"path":1}',
        "'; DROP TABLE file; --",
        'NULL',
        '\\x00',
        '%00',
        '%2f',
      )
      .map((text) => Buffer.from(text)),
  )
  .map((bytes) => Buffer.from(bytes.filter((byte) => byte !== 0 && byte !== 0x2f)).subarray(0, 255))
  .filter((name) => name.length > 0 && !['.', '..'].includes(name.toString('latin1')))

async function names(context: CaseContext): Promise<void> {
  await withPlace(async (place) => {
    const random = randomFrom(context.seed, 'names')
    const root = place.at.path('names')
    mkdirSync(root)
    const directories = [Buffer.from(root)]
    for (const name of fc.sample(anyName, { numRuns: context.profile === 'soak' ? 50_000 : 3_000, seed: context.seed })) {
      const above = random.pick(directories)
      const path = Buffer.concat([above, Buffer.from('/'), name])
      if (path.length > 3_000 || lstatSync(path, { throwIfNoEntry: false })) continue
      context.count('names tried', 1)
      if (random.percent(8)) {
        mkdirSync(path)
        directories.push(path)
      } else if (random.percent(10)) symlinkSync(name, path)
      else writeFileSync(path, name)
    }
    const ledger = writeLedger(root)
    await archive(place, [0], '--files-per-bundle', '500', root)
    await checkVault(place)
    await checkTree(place, root, ledger)
    await restored(place, root, ledger)
    const again = await archive(place, [0], root)
    fail(
      'the same tree again',
      again.summary['files_archived'] === 0 ? [] : [`${again.summary['files_archived']} files were sent again`],
    )
  })
}

async function odd(context: CaseContext): Promise<void> {
  await withPlace(async (place) => {
    const root = place.at.path('odd')
    const at = (...parts: string[]) => join(root, ...parts)
    mkdirSync(at('web'), { recursive: true })
    writeFileSync(at('web', '0'), 'one inode, more names than a bundle has files')
    for (let i = 1; i < 60; i++) linkSync(at('web', '0'), at('web', String(i)))
    writeFileSync(at('big-0'), Buffer.alloc(300_000, 'b'))
    for (let i = 1; i < 5; i++) linkSync(at('big-0'), at(`big-${i}`))
    writeFileSync(at('sparse'), 'at the beginning')
    truncateSync(at('sparse'), 200_000_000)
    appendFileSync(at('sparse'), 'at the end')
    writeFileSync(at('mode-000'), 'for nobody', { mode: 0 })
    chmodSync(at('mode-000'), 0)
    mkdirSync(at('closed'))
    writeFileSync(at('closed', 'inside'), 'x')
    chmodSync(at('closed'), 0)
    writeFileSync(at('setuid'), 'x')
    chmodSync(at('setuid'), 0o6755)
    for (const [name, time] of [
      ['1901', '1901-12-13 20:45:52.5 UTC'],
      ['1969', '1969-12-31 23:59:59.999999999 UTC'],
      ['2106', '2106-02-07 06:28:17 UTC'],
      ['2243', '2243-01-01 00:00:00.000000001 UTC'],
      ['2400', '2400-01-01 00:00:00 UTC'],
    ] as const) {
      writeFileSync(at(name), name)
      execFileSync('touch', ['-d', time, at(name)])
    }
    mkdirSync(at('empty'))
    symlinkSync('.', at('loop'))
    symlinkSync('/', at('all'))
    spawnSync('mkfifo', [at('fifo')])
    const specials = ['fifo', 'socket']
    const server = createServer().listen(at('socket'))
    await new Promise((resolve) => server.once('listening', resolve))
    if (spawnSync('mknod', [at('device'), 'c', '1', '5']).status === 0) specials.push('device')
    try {
      const ledger = writeLedger(root)
      const ran = await archive(place, [3], '--files-per-bundle', '20', '--bundle-size', '100kB', root)
      const named = ran.messages
        .filter(({ message_type }) => message_type === 'problem')
        .map(({ path }) => String(path).slice(root.length + 1))
      fail('special files', specials.sort().join() === named.sort().join() ? [] : [`${named} are named instead of ${specials}`])
      await checkVault(place)
      await restored(place, root, ledger)
      const { blocks } = lstatSync(at('sparse'))
      if (blocks * 512 > 10_000_000) context.note('this file system keeps no holes')
      context.count('odd files archived and restored', ledger.size)
      await mountLoop(context, place, root, at('empty'))
      await endless(context, place)
      await terabyte(context, place)
    } finally {
      server.close()
    }
  })
}

/** A tree mounted in itself: the walk ends. */
async function mountLoop(context: CaseContext, place: OpenPlace, root: string, inside: string): Promise<void> {
  if (spawnSync('mount', ['--bind', root, inside]).status !== 0)
    return context.note('no mount loop: mounting is not possible here')
  try {
    const ran = await archive(place, [0, 3], '--one-file-system', root)
    context.note(`a mount loop: ${ran.summary['files_found']} files found`)
  } finally {
    spawnSync('umount', [inside])
  }
}

/** Files that say they are empty and are not, that never end, or that wait for somebody: they are recorded as what they are, and the run ends. */
async function endless(context: CaseContext, place: OpenPlace): Promise<void> {
  for (const path of ['/proc/sys/kernel', '/proc/self/fdinfo', '/proc/kmsg', '/dev/zero', '/dev/random']) {
    const running = place.at.start('archive-files', ['-r', '--json', path])
    const limit = setTimeout(() => running.kill('SIGKILL'), 60_000)
    const ran = await running.ended
    clearTimeout(limit)
    checkRan(place, ran, [0, 1, 2, 3])
    context.count('endless files tried', 1)
  }
}

/** One file of a terabyte, all hole: counted and planned without being read. Its zeros would travel (docs/guarantees.md). */
async function terabyte(context: CaseContext, place: OpenPlace): Promise<void> {
  const path = place.at.path('terabyte')
  writeFileSync(path, '')
  try {
    truncateSync(path, 2 ** 40)
  } catch {
    return context.note('no sparse terabyte: this file system has no files of that size')
  }
  const ran = await place.at.run('archive-files', ['-n', path])
  checkRan(place, ran, [0])
  if (!ran.stdout.includes(`${2 ** 40} bytes`)) throw new Error(`the dry run does not say how large it is: ${ran.stdout}`)
  rmSync(path)
}

/** A million names in one directory; memory is the crawler's not to spend. */
async function million(context: CaseContext): Promise<void> {
  await withPlace(async (place) => {
    const root = place.at.path('million')
    mkdirSync(root)
    for (let i = 0; i < 1_000_000; i++) writeFileSync(join(root, `file-${i}`), '')
    const running = place.at.start('archive-files', ['-r', '--json', '--files-per-bundle', '10000', root], {
      NODE_OPTIONS: '--max-old-space-size=256',
    })
    const ran = await running.ended
    checkRan(place, ran, [0])
    if (ran.summary['files_archived'] !== 1_000_000) throw new Error(`${ran.summary['files_archived']} files were archived`)
    context.count('entries in one directory', 1_000_000)
    removeTree(root)
  })
}

export const TREES: readonly Case[] = [
  { name: 'trees/changing', run: changing },
  { name: 'trees/names', run: names },
  { name: 'trees/odd', run: odd },
  { name: 'trees/million', soakOnly: true, run: million },
]
