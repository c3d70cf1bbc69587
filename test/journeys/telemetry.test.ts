/** Spans of jobs: asked for without the package, and with it, an SDK and an exporter, in whole processes. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { scratchRedis } from '#libs/queue/redis/scratch-redis.js'
import { type Home, openHome } from '../firn.js'
import { describeWithServer } from '../tools.js'
import { makeFiles } from '../tree.js'

interface Span {
  readonly name: string
  readonly trace: string
  readonly id: string
  readonly parent?: string
}

let at: Home
beforeEach(() => {
  at = openHome({ FIRN_TELEMETRY: 'opentelemetry' })
  makeFiles(at.path('tree'), 3)
})
afterEach(() => at.dispose())

describe('FIRN_TELEMETRY=opentelemetry', () => {
  test('without the package is one sentence that says how to get it, exit 2, and nothing is planned', async () => {
    const ran = await at.run('archive-files', ['-r', 'tree'])
    expect(ran.stderr.trim().split('\n')).toEqual([
      expect.stringMatching(/bullmq-otel, which is not installed: run "npm install/),
    ])
    expect(ran.code).toBe(2)
    const { stdout } = await at.run('firn', ['status'], { FIRN_TELEMETRY: 'none' })
    expect(stdout).not.toMatch(/archiving|crawling|planned/)
  }, 60_000)
})

describeWithServer('FIRN_TEST_OPENTELEMETRY_URL', 'FIRN_TELEMETRY=opentelemetry with the package', (modules) => {
  test('and no SDK says so where one looks for it, and the queue works', async () => {
    const { stdout } = await at.run('firn', ['doctor'], { NODE_PATH: modules })
    expect(stdout).toMatch(/ok {4} {2}queue: .*no OpenTelemetry SDK is started/)
  }, 60_000)

  for (const queue of ['postgres', 'redis'] as const) {
    test(`and an SDK makes one trace of each bundle, from the crawl to the index, by the queue in ${queue}`, async () => {
      const redis = queue === 'redis' ? await scratchRedis() : undefined
      try {
        const env = { NODE_PATH: modules, NODE_OPTIONS: `--import ${spanFile(modules)}` }
        const args = ['-r', '--files-per-bundle', '1', 'tree']
        const ran = await at.run('archive-files', args, { ...env, ...(redis && { FIRN_QUEUE_URL: redis.url }) })
        expect(ran.stderr).not.toMatch(/OpenTelemetry|otel/i)
        expect(ran.code).toBe(0)
      } finally {
        await redis?.stop()
      }
      const spans = readFileSync(at.path('spans'), 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Span)
      const stored = spans.filter(({ name }) => name === 'process store-bundle')
      expect(stored).toHaveLength(3)
      expect(new Set(stored.map(({ trace }) => trace)).size).toBe(3)
      for (const { trace } of stored) {
        const chain = [
          'add store-bundle.store-bundle',
          'process store-bundle',
          'add index-bundle.index-bundle',
          'process index-bundle',
        ]
        let parent: string | undefined
        for (const name of chain) {
          const span = spans.find((one) => one.trace === trace && one.name === name)
          expect(span).toMatchObject({ name, ...(parent && { parent }) })
          parent = span?.id
        }
      }
    }, 120_000)
  }
})

/** A preload that starts an SDK whose spans go to a file, in batches: those of the end are there only if somebody flushes. */
function spanFile(modules: string): string {
  const file = at.path('start.mjs')
  const text = `
    import { appendFileSync } from 'node:fs'
    import { createRequire } from 'node:module'
    import { isMainThread } from 'node:worker_threads'
    const { BatchSpanProcessor, NodeTracerProvider } = createRequire(${JSON.stringify(join(modules, 'x.js'))})('@opentelemetry/sdk-trace-node')
    const lineOf = (span) => JSON.stringify({
      name: span.name, trace: span.spanContext().traceId, id: span.spanContext().spanId, parent: span.parentSpanContext?.spanId,
    })
    const exporter = {
      export(spans, done) {
        appendFileSync(${JSON.stringify(at.path('spans'))}, spans.map((span) => lineOf(span) + '\\n').join(''))
        done({ code: 0 })
      },
      async forceFlush() {},
      async shutdown() {},
    }
    if (isMainThread) new NodeTracerProvider({ spanProcessors: [new BatchSpanProcessor(exporter)] }).register()`
  writeFileSync(file, text)
  return file
}
