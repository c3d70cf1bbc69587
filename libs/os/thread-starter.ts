/**
 * Threads that learn by their first message what they are for, so that one can be started before that is known: Node takes most of a
 * tenth of a second for each, in which whoever will need it can do something else.
 */
import { type ResourceLimits, type Transferable, Worker } from 'node:worker_threads'

export interface ThreadStarter {
  /** Starts one that waits; does nothing where one waits already. */
  prepare(): void
  /** The one that waits, or a new one. `data` is its first message. */
  start(data: object, transfer?: readonly Transferable[]): Worker
  /** Ends the one that waits. Safe to call twice. */
  close(): Promise<void>
}

/** `script` ends when its first message is undefined. */
export function threadStarter(script: URL, resourceLimits: ResourceLimits): ThreadStarter {
  let spare: { readonly worker: Worker; readonly exited: Promise<void> } | undefined
  const open = () => new Worker(script, { resourceLimits })

  return {
    prepare() {
      if (spare) return
      const worker = open()
      worker.unref()
      // One that breaks before it is needed is no news: another takes its place.
      worker.on('error', () => {})
      const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()))
      const own = { worker, exited }
      spare = own
      void exited.then(() => {
        if (spare === own) spare = undefined
      })
    },
    start(data, transfer = []) {
      const worker = spare?.worker ?? open()
      spare = undefined
      worker.ref()
      worker.postMessage(data, transfer)
      return worker
    },
    async close() {
      const left = spare
      spare = undefined
      if (!left) return
      left.worker.ref()
      // Never terminate(): an addon that is being loaded then takes the whole process down.
      left.worker.postMessage(undefined)
      await left.exited
    },
  }
}
