/** A thread that packs, one bundle after the other. */
import { type MessagePort, parentPort, receiveMessageOnPort } from 'node:worker_threads'
import { isFirnError } from '#libs/errors/errors.js'
import { packBundle } from './pack-bundle.js'
import { FREE, type FromThread, type PackTask, STOPPED } from './pack-messages.js'
import { createTarSink } from './tar-sink.js'

/** Buffers of a packing: one is filled while others are on their way to the vault and back. */
const BUFFERS = 4
const BUFFER_BYTES = 2 ** 20

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
    post({ kind: 'packed', packed: packBundle(task, createTarSink(buffersOf(task)), checkStopped) })
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
  let made = 0
  return {
    next(): Buffer {
      if (made < BUFFERS) {
        made++
        return Buffer.allocUnsafeSlow(BUFFER_BYTES)
      }
      return Buffer.from(takeBack(port, state))
    },
    send(buffer: Buffer, bytes: number) {
      const chunk = new Uint8Array(buffer.buffer, 0, bytes)
      port.postMessage({ kind: 'chunk', chunk } satisfies FromThread, [buffer.buffer as ArrayBuffer])
    },
  }
}

function takeBack(port: MessagePort, state: Int32Array): ArrayBuffer {
  for (;;) {
    if (Atomics.load(state, STOPPED) !== 0) throw new Stopped()
    const received = receiveMessageOnPort(port) as { message: ArrayBuffer } | undefined
    if (received !== undefined) {
      Atomics.sub(state, FREE, 1)
      return received.message
    }
    Atomics.wait(state, FREE, 0)
  }
}
