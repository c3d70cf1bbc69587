/** A thread that packs, one bundle after the other. */
import { parentPort } from 'node:worker_threads'
import { isFirnError } from '#libs/errors/errors.js'
import { packBundle } from './pack-bundle.js'
import { AWAY, BUFFER_BYTES, BUFFERS, CHANGES, type FromThread, type PackTask, STOPPED } from './pack-messages.js'
import { createTarSink } from './tar-sink.js'

/** Kept from one packing to the next. */
let memories: SharedArrayBuffer[] = []

/** Thrown to unwind a packing that its owner gave up. */
class Stopped extends Error {}

parentPort?.on('message', (task: PackTask | undefined) => {
  if (task === undefined) {
    parentPort?.close()
    return
  }
  const { port } = task
  const post = (message: FromThread) => port.postMessage(message)
  const buffers = buffersOf(task)
  try {
    const checkStopped = () => {
      if (Atomics.load(task.state, STOPPED) !== 0) throw new Stopped()
    }
    post({ kind: 'packed', packed: packBundle(task, createTarSink(buffers, { hash: task.hashTar ?? true }), checkStopped) })
  } catch (error) {
    if (!(error instanceof Stopped)) post(failureOf(error))
  }
  buffers.collect()
  port.close()
})

function failureOf(error: unknown): FromThread {
  const message = error instanceof Error ? error.message : String(error)
  return { kind: 'failed', code: isFirnError(error) ? error.code : 'failed', message, cause: error }
}

/** Buffers that go round: `next` waits until one is back. */
function buffersOf({ port, state }: PackTask) {
  const said = new Set<number>()
  /** The buffer that is being filled. */
  let filling = -1
  const isHome = (index: number) => index !== filling && Atomics.load(state, AWAY + index) === 0
  const wait = (changes: number) => {
    if (Atomics.load(state, STOPPED) !== 0) throw new Stopped()
    Atomics.wait(state, CHANGES, changes)
  }
  return {
    next(): Buffer {
      for (;;) {
        const changes = Atomics.load(state, CHANGES)
        // Those that were used before come first: a small bundle needs one of them.
        for (let index = 0; index < BUFFERS; index++) {
          if (!isHome(index)) continue
          filling = index
          const memory = memories[index] ?? new SharedArrayBuffer(BUFFER_BYTES)
          memories[index] = memory
          return Buffer.from(memory)
        }
        wait(changes)
      }
    },
    /** The buffer that `next` gave last. */
    send(_: Buffer, bytes: number) {
      Atomics.store(state, AWAY + filling, 1)
      const memory = said.has(filling) ? undefined : memories[filling]
      said.add(filling)
      port.postMessage({ kind: 'chunk', buffer: filling, bytes, ...(memory && { memory }) } satisfies FromThread)
      filling = -1
    },
    /** After the last chunk: waits until all are back. What the owner of a packing that was given up still reads is left to it. */
    collect() {
      for (;;) {
        const changes = Atomics.load(state, CHANGES)
        const away = memories.some((_, index) => Atomics.load(state, AWAY + index) !== 0)
        if (!away) return
        if (Atomics.load(state, STOPPED) !== 0) {
          memories = []
          return
        }
        Atomics.wait(state, CHANGES, changes)
      }
    },
  }
}
