/** So much of something for all who need it: memory, or room in a vault. */
export interface Budget {
  readonly total: number
  /**
   * Waits its turn: first come, first served, so that who needs much is not passed over for ever; more than there is at all is given
   * alone, rather than never. Returns what gives it back, which may be called twice.
   */
  take(amount: number, signal?: AbortSignal): Promise<() => void>
}

export function budgetOf(total: number): Budget {
  let free = total
  const waiting: { amount: number; start: () => void }[] = []

  function serve(): void {
    for (let first = waiting[0]; first !== undefined; first = waiting[0]) {
      if (first.amount > free && free < total) return
      waiting.shift()
      free -= first.amount
      first.start()
    }
  }

  return {
    total,
    async take(amount, signal) {
      signal?.throwIfAborted()
      await new Promise<void>((resolve, reject) => {
        const turn = {
          amount,
          start: () => {
            signal?.removeEventListener('abort', leave)
            resolve()
          },
        }
        const leave = () => {
          waiting.splice(waiting.indexOf(turn), 1)
          reject(signal?.reason)
          serve() // what stood behind it may fit
        }
        signal?.addEventListener('abort', leave, { once: true })
        waiting.push(turn)
        serve()
      })
      let given = false
      return () => {
        if (given) return
        given = true
        free += amount
        serve()
      }
    },
  }
}
