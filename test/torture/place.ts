/** A FIRN_HOME, a vault of some kind and a queue of some kind, and the eyes upon them: what the cases of crash and fault work on. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { openEmbeddedPostgres } from '#libs/runtime/postgres/embedded-postgres.js'
import { type Cloud, startCloud } from '../cloud/cloud.js'
import { openHome } from '../firn.js'
import type { Place } from './check-invariants.js'
import { glacierSight, localSight, s3Sight, type VaultSight } from './sight.js'

export type VaultKind = 'local' | 's3' | 'glacier'

export interface OpenPlace extends Place {
  readonly cloud?: Cloud
  readonly databaseUrl: string
  readonly database: PlaceDatabase
  /** Archives of a Glacier vault that no pointer names. */
  readonly strayArchives?: () => string[]
  close(): Promise<void>
}

export interface PlaceDatabase {
  /** Ends it as a crash does; it comes back at once. */
  crash(): Promise<void>
  /** Ends it in good order, until `start`. */
  stop(): Promise<void>
  start(): Promise<void>
}

const opened = new Set<OpenPlace>()

/** Of cases that were cut off: no database and no directory is left behind. */
export async function closePlaces(): Promise<void> {
  await Promise.allSettled([...opened].map((place) => place.close()))
}

const isServing = (pid: number): boolean => {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('postgres')
  } catch {
    return false
  }
}

/** Thaws take a moment. The database is kept running between the commands, so that each of them takes a second. */
export async function openPlace(kind: VaultKind, options: { queueUrl?: string | undefined } = {}): Promise<OpenPlace> {
  const instantly = { Expedited: 1, Standard: 1, Bulk: 1, Inventory: 1 }
  const cloud =
    kind === 'local' ? undefined : await startCloud({ buckets: ['cold'], thawHours: () => 0.0001, glacier: { jobMs: instantly } })
  const env: NodeJS.ProcessEnv = { FIRN_CHECK_SECONDS: '1' }
  if (options.queueUrl !== undefined) env['FIRN_QUEUE_URL'] = options.queueUrl
  const at = openHome(env)
  let sight: VaultSight
  let strayArchives: (() => string[]) | undefined
  let vaultId: string
  if (cloud === undefined) {
    const directory = join(at.home, 'vault')
    sight = localSight(directory)
    vaultId = `local:${directory}`
  } else {
    const { accessKeyId, secretAccessKey } = cloud.credentials
    Object.assign(at.env, { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey, AWS_REGION: cloud.region })
    if (kind === 's3') {
      sight = s3Sight(cloud, 'cold')
      vaultId = 's3://cold'
      at.env['FIRN_VAULT_URL'] = `${vaultId}?class=DEEP_ARCHIVE&endpoint=${encodeURIComponent(cloud.url)}`
    } else {
      const companion = at.path('companion')
      const glacier = glacierSight(cloud, 'photos', companion)
      sight = glacier
      strayArchives = glacier.strayArchives
      vaultId = 'glacier://photos'
      at.env['FIRN_VAULT_URL'] = `${vaultId}?endpoint=${encodeURIComponent(cloud.url)}&manifests=local:${companion}`
    }
  }
  const openDatabase = () => openEmbeddedPostgres({ home: at.home, log: () => {}, durable: false })
  let postgres = await openDatabase()
  const sql = new pg.Pool({ connectionString: postgres.url, max: 2, application_name: 'torture' })
  sql.on('error', () => {}) // a case may stop the server
  const place: OpenPlace = {
    at,
    sql,
    sight,
    vaultId,
    seen: new Set(),
    secrets: cloud ? [cloud.credentials.secretAccessKey] : [],
    databaseUrl: postgres.url,
    database: {
      async crash() {
        const { rows } = await sql.query<{ pid: string }>(`SELECT pg_read_file('postmaster.pid') AS pid`)
        const pid = Number.parseInt(rows[0]?.pid as string, 10)
        process.kill(pid, 'SIGQUIT')
        while (isServing(pid)) await sleep(5)
      },
      stop: () => postgres.close(),
      async start() {
        postgres = await openDatabase()
      },
    },
    ...(cloud && { cloud }),
    ...(strayArchives && { strayArchives }),
    async close() {
      opened.delete(place)
      await sql.end()
      await postgres.close()
      await cloud?.stop()
      at.dispose()
    },
  }
  opened.add(place)
  return place
}
