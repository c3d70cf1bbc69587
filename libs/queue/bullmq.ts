/**
 * BullMQ, loaded as the CommonJS that it is: as a module, Node first reads each of its 170 files for the names that it exports, which
 * takes longer than to run them, and every command that archives pays for it.
 */
import { createRequire } from 'node:module'
import type * as bullmq from 'bullmq'

export const {
  assertSchemaCompatibility,
  createPostgresBackend,
  DelayedError,
  LATEST_SCHEMA_VERSION,
  Queue,
  runMigrations,
  SchemaMigrationRequiredError,
  SchemaVersionMismatchError,
  UnrecoverableError,
  WaitingError,
  Worker,
} = createRequire(import.meta.url)('bullmq') as typeof bullmq

export type Queue = bullmq.Queue
export type Worker = bullmq.Worker
