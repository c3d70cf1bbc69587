/** A value that is made when it is first asked for, and kept. */
export function once<T>(open: () => T): () => T {
  let value: { is: T } | undefined
  return () => {
    value ??= { is: open() }
    return value.is
  }
}
