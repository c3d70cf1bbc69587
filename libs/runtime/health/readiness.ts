/** Can this process do its work at this moment? Asked by orchestrators every few seconds, so each answer is kept for a while. */
import { setTimeout as sleep } from 'node:timers/promises'

/** Throws where what it looks at cannot be used. */
export type Check = () => Promise<unknown>

export interface Readiness {
  readonly ready: boolean
  /** `ok`, or why not, of each thing looked at. */
  readonly checks: Readonly<Record<string, string>>
}

export interface ReadinessOptions {
  /** What does not answer within this time is not ready. Default 5 s. */
  readonly timeoutMs?: number
  /** So long an answer counts. Default 5 s. */
  readonly keepMs?: number
}

export function openReadiness(
  checks: Readonly<Record<string, Check>>,
  { timeoutMs = 5_000, keepMs = 5_000 }: ReadinessOptions = {},
): () => Promise<Readiness> {
  let kept: { readonly at: number; readonly answer: Promise<Readiness> } | undefined
  return () => {
    // Also while one is under way: probes that come faster than answers must not pile up.
    if (kept === undefined || performance.now() - kept.at >= keepMs) {
      const answer = askAll(checks, timeoutMs)
      kept = { at: performance.now(), answer }
    }
    return kept.answer
  }
}

async function askAll(checks: Readonly<Record<string, Check>>, timeoutMs: number): Promise<Readiness> {
  const answers = await Promise.all(
    Object.entries(checks).map(async ([what, check]) => [what, await ask(check, timeoutMs)] as const),
  )
  return { ready: answers.every(([, answer]) => answer === 'ok'), checks: Object.fromEntries(answers) }
}

async function ask(check: Check, timeoutMs: number): Promise<string> {
  const enough = new AbortController()
  const late = sleep(timeoutMs, `no answer within ${timeoutMs / 1000} s`, { signal: enough.signal, ref: false }).catch(() => '')
  const asked = Promise.resolve()
    .then(check)
    .then(
      () => 'ok',
      (error: unknown) => (error instanceof Error ? error.message : String(error)),
    )
  const answer = await Promise.race([asked, late])
  enough.abort()
  return answer
}
