/** Who opens, closes: releases are pushed when something is opened, and run last first; one that fails does not spare the rest. */

export interface Releasers extends AsyncDisposable {
  push(release: () => Promise<void> | void): void
}

export function createReleasers(): Releasers {
  const stack: (() => Promise<void> | void)[] = []
  return {
    push(release) {
      stack.push(release)
    },
    async [Symbol.asyncDispose]() {
      const errors: unknown[] = []
      for (let release = stack.pop(); release !== undefined; release = stack.pop()) {
        try {
          await release()
        } catch (error) {
          errors.push(error)
        }
      }
      if (errors.length === 1) throw errors[0]
      if (errors.length > 1) throw new AggregateError(errors, 'several things could not be closed')
    },
  }
}
