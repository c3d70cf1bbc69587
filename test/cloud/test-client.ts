/** An emulator of S3 with one bucket and Amazon's own client, for the emulator's own tests. */
import { S3Client, type S3ClientConfig } from '@aws-sdk/client-s3'
import { type Cloud, type CloudOptions, startCloud } from './cloud.js'

// This version of the client only warns of a Node that it still runs on.
process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = 'true'

export interface TestCloud extends Cloud {
  readonly Bucket: string
  readonly client: S3Client
  /** Another client, destroyed in the end; one attempt a request unless asked otherwise. */
  clientWith(config: S3ClientConfig): S3Client
}

export async function startTestCloud(options: CloudOptions = {}): Promise<TestCloud> {
  const Bucket = 'cold'
  const cloud = await startCloud({ buckets: [Bucket], ...options })
  const clients: S3Client[] = []
  const clientWith = (config: S3ClientConfig): S3Client => {
    const usual = {
      endpoint: cloud.url,
      region: cloud.region,
      credentials: cloud.credentials,
      forcePathStyle: true,
      maxAttempts: 1,
    }
    const client = new S3Client({ ...usual, ...config })
    clients.push(client)
    return client
  }
  return {
    ...cloud,
    Bucket,
    client: clientWith({}),
    clientWith,
    async stop() {
      for (const client of clients) client.destroy()
      await cloud.stop()
    },
  }
}

/** What a refused request says; the test fails if it is not refused. */
export async function refusal(request: Promise<unknown>): Promise<{ name: string; status: number | undefined; message: string }> {
  try {
    await request
  } catch (error) {
    const { name, message, $metadata } = error as Error & { $metadata?: { httpStatusCode?: number } }
    return { name, status: $metadata?.httpStatusCode, message }
  }
  throw new Error('it was not refused')
}
