/** A thread that packs, one bundle after the other. */
import { parentPort, receiveMessageOnPort } from 'node:worker_threads'
import { isFirnError } from '#libs/errors/errors.js'
import { packBundle } from './pack-bundle.js'
import { FREE, type FromThread, type PackTask, STOPPED } from './pack-messages.js'
import { createTarSink } from './tar-sink.js'

/** Buffers of a packing: one is filled while others are on their way to the vault and back. */
const BUFFERS = 4
const BUFFER_BYTES = 2 ** 20

/** Buffers between two packings: left to the garbage collector, those of many packings would lie about at the same time. */
const spare: ArrayBuffer[] = []

/** Thrown to unwind a packing that its owner gave up. */
class Stopped extends Error {}

parentPort?.on('message', (task: PackTask | undefined) => {
  if (task === undefined) {
    parentPort?.close()
    return
  }
  const { port } = task
  const post = (message: FromThread) => port.postMessage(message)
  try {
    const checkStopped = () => {
      if (Atomics.load(task.state, STOPPED) !== 0) throw new Stopped()
    }
    const buffers = buffersOf(task)
    post({ kind: 'packed', packed: packBundle(task, createTarSink(buffers), checkStopped) })
    buffers.collect()
  } catch (error) {
    if (!(error instanceof Stopped)) post(failureOf(error))
  }
  port.close()
})

function failureOf(error: unknown): FromThread {
  const message = error instanceof Error ? error.message : String(error)
  return { kind: 'failed', code: isFirnError(error) ? error.code : 'failed', message, cause: error }
}

/** Buffers that go round: `next` waits until one is back. */
function buffersOf({ port, state }: PackTask) {
  let taken = 0
  /** On their way to the owner and back. */
  let away = 0
  const receive = (): ArrayBuffer | undefined => {
    const received = receiveMessageOnPort(port) as { message: ArrayBuffer } | undefined
    if (received === undefined) return undefined
    Atomics.sub(state, FREE, 1)
    away--
    return received.message
  }
  return {
    next(): Buffer {
      if (taken < BUFFERS) {
        taken++
        return Buffer.from(spare.pop() ?? new ArrayBuffer(BUFFER_BYTES))
      }
      for (;;) {
        if (Atomics.load(state, STOPPED) !== 0) throw new Stopped()
        const back = receive()
        if (back !== undefined) return Buffer.from(back)
        Atomics.wait(state, FREE, 0)
      }
    },
    send(buffer: Buffer, bytes: number) {
      const chunk = new Uint8Array(buffer.buffer, 0, bytes)
      port.postMessage({ kind: 'chunk', chunk } satisfies FromThread, [buffer.buffer as ArrayBuffer])
      away++
    },
    /** After the last chunk: waits until all are back, or until the owner has no more of them. */
    collect() {
      while (away > 0) {
        const stopped = Atomics.load(state, STOPPED) !== 0
        const back = receive()
        if (back !== undefined) spare.push(back)
        else if (stopped) return
        else Atomics.wait(state, FREE, 0)
      }
    },
  }
}
