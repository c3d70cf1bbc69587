/** Several processes on one catalog: workers that come and go, crawlers that meet, commands that do not wait, installations that share a place. */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals'
import pg from 'pg'
import { scratchDatabase } from '../database.js'
import { type CommandName, filesOf, type Home, openHome, type Running, says, until } from '../firn.js'
import { lookAt, makeFiles } from '../tree.js'

let database: Awaited<ReturnType<typeof scratchDatabase>>
let at: Home
let running: Running[] = []

beforeAll(async () => {
  database = await scratchDatabase()
  at = openHome({ FIRN_DATABASE_URL: database.url, FIRN_CHECK_SECONDS: '1', FIRN_WORKERS: '1' })
  expect((await at.run('firn', ['migrate'])).code).toBe(0)
})
afterEach(async () => {
  for (const process of running) process.kill('SIGKILL')
  await Promise.all(running.map(({ ended }) => ended))
  running = []
})
afterAll(async () => {
  at.dispose()
  await database.drop()
})

function start(name: CommandName, args: readonly string[], env?: NodeJS.ProcessEnv): Running {
  const process = at.start(name, args, env)
  running.push(process)
  return process
}

/** A worker that is at work when this returns. */
async function worker(args: readonly string[] = [], env?: NodeJS.ProcessEnv): Promise<Running> {
  const process = start('firn', ['worker', '--grace', '5', ...args], env)
  await says(process, 'working,')
  return process
}

async function query<T extends pg.QueryResultRow>(sql: string, values: readonly unknown[] = []): Promise<T[]> {
  const client = new pg.Client(database.url)
  await client.connect()
  try {
    return (await client.query<T>(sql, [...values])).rows
  } finally {
    await client.end()
  }
}

const stateOf = async (set: string) => (await query<{ state: string }>(`SELECT state FROM "set" WHERE id = $1`, [set]))[0]?.state

