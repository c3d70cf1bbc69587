/** What is said of a Redis that comes and goes: once that it is gone, once that it is back. Every connection hears of it many times. */
import type { Redis } from 'ioredis'
import { FirnError } from '#libs/errors/errors.js'
import { toldOnce } from '../told-once.js'

export interface Teller {
  /** Tells the errors of a connection, and that it is ready again. */
  listenTo(client: Redis): void
  tell(error: unknown): void
}

/** The same sentence is not said again for so long. */
const AGAIN_MS = 60_000

/** Sentences that are remembered; they may hold ids of jobs. */
const REMEMBERED = 100

export function tellerOf(
  where: string,
  { onError, onNotice }: { onError: (error: unknown) => void; onNotice: (text: string) => void },
): Teller {
  let lost = false
  const said = new Map<string, number>()

  const tell = toldOnce((error) => {
    if (isOutage(error)) {
      if (lost) return
      lost = true
      const reason = (error as Error).message
      onError(
        new FirnError('try-again', `The queue's Redis at ${where} is gone (${reason}); work goes on when it is back.`, {
          cause: error,
        }),
      )
      return
    }
    const text = String(error)
    const before = said.get(text)
    if (before !== undefined && performance.now() - before < AGAIN_MS) return
    if (said.size >= REMEMBERED) said.clear()
    said.set(text, performance.now())
    onError(error)
  })

  return {
    tell,
    listenTo(client) {
      client.on('error', tell)
      client.on('ready', () => {
        if (!lost) return
        lost = false
        onNotice(`The queue's Redis at ${where} is back.`)
      })
    },
  }
}

/** Whether an error says that the server is not there, rather than what it thinks of a command. */
export function isOutage(error: unknown): boolean {
  const { message = '', code = '', name = '' } = error as { message?: string; code?: string; name?: string }
  return (
    /^(E[A-Z]+|ERR_STREAM\w*)$/.test(code) ||
    name === 'MaxRetriesPerRequestError' ||
    name === 'AbortError' ||
    /^(Connection is closed|Stream isn't writeable|Socket timeout|connect ETIMEDOUT|All sentinels are unreachable)/.test(
      message,
    ) ||
    /^(LOADING|MASTERDOWN|UNBLOCKED)\b/.test(message)
  )
}
