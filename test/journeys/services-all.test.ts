/**
 * The distributed mode as a whole, on real servers at once: PostgreSQL, Redis, Elasticsearch with a password, S3 with a Glacier class,
 * two workers, and the retriever. A worker is killed on the way.
 */
import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { scratchDatabase } from '../database.js'
import { filesOf, type Home, openHome, type Running, says } from '../firn.js'
import { serversBeside } from '../modes.js'
import { describeWithServer, serverUrl } from '../tools.js'
import { lookAt, makeFiles } from '../tree.js'

describeWithServer('FIRN_TEST_LOCALSTACK_URL', 'every server at once', (s3) => {
  let database: Awaited<ReturnType<typeof scratchDatabase>>
  let at: Home
  const running: Running[] = []

  beforeAll(async () => {
    database = await scratchDatabase()
    const { origin, username, password } = new URL(s3)
    const name = `firn-${randomBytes(6).toString('hex')}`
    // This server lets in whoever says a name.
    const made = await fetch(`${origin}/${name}`, { method: 'PUT' })
    expect(made.status).toBe(200)
    at = openHome({
      FIRN_DATABASE_URL: database.url,
      ...serversBeside(name),
      FIRN_VAULT_URL: `s3://${name}/archive?class=DEEP_ARCHIVE&region=us-east-1&endpoint=${origin}`,
      FIRN_CHECK_SECONDS: '2',
      FIRN_WORKERS: '1',
      AWS_ACCESS_KEY_ID: username,
      AWS_SECRET_ACCESS_KEY: password,
    })
    makeFiles(at.path('tree'), 3_000, { bytes: 20_000 })
    expect((await at.run('firn', ['migrate'])).code).toBe(0)
  }, 120_000)
  afterAll(async () => {
    for (const process of running) process.kill('SIGKILL')
    await Promise.all(running.map(({ ended }) => ended))
    at.dispose()
    await database.drop()
  })

  /** A long-running part. */
  function start(...args: string[]): Running {
    const process = at.start('firn', args)
    running.push(process)
    return process
  }

  test('archives, loses a worker, finds, thaws, restores, and checks well', async () => {
    const workers = [start('worker'), start('worker')]
    start('retriever')
    const archiving = at.start('archive-files', ['-r', '--json', '-t', 'everything', '--files-per-bundle', '100', 'tree'])
    await says(workers[0]!, 'bundle begun')
    workers[0]!.kill('SIGKILL')
    const archived = await archiving.ended
    expect(archived.stderr).toBe('')
    expect(archived.summary).toMatchObject({ files_found: 3_000, files_archived: 3_000, files_failed: 0, exit_code: 0 })

    const found = await at.run('find-and-retrieve', ['-s', 'everything', '-l', '--json'])
    expect([found.code, found.stderr]).toEqual([0, ''])
    expect(filesOf(found)).toHaveLength(3_000)
    const again = await at.run('archive-files', ['-r', '--json', 'tree'])
    expect(again.summary).toMatchObject({ files_unchanged: 3_000, files_archived: 0 })

    const back = await at.run('find-and-retrieve', ['-s', 'everything', '--yes', '--json', '--to', at.path('back')])
    expect(back.summary).toMatchObject({ files_matched: 3_000, files_restored: 3_000, files_failed: 0, exit_code: 0 })
    expect(lookAt(at.path('back', at.path('tree')))).toEqual(lookAt(at.path('tree')))
    expect((await at.run('firn', ['check'])).code).toBe(0)
    const log = [...workers.map(({ said }) => said()), archived.stdout, back.stdout].join('\n')
    for (const url of ['FIRN_TEST_REDIS_URL', 'FIRN_TEST_ELASTICSEARCH_URL']) {
      const { password } = new URL(serverUrl(url))
      if (password !== '') expect(log).not.toContain(password)
    }
  }, 400_000)
})
