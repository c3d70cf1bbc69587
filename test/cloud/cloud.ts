/**
 * Amazon's cold storage on 127.0.0.1, for tests: S3 with its classes (and Glacier vaults beside it), with a clock that a test moves, faults
 * that a test scripts, and signatures and checksums really verified. How it differs from the real thing is in README.md.
 *
 *   const cloud = await startCloud()
 *   new S3Client({ endpoint: cloud.url, region: cloud.region, credentials: cloud.credentials, forcePathStyle: true })
 *   cloud.clock.pass(12 * HOUR_MS)
 *   cloud.faults.add({ kind: 'lost-answer', operation: 'CompleteMultipartUpload' })
 *   cloud.requests.count('RestoreObject')
 *   await cloud.stop()
 */
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Clock, virtualClock } from './clock.js'
import { openControl } from './control.js'
import { type Faults, faultPlayer } from './faults.js'
import { type EmulatedGlacier, emulateGlacier } from './glacier/glacier-service.js'
import type { GlacierLimits } from './glacier/vaults.js'
import { type Link, type LinkOptions, openLink } from './link.js'
import { type Requests, requestBook } from './requests.js'
import { type Behind, lookBehind } from './s3/behind.js'
import type { S3Options } from './s3/request.js'
import { openS3 } from './s3/s3.js'
import { newBucket } from './s3/store.js'
import { listen } from './server.js'
import type { Credentials } from './signature.js'

export interface CloudOptions extends LinkOptions, S3Options {
  /** 0: any free one. */
  port?: number
  /** Of the buckets that are made at the start. */
  region?: string
  /** Buckets that are there from the start. */
  buckets?: readonly string[]
  /** How long the jobs of Glacier vaults take, and their output stays. */
  glacier?: Partial<GlacierLimits>
  /** Below it the bytes are kept; a directory of its own, removed in the end, unless given. */
  directory?: string
  credentials?: Credentials
}

export interface Cloud {
  readonly url: string
  readonly region: string
  /** For ever good, without a token. */
  readonly credentials: Credentials
  readonly clock: Clock
  readonly faults: Faults
  readonly requests: Requests
  /** Latency and bandwidth; may be changed at any time. */
  readonly link: Link
  /** What S3 holds, seen and changed behind everybody's back. */
  readonly s3: Behind
  /** What Glacier vaults hold. */
  readonly glacier: EmulatedGlacier
  /** Credentials with a token, which expire by the virtual clock. */
  session(seconds: number): Credentials & { readonly sessionToken: string; readonly expiration: Date }
  stop(): Promise<void>
}

export async function startCloud(options: CloudOptions = {}): Promise<Cloud> {
  const { region = 'us-east-1', port = 0 } = options
  const directory = options.directory ?? (await mkdtemp(join(tmpdir(), 'firn-cloud-')))
  const credentials = options.credentials ?? newCredentials('AKIA')
  const known = new Map([[credentials.accessKeyId, credentials]])
  const clock = virtualClock()
  const faults = faultPlayer()
  const book = requestBook()
  const link = openLink(options)
  const buckets = new Map((options.buckets ?? []).map((name) => [name, newBucket(name, region, clock.now())]))
  const glacier = emulateGlacier({ clock, book, directory, ...(options.glacier && { limits: options.glacier }) })
  const services = [glacier, openS3({ clock, book, directory, buckets, options })]
  const control = openControl({ clock, faults, requests: book, link })
  const server = await listen({ clock, faults, book, link, services, control, find: (id) => known.get(id) }, port)
  return {
    url: server.url,
    region,
    credentials,
    clock,
    faults,
    requests: book,
    link,
    s3: lookBehind(buckets, clock, directory),
    glacier,
    session(seconds) {
      const session = {
        ...newCredentials('ASIA'),
        sessionToken: randomBytes(48).toString('base64'),
        expiration: new Date(clock.now().getTime() + seconds * 1000),
      }
      known.set(session.accessKeyId, session)
      return session
    },
    async stop() {
      await server.stop()
      if (options.directory === undefined) await rm(directory, { recursive: true, force: true })
    },
  }
}

function newCredentials(kind: string): Credentials {
  return {
    accessKeyId: kind + randomBytes(8).toString('hex').toUpperCase(),
    secretAccessKey: randomBytes(30).toString('base64'),
  }
}
