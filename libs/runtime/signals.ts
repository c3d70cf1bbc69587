/** ^C and `kill`: the first asks the work to stop where it can be gone on with, the second ends the process at once. */

export interface Interruption {
  readonly signal: AbortSignal
  /** 130 or 143 once a signal came. */
  exitCode(): number | undefined
  /** Stops listening. */
  dispose(): void
}

const EXIT_BY_SIGNAL = { SIGINT: 130, SIGTERM: 143 } as const
type StopSignal = keyof typeof EXIT_BY_SIGNAL

export function listenForSignals(onFirst: (signal: StopSignal) => void): Interruption {
  const controller = new AbortController()
  let came: StopSignal | undefined
  const listener = (signal: NodeJS.Signals) => {
    const stop = signal as StopSignal
    if (came !== undefined) process.exit(EXIT_BY_SIGNAL[stop])
    came = stop
    onFirst(stop)
    controller.abort(new Error(`stopped by ${stop}`))
  }
  const signals = Object.keys(EXIT_BY_SIGNAL) as StopSignal[]
  for (const signal of signals) process.on(signal, listener)
  return {
    signal: controller.signal,
    exitCode: () => came && EXIT_BY_SIGNAL[came],
    dispose() {
      for (const signal of signals) process.off(signal, listener)
    },
  }
}