describe('workers', () => {
  test('two share the work; one that is killed in the middle loses nothing, and all comes back', async () => {
    makeFiles(at.path('shared'), 2_000, { bytes: 20_000 })
    const [one, two] = await Promise.all([worker(), worker()])
    start('firn', ['retriever'])
    const archiving = start('archive-files', ['-r', '--json', '--files-per-bundle', '50', 'shared'])
    await says(one!, 'bundle begun')
    one!.kill('SIGKILL')
    const archived = await archiving.ended
    expect(archived.stdout).not.toContain('no worker')
    expect(archived.summary).toMatchObject({ files_archived: 2_000, bundles: 40, exit_code: 0 })
    expect(archived.code).toBe(0)
    const found = await at.run('find-and-retrieve', ['--path', at.path('shared'), '-l', '--json'])
    expect(filesOf(found)).toHaveLength(2_000)
    const back = await at.run('find-and-retrieve', ['--path', at.path('shared'), '--to', at.path('back')])
    expect(back.code).toBe(0)
    expect(lookAt(join(at.path('back'), at.path('shared')))).toEqual(lookAt(at.path('shared')))
    expect((await at.run('firn', ['check', '--read-data'])).code).toBe(0)
    two!.kill('SIGTERM')
    const ended = await two!.ended
    expect(ended.code).toBe(143)
    const stored = ended.stderr.split('\n').find((line) => line.includes('"bundle stored"')) as string
    const line = JSON.parse(stored) as Record<string, string>
    expect(line).toMatchObject({ set: archived.summary['set_id'], job: `store-bundle-${line['bundle']}` })
  }, 180_000)

  test('of none a command says so at once; --workers is the other way', async () => {
    makeFiles(at.path('alone'), 30)
    const waiting = start('archive-files', ['-r', 'alone'])
    expect(await says(waiting, 'no worker is running')).toContain('start `firn worker`, or pass --workers')
    waiting.kill('SIGINT')
    expect((await waiting.ended).code).toBe(130)
    const own = await at.run('archive-files', ['-r', '--json', '--workers', '1', 'alone'])
    expect(own.stdout).not.toContain('no worker')
    expect(own.code).toBe(0)
    expect(filesOf(await at.run('find-and-retrieve', ['--path', at.path('alone'), '-l', '--json']))).toHaveLength(30)
  }, 120_000)

  test('show in status, answer for their health, and are gone from both when they end', async () => {
    const process = start('firn', ['worker', '--health-port', '127.0.0.1:0'])
    const { port } = JSON.parse(await says(process, '/healthz')) as { port: number }
    const get = (path: string) => fetch(`http://127.0.0.1:${port}${path}`)
    expect((await get('/healthz')).status).toBe(200)
    await until(async () => (await get('/readyz')).ok)
    expect(await (await get('/metrics')).text()).toMatch(/^firn_queue_jobs\{job="store-bundle"\} \d+$/m)
    const status = await at.run('firn', ['status', '--json'])
    expect(status.messages).toContainEqual(expect.objectContaining({ host: 'testhost', roles: ['worker'] }))
    process.kill('SIGTERM')
    expect((await process.ended).code).toBe(143)
    expect((await at.run('firn', ['status', '--json'])).messages.filter(({ roles }) => roles !== undefined)).toEqual([])
  }, 60_000)

  test('stopped without grace hand back what they have, and the next one stores it', async () => {
    makeFiles(at.path('handed'), 600, { bytes: 50_000 })
    const first = await worker(['--grace', '0'])
    const archiving = start('archive-files', ['-r', '--json', '--files-per-bundle', '300', 'handed'])
    await says(first, 'bundle begun')
    first.kill('SIGTERM')
    expect((await first.ended).code).toBe(143)
    await worker()
    const { summary, code } = await archiving.ended
    expect(summary).toMatchObject({ files_archived: 600, files_failed: 0, exit_code: 0 })
    expect(code).toBe(0)
  }, 120_000)

  test('that do not see the tree leave it to one that does', async () => {
    makeFiles(at.path('mounted'), 60)
    const asked = await at.run('archive-files', ['-r', '--json', '--detach', '--files-per-bundle', '20', 'mounted'])
    const set = asked.summary['set_id'] as string
    // As another host with the same name saw it: there the same path is another directory.
    await query(
      `UPDATE "set" SET marks = jsonb_set(jsonb_set(marks, '{view}', '"other/boot/1"'), '{places,0,ino}', '"7"') WHERE id = $1`,
      [set],
    )
    const blind = await worker()
    expect(JSON.parse(await says(blind, 'left to a host'))).toMatchObject({
      set,
      reason: expect.stringContaining('another directory'),
    })
    await sleep(500)
    expect(await query(`SELECT kind FROM problem WHERE "set" = $1`, [set])).toEqual([])
    expect(await stateOf(set)).toBe('archiving')
    await query(`UPDATE "set" SET marks = marks #- '{places,0}' WHERE id = $1`, [set])
    await until(async () => (await stateOf(set)) === 'archived')
    expect(filesOf(await at.run('find-and-retrieve', ['--set', set, '-l', '--json']))).toHaveLength(60)
  }, 120_000)
})

describe('a command that does not wait', () => {
  test('^C leaves the work going and says where to look; the set is finished without it', async () => {
    makeFiles(at.path('left'), 400)
    const archiving = start('archive-files', ['-r', '--files-per-bundle', '100', 'left'])
    await until(async () => (await query(`SELECT 1 FROM "set" WHERE state = 'archiving' AND bundles = 4`)).length > 0)
    archiving.kill('SIGINT')
    const { code, stderr } = await archiving.ended
    expect(code).toBe(130)
    const set = /firn status ([0-9a-f-]{36})/.exec(stderr)?.[1] as string
    expect(stderr).toContain(`the workers go on with set ${set}`)
    await worker()
    await until(async () => (await stateOf(set)) === 'archived')
    expect(filesOf(await at.run('find-and-retrieve', ['--set', set, '-l', '--json']))).toHaveLength(400)
  }, 120_000)

  test('--detach returns when all is planned', async () => {
    makeFiles(at.path('detached'), 100)
    const { code, summary, messages } = await at.run('archive-files', ['-r', '--json', '--detach', 'detached'])
    expect(code).toBe(0)
    expect(summary).toMatchObject({ files_found: 100, files_archived: 0, exit_code: 0 })
    expect(messages).toContainEqual(expect.objectContaining({ note: expect.stringContaining('no worker is running') }))
    const set = summary['set_id'] as string
    expect(await stateOf(set)).toBe('archiving')
    await worker()
    await until(async () => (await stateOf(set)) === 'archived')
  }, 120_000)
})

