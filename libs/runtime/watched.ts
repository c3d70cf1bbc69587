/** The ports with their steps published, for whoever observes this process; where nobody does, the ports themselves. */
import { step, withSteps } from '#libs/os/steps.js'
import type { JobHandler, JobLane, JobName, JobQueue, WorkOptions } from '#libs/queue/queue.js'
import type { Vault } from '#libs/vault/vault.js'

export const watchedVault = (vault: Vault): Vault =>
  withSteps('vault', vault, {
    upload: async (key, options) => withSteps('upload', await vault.upload(key, options)),
  })

/** Also when a job is begun, and when it is over and the queue does not know yet. */
export const watchedQueue = (queue: JobQueue): JobQueue =>
  withSteps('queue', queue, { work: watchedWork(queue), lane: (id: string) => watchedLane(queue.lane(id)) })

const watchedLane = (lane: JobLane): JobLane => withSteps('queue', lane, { work: watchedWork(lane) })

const watchedWork =
  (queue: Pick<JobQueue, 'work'>) =>
  <K extends JobName>(name: K, handler: JobHandler<K>, options: WorkOptions<K>) => {
    const watched: JobHandler<K> = async (payload, context) => {
      step(`job.${name}:before`)
      await handler(payload, context)
      step(`job.${name}:after`)
    }
    return queue.work(name, watched, options)
  }
