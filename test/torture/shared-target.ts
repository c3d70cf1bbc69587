/**
 * A restore target that another user plays with while files are placed: he makes, exchanges and removes names in it as fast as he
 * can. Nothing outside changes, nothing of ours lands in what is his, and each file is whole or named as failed.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { snapshot, type TestEntry, tarOf } from '#libs/bundle/place/test-tar.js'
import { openPlacer } from '#libs/bundle/place.js'
import { isFirnError } from '#libs/errors/errors.js'
import { rawFromText } from '#libs/os/raw.js'
import type { Case, CaseContext } from './case.js'
import { fail, removeTree } from './check-invariants.js'
import { randomFrom } from './random.js'

const OTHER = 4242

/** What the other user does: for each name that will be restored he puts a symlink, a directory, a file or a hard link, or takes it away. */
const player = (target: string, outside: string, names: readonly string[], seed: number): string => `
  const fs = require('node:fs'), path = require('node:path')
  const target = ${JSON.stringify(target)}, outside = ${JSON.stringify(outside)}, names = ${JSON.stringify(names)}
  let state = ${seed} >>> 0
  const below = (n) => { state = (Math.imul(state, 1664525) + 1013904223) >>> 0; return Math.floor(state / 2 ** 32 * n) }
  const trying = (act) => { try { act(); done++ } catch {} }
  let done = 0
  process.stdout.write('begun\\n')
  process.on('SIGTERM', () => { process.stdout.write(String(done)); process.exit(0) })
  const turn = () => {
    for (let i = 0; i < 500; i++) {
      const name = path.join(target, names[below(names.length)])
      switch (below(9)) {
        case 0: trying(() => fs.symlinkSync(outside, name)); break
        case 1: trying(() => fs.symlinkSync(path.join(outside, 'secret'), name)); break
        case 2: trying(() => fs.mkdirSync(name, 0o777)); break
        case 3: trying(() => fs.writeFileSync(name, 'his', { flag: 'wx' })); break
        case 4: trying(() => fs.linkSync(path.join(outside, 'readable'), name)); break
        case 5: trying(() => fs.rmSync(name, { recursive: true })); break
        case 6: trying(() => fs.renameSync(name, name + '-moved')); break
        case 7: trying(() => fs.symlinkSync(outside, path.join(target, '.firn-r' + below(30)))); break
        default: trying(() => fs.renameSync(name, path.join(target, names[below(names.length)])))
      }
    }
    setImmediate(turn)
  }
  turn()`

async function begun(child: ChildProcess): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    child.stdout?.once('data', () => resolve())
    child.once('exit', (code) => reject(new Error(`the other user's process ended with ${code}`)))
  })
}

async function stop(child: ChildProcess): Promise<number> {
  let said = ''
  child.stdout?.on('data', (text) => {
    said += text
  })
  const gone = new Promise((resolve) => child.once('close', resolve))
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), 5_000)
  await gone
  clearTimeout(timer)
  return Number(said) || 0
}

function members(): { members: TestEntry[]; tops: string[] } {
  const tops = Array.from({ length: 12 }, (_, i) => `d${i}`)
  return {
    tops: [...tops, ...tops.map((name) => `f-${name}`)],
    members: tops.flatMap((name): TestEntry[] => [
      { at: name, mode: 0o777 },
      { at: `${name}/sub`, mode: 0o755 },
      ...Array.from(
        { length: 10 },
        (_, i): TestEntry => ({ at: `${name}/sub/${i}`, bytes: `${name} ${i} `.repeat(200), mode: 0o4666 }),
      ),
      { at: `${name}/link`, type: 'symlink', link: '/etc/passwd' as never },
      { at: `f-${name}`, bytes: `top ${name}`, mode: 0o644 },
    ]),
  }
}

