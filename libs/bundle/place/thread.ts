/**
 * The placing thread: all work on files, with synchronous calls (many times faster for small files than asynchronous ones), while
 * the main thread only fetches bytes. Its first message says where it places, each further one is a request.
 */
import { parentPort } from 'node:worker_threads'
import { openAnswers } from './answers.js'
import type { Request, ThreadData } from './messages.js'
import { failureOf } from './obstacle.js'

let answer: ReturnType<typeof openAnswers> | undefined

parentPort?.on('message', (message: ThreadData | { id: number; request: Request } | undefined) => {
  if (message === undefined) return parentPort?.close()
  if (!('request' in message)) {
    answer = openAnswers(message)
    return
  }
  const { id, request } = message
  try {
    const reply = (answer as NonNullable<typeof answer>)(request)
    parentPort?.postMessage({ id, reply }, reply.buffer ? [reply.buffer] : [])
  } catch (error) {
    // An error loses its code on the way.
    parentPort?.postMessage({ id, failure: failureOf(error) })
  }
})
