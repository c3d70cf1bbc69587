/** One command as a whole process: how long, how much memory at its peak, how much CPU, it and all its children together. */
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'

export interface Measured {
  readonly seconds: number
  /** Peak resident memory of the largest process, sampled every 20 ms: the command itself, servers that it starts are smaller. */
  readonly largestBytes: number
  /** Peak of all processes together, sampled likewise; pages that processes share (the buffers of a database) count once. */
  readonly peakBytes: number
  readonly cpuSeconds: number
}

/** Clock ticks a second, as Linux has it on every platform that Node runs on. */
const TICKS = 100
const PAGE_BYTES = 4096

export async function measure(command: string, env: NodeJS.ProcessEnv = {}): Promise<Measured> {
  const began = performance.now()
  const child = spawn('bash', ['-c', `set -o pipefail; ${command}`], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, ...env },
  })
  let errors = ''
  child.stderr.on('data', (chunk) => {
    errors = (errors + chunk).slice(-2_000)
  })
  const family = familyOf(child.pid as number)
  let largestBytes = 0
  let peakBytes = 0
  const cpu = new Map<number, number>()
  const sample = () => {
    let ownBytes = 0
    let mostShared = 0
    for (const { pid, residentBytes, sharedBytes, cpuSeconds } of family()) {
      largestBytes = Math.max(largestBytes, residentBytes)
      ownBytes += residentBytes - sharedBytes
      mostShared = Math.max(mostShared, sharedBytes)
      cpu.set(pid, cpuSeconds)
    }
    peakBytes = Math.max(peakBytes, ownBytes + mostShared)
  }
  const timer = setInterval(sample, 20)
  const code = await new Promise<number | null>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', resolve)
  })
  clearInterval(timer)
  if (code !== 0) throw new Error(`exit ${code}: ${command}\n${errors}`)
  const cpuSeconds = [...cpu.values()].reduce((sum, seconds) => sum + seconds, 0)
  return { seconds: (performance.now() - began) / 1000, largestBytes, peakBytes, cpuSeconds }
}

interface Sampled {
  readonly pid: number
  readonly residentBytes: number
  /** Those of them that other processes may have too: files and shared memory. */
  readonly sharedBytes: number
  readonly cpuSeconds: number
}

/**
 * A process and its descendants, whenever it is asked. A server that was started into a session of its own is none of them. Who is no
 * relative is looked at once: to look at every process of the machine took a tenth of a processor from what is measured.
 */
function familyOf(root: number): () => Sampled[] {
  const strangers = new Set<number>()
  const relatives = new Set([root])
  return () => {
    const sampled: Sampled[] = []
    // In the order of their numbers: parents come before their children.
    for (const pid of pids()) {
      if (strangers.has(pid)) continue
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
        const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
        if (!relatives.has(pid)) (relatives.has(Number(fields[1])) ? relatives : strangers).add(pid)
        if (strangers.has(pid)) continue
        const [, resident, shared] = readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ').map(Number) as [
          number,
          number,
          number,
        ]
        sampled.push({
          pid,
          cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS,
          residentBytes: resident * PAGE_BYTES,
          sharedBytes: shared * PAGE_BYTES,
        })
      } catch {
        // it ended meanwhile
      }
    }
    return sampled
  }
}

const pids = (): number[] =>
  readdirSync('/proc')
    .map(Number)
    .filter((pid) => pid > 0)
    .sort((a, b) => a - b)

/** As a cell of a Markdown table. */
export const cell = (text: string): string => text.replaceAll('|', '\\|')

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN
}

/** Of sorted times: the one that this share of them does not exceed. */
export const atShare = (times: readonly number[], share: number): number =>
  times[Math.min(times.length - 1, Math.floor(times.length * share))] as number
