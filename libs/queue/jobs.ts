/** What the queue must know of each job: what its payload looks like, what it is called, how often it is tried. One place, every backend. */
import type { z as types } from 'zod'
import { FirnError, isFirnError } from '#libs/errors/errors.js'
import { z } from '#libs/os/zod.js'
import type { JobName, Jobs } from './queue.js'

/** Attempts in all. What still fails then is for the reconciler, minutes later, or for a person. */
export const ATTEMPTS = 3

/** Before the second attempt, doubled before each further one. */
export const RETRY_DELAY_MS = 1_000

/** BullMQ ids must not hold a colon nor be digits alone: ids are letters, digits, - and _, and stand behind the job's name. */
const id = z.string().regex(/^[A-Za-z0-9_-]{1,100}$/, 'is no id')

interface Kind<P> {
  readonly schema: types.ZodType<P>
  /** What tells two jobs of one name apart. */
  readonly key: (payload: P) => string
}

/** Unknown keys are dropped, not refused: for an hour an older worker may run beside a newer crawler. */
const KINDS: { readonly [K in JobName]: Kind<Jobs[K]> } = {
  'store-bundle': { schema: z.object({ bundleId: id }), key: ({ bundleId }) => bundleId },
  'index-bundle': { schema: z.object({ bundleId: id }), key: ({ bundleId }) => bundleId },
  'watch-retrievals': { schema: z.object({}).transform(() => ({})), key: () => 'all' },
}

export const JOB_NAMES = Object.keys(KINDS) as JobName[]

/** The payload, checked; asked on both ends. Throws an error of code `failed` that names what is wrong with it. */
export function checkedPayload<K extends JobName>(name: K, payload: unknown): Jobs[K] {
  const kind: Kind<Jobs[K]> = KINDS[name]
  const parsed = kind.schema.safeParse(payload)
  if (parsed.success) return parsed.data
  const problems = parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'payload'}: ${message}`)
  throw new FirnError('failed', `A ${name} job has a payload that this Firn does not understand (${problems.join('; ')}).`)
}

/** The id of a job in the queue: the same for the same work, so that it waits once. */
export function jobId<K extends JobName>(name: K, payload: Jobs[K]): string {
  const kind: Kind<Jobs[K]> = KINDS[name]
  return `${name}-${kind.key(payload)}`
}

/** Whether another attempt would only fail again: somebody must do something first. */
export const isFinal = (error: unknown): boolean =>
  isFirnError(error, 'usage', 'vault-refused', 'vault-full', 'vault-missing', 'damaged', 'database-newer')
