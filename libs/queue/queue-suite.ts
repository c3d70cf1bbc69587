/** What every queue must show: one suite, called by the test of each implementation. */
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { FirnError, Postpone } from '#libs/errors/errors.js'
import type { JobHandler, JobQueue, WorkOptions } from './queue.js'

/** One store of its own for each test. */
export interface QueueStore {
  /** Opens the queue; asked twice, the second is as another process's. Attempts shall follow each other within some 20 ms. */
  open(options: { onError: (error: unknown) => void; lockDurationMs?: number }): Promise<JobQueue>
  /** Puts a job there with a payload that the port would refuse. */
  smuggle(name: string, id: string, data: unknown): Promise<void>
  /** What the queue does with the jobs of a worker that it takes for dead: they wait again, their locks are nobody's. */
  takeAway(name: string): Promise<void>
  /** What the store still has of lanes: rows or keys. */
  leftOfLanes(): Promise<number>
  /** Connections that are open to the store. */
  connections(): Promise<number>
  drop(): Promise<void>
}

type StoreHandler = JobHandler<'store-bundle'>

export function describeQueue(name: string, create: () => Promise<QueueStore>): void {
  describe(`the queue ${name}`, () => {
    let store: QueueStore
    let queue: JobQueue
    let opened: JobQueue[]
    let errors: unknown[]

    beforeEach(async () => {
      store = await create()
      opened = []
      errors = []
      queue = await open()
    })
    afterEach(async () => {
      await Promise.all(opened.map((one) => one.close()))
      await store.drop()
    })

    async function open(options: { lockDurationMs?: number } = {}): Promise<JobQueue> {
      const one = await store.open({ onError: (error) => errors.push(error), ...options })
      opened.push(one)
      return one
    }

    const work = (handler: StoreHandler, options: Partial<WorkOptions<'store-bundle'>> = {}, on: JobQueue = queue) =>
      on.work('store-bundle', handler, { concurrency: 1, ...options })

    const bundles = (count: number) => Array.from({ length: count }, () => ({ bundleId: randomUUID() }))

    const allDone = () => until(async () => (await queue.pending('store-bundle')) === 0)

    test('runs each job once, however many are added at once', async () => {
      const payloads = bundles(200)
      const runs: string[] = []
      await work(
        async ({ bundleId }) => {
          runs.push(bundleId)
        },
        { concurrency: 4 },
      )
      await queue.addMany('store-bundle', payloads)
      await allDone()
      expect(runs.sort()).toEqual(payloads.map(({ bundleId }) => bundleId).sort())
      expect(errors).toEqual([])
    })

    test('wakes a worker that waits, and one that comes later', async () => {
      const runs: string[] = []
      const handler: StoreHandler = async ({ bundleId }) => {
        runs.push(bundleId)
      }
      await queue.add('store-bundle', { bundleId: 'before' })
      await work(handler)
      await allDone()
      await queue.add('store-bundle', { bundleId: 'after' })
      await allDone()
      expect(runs).toEqual(['before', 'after'])
    })

    test('runs as many at a time as asked, and no more', async () => {
      const gate = openGate()
      let now = 0
      let most = 0
      await work(
        async () => {
          most = Math.max(most, ++now)
          await gate.passed
          now--
        },
        { concurrency: 3 },
      )
      await queue.addMany('store-bundle', bundles(10))
      await until(() => now === 3)
      await delay(50)
      gate.open()
      await allDone()
      expect(most).toBe(3)
    })

    test('keeps the kinds of jobs apart', async () => {
      const runs: string[] = []
      await queue.add('index-bundle', { bundleId: 'b' })
      await queue.add('watch-retrievals', {})
      await queue.work('watch-retrievals', async () => void runs.push('watch'), { concurrency: 1 })
      await until(async () => (await queue.pending('watch-retrievals')) === 0)
      expect(runs).toEqual(['watch'])
      expect(await queue.pending('index-bundle')).toBe(1)
    })

    test('keeps a lane apart from everybody else, and leaves nothing of it', async () => {
      const runs: string[] = []
      const noting =
        (where: string): StoreHandler =>
        async ({ bundleId }) =>
          void runs.push(`${where} ${bundleId}`)
      await work(noting('all'))
      const [one, two] = [queue.lane(randomUUID()), queue.lane(randomUUID())]
      const worker = await one.work('store-bundle', noting('one'), { concurrency: 1 })
      await one.add('store-bundle', { bundleId: 'a' })
      await two.addMany('store-bundle', [{ bundleId: 'b' }, { bundleId: 'c' }])
      await queue.add('store-bundle', { bundleId: 'd' })
      await until(() => runs.length === 2)
      expect(runs.sort()).toEqual(['all d', 'one a'])
      await worker.stop(0)
      await one[Symbol.asyncDispose]()
      await two[Symbol.asyncDispose]()
      expect(await store.leftOfLanes()).toBe(0)
      expect(errors).toEqual([])
    })

    test('a lane forgets what its workers did not come to, and what they gave back', async () => {
      const id = randomUUID()
      const lane = queue.lane(id)
      await lane.addMany('store-bundle', bundles(50))
      const begun = openGate()
      const worker = await lane.work(
        'store-bundle',
        (_payload, { signal }) =>
          new Promise<void>((_, reject) => {
            begun.open()
            signal.addEventListener('abort', () => reject(signal.reason as Error))
          }),
        { concurrency: 2 },
      )
      await begun.passed
      await worker.stop(0)
      await lane[Symbol.asyncDispose]()
      expect(await store.leftOfLanes()).toBe(0)
      // The same lane again, as a later command's: it has what it is given now.
      const again = queue.lane(id)
      const runs: string[] = []
      const second = await again.work('store-bundle', async ({ bundleId }) => void runs.push(bundleId), { concurrency: 1 })
      await again.add('store-bundle', { bundleId: 'x' })
      await until(() => runs.length === 1)
      await second.stop(0)
      await again[Symbol.asyncDispose]()
    })

    test('adds a job again and again, once however often it is asked to, and beside those that are added', async () => {
      let runs = 0
      const watch = () => queue.work('watch-retrievals', async () => void runs++, { concurrency: 1 })
      const worker = await watch()
      for (let asked = 0; asked < 3; asked++) await queue.every('watch-retrievals', {}, 100)
      await until(() => runs >= 3)
      // Stopped, for a run under way while the interval changes may schedule once more (queue.ts).
      await worker.stop(60_000)
      await queue.every('watch-retrievals', {}, 3_600_000)
      expect(await queue.pending('watch-retrievals')).toBe(1)
      await queue.add('watch-retrievals', {})
      expect(await queue.pending('watch-retrievals')).toBe(2)
      const before = runs
      await watch()
      await until(async () => runs > before && (await queue.pending('watch-retrievals')) === 1)
    })

    test('counts what waits, is delayed or runs', async () => {
      expect(await queue.pending('store-bundle')).toBe(0)
      await queue.addMany('store-bundle', bundles(3))
      await queue.add('store-bundle', { bundleId: 'later' }, { delayMs: 3_600_000 })
      expect(await queue.pending('store-bundle')).toBe(4)
      const gate = openGate()
      const started = openGate()
      await work(async () => {
        started.open()
        await gate.passed
      })
      await started.passed
      expect(await queue.pending('store-bundle')).toBe(4)
      gate.open()
      await until(async () => (await queue.pending('store-bundle')) === 1)
    })

    describe('adding again', () => {
      test('while it waits adds nothing', async () => {
        const same = { bundleId: randomUUID() }
        for (let i = 0; i < 3; i++) await queue.add('store-bundle', same)
        await queue.addMany('store-bundle', [same, same])
        expect(await queue.pending('store-bundle')).toBe(1)
        let runs = 0
        await work(async () => void runs++)
        await allDone()
        expect(runs).toBe(1)
      })

      test('after it ran runs it again', async () => {
        const same = { bundleId: randomUUID() }
        let runs = 0
        await work(async () => void runs++)
        for (let i = 1; i <= 3; i++) {
          await queue.add('store-bundle', same)
          await allDone()
          expect(runs).toBe(i)
        }
      })

      test('after it failed for good runs it again', async () => {
        const same = { bundleId: randomUUID() }
        let runs = 0
        await work(async () => {
          runs++
          throw new FirnError('damaged', 'no use')
        })
        await queue.add('store-bundle', same)
        await allDone()
        await queue.add('store-bundle', same)
        await allDone()
        expect(runs).toBe(2)
      })

      test('while it runs runs it once more, so that no call is lost', async () => {
        const same = { bundleId: randomUUID() }
        const gate = openGate()
        let runs = 0
        await work(async () => {
          if (++runs === 1) await gate.passed
        })
        await queue.add('store-bundle', same)
        await until(() => runs === 1)
        for (let i = 0; i < 5; i++) await queue.add('store-bundle', same)
        expect(await queue.pending('store-bundle')).toBe(2)
        gate.open()
        await allDone()
        expect(runs).toBe(2)
      })

      test('while it is delayed brings it forward, unless it shall be delayed itself', async () => {
        const same = { bundleId: randomUUID() }
        let runs = 0
        await work(async () => void runs++)
        await queue.add('store-bundle', same, { delayMs: 3_600_000 })
        await queue.add('store-bundle', same, { delayMs: 1_000_000 })
        expect(await queue.pending('store-bundle')).toBe(1)
        expect(runs).toBe(0)
        await queue.add('store-bundle', same)
        await allDone()
        expect(runs).toBe(1)
      })
    })

    describe('a handler', () => {
      test('that postpones is run again later, and uses up no attempt', async () => {
        let runs = 0
        const failures: unknown[] = []
        await work(
          async () => {
            if (++runs <= 6) throw new Postpone(5)
          },
          { onFailed: (...failure) => void failures.push(failure) },
        )
        await queue.add('store-bundle', { bundleId: randomUUID() })
        await allDone()
        expect(runs).toBe(7)
        expect(failures).toEqual([])
        expect(errors).toEqual([])
      })

      test('that fails is tried three times, and each failure is told with the payload and the error itself', async () => {
        const same = { bundleId: randomUUID() }
        const failures: unknown[][] = []
        const thrown: Error[] = []
        await work(
          async () => {
            const error = new FirnError('vault-failed', `NUL \0 and half a pair \ud800 ${thrown.length}`)
            thrown.push(error)
            throw error
          },
          { onFailed: (...failure) => void failures.push(failure) },
        )
        await queue.add('store-bundle', same)
        await allDone()
        expect(failures).toEqual([
          [same, thrown[0], false],
          [same, thrown[1], false],
          [same, thrown[2], true],
        ])
        for (const [i, failure] of failures.entries()) expect(failure[1]).toBe(thrown[i])
        expect(errors).toEqual([])
      })

      test('that throws what is no error at all is retried like any other', async () => {
        const failures: unknown[] = []
        await work(() => Promise.reject(undefined), { onFailed: (_, error, final) => void failures.push([error, final]) })
        await queue.add('store-bundle', { bundleId: randomUUID() })
        await allDone()
        expect(failures).toEqual([
          [undefined, false],
          [undefined, false],
          [undefined, true],
        ])
      })

      for (const code of [
        'usage',
        'vault-refused',
        'vault-away',
        'vault-full',
        'vault-missing',
        'damaged',
        'database-newer',
      ] as const) {
        test(`that fails with ${code} is not tried again`, async () => {
          const finals: boolean[] = []
          await work(
            async () => {
              throw new FirnError(code, 'no use')
            },
            { onFailed: (_payload, _error, final) => void finals.push(final) },
          )
          await queue.add('store-bundle', { bundleId: randomUUID() })
          await allDone()
          expect(finals).toEqual([true])
        })
      }

      test('that fails and then does not is done', async () => {
        const finals: boolean[] = []
        let runs = 0
        await work(
          async () => {
            if (++runs < 3) throw new Error('once more')
          },
          { onFailed: (_payload, _error, final) => void finals.push(final) },
        )
        await queue.add('store-bundle', { bundleId: randomUUID() })
        await allDone()
        expect(runs).toBe(3)
        expect(finals).toEqual([false, false])
      })

      test('whose failure cannot be told either does not stop the worker', async () => {
        await work(
          async ({ bundleId }) => {
            if (bundleId === 'bad') throw new FirnError('damaged', 'no use')
          },
          { onFailed: () => Promise.reject(new Error('nobody listens')) },
        )
        await queue.addMany('store-bundle', [{ bundleId: 'bad' }, { bundleId: 'good' }])
        await allDone()
        expect(errors).toMatchObject([{ message: 'nobody listens' }])
      })
    })

    describe('a payload', () => {
      test('that is none is refused when it is added', async () => {
        for (const payload of [{}, { bundleId: '' }, { bundleId: 'a:b' }, { bundleId: 7 }, { itemId: 'x' }]) {
          const adding = queue.add('store-bundle', payload as { bundleId: string })
          await expect(adding).rejects.toMatchObject({ code: 'failed', message: expect.stringMatching(/bundleId/) })
        }
        expect(await queue.pending('store-bundle')).toBe(0)
      })

      test('that came in another way fails its job with a clear error, and the worker goes on', async () => {
        const runs: string[] = []
        const failures: unknown[] = []
        await store.smuggle('store-bundle', 'x-1', { somethingElse: 1 })
        await store.smuggle('store-bundle', 'x-2', null)
        await store.smuggle('store-bundle', 'x-3', { bundleId: 'newer', andMore: true })
        await work(async ({ bundleId }) => void runs.push(bundleId), { onFailed: (...failure) => void failures.push(failure) })
        await queue.add('store-bundle', { bundleId: 'good' })
        await until(() => runs.length === 2)
        expect(runs.sort()).toEqual(['good', 'newer'])
        expect(failures).toEqual([])
        expect(errors).toHaveLength(2)
        for (const error of errors)
          expect(error).toMatchObject({ message: expect.stringMatching(/store-bundle job.*not understand/) })
      })
    })

    describe('stopping', () => {
      test('an idle worker is quick, and it takes no job any more', async () => {
        const runs: string[] = []
        const worker = await work(async ({ bundleId }) => void runs.push(bundleId))
        await worker.stop(3_600_000)
        await worker.stop(3_600_000)
        await queue.add('store-bundle', { bundleId: randomUUID() })
        await delay(50)
        expect(runs).toEqual([])
        expect(await queue.pending('store-bundle')).toBe(1)
      })

      test('waits for what runs within the grace', async () => {
        const gate = openGate()
        const started = openGate()
        let ended = false
        const worker = await work(async (_, { signal }) => {
          started.open()
          await gate.passed
          expect(signal.aborted).toBe(false)
          ended = true
        })
        await queue.addMany('store-bundle', bundles(2))
        await started.passed
        const stopping = worker.stop(3_600_000)
        gate.open()
        await stopping
        expect(ended).toBe(true)
        expect(await queue.pending('store-bundle')).toBe(1)
      })

      test('aborts what runs after the grace; the job goes back, and another worker runs it with all its attempts', async () => {
        const started = openGate()
        const failures: unknown[] = []
        let reason: unknown
        const worker = await work(
          async (_, { signal }) => {
            started.open()
            await aborted(signal)
            reason = signal.reason
            throw signal.reason
          },
          { onFailed: (...failure) => void failures.push(failure) },
        )
        await queue.add('store-bundle', { bundleId: 'b' })
        await started.passed
        const patient = worker.stop(3_600_000)
        await worker.stop(10)
        await patient
        expect(reason).toMatchObject({ code: 'try-again' })
        expect(failures).toEqual([])
        expect(await queue.pending('store-bundle')).toBe(1)

        let runs = 0
        await work(async () => {
          if (++runs < 3) throw new Error('once more')
        })
        await allDone()
        expect(runs).toBe(3)
        expect(errors).toEqual([])
      })

      test('closing the queue stops its workers and leaves no connection', async () => {
        const other = await open()
        const started = openGate()
        await work(
          async (_, { signal }) => {
            started.open()
            await aborted(signal)
            throw signal.reason
          },
          {},
          other,
        )
        await queue.add('store-bundle', { bundleId: 'b' })
        await started.passed
        await other.close()
        await other.close()
        await expect(other.add('store-bundle', { bundleId: 'c' })).rejects.toMatchObject({ code: 'failed' })
        await queue.close()
        await until(async () => (await store.connections()) === 0)
      })
    })

    describe('two processes', () => {
      test('share the work, and each job runs in one of them', async () => {
        const other = await open()
        const runs: string[][] = [[], []]
        const handlerOf =
          (mine: string[]): StoreHandler =>
          async ({ bundleId }) => {
            mine.push(bundleId)
            await delay(2)
          }
        await work(handlerOf(runs[0]!), { concurrency: 2 })
        await work(handlerOf(runs[1]!), { concurrency: 2 }, other)
        const payloads = bundles(60)
        await queue.addMany('store-bundle', payloads)
        await allDone()
        expect(runs.flat().sort()).toEqual(payloads.map(({ bundleId }) => bundleId).sort())
        expect(runs.map(({ length }) => length > 0)).toEqual([true, true])
      })

      test('when one is taken for dead while it lives: the other runs the job, and the first is told', async () => {
        const other = await open()
        const started = openGate()
        let reason: unknown
        const failures: unknown[] = []
        const silent = await open({ lockDurationMs: 400 })
        await work(
          async (_, { signal }) => {
            started.open()
            await aborted(signal)
            reason = signal.reason
            throw signal.reason
          },
          { onFailed: (...failure) => void failures.push(failure) },
          silent,
        )
        await queue.add('store-bundle', { bundleId: 'b' })
        await started.passed
        let runs = 0
        await work(async () => void runs++, {}, other)
        await store.takeAway('store-bundle')
        await until(() => runs === 1 && reason !== undefined)
        expect(reason).toMatchObject({ code: 'lease-lost' })
        expect(failures).toEqual([])
      })
    })
  })
}

/** Polls. The limit only ends a test that has failed already: left running, it would ask a closed queue for ever. */
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let polls = 0; !(await condition()); polls++) {
    if (polls === 4_000) throw new Error(`never: ${condition}`)
    await delay(5)
  }
}

function openGate(): { passed: Promise<void>; open: () => void } {
  let open = () => {}
  const passed = new Promise<void>((resolve) => {
    open = resolve
  })
  return { passed, open }
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
