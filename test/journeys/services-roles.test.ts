/** The five database roles of docs/deployment.md: the text as it stands there, each job with its role alone, and what each must not do. */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import pg from 'pg'
import { type ScratchRedis, scratchRedis } from '#libs/queue/redis/scratch-redis.js'
import { scratchDatabase } from '../database.js'
import { type Home, openHome, says, until } from '../firn.js'
import { describeWithServer } from '../tools.js'
import { lookAt, makeFiles } from '../tree.js'

const ROLES = ['crawler', 'worker', 'retriever', 'finder', 'reader'] as const
type Role = (typeof ROLES)[number]

describeWithServer('FIRN_TEST_REDIS_URL', 'the five database roles', () => {
  let redis: ScratchRedis
  let database: Awaited<ReturnType<typeof scratchDatabase>>
  let owner: pg.Client
  let at: Home
  const nameOf = (role: string) => `${new URL(database.url).pathname.slice(1)}_${role}`
  const urlFor = (role: Role): string => {
    const url = new URL(database.url)
    url.username = `${nameOf(role)}_login`
    url.password = 'words4testing'
    return url.href
  }
  const as = (role: Role): NodeJS.ProcessEnv => ({ FIRN_DATABASE_URL: urlFor(role) })

  beforeAll(async () => {
    redis = await scratchRedis()
    database = await scratchDatabase()
    at = openHome({
      FIRN_DATABASE_URL: database.url,
      FIRN_QUEUE_URL: `redis://127.0.0.1:${redis.port}`,
      FIRN_CHECK_SECONDS: '1',
    })
    makeFiles(at.path('tree'), 40)
    expect((await at.run('firn', ['migrate'])).code).toBe(0)
    owner = new pg.Client(database.url)
    await owner.connect()
    const docs = readFileSync(new URL('../../../docs/deployment.md', import.meta.url), 'utf8')
    const text = /```sql\n([\s\S]*?)```/.exec(docs)?.[1] as string
    await owner.query(text.replace(/\bfirn_(crawler|worker|retriever|finder|reader)\b/g, (_, role: string) => nameOf(role)))
    for (const role of ROLES) {
      await owner.query(`CREATE ROLE ${nameOf(role)}_login LOGIN PASSWORD 'words4testing' IN ROLE ${nameOf(role)}`)
    }
  })
  afterAll(async () => {
    at.dispose()
    for (const role of ROLES)
      await owner.query(`DROP OWNED BY ${nameOf(role)}, ${nameOf(role)}_login; DROP ROLE ${nameOf(role)}_login, ${nameOf(role)}`)
    await owner.end()
    await database.drop()
    await redis.stop()
  })

  test('each does its job: a tree is crawled, stored, found, restored, and brought back detached', async () => {
    const worker = at.start('firn', ['worker', '--grace', '5'], as('worker'))
    const retriever = at.start('firn', ['retriever'], as('retriever'))
    await says(worker, 'working,')
    const archived = await at.run('archive-files', ['-r', '--json', '-t', 'roles', 'tree'], as('crawler'))
    expect(archived.summary).toMatchObject({ files_archived: 40, exit_code: 0 })
    const again = await at.run('archive-files', ['-r', '--json', 'tree'], as('crawler'))
    expect(again.summary).toMatchObject({ files_unchanged: 40, exit_code: 0 })

    expect((await at.run('find-and-retrieve', ['-s', 'file 7', '-l'], as('finder'))).code).toBe(0)
    const back = await at.run('find-and-retrieve', ['--all', '--to', at.path('back')], as('finder'))
    expect([back.code, back.stderr.includes('permission denied')]).toEqual([0, false])
    expect(lookAt(at.path('back', at.path('tree')))).toEqual(lookAt(at.path('tree')))
    const detached = await at.run('find-and-retrieve', ['--all', '--detach', '--json'], as('finder'))
    expect(detached.code).toBe(0)
    const id = String(detached.summary['retrieval_id'])
    await until(async () => (await owner.query('SELECT state FROM retrieval WHERE id = $1', [id])).rows[0].state === 'done')

    const status = await at.run('firn', ['status', '--json'], as('reader'))
    expect(status.code).toBe(0)
    expect(status.messages.filter(({ kind }) => kind === 'retrieval')).toHaveLength(2)
    for (const daemon of [worker, retriever]) daemon.kill('SIGTERM')
    expect((await worker.ended).code).toBe(143)
    expect((await retriever.ended).code).toBe(143)
    for (const { stderr } of [await worker.ended, await retriever.ended]) expect(stderr).not.toMatch(/permission denied/)
  }, 180_000)

  test('none can do what is not its job', async () => {
    const forbidden: Readonly<Record<Role, readonly string[]>> = {
      crawler: [
        "UPDATE bundle SET state = 'stored'",
        'SELECT secret FROM bundle',
        'INSERT INTO file DEFAULT VALUES',
        'UPDATE file SET size = 0',
        'DELETE FROM bundle',
        'UPDATE retrieval SET target = target',
      ],
      worker: [
        "UPDATE retrieval SET target = ''",
        'UPDATE vault SET url = url',
        'INSERT INTO "set" DEFAULT VALUES',
        'DELETE FROM audit',
        'DELETE FROM file',
        'UPDATE file SET size = 0',
      ],
      retriever: [
        "UPDATE bundle SET state = 'planned'",
        'SELECT secret FROM bundle',
        'INSERT INTO retrieval DEFAULT VALUES',
        'UPDATE vault SET url = url',
        'SELECT * FROM audit',
      ],
      finder: [
        "UPDATE bundle SET key = ''",
        'SELECT secret FROM bundle',
        'DELETE FROM audit',
        "UPDATE audit SET by = ''",
        'UPDATE "set" SET description = description',
        'INSERT INTO file DEFAULT VALUES',
      ],
      reader: [
        'UPDATE worker SET host = host',
        'SELECT secret FROM bundle',
        'DELETE FROM problem',
        'INSERT INTO audit DEFAULT VALUES',
        'CREATE TABLE public.mine (x int)',
      ],
    }
    for (const role of ROLES) {
      const client = new pg.Client(urlFor(role))
      await client.connect()
      try {
        for (const sql of [
          ...forbidden[role],
          'DROP TABLE file',
          'ALTER TABLE bundle DISABLE TRIGGER ALL',
          'CREATE TABLE public.mine (x int)',
        ])
          await expect(client.query(sql)).rejects.toMatchObject({ code: '42501' })
      } finally {
        await client.end()
      }
    }
  })
})
