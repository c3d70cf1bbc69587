/** The line between callers and the emulator: as slow as a bench wants it. All connections share the bandwidth. */

export interface LinkOptions {
  /** Before every answer. */
  latencyMs?: number
  /** In each direction. */
  bytesPerSecond?: number
  /** A blackout: every connection is reset, nothing is done. */
  broken?: boolean
}

export interface Link {
  /** May be changed at any time. */
  latencyMs: number
  bytesPerSecond: number
  broken: boolean
  /** Waits out a request's latency. */
  answer(): Promise<void>
  up(chunks: AsyncIterable<Buffer>): AsyncIterable<Buffer>
  down(chunks: AsyncIterable<Buffer>): AsyncIterable<Buffer>
}

/** Timers are coarse: the line may run ahead by this much before a chunk waits. */
const AHEAD_MS = 5

export function openLink({ latencyMs = 0, bytesPerSecond = Number.POSITIVE_INFINITY, broken = false }: LinkOptions): Link {
  const link: Link = {
    latencyMs,
    bytesPerSecond,
    broken,
    async answer() {
      if (link.latencyMs > 0) await sleep(link.latencyMs)
    },
    up: throttle(),
    down: throttle(),
  }
  return link

  function throttle() {
    let freeAt = 0
    return async function* (chunks: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
      for await (const chunk of chunks) {
        if (Number.isFinite(link.bytesPerSecond)) {
          const now = performance.now()
          freeAt = Math.max(now, freeAt) + (chunk.length / link.bytesPerSecond) * 1000
          if (freeAt - now > AHEAD_MS) await sleep(freeAt - now)
        }
        yield chunk
      }
    }
  }
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
