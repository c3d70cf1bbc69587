/** The thread of hasher.ts: reads and hashes one file at a time, by synchronous calls, where no event loop waits for it. */
import { createHash } from 'node:crypto'
import { closeSync, constants, openSync, readSync } from 'node:fs'
import { parentPort } from 'node:worker_threads'
import { createCode } from './equality.js'
import type { HashAnswer, HashRequest } from './hasher.js'

/** Large enough that the call costs nothing beside the hash, small enough that a cancel is noticed within a millisecond. */
const STEP = 1024 * 1024

const buffer = Buffer.allocUnsafeSlow(STEP)

parentPort?.on('message', (request: HashRequest) => {
  parentPort?.postMessage(answer(request))
})

function answer({ id, path, equality, cancelled }: HashRequest): HashAnswer {
  try {
    const flag = new Int32Array(cancelled)
    // O_NONBLOCK: a FIFO in the place of an object must not hang the thread.
    const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    try {
      const hash = createHash('sha256')
      const code = equality && createCode(equality)
      let bytes = 0
      while (Atomics.load(flag, 0) === 0) {
        const read = readSync(file, buffer, 0, STEP, null)
        if (read === 0) return { id, hashed: { bytes, sha256: hash.digest('hex'), ...(code && { code: code.digest() }) } }
        const part = read === STEP ? buffer : buffer.subarray(0, read)
        hash.update(part)
        code?.update(part)
        bytes += read
      }
      return { id, errno: 'ECANCELED', message: 'cancelled', path }
    } finally {
      closeSync(file)
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    return { id, errno: code ?? 'EIO', message, path }
  }
}
