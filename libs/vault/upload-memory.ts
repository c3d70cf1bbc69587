/**
 * The memory of all parts in flight of this process. A part's memory is taken whole before its first byte comes, and given back when
 * the service has acknowledged it: whoever holds some needs no more to go on, so several uploads cannot wait for each other in a ring.
 */
import { budgetOf } from './budget.js'

export interface UploadMemory {
  readonly bytes: number
  /** Waits its turn, as a budget says. */
  take(bytes: number, signal?: AbortSignal): Promise<PartMemory>
}

export interface PartMemory {
  readonly buffer: Buffer
  /** Nobody looks at the buffer any more. May be called twice. */
  give(): void
}

/** Given back and kept for the next part of that size: garbage of this size would be collected late. */
const MOST_IDLE = 64 * 2 ** 20

export function uploadMemory(bytes: number): UploadMemory {
  const budget = budgetOf(bytes)
  const idle: Buffer[] = []

  function bufferOf(size: number): Buffer {
    const at = idle.findIndex(({ length }) => length === size)
    return at < 0 ? Buffer.allocUnsafeSlow(size) : idle.splice(at, 1)[0]!
  }

  function keep(buffer: Buffer): void {
    idle.push(buffer)
    let kept = idle.reduce((sum, { length }) => sum + length, 0)
    while (kept > MOST_IDLE) kept -= idle.shift()!.length
  }

  return {
    bytes,
    async take(wanted, signal) {
      const giveBack = await budget.take(wanted, signal)
      let buffer: Buffer | undefined = bufferOf(wanted)
      return {
        buffer,
        give() {
          if (buffer) keep(buffer)
          buffer = undefined
          giveBack()
        },
      }
    },
  }
}

let ofProcess: UploadMemory | undefined

/** One for all vaults of the process; the first to ask says how much. */
export function processMemory(bytes: number): UploadMemory {
  ofProcess ??= uploadMemory(bytes)
  return ofProcess
}
