/**
 * While the consumer is busy with one answer, the next is on its way. An error of an answer comes in its turn; one of the questions ends
 * it at once, without the answer that was on its way.
 */
export async function* oneAhead<T, R>(asked: AsyncIterable<T>, ask: (one: T) => Promise<R>): AsyncGenerator<Awaited<R>> {
  let coming: Promise<R> | undefined
  for await (const one of asked) {
    const next = ask(one)
    next.catch(() => {}) // awaited below, if anybody still wants it
    if (coming) yield await coming
    coming = next
  }
  if (coming) yield await coming
}
