/** No server, but as they are no dependency of Firn's: BullMQ's add-on for OpenTelemetry, and an SDK. Its address is where they lie. */
import { execFileSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Server } from './server.js'

const PACKAGES = ['bullmq-otel@2.0.1', '@opentelemetry/sdk-trace-node@2']

export const opentelemetry: Server = {
  name: 'opentelemetry',
  variable: 'FIRN_TEST_OPENTELEMETRY_URL',
  packages: [],

  install(directory) {
    const whole = join(directory, 'installed')
    if (existsSync(whole)) return
    // --legacy-peer-deps: BullMQ is Firn's own, which hands the add-on what it needs.
    const args = ['install', '--prefix', directory, '--no-save', '--no-audit', '--no-fund', '--legacy-peer-deps', '--silent']
    execFileSync('npm', [...args, ...PACKAGES], { stdio: ['ignore', 2, 'inherit'] })
    writeFileSync(whole, `${PACKAGES.join('\n')}\n`)
  },

  async start(directory) {
    return { url: join(directory, 'node_modules'), async stop() {} }
  },
}
