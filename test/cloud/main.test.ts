import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { GetObjectCommand, PutObjectCommand, RestoreObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { expect, test } from '@jest/globals'
import { HOUR_MS } from './clock.js'
import { refusal } from './test-client.js'

test('the emulator runs as a process of its own, and its clock and faults are reached from outside', async () => {
  const main = fileURLToPath(new URL('./main.js', import.meta.url))
  const child = spawn(process.execPath, [main, '--port', '0', '--bucket', 'cold', '--access-key', 'AK', '--secret-key', 'SK'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = once(child, 'exit')
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const endpoint = (await lines.next()).value as string
  const credentials = { accessKeyId: 'AK', secretAccessKey: 'SK' }
  const client = new S3Client({ endpoint, region: 'us-east-1', credentials, forcePathStyle: true, maxAttempts: 1 })
  const tell = (method: string, act: string, body?: object) =>
    fetch(`${endpoint}/_cloud/${act}`, { method, ...(body && { body: JSON.stringify(body) }) })
  try {
    expect((await lines.next()).value).toBe('AWS_ACCESS_KEY_ID=AK')
    const about = { Bucket: 'cold', Key: 'a' }
    await client.send(new PutObjectCommand({ ...about, Body: 'frozen', StorageClass: 'GLACIER' }))
    await client.send(new RestoreObjectCommand({ ...about, RestoreRequest: { Days: 1 } }))
    await tell('POST', 'pass', { ms: 6 * HOUR_MS })
    const got = await client.send(new GetObjectCommand(about))
    expect(await got.Body!.transformToString()).toBe('frozen')
    await tell('POST', 'faults', { kind: 'slow-down', operation: 'GetObject' })
    expect((await refusal(client.send(new GetObjectCommand(about)))).name).toBe('SlowDown')
    expect(await (await tell('GET', 'requests')).json()).toMatchObject({
      total: 4,
      byOperation: { GetObject: 2 },
      paid: [{ tier: 'Standard' }],
    })
    expect((await tell('POST', 'pass', { ms: 'x' })).status).toBe(400)
    expect((await tell('GET', 'nothing')).status).toBe(404)
  } finally {
    client.destroy()
    child.kill('SIGTERM')
    expect(await ended).toEqual([0, null])
  }
})
