/** A lease kept alive while work goes on: renewed every 15 s of its 60; when it is lost, the work's signal aborts. */
import { FirnError } from '#libs/errors/errors.js'

/** A lease lasts 60 s in the catalog; three renewals may fail before it is lost. */
const RENEW_MS = 15_000

export interface KeptLease extends AsyncDisposable {
  /** Aborts when the lease is lost or the caller's signal aborts. */
  readonly signal: AbortSignal
}

/** `renew` answers false, or throws `lease-lost`, when somebody else has the lease; other errors are tried again. */
export function keepLease(renew: () => Promise<boolean | undefined>, outer?: AbortSignal): KeptLease {
  const lost = new AbortController()
  let renewing: Promise<void> | undefined
  const timer = setInterval(() => {
    // One at a time: what waits for a slow database must not pile up.
    renewing ??= renew()
      .then(
        (kept) => {
          if (kept === false) lost.abort(new FirnError('lease-lost', 'another process has taken this work over'))
        },
        (error) => {
          if (error instanceof FirnError && error.code === 'lease-lost') lost.abort(error)
        },
      )
      .finally(() => {
        renewing = undefined
      })
  }, RENEW_MS)
  return {
    signal: outer ? AbortSignal.any([outer, lost.signal]) : lost.signal,
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await renewing
    },
  }
}
