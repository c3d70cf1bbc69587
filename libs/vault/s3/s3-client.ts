/** The SDK's client as this vault wants it. */
import { S3Client } from '@aws-sdk/client-s3'
import { makeClient, requestHandler, silentLogger } from '../sdk-client.js'
import type { S3Place } from './s3-url.js'

export interface S3Credentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string
  readonly expiration?: Date
}

export interface S3ClientOptions {
  /** Instead of the SDK's own chain (environment, files, SSO, roles of containers and machines). */
  readonly credentials?: S3Credentials | (() => Promise<S3Credentials>)
  /** Silence on a connection after which the request is given up and tried again. */
  readonly stallMs: number
}

export function openS3Client(place: S3Place, { credentials, stallMs }: S3ClientOptions): S3Client {
  const client = makeClient(
    () =>
      new S3Client({
        ...(place.region !== undefined && { region: place.region }),
        // Servers that only speak S3 take any region; this one is theirs by custom.
        ...(place.region === undefined && place.endpoint !== undefined && { region: 'us-east-1' }),
        ...(place.endpoint !== undefined && { endpoint: place.endpoint }),
        ...(credentials !== undefined && { credentials }),
        forcePathStyle: place.pathStyle,
        // What is sent has a checksum of ours; what is read is compared with the manifest. Trailers and surprises of the SDK's are not wanted.
        requestChecksumCalculation: 'WHEN_REQUIRED',
        responseChecksumValidation: 'WHEN_REQUIRED',
        // It would cost each part a connection of its own and a round trip.
        expectContinueHeader: false,
        logger: silentLogger,
        requestHandler: requestHandler(stallMs),
      }),
  )
  // The signature covers the SHA-256 of the body, which is known already: it is not computed a second time, on the event loop.
  client.middlewareStack.add(
    (next) => (args) => {
      const request = args.request as { headers?: Record<string, string> }
      const checksum = request.headers?.['x-amz-checksum-sha256']
      // Complete names the hash of the object, which is not that of its body.
      if (request.headers && checksum !== undefined && 'Body' in args.input) {
        request.headers['x-amz-content-sha256'] = Buffer.from(checksum, 'base64').toString('hex')
      }
      return next(args)
    },
    { step: 'build', name: 'firnBodyHash', priority: 'low' },
  )
  return client
}

/** Asks the chain again, whatever it remembers. */
export async function renewCredentials(client: S3Client): Promise<void> {
  const provider = client.config.credentials as (options?: { forceRefresh?: boolean }) => Promise<unknown>
  await provider({ forceRefresh: true })
}
