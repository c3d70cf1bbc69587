/** What was asked of the emulator: every request by its operation, and every act that a real service would put on the bill. */

export interface Requests {
  /** How many, of one operation or of all. */
  count(operation?: string): number
  byOperation(): Readonly<Record<string, number>>
  /** The last ones, oldest first. */
  recent(): readonly Served[]
  /** What costs money beyond the request: thaws and retrieval jobs that were accepted. */
  paid(): readonly Paid[]
  reset(): void
}

export interface Served {
  readonly service: string
  readonly operation: string
  readonly target: string
  /** 0: no answer was sent. */
  readonly status: number
  /** The fault that was played, if any. */
  readonly fault?: string
}

export interface Paid {
  readonly at: Date
  readonly service: string
  readonly operation: string
  readonly target: string
  /** As the API names it. */
  readonly tier: string
  readonly bytes: number
  readonly days?: number
}

export interface RequestBook extends Requests {
  served(request: Served): void
  pay(act: Paid): void
}

const RECENT = 10_000

export function requestBook(): RequestBook {
  let counts: Record<string, number> = {}
  let recent: Served[] = []
  let paid: Paid[] = []
  return {
    count: (operation) =>
      operation === undefined ? Object.values(counts).reduce((sum, count) => sum + count, 0) : (counts[operation] ?? 0),
    byOperation: () => ({ ...counts }),
    recent: () => recent.slice(-RECENT),
    paid: () => [...paid],
    reset() {
      counts = {}
      recent = []
      paid = []
    },
    served(request) {
      counts[request.operation] = (counts[request.operation] ?? 0) + 1
      recent.push(request)
      if (recent.length > 2 * RECENT) recent = recent.slice(-RECENT)
    },
    pay(act) {
      paid.push(act)
    },
  }
}
