/** The queue in Redis: the suite, and what only this store can show. */
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { type AddressInfo, createServer } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals'
import { Queue } from 'bullmq'
import { Redis } from 'ioredis'
import { describeWithServer } from '../../../test/tools.js'
import { openQueue } from '../open-queue.js'
import type { JobQueue } from '../queue.js'
import { describeQueue } from '../queue-suite.js'
import { openRedisQueue } from './redis-queue.js'
import { type ScratchRedis, type ScratchRedisOptions, scratchRedis, scratchWay } from './scratch-redis.js'

describeWithServer('FIRN_TEST_REDIS_URL', 'the suite', (url) => {
  let looking: Redis
  beforeAll(() => {
    looking = new Redis(url, { lazyConnect: true })
  })
  afterAll(() => looking.disconnect())

  describeQueue('in Redis', async () => {
    const prefix = `{test_${randomBytes(6).toString('hex')}}`
    const own = `${url}?prefix=${encodeURIComponent(prefix)}`
    return {
      open: (options) => openRedisQueue({ url: own, retryDelayMs: 10, ...options }),
      async smuggle(name, id, data) {
        const queue = new Queue(name, { connection: looking, prefix })
        await queue.add(name, data, { jobId: id, removeOnFail: true })
        await queue.close()
      },
      async takeAway(name) {
        const key = (...parts: string[]) => [prefix, name, ...parts].join(':')
        for (const id of await looking.lrange(key('active'), 0, -1)) {
          await looking.del(key(id, 'lock'))
          await looking.lrem(key('active'), 0, id)
          await looking.lpush(key('wait'), id)
          await looking.zadd(key('marker'), 0, '0')
        }
      },
      leftOfLanes: async () => (await looking.keys(`${prefix}:*.*`)).length,
      async connections() {
        const clients = String(await looking.client('LIST')).split('\n')
        return clients.filter((client) => client.includes(` name=${prefix}`)).length
      },
      async drop() {
        const keys = await looking.keys(`${prefix}*`)
        if (keys.length > 0) await looking.del(keys)
      },
    }
  })
})

