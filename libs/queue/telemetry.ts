/**
 * Spans of every job, for OpenTelemetry, by BullMQ's own add-on. It is no dependency of Firn: who wants spans installs it, beside Firn
 * or anywhere that NODE_PATH names, with the SDK that sends them.
 */
import { createRequire } from 'node:module'
import { setTimeout as delay } from 'node:timers/promises'
import type { Telemetry } from 'bullmq'
import { FirnError } from '#libs/errors/errors.js'

export interface JobTelemetry {
  readonly forBullmq: Telemetry
  /** Has the SDK send what it still holds: a command ends its process right after. */
  flush(): Promise<void>
}

/** How long a close waits for a collector that says nothing. */
const FLUSH_MS = 2_000

const NOT_INSTALLED =
  'FIRN_TELEMETRY=opentelemetry needs the package bullmq-otel, which is not installed: run "npm install --no-save bullmq-otel@2" where Firn is installed, or name its directory in NODE_PATH.'
const NO_SDK =
  'FIRN_TELEMETRY=opentelemetry, but no OpenTelemetry SDK is started in this process, so spans go nowhere: start one by NODE_OPTIONS="--import <file>".'

/** The part of @opentelemetry/api that is needed here. */
interface Api {
  readonly trace: { getTracerProvider(): { getDelegate?(): { forceFlush?(): Promise<void> } } }
}

export function loadTelemetry(onNotice: (text: string) => void): JobTelemetry {
  const require = createRequire(import.meta.url)
  let addOn: { readonly BullMQOtel: new (options: { tracerName: string }) => Telemetry }
  let api: Api
  try {
    const file = require.resolve('bullmq-otel')
    addOn = require('bullmq-otel')
    // The add-on's own.
    api = createRequire(file)('@opentelemetry/api')
  } catch (error) {
    const { message = '', code } = error as { message?: string; code?: string }
    const absent = code === 'MODULE_NOT_FOUND' && message.includes("'bullmq-otel'")
    const text = absent
      ? NOT_INSTALLED
      : `The package bullmq-otel cannot be loaded (${message.split('\n')[0]}): install it again.`
    throw new FirnError('usage', text, { cause: error })
  }
  const sdk = () => {
    const provider = api.trace.getTracerProvider()
    return provider.getDelegate?.() ?? provider
  }
  if (!('forceFlush' in sdk())) onNotice(NO_SDK)
  return {
    forBullmq: withoutLanes(new addOn.BullMQOtel({ tracerName: 'firn' })),
    async flush() {
      const enough = new AbortController()
      const flushed = Promise.resolve((sdk() as { forceFlush?(): Promise<void> }).forceFlush?.()).catch(() => {}) // the SDK says why itself
      await Promise.race([flushed, delay(FLUSH_MS, undefined, { signal: enough.signal }).catch(() => {})])
      enough.abort()
    },
  }
}

const LANE = /\.[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?=\.|$)/

/** BullMQ names its spans after the queue: a lane in them would make a name of its own for each set. It stays in the attributes. */
function withoutLanes({ tracer, contextManager, meter }: Telemetry): Telemetry {
  const startSpan: Telemetry['tracer']['startSpan'] = (name, ...more) => tracer.startSpan(name.replace(LANE, ''), ...more)
  return { tracer: { startSpan }, contextManager, ...(meter && { meter }) }
}
