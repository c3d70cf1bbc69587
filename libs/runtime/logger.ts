/** Structured logs on stderr, for daemons and for `--debug`. Ids and counts, never secrets. */
import { createRequire } from 'node:module'
import { shownJson } from '#libs/os/raw.js'
import type { LogLevel } from './config.js'

export interface Logger {
  debug(fields: Record<string, unknown>, text: string): void
  info(fields: Record<string, unknown>, text: string): void
  warn(fields: Record<string, unknown>, text: string): void
  error(fields: Record<string, unknown>, text: string): void
}

export function createLogger(level: LogLevel): Logger {
  // Loaded only by those who log: a short command need not wait for it.
  const { pino } = createRequire(import.meta.url)('pino') as typeof import('pino')
  const stderr = pino.destination({ fd: 2, sync: true })
  return pino(
    { level, base: { pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime },
    { write: (line: string) => stderr.write(shownJson(line)) },
  )
}

export const silent: Logger = { debug() {}, info() {}, warn() {}, error() {} }
