/**
 * The two ways to set Firn up, for journeys that must go the same way in both: embedded, where each command does its work itself, and
 * distributed, where a worker and a retriever do it on PostgreSQL, Redis, Elasticsearch and an S3 endpoint.
 */
import { randomBytes } from 'node:crypto'
import { renameSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe } from '@jest/globals'
import { HOUR_MS } from './cloud/clock.js'
import { type Cloud, startCloud } from './cloud/cloud.js'
import { scratchDatabase } from './database.js'
import { type Home, openHome, says } from './firn.js'
import { describeWithServer, serverUrl } from './tools.js'

export interface Installation extends Home {
  readonly vault: SeenVault
  /** A further vault that each process is configured for, below `with-own`; nothing is there until it is written. */
  readonly further: string
  /** The environment of another installation, with a catalog of its own, on the same vault. */
  elsewhere(): Promise<NodeJS.ProcessEnv>
  dispose(): Promise<void>
}

/** The vault, seen and changed behind Firn's back. */
export interface SeenVault {
  readonly url: string
  /** As Firn names it. */
  readonly id: string
  remove(key: string): Promise<void>
  /** Does what needs nothing of the vault, and fails where something is asked of it. */
  untouched<T>(act: () => Promise<T>): Promise<T>
}

export interface InstallationOptions {
  /** The vault is of a class that is thawed first, and takes money for it; hours are seconds. */
  readonly cold?: boolean
}

const furtherOf = (at: Home): string => `local:${at.path('with-own', 'kept', 'vault')}`

type Open = (options?: InstallationOptions) => Promise<Installation>

/** The same tests in each mode: embedded by `npm test`, distributed in the tier that has the servers. */
export function describeInBothModes(name: string, tests: (open: Open) => void): void {
  if (process.env['FIRN_TEST_SERVICES'] !== '1') describe(`embedded: ${name}`, () => tests(openEmbedded))
  describeWithServer('FIRN_TEST_REDIS_URL', `distributed: ${name}`, () => tests(openDistributed))
}

async function openEmbedded({ cold = false }: InstallationOptions = {}): Promise<Installation> {
  const at = openHome()
  const directory = join(at.home, 'vault')
  const id = `local:${directory}`
  const url = cold ? `${id}?thaw=2&prices=DEEP_ARCHIVE` : id
  at.env['FIRN_VAULT_URL'] = url
  at.env['FIRN_VAULTS'] = furtherOf(at)
  return {
    ...at,
    further: furtherOf(at),
    vault: {
      id,
      url,
      remove: async (key) => rmSync(join(directory, key)),
      async untouched(act) {
        const away = `${directory}-away`
        renameSync(directory, away)
        try {
          return await act()
        } finally {
          renameSync(away, directory)
        }
      },
    },
    elsewhere: async () => ({ FIRN_HOME: at.path('elsewhere') }),
    dispose: async () => at.dispose(),
  }
}

const BUCKET = 'cold'

async function openDistributed({ cold = false }: InstallationOptions = {}): Promise<Installation> {
  const releases: (() => unknown)[] = []
  const dispose = async () => {
    for (const release of releases.splice(0).reverse()) await release()
  }
  try {
    const cloud = await startCloud({ buckets: [BUCKET] })
    releases.push(() => cloud.stop())
    const storageClass = cold ? 'DEEP_ARCHIVE' : 'STANDARD'
    const url = `s3://${BUCKET}/archive?class=${storageClass}&endpoint=${cloud.url}`
    const servers = async () => {
      const database = await scratchDatabase()
      releases.push(() => database.drop())
      return { FIRN_DATABASE_URL: database.url, ...serversBeside(`firn-${randomBytes(6).toString('hex')}`) }
    }
    const at = openHome({
      ...(await servers()),
      FIRN_VAULT_URL: url,
      FIRN_CHECK_SECONDS: '1',
      AWS_ACCESS_KEY_ID: cloud.credentials.accessKeyId,
      AWS_SECRET_ACCESS_KEY: cloud.credentials.secretAccessKey,
    })
    releases.push(() => at.dispose())
    at.env['FIRN_VAULTS'] = furtherOf(at)
    await expectDone(at, 'migrate')
    releases.push(letHoursPass(cloud))
    for (const daemon of ['worker', 'retriever']) {
      const process = at.start('firn', [daemon])
      releases.push(async () => {
        process.kill('SIGKILL')
        await process.ended
      })
      if (daemon === 'worker') await says(process, 'working,')
    }
    return {
      ...at,
      further: furtherOf(at),
      vault: {
        id: `s3://${BUCKET}/archive`,
        url,
        remove: (key) => cloud.s3.remove(BUCKET, `archive/${key}`),
        async untouched(act) {
          const before = cloud.requests.count()
          const result = await act()
          const asked = cloud.requests.count() - before
          if (asked > 0) throw new Error(`the vault was asked ${asked} times`)
          return result
        },
      },
      async elsewhere() {
        const env = { ...(await servers()), FIRN_HOME: at.path('elsewhere') }
        await expectDone(at, 'migrate', env)
        return env
      },
      dispose,
    }
  } catch (error) {
    await dispose()
    throw error
  }
}

/** The settings for a queue and an index of this name. */
export const serversBeside = (name: string): NodeJS.ProcessEnv => ({
  FIRN_QUEUE_URL: `${serverUrl('FIRN_TEST_REDIS_URL')}?prefix={${name}}`,
  FIRN_SEARCH_URL: `${serverUrl('FIRN_TEST_ELASTICSEARCH_URL').replace(/\/$/, '')}/${name}`,
})

async function expectDone(at: Home, command: string, env?: NodeJS.ProcessEnv): Promise<void> {
  const { code, stderr } = await at.run('firn', [command], env)
  if (code !== 0) throw new Error(`firn ${command} ended with ${code}: ${stderr}`)
}

/** Whenever a thaw was asked for, its hours pass. */
function letHoursPass(cloud: Cloud): () => void {
  let paid = 0
  const timer = setInterval(() => {
    const now = cloud.requests.paid().length
    if (now > paid) cloud.clock.pass(13 * HOUR_MS)
    paid = now
  }, 200)
  return () => clearInterval(timer)
}
