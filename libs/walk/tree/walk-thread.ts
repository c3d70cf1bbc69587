/** A thread that walks. It may be a few pages ahead of who reads them, and waits there. */
import { parentPort } from 'node:worker_threads'
import { nameRanges } from '#libs/bundle/name-ranges.js'
import { encodePlan } from '#libs/bundle/plan.js'
import { PAGES, STOPPED, type WalkMessage, type WalkThreadData } from './walk-messages.js'
import { walkTree } from './walk-tree.js'

parentPort?.once('message', (data: WalkThreadData | undefined) => {
  if (data) walk(data)
})

function walk({ request, state, port }: WalkThreadData): void {
  const isStopped = () => Atomics.load(state, STOPPED) !== 0
  const post = (message: WalkMessage, transfer: ArrayBuffer[] = []) => port.postMessage(message, transfer)
  try {
    for (const { entries, problems, leftOut, listings, found } of walkTree(request, isStopped)) {
      // Sleeps while every page that it may be ahead is under way.
      while (Atomics.load(state, PAGES) === 0) Atomics.wait(state, PAGES, 0)
      if (isStopped()) break
      Atomics.sub(state, PAGES, 1)
      const plan = encodePlan(entries)
      // Its memory is its own, and moves over without a copy.
      post({ kind: 'page', plan, ranges: nameRanges(entries), problems, leftOut, listings, found }, [plan.buffer as ArrayBuffer])
    }
    post({ kind: 'end' })
  } catch (error) {
    post({ kind: 'error', error })
  }
  port.close()
}
