/**
 * The memory of all parts under way in this process: being filled, or sent and not yet acknowledged. An upload that holds none gets
 * one whatever the others hold: it could not go on without, and nobody else could give it one.
 */
export interface PartMemory {
  /** A buffer of `bytes`; waits while too much is held, unless `holding` (by the same upload) is nothing. */
  take(bytes: number, holding: number): Promise<Buffer>
  giveBack(buffer: Buffer): void
}

/** Buffers that are kept for the next part: so that memory is not asked of the system and given back for each. */
const KEPT = 4

export function openPartMemory(budgetBytes: number): PartMemory {
  let held = 0
  const waiting: { bytes: number; go: () => void }[] = []
  const kept: Buffer[] = []

  const make = (bytes: number): Buffer => {
    const at = kept.findIndex(({ length }) => length === bytes)
    return at < 0 ? Buffer.allocUnsafeSlow(bytes) : kept.splice(at, 1)[0]!
  }

  return {
    async take(bytes, holding) {
      if (holding > 0 && held + bytes > budgetBytes) await new Promise<void>((go) => waiting.push({ bytes, go }))
      else held += bytes
      return make(bytes)
    },
    giveBack(buffer) {
      held -= buffer.length
      if (kept.length < KEPT) kept.push(buffer)
      for (let next = waiting[0]; next && held + next.bytes <= budgetBytes; next = waiting[0]) {
        waiting.shift()
        held += next.bytes
        next.go()
      }
    },
  }
}

let ofProcess: PartMemory | undefined

/** One for all Glacier vaults of the process; the first to ask says how much. */
export function processMemory(budgetBytes: number): PartMemory {
  ofProcess ??= openPartMemory(budgetBytes)
  return ofProcess
}
