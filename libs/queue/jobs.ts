/** What the queue must know of each job: what its payload looks like, what it is called, how often it is tried. One place, every backend. */
import { FirnError, isFirnError } from '#libs/errors/errors.js'
import type { JobName, Jobs } from './queue.js'

/** Attempts in all. What still fails then is for the reconciler, minutes later, or for a person. */
export const ATTEMPTS = 3

/** Before the second attempt, doubled before each further one. */
export const RETRY_DELAY_MS = 1_000

/** BullMQ ids must not hold a colon nor be digits alone: ids are letters, digits, - and _, and stand behind the job's name. */
const ID = /^[A-Za-z0-9_-]{1,100}$/

/** The ids that the payload of each job is made of; together they tell two jobs of one name apart. */
const IDS: { readonly [K in JobName]: readonly (keyof Jobs[K] & string)[] } = {
  'store-bundle': ['bundleId'],
  'index-bundle': ['bundleId'],
  'watch-retrievals': [],
}

export const JOB_NAMES = Object.keys(IDS) as JobName[]

/**
 * The payload, checked; asked on both ends. Unknown keys are dropped, not refused: for an hour an older worker may run beside a newer
 * crawler. Throws an error of code `failed` that names what is wrong with it.
 */
export function checkedPayload<K extends JobName>(name: K, payload: unknown): Jobs[K] {
  const refused = (what: string) =>
    new FirnError('failed', `A ${name} job has a payload that this Firn does not understand (${what}).`)
  if (typeof payload !== 'object' || payload === null) throw refused('it is no object')
  const given = new Map(Object.entries(payload))
  const ids = IDS[name].map((key) => {
    const id: unknown = given.get(key)
    if (typeof id !== 'string' || !ID.test(id)) throw refused(`${key} is no id`)
    return [key, id]
  })
  return Object.fromEntries(ids) as Jobs[K]
}

/** The id of a job in the queue: the same for the same work, so that it waits once. */
export const jobId = <K extends JobName>(name: K, payload: Jobs[K]): string =>
  `${name}-${IDS[name].map((key) => payload[key]).join('-') || 'all'}`

/** Whether another attempt would only fail again: somebody must do something first. */
export const isFinal = (error: unknown): boolean =>
  isFirnError(error, 'usage', 'vault-refused', 'vault-away', 'vault-full', 'vault-missing', 'damaged', 'database-newer')