async function playedWith(context: CaseContext, round: number): Promise<void> {
  const random = randomFrom(context.seed, `shared ${round}`)
  const base = join(context.directory, `round-${round}`)
  const target = join(base, 'target')
  const outside = join(base, 'outside')
  mkdirSync(base)
  chmodSync(base, 0o755)
  mkdirSync(target)
  chmodSync(target, 0o1777)
  mkdirSync(outside)
  chmodSync(outside, 0o755)
  writeFileSync(join(outside, 'secret'), 'of root alone', { mode: 0o600 })
  writeFileSync(join(outside, 'readable'), 'for all to read')
  const { members: all, tops } = members()
  const tar = tarOf(all)
  // Where he may link files of others at all, their count of names is his to change.
  const before = () =>
    Object.entries(snapshot(outside)).map(([name, what]) => [name, name === '/readable' ? what.replace(/\d+$/, '') : what].join())
  const truth = before().join('\n')
  const other = spawn(process.execPath, ['-e', player(target, outside, tops, random.below(2 ** 31))], {
    uid: OTHER,
    gid: OTHER,
    cwd: '/',
    env: {},
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const faults: string[] = []
  let turns = 0
  try {
    await begun(other)
    await sleep(random.below(30))
    const overwrite = random.percent(50)
    try {
      const placer = await openPlacer({
        target: rawFromText(target),
        retrievalId: `r${random.below(30)}`,
        overwrite,
        setuid: true,
      })
      try {
        const told = new Map<string, string>()
        for await (const page of placer.place(tar.entries, tar.read))
          for (const { entry, outcome } of page) told.set(entry.at, outcome)
        if (told.size !== all.length) faults.push(`${all.length - told.size} entries have no outcome`)
        const directories = new Map(tar.entries.map((entry) => [entry.at, entry]))
        await placer.finish(async () => directories as never)
        turns = await stop(other)
        for (const { at, bytes } of all) {
          if (bytes === undefined || told.get(at) === 'failed') continue
          faults.push(...placedFaults(target, at, Buffer.from(bytes)))
        }
      } finally {
        await placer.close()
      }
    } catch (error) {
      // He may take the name of our staging directory first: then nothing is restored.
      if (!isFirnError(error, 'target-refused')) throw error
      context.count('shared targets refused because of what stood there', 1)
    }
  } finally {
    if (other.exitCode === null && other.signalCode === null) turns = await stop(other)
  }
  if (before().join('\n') !== truth) faults.push('something outside the target changed')
  faults.push(...oursInHis(target, false))
  fail(`round ${round}`, faults)
  context.count('turns of another user in a target', turns)
  removeTree(base)
}

/** What we placed below the top is out of his reach; at the top, too: the directory is sticky. */
function placedFaults(target: string, at: string, bytes: Buffer): string[] {
  const stat = lstatSync(join(target, at), { throwIfNoEntry: false })
  if (stat === undefined) return [`${at} was placed, and is not there`]
  if (!stat.isFile() || stat.uid !== 0) return [`${at} was placed, and something of ${stat.uid} stands there`]
  return readFileSync(join(target, at)).equals(bytes) ? [] : [`${at} was placed with other bytes`]
}

/** Files of ours in directories of his. */
function oursInHis(directory: string, his: boolean): string[] {
  return readdirSync(directory).flatMap((name) => {
    const path = join(directory, name)
    const stat = lstatSync(path)
    if (his && stat.uid !== OTHER && !(stat.isFile() && stat.nlink > 1))
      return [`${path} is ours, and lies in a directory of his`]
    return stat.isDirectory() ? oursInHis(path, stat.uid === OTHER) : []
  })
}

/** Each refused, and nothing made. */
async function refusals(context: CaseContext): Promise<void> {
  const at = (...names: string[]) => join(context.directory, ...names)
  const make = (name: string, mode: number, uid = 0) => {
    mkdirSync(at(name))
    chmodSync(at(name), mode)
    if (uid !== 0) chownSync(at(name), uid, uid)
  }
  make('theirs', 0o755, OTHER)
  make('sticky-theirs', 0o1777, OTHER)
  make('all-may-write', 0o777)
  make('group-may-write', 0o775)
  chownSync(at('group-may-write'), 0, OTHER) // a group of root's alone would be no others
  make('others-may-write', 0o757)
  make('fine', 0o755)
  for (const name of ['theirs', 'all-may-write']) {
    mkdirSync(at(name, 'ours'))
    mkdirSync(at(name, 'ours', 'deep'))
  }
  for (const [link, to] of [
    ['link-of-theirs', 'fine'],
    ['link-to-theirs', 'theirs'],
    ['link-to-all', 'all-may-write'],
    ['link-in-a-circle', 'link-in-a-circle'],
  ] as const)
    symlinkSync(to, at(link))
  lchownSync(at('link-of-theirs'), OTHER, OTHER)
  writeFileSync(at('file'), '')
  const targets = [
    ...['theirs', 'sticky-theirs', 'all-may-write', 'group-may-write', 'others-may-write', 'file'],
    ...['link-of-theirs', 'link-to-theirs', 'link-to-all', 'link-in-a-circle'],
  ].flatMap((name) => [name, `${name}/new`, `${name}/new/deeper`])
  targets.push('theirs/ours', 'theirs/ours/deep/new', 'all-may-write/ours/deep', 'fine/../theirs', 'link-of-theirs/../fine')
  const before = snapshot(context.directory)
  const faults: string[] = []
  for (const target of targets) {
    try {
      const placer = await openPlacer({
        target: rawFromText(`${context.directory}/${target}`),
        retrievalId: 'r',
        overwrite: true,
        setuid: true,
      })
      await placer.close()
      faults.push(`${target} was not refused`)
    } catch (error) {
      if (!isFirnError(error, 'target-refused')) faults.push(`${target}: ${error}`)
    }
    context.count('targets refused', 1)
  }
  const after = snapshot(context.directory)
  if (JSON.stringify(after) !== JSON.stringify(before)) faults.push('something was made in a target that was refused')
  fail('targets of others', faults)
}

export const SHARED_TARGET: readonly Case[] = [
  { name: 'target/refused', run: (context) => asRoot(context, () => refusals(context)) },
  {
    name: 'target/played-with',
    run: (context) =>
      asRoot(context, async () => {
        for (let round = 0; round < (context.profile === 'soak' ? 300 : 25); round++) await playedWith(context, round)
      }),
  },
]

async function asRoot(context: CaseContext, run: () => Promise<void>): Promise<void> {
  if (process.geteuid?.() === 0) return run()
  context.note('not tried: only root can be two users')
}
