/**
 * Hostile bundles: tars with every known trick, and tens of thousands with mutated headers, lie where Firn restores and rebuilds from,
 * with a manifest that agrees with them and with one that does not. Nothing outside the target may change, nothing in it may be what no
 * restore makes, memory stays bounded, nothing hangs, and no message carries a character that a terminal would obey.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, statfsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Case, CaseContext } from './case.js'
import { fail } from './check-invariants.js'
import type { Told } from './hostile-tars/prober.js'

const MUTATIONS = { ci: 20_000, soak: 200_000 }
/** Of its own processor time: the clock on the wall also counts what else a machine does. */
const MOST_MS = 10_000
/** On the wall, whatever else the machine does: longer is for ever. */
const FOR_EVER_MS = 90_000
const MOST_BYTES = 256 * 2 ** 20
/** All that the corpus unpacks at a time, and some. */
const ROOM_BYTES = 2 ** 30

export const HOSTILE_TARS: readonly Case[] = [{ name: 'hostile/tars', run: hostileTars }]

async function hostileTars(context: CaseContext): Promise<void> {
  const { seed, profile, count, note } = context
  using own = inMemory() ?? { path: context.directory, [Symbol.dispose]() {} }
  const directory = own.path
  const main = fileURLToPath(new URL('./hostile-tars/prober.js', import.meta.url))
  const only = process.env['HOSTILE_TAR'] // one tar of the corpus by its name, to look at
  const args = [directory, String(seed), String(MUTATIONS[profile]), ...(only ? [only] : [])]
  const child = fork(main, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  const faults: string[] = []
  let current = ''
  let slowest = { name: '', ms: 0 }
  let began = 0
  let timer: NodeJS.Timeout | undefined
  let isOver = false
  let peak = 0
  child.on('message', (told: Told) => {
    clearTimeout(timer)
    const now = processorMs(child)
    if (told.kind === 'begun') {
      current = told.name
      began = now
      timer = setTimeout(() => child.kill('SIGKILL'), FOR_EVER_MS)
    } else if (told.kind === 'ended') {
      const ms = (now - began) / told.tars
      if (ms > slowest.ms) slowest = { name: told.name, ms }
      if (ms > MOST_MS) faults.push(`${told.name}: it took ${Math.round(ms / 1000)} s of processor time`)
      faults.push(...told.faults.map((fault) => `${told.name}: ${fault}`))
      const bytes = peakMemory(child)
      if (bytes > peak && bytes > MOST_BYTES) faults.push(`${told.name}: it takes ${Math.round(bytes / 2 ** 20)} MiB`)
      peak = Math.max(peak, bytes)
      count(told.name.startsWith('mutations') ? 'tars with mutated headers tried' : 'hostile tars tried', told.tars)
      count('hostile members placed inside the target', told.placed)
      count('hostile members refused', told.refused)
    } else isOver = true
  })
  const [code, signal] = await once(child, 'exit')
  clearTimeout(timer)
  if (!isOver) faults.push(`${current}: ended with ${signal ?? code} (SIGKILL: it did not end)`)
  note(`slowest: ${slowest.name}, ${Math.round(slowest.ms)} ms; most memory: ${Math.round(peak / 2 ** 20)} MiB`)
  fail('hostile tars', faults)
}

/**
 * A directory in memory, where there is room: on a disk's file system a new file takes milliseconds of the processor where thousands were
 * removed a moment ago, as the cases beside this one do.
 */
function inMemory(): { path: string; [Symbol.dispose](): void } | undefined {
  try {
    const { bavail, bsize } = statfsSync('/dev/shm')
    if (bavail * bsize < ROOM_BYTES) return undefined
    const path = mkdtempSync('/dev/shm/firn-t-')
    return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) }
  } catch {
    return undefined
  }
}

/**
 * What all its threads took so far, in ticks of 10 ms; without the kernel's share, which grows eighteen-fold where other cases make and
 * remove a million files.
 */
function processorMs({ pid }: ChildProcess): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
    return Number(fields[11]) * 10
  } catch {
    return 0
  }
}

/** The most that a process held at a time, by the kernel's count. */
function peakMemory({ pid }: ChildProcess): number {
  try {
    const [, kib] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
    return Number(kib ?? 0) * 1024
  } catch {
    return 0
  }
}
