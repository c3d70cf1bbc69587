/**
 * The memory of all parts in flight of this process. A part's memory is taken whole before its first byte comes, and given back when
 * the service has acknowledged it: whoever holds some needs no more to go on, so several uploads cannot wait for each other in a ring.
 */

export interface UploadMemory {
  readonly bytes: number
  /** Waits its turn: first come, first served, so that a large part is not passed over for ever. */
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
  let free = bytes
  const waiting: { bytes: number; start: () => void }[] = []
  const idle: Buffer[] = []

  function serve(): void {
    for (let first = waiting[0]; first !== undefined; first = waiting[0]) {
      // More than there is at all: alone, rather than never.
      if (first.bytes > free && free < bytes) return
      waiting.shift()
      free -= first.bytes
      first.start()
    }
  }

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
      signal?.throwIfAborted()
      await new Promise<void>((resolve, reject) => {
        const turn = {
          bytes: wanted,
          start: () => {
            signal?.removeEventListener('abort', leave)
            resolve()
          },
        }
        const leave = () => {
          waiting.splice(waiting.indexOf(turn), 1)
          reject(signal?.reason)
          serve() // what stood behind it may fit
        }
        signal?.addEventListener('abort', leave, { once: true })
        waiting.push(turn)
        serve()
      })
      const buffer = bufferOf(wanted)
      let given = false
      return {
        buffer,
        give() {
          if (given) return
          given = true
          keep(buffer)
          free += wanted
          serve()
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