describe('crawlers', () => {
  test('two on one root at once both end well; each file is found once and comes back', async () => {
    makeFiles(at.path('twice'), 500)
    await worker()
    const args = ['-r', '--json', '--files-per-bundle', '50', 'twice']
    const [one, two] = await Promise.all([at.run('archive-files', args), at.run('archive-files', args)])
    for (const { code, summary } of [one, two]) {
      expect(code).toBe(0)
      expect(summary).toMatchObject({ files_found: 500, files_failed: 0 })
      expect(Number(summary['files_archived']) + Number(summary['files_unchanged'])).toBe(500)
    }
    const third = await at.run('archive-files', args)
    expect(third.summary).toMatchObject({ files_archived: 0, files_unchanged: 500 })
    expect(filesOf(await at.run('find-and-retrieve', ['--path', at.path('twice'), '-l', '--json']))).toHaveLength(500)
    const back = await at.run('find-and-retrieve', ['--path', at.path('twice'), '--to', at.path('twice-back')])
    expect(back.code).toBe(0)
    expect(lookAt(join(at.path('twice-back'), at.path('twice')))).toEqual(lookAt(at.path('twice')))
    expect((await at.run('firn', ['check'])).code).toBe(0)
  }, 180_000)

  test('on hosts of different names keep their trees apart', async () => {
    makeFiles(at.path('hosts'), 40)
    await worker()
    for (const host of ['north', 'south']) {
      const { code, summary } = await at.run('archive-files', ['-r', '--json', '--host', host, 'hosts'])
      expect(code).toBe(0)
      expect(summary).toMatchObject({ files_archived: 40, files_unchanged: 0 })
    }
    const north = await at.run('find-and-retrieve', ['--path', at.path('hosts'), '--host', 'north', '-l', '--json'])
    expect(filesOf(north).map(({ host }) => host)).toEqual(Array(40).fill('north'))
    const both = await at.run('find-and-retrieve', ['--path', at.path('hosts'), '--to', at.path('hosts-back')])
    expect(both.code).toBe(0)
    expect(readdirSync(at.path('hosts-back')).sort()).toEqual(['north', 'south'])
  }, 120_000)
})

describe('two installations on one vault', () => {
  test('the second may read; it may write only once it took the vault over, and then the first may not', async () => {
    const vault = `local:${at.path('common')}`
    makeFiles(at.path('first'), 20)
    mkdirSync(at.path('second'))
    writeFileSync(at.path('second', 'file.txt'), 'second')
    await worker([], { FIRN_VAULTS: vault })
    const first = await at.run('archive-files', ['-r', '--vault', vault, 'first'])
    expect(first.code).toBe(0)
    expect(first.stderr).toContain('FIRN_VAULTS')
    const other = await scratchDatabase()
    try {
      const there = { FIRN_DATABASE_URL: other.url, FIRN_VAULT_URL: vault }
      expect((await at.run('firn', ['migrate'], there)).code).toBe(0)
      const args = ['-r', '--workers', '1', 'second']
      const refused = await at.run('archive-files', args, there)
      expect(refused.code).toBe(2)
      expect(refused.stderr).toMatch(/written by another catalog .*--take-over/)
      expect((await at.run('firn', ['rebuild-catalog', '--from', vault], there)).code).toBe(0)
      const read = await at.run('find-and-retrieve', ['--path', at.path('first'), '--to', at.path('read')], there)
      expect(read.code).toBe(0)
      expect(lookAt(join(at.path('read'), at.path('first')))).toEqual(lookAt(at.path('first')))
      expect((await at.run('archive-files', args, there)).code).toBe(2)
      expect((await at.run('firn', ['rebuild-catalog', '--from', vault, '--take-over'], there)).code).toBe(0)
      expect((await at.run('archive-files', args, there)).code).toBe(0)
      const now = await at.run('archive-files', ['-r', '--vault', vault, '--force', 'first'])
      expect(now.code).toBe(2)
      expect(now.stderr).toContain('written by another catalog')
    } finally {
      await other.drop()
    }
  }, 180_000)
})