describeWithServer('FIRN_TEST_REDIS_URL', 'a queue in Redis', () => {
  let servers: ScratchRedis[]
  let queues: JobQueue[]
  let errors: unknown[]
  let notices: string[]
  beforeEach(() => {
    servers = []
    queues = []
    errors = []
    notices = []
  })
  afterEach(async () => {
    await Promise.all(queues.map((queue) => queue.close()))
    await Promise.all(servers.map((server) => server.stop()))
  })

  async function start(options: ScratchRedisOptions = {}): Promise<ScratchRedis> {
    const server = await scratchRedis(options)
    servers.push(server)
    return server
  }

  async function open(url: string): Promise<JobQueue> {
    const queue = await openQueue(url, {
      onError: (error) => errors.push(error),
      onNotice: (text) => notices.push(text),
    })
    queues.push(queue)
    return queue
  }

  /** Works on everything, and says what it has done. */
  async function workOn(queue: JobQueue): Promise<string[]> {
    const runs: string[] = []
    await queue.work('store-bundle', async ({ bundleId }) => void runs.push(bundleId), { concurrency: 2 })
    return runs
  }

  const add = (queue: JobQueue, bundleId: string) => queue.add('store-bundle', { bundleId })
  /** As the reconciler does: again and again, until it is taken. */
  const addUntilTaken = (queue: JobQueue, bundleId: string) =>
    until(() =>
      add(queue, bundleId).then(
        () => true,
        () => false,
      ),
    )

  describe('is opened', () => {
    test('by its URL, with keys of one cluster slot, and says that there is no append-only file', async () => {
      const server = await start()
      const queue = await open(server.url)
      await add(queue, 'b')
      const keys = server.ask('KEYS', '*').split('\n')
      expect(keys.length).toBeGreaterThan(1)
      expect(keys.filter((key) => !key.startsWith('{firn}:'))).toEqual([])
      expect(notices).toEqual([expect.stringMatching(/no append-only file/)])
      expect(errors).toEqual([])
    })

    test('in a database and with a prefix of its own; two queues of one server do not meet', async () => {
      const server = await start({ aof: true })
      const [one, two, three] = await Promise.all([
        open(`${server.url}/3`),
        open(`${server.url}/3?prefix={two}`),
        open(server.url),
      ])
      await add(one, 'a')
      expect([await one.pending('store-bundle'), await two.pending('store-bundle'), await three.pending('store-bundle')]).toEqual(
        [1, 0, 0],
      )
      expect(server.ask('-n', '3', 'EXISTS', '{firn}:store-bundle:wait')).toBe('1')
      expect(notices).toEqual([])
    })

    test('refuses a server that evicts, unless the URL allows it', async () => {
      const server = await start({ settings: { 'maxmemory-policy': 'allkeys-lru' } })
      await expect(open(server.url)).rejects.toMatchObject({
        code: 'usage',
        message: expect.stringMatching(/allkeys-lru.*allow-eviction=1/),
      })
      const queue = await open(`${server.url}?allow-eviction=1`)
      const runs = await workOn(queue)
      await add(queue, 'b')
      await until(() => runs.length === 1)
      expect(notices[0]).toMatch(/throws keys away.*allkeys-lru/)
    })

    test('where CONFIG is forbidden: INFO says the policy', async () => {
      const server = await start({ settings: { 'rename-command': 'CONFIG none', 'maxmemory-policy': 'volatile-ttl' } })
      await expect(open(server.url)).rejects.toMatchObject({ code: 'usage', message: expect.stringMatching(/volatile-ttl/) })
    })

    test('with a password, which no sentence repeats', async () => {
      const server = await start({ settings: { requirepass: 'se/cret@1' } })
      const at = `127.0.0.1:${server.port}`
      const queue = await open(`redis://:se%2Fcret%401@${at}`)
      await add(queue, 'b')
      for (const who of ['', ':wr0ng-pass@', 'nobody:wr0ng-pass@']) {
        await expect(open(`redis://${who}${at}`)).rejects.toMatchObject({
          code: 'usage',
          message: expect.stringMatching(/^(?!.*wr0ng).*refuses the user or the password/),
        })
      }
      expect(errors).toEqual([])
    })

    test('by a user of its own with few rights, and one with too few is told so', async () => {
      const server = await start()
      server.ask('ACL', 'SETUSER', 'firn', 'on', '>pw', '~{firn}:*', '&*', '+@all', '-@dangerous', '+info', '-config')
      server.ask('ACL', 'SETUSER', 'poor', 'on', '>pw', '~*', '&*', '+@read', '-@dangerous')
      const queue = await open(`redis://firn:pw@127.0.0.1:${server.port}`)
      const runs = await workOn(queue)
      await add(queue, 'b')
      await until(() => runs.length === 1)
      await expect(open(`redis://poor:pw@127.0.0.1:${server.port}`)).rejects.toMatchObject({ code: 'usage' })
    })

    test('by TLS, when its certificate is trusted', async () => {
      const server = await start({ tls: true })
      const runs = await workOn(await open(server.url))
      await add(queues[0] as JobQueue, 'b')
      await until(() => runs.length === 1)
      await expect(open(`rediss://localhost:${server.port}`)).rejects.toMatchObject({
        code: 'usage',
        message: expect.stringMatching(/certificates.*ca=/),
      })
      await expect(open(`redis://localhost:${server.port}`)).rejects.toMatchObject({ message: expect.stringMatching(/TLS/) })
      const plain = await start()
      await expect(open(`rediss://127.0.0.1:${plain.port}`)).rejects.toMatchObject({ message: expect.stringMatching(/TLS/) })
    })

    test('not where nothing answers, where nobody speaks, or something else does: one sentence, and whether to come again', async () => {
      await expect(open('redis://:secret@127.0.0.1:1')).rejects.toMatchObject({
        code: 'try-again',
        message: expect.stringMatching(/^(?!.*secret).*127\.0\.0\.1:1 cannot be reached.*ECONNREFUSED.*try again later/),
      })
      await expect(open('redis://nowhere.invalid')).rejects.toMatchObject({ code: 'try-again' })
      const server = await start()
      await expect(open(`${server.url}/9999`)).rejects.toMatchObject({
        code: 'usage',
        message: expect.stringMatching(/no database/),
      })
      server.freeze()
      await expect(open(server.url)).rejects.toMatchObject({ code: 'try-again' })
      server.thaw()
      const other = createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
      await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve))
      const address = other.address() as AddressInfo
      const opening = open(`redis://127.0.0.1:${address.port}`)
      await expect(opening.finally(() => other.close())).rejects.toMatchObject({ message: expect.stringMatching(/no Redis/) })
    })
  })

  describe('goes on', () => {
    test('after FLUSHALL: what is added again is worked, and a job that ran is finished by its worker', async () => {
      const server = await start()
      const queue = await open(server.url)
      const gate = openGate()
      const runs: string[] = []
      await queue.work(
        'store-bundle',
        async ({ bundleId }) => {
          runs.push(bundleId)
          if (bundleId === 'slow') await gate.passed
        },
        { concurrency: 2 },
      )
      await add(queue, 'slow')
      await until(() => runs.length === 1)
      server.ask('FLUSHALL')
      await add(queue, 'after')
      await until(() => runs.length === 2)
      gate.open()
      await add(queue, 'last')
      await until(() => runs.length === 3)
      expect(runs).toEqual(['slow', 'after', 'last'])
      await until(async () => (await queue.pending('store-bundle')) === 0)
    })

    test('after a restart that forgot everything: adding fails at once in between and nothing hangs', async () => {
      const server = await start()
      const queue = await open(server.url)
      const runs = await workOn(queue)
      await add(queue, 'before')
      await until(() => runs.length === 1)
      await until(async () => (await queue.pending('store-bundle')) === 0) // one that is not finished would be missed
      await server.kill()
      await expect(add(queue, 'lost')).rejects.toMatchObject({ code: 'try-again' })
      await expect(queue.pending('store-bundle')).rejects.toMatchObject({ code: 'try-again' })
      // Jobs of a kind that was never added before, too.
      await expect(queue.add('watch-retrievals', {})).rejects.toMatchObject({ code: 'try-again' })
      await expect(queue.every('watch-retrievals', {}, 60_000)).rejects.toMatchObject({ code: 'try-again' })
      await until(() => errors.length > 0)
      await server.start()
      await addUntilTaken(queue, 'after')
      await until(() => runs.includes('after'))
      expect(errors).toEqual([expect.objectContaining({ code: 'try-again', message: expect.stringMatching(/is gone/) })])
      await until(() => notices.some((text) => /is back/.test(text)))
    })

    test('with its jobs, after a restart that kept them, and with a job that was running', async () => {
      const server = await start({ aof: true, settings: { appendfsync: 'always' } })
      const queue = await open(server.url)
      const gate = openGate()
      const runs: string[] = []
      await queue.work(
        'store-bundle',
        async ({ bundleId }) => {
          runs.push(bundleId)
          await gate.passed
        },
        { concurrency: 1 },
      )
      await add(queue, 'running')
      await until(() => runs.length === 1)
      await add(queue, 'waiting')
      await server.kill()
      gate.open() // the job ends while there is nobody to tell it to
      await delay(1_000)
      await server.start()
      await until(() => runs.length === 2)
      await until(() =>
        queue.pending('store-bundle').then(
          (count) => count === 0,
          () => false,
        ),
      )
      expect(runs).toEqual(['running', 'waiting'])
    })

    test('when its server is made a replica and then a master again', async () => {
      const [server, other] = await Promise.all([start(), start()])
      const queue = await open(server.url)
      const runs = await workOn(queue)
      server.ask('REPLICAOF', '127.0.0.1', String(other.port))
      await until(() => server.ask('INFO', 'replication').includes('master_link_status:up'))
      await until(() =>
        add(queue, 'refused').then(
          () => false,
          (error) => error.code === 'try-again',
        ),
      )
      server.ask('REPLICAOF', 'NO', 'ONE')
      await addUntilTaken(queue, 'after')
      await until(() => runs.includes('after'))
    })

    test('when its address is led to the new master while the old one lives on as a replica', async () => {
      const [one, two] = await Promise.all([start(), start()])
      const way = await scratchWay(one.port)
      const queue = await open(`redis://127.0.0.1:${way.port}`)
      const runs = await workOn(queue)
      await add(queue, 'before')
      await until(() => runs.length === 1)
      way.leadTo(two.port)
      one.ask('REPLICAOF', '127.0.0.1', String(two.port))
      await addUntilTaken(queue, 'after')
      await until(() => runs.includes('after'))
      expect(two.ask('EXISTS', '{firn}:store-bundle:meta')).toBe('1')
      await queue.close()
      await way.close()
    })

    test('when its server was full: nothing is asked in a frenzy meanwhile', async () => {
      const server = await start()
      const queue = await open(server.url)
      await queue.addMany('store-bundle', [{ bundleId: 'a' }, { bundleId: 'b' }])
      server.ask('CONFIG', 'SET', 'maxmemory', '1')
      await expect(add(queue, 'c')).rejects.toMatchObject({ code: 'try-again', message: expect.stringMatching(/OOM/) })
      const runs = await workOn(queue)
      server.ask('CONFIG', 'RESETSTAT')
      await delay(1_000)
      expect(Number(/total_commands_processed:(\d+)/.exec(server.ask('INFO', 'stats'))?.[1])).toBeLessThan(500)
      expect(runs).toEqual([])
      expect(errors.length).toBeLessThan(4)
      server.ask('CONFIG', 'SET', 'maxmemory', '0')
      await until(() => runs.length === 2)
    })

    test('when its server was frozen for longer than anybody waits', async () => {
      const server = await start()
      const queue = await open(server.url)
      const runs = await workOn(queue)
      await delay(100)
      server.freeze()
      await expect(add(queue, 'lost')).rejects.toMatchObject({ code: 'try-again' })
      await delay(3_000)
      server.thaw()
      await addUntilTaken(queue, 'after')
      await until(() => runs.includes('after'))
    })

    test('by sentinels, when the master dies', async () => {
      const [master, replica] = await Promise.all([start(), start()])
      replica.ask('REPLICAOF', '127.0.0.1', String(master.port))
      await until(() => replica.ask('INFO', 'replication').includes('master_link_status:up'))
      const sentinel = await start({ sentinelOf: master.port })
      await until(() => sentinel.ask('SENTINEL', 'replicas', 'firn').includes(String(replica.port)))
      const queue = await open(`redis+sentinel://127.0.0.1:1,127.0.0.1:${sentinel.port}/firn`)
      const runs = await workOn(queue)
      await add(queue, 'before')
      await until(() => runs.length === 1)
      await master.kill()
      await addUntilTaken(queue, 'after')
      await until(() => runs.includes('after'))
      expect(replica.ask('INFO', 'replication')).toMatch(/role:master/)
      await expect(open(`redis+sentinel://127.0.0.1:${sentinel.port}/other`)).rejects.toMatchObject({ code: 'try-again' })
    })
  })

  describe('is closed', () => {
    test('though its server is gone, with workers that wait, that run a job, and that have one to give back', async () => {
      for (const wait of [0, 600]) {
        const server = await start()
        const queue = await open(server.url)
        let aborted = 0
        const started = openGate()
        await queue.work(
          'store-bundle',
          (_, { signal }) =>
            new Promise((_resolve, reject) => {
              started.open()
              signal.addEventListener('abort', () => {
                aborted++
                reject(signal.reason)
              })
            }),
          { concurrency: 1 },
        )
        await queue.work('index-bundle', async () => {}, { concurrency: 1 })
        await add(queue, 'b')
        await started.passed
        await server.kill()
        await delay(wait) // soon after, and while it pauses between two attempts
        await queue.close()
        expect(aborted).toBe(1)
      }
    })

    test('though its server says nothing any more', async () => {
      const server = await start()
      const queue = await open(server.url)
      await workOn(queue)
      server.freeze()
      await queue.close()
      server.thaw()
    })

    test('though a worker was begun while the server was gone', async () => {
      const server = await start()
      const queue = await open(server.url)
      await server.kill()
      const working = workOn(queue).catch(() => {})
      await delay(300)
      await queue.close()
      await working
    })

    for (const gone of ['killed', 'frozen'] as const) {
      test(`and lets the process end without a word, its server ${gone} while a job ran`, async () => {
        const server = await start()
        const module = new URL('./redis-queue.js', import.meta.url).href
        const script = `
          const { openRedisQueue } = await import(${JSON.stringify(module)})
          const queue = await openRedisQueue({ url: ${JSON.stringify(server.url)}, onError() {} })
          const told = new Promise((resolve) => process.stdin.once('data', resolve))
          await queue.work('store-bundle', async () => { console.log('running'); await told }, { concurrency: 1 })
          await queue.add('store-bundle', { bundleId: 'b' })
          await told
          await queue.close()
          process.stdin.unref()`
        const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'pipe' })
        let said = ''
        child.stderr.setEncoding('utf8').on('data', (text) => {
          said += text
        })
        const ended = new Promise((resolve) => child.once('close', resolve))
        await new Promise((resolve) => child.stdout.once('data', resolve))
        if (gone === 'killed') await server.kill()
        else server.freeze()
        child.stdin.write('close\n')
        expect(await ended).toBe(0)
        expect(said).toBe('')
        server.thaw()
      })
    }
  })
})

/** Polls. The limit only ends a test that has failed already. */
async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let polls = 0; !(await condition()); polls++) {
    if (polls === 2_000) throw new Error(`never: ${condition}`)
    await delay(20)
  }
}

function openGate(): { passed: Promise<void>; open: () => void } {
  let open = () => {}
  const passed = new Promise<void>((resolve) => {
    open = resolve
  })
  return { passed, open }
}
