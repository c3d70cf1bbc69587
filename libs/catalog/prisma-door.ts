/**
 * Prisma, on the catalog's own pool. It takes some 150 ms to load, so it is loaded by the first verb that uses it: those of check, status
 * and the list of retrievals. What every run needs at its start, what somebody waits for who wants one file back, and what moves many rows,
 * is SQL.
 */
import { setFlagsFromString } from 'node:v8'
import type { PrismaClient } from './client/client.js'
import { asFirnError, type Database } from './database.js'

export interface PrismaDoor {
  /** Runs `ask` with Prisma's client; its errors come out as FirnErrors. */
  <T>(ask: (prisma: PrismaClient) => Promise<T>): Promise<T>
  close(): Promise<void>
}

export function openPrisma(database: Database): PrismaDoor {
  let loading: Promise<PrismaClient> | undefined
  const door = async <T>(ask: (prisma: PrismaClient) => Promise<T>): Promise<T> => {
    loading ??= load(database)
    try {
      return await ask(await loading)
    } catch (error) {
      throw asFirnError(error)
    }
  }
  return Object.assign(door, { close: async () => (await loading)?.$disconnect() })
}

/**
 * Prisma writes its SQL in WebAssembly, a few dozen queries in the life of a command. V8 would look through all of it first, and then
 * compile all of it a second time, for speed, which took longer than those queries ever will: about half a second of one processor. So it
 * looks at what is called, and compiles that once. For this process alone.
 */
const COMPILED_ONCE = ['--wasm-lazy-validation', '--liftoff-only']

async function load(database: Database): Promise<PrismaClient> {
  for (const flag of COMPILED_ONCE) setFlagsFromString(flag)
  const [{ PrismaClient }, { PrismaPg }] = await Promise.all([import('./client/client.js'), import('@prisma/adapter-pg')])
  return new PrismaClient({ adapter: new PrismaPg(database.pool) })
}
