/** One error is told once, though it comes by several ways: of a lost connection hears everything that stands on it. */
export function toldOnce(onError: (error: unknown) => void): (error: unknown) => void {
  const told = new WeakSet<object>()
  return (error) => {
    if (typeof error === 'object' && error !== null) {
      if (told.has(error)) return
      told.add(error)
    }
    onError(error)
  }
}
