import { afterEach, describe, expect, test } from '@jest/globals'
import type { BundleRow } from '#libs/catalog/catalog.js'
import { type HealthServer, openHealthServer } from './health-server.js'
import { createMetrics } from './metrics.js'
import { type Check, openReadiness } from './readiness.js'

let server: HealthServer | undefined
afterEach(async () => {
  await server?.close()
  server = undefined
})

async function serve(checks: Record<string, Check>, metrics = createMetrics()) {
  const open = await openHealthServer({
    address: '127.0.0.1:0',
    readiness: openReadiness(checks, { timeoutMs: 50, keepMs: 0 }),
    metrics: () => metrics.read(),
  })
  server = open
  return async (path: string, method = 'GET') => {
    const response = await fetch(`http://127.0.0.1:${open.port}${path}`, { method })
    return { status: response.status, text: await response.text() }
  }
}

describe('the health server', () => {
  test('says that the process lives, whatever else is down', async () => {
    const get = await serve({ database: () => Promise.reject(new Error('down')) })
    expect(await get('/healthz')).toEqual({ status: 200, text: 'ok\n' })
  })

  test('says that it is ready, or what it lacks', async () => {
    let up = true
    const get = await serve({
      database: async () => {},
      queue: async () => {
        if (!up) throw new Error('no queue')
      },
    })
    expect(await get('/readyz')).toEqual({ status: 200, text: '{"ready":true,"database":"ok","queue":"ok"}\n' })
    up = false
    expect(await get('/readyz?verbose')).toEqual({ status: 503, text: '{"ready":false,"database":"ok","queue":"no queue"}\n' })
  })

  test('does not wait for what never answers', async () => {
    const get = await serve({ vault: () => new Promise(() => {}) })
    expect(await get('/readyz')).toEqual({ status: 503, text: '{"ready":false,"vault":"no answer within 0.05 s"}\n' })
  })

  test('has nothing else, and nothing to change', async () => {
    const get = await serve({})
    expect((await get('/')).status).toBe(404)
    expect((await get('/healthz', 'POST')).status).toBe(405)
  })

  test('listens on loopback alone, unless an address is given', async () => {
    const rest = { readiness: openReadiness({}), metrics: async () => ({ type: '', text: '' }) }
    // Another address of this machine, which a server on every address answers at.
    const isReached = async (address: string) => {
      const open = await openHealthServer({ address, ...rest })
      try {
        return await fetch(`http://127.0.0.2:${open.port}/healthz`).then(
          ({ ok }) => ok,
          () => false,
        )
      } finally {
        await open.close()
      }
    }
    expect([await isReached('0'), await isReached('0.0.0.0:0')]).toEqual([false, true])
  })

  test('says in a sentence that its port is taken', async () => {
    await serve({})
    const address = `127.0.0.1:${server?.port}`
    const again = openHealthServer({ address, readiness: openReadiness({}), metrics: async () => ({ type: '', text: '' }) })
    await expect(again).rejects.toMatchObject({ code: 'usage', message: expect.stringContaining('another process has it') })
  })
})

test('an answer is kept for a while, also one that is under way: probes do not pile up', async () => {
  let asked = 0
  const ask = openReadiness({ vault: async () => asked++ }, { keepMs: 60_000 })
  await Promise.all([ask(), ask(), ask()])
  await ask()
  expect(asked).toBe(1)
})

test('metrics count bundles, files, bytes, problems and failures, and ask the queue at each scrape', async () => {
  let now = 0
  const metrics = createMetrics(() => now)
  const bundle = { id: 'b1', files: 7, bytes: 700, tarBytes: 9_000 } as BundleRow
  let waiting = 3
  metrics.watchQueue(['store-bundle', 'index-bundle'], async (job) => {
    if (job === 'index-bundle') throw new Error('no answer')
    return waiting
  })
  metrics.bundleBegun(bundle)
  const get = await serve({}, metrics)
  expect((await get('/metrics')).text).toMatch(/^firn_bundles_running 1$/m)
  now = 2_000
  metrics.bundleStored(bundle, [{ kind: 'changed', path: '/x' as never, reason: '' }])
  metrics.bundleEnded(bundle)
  metrics.bundleFailed(false)
  metrics.bundleFailed(true)
  metrics.bundleUnseen()
  metrics.retrievalDone(5, 1)
  const { text } = await get('/metrics')
  for (const line of [
    'firn_bundles_stored_total 1',
    'firn_files_stored_total 7',
    'firn_bytes_stored_total 700',
    'firn_tar_bytes_stored_total 9000',
    'firn_problems_total{kind="changed"} 1',
    'firn_bundles_running 0',
    'firn_bundle_store_seconds_sum 2',
    'firn_attempts_failed_total 1',
    'firn_bundles_failed_total 1',
    'firn_bundles_unseen_total 1',
    'firn_files_restored_total 5',
    'firn_files_restore_failed_total 1',
    'firn_queue_jobs{job="store-bundle"} 3',
  ]) {
    expect(text.split('\n')).toContain(line)
  }
  expect(text).not.toContain('job="index-bundle"')
  waiting = 0
  expect((await get('/metrics')).text).toContain('firn_queue_jobs{job="store-bundle"} 3')
  now = 8_000
  expect((await get('/metrics')).text).toContain('firn_queue_jobs{job="store-bundle"} 0')
})
