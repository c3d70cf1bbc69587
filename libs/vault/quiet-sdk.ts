/** Amazon's SDK warns on stderr that later versions of it will want a newer Node. That is for whoever packages Firn, not for its users. */

/** Runs `make`, which creates a client, without that one warning. */
export function withoutNodeWarning<T>(make: () => T): T {
  const { emitWarning } = process
  const filtered = (warning: string | Error, ...rest: unknown[]): void => {
    if (String(warning).includes('NodeVersionSupportWarning')) return
    Reflect.apply(emitWarning, process, [warning, ...rest])
  }
  process.emitWarning = filtered as typeof process.emitWarning
  try {
    return make()
  } finally {
    process.emitWarning = emitWarning
  }
}
