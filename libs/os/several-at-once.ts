/** Work on many things, a few of them at any moment: what waits for a server or a disk waits together. */

/** `most` at a time, begun in their order. When one fails no further one begins; its error is thrown when those under way have ended. */
export async function severalAtOnce<T>(all: readonly T[], most: number, act: (one: T) => Promise<void>): Promise<void> {
  const ahead = all.values()
  const errors: unknown[] = []
  const lane = async () => {
    for (const one of ahead) {
      await act(one).catch((error) => errors.push(error))
      if (errors.length > 0) return
    }
  }
  await Promise.all(Array.from({ length: most }, lane))
  if (errors.length > 0) throw errors[0]
}
