/**
 * The emulator as a process of its own, for journeys and benches: prints its URL and its credentials, one a line, and runs until it is
 * told to stop (or, if it was forked, until its parent is gone). `control.ts` says how its clock and faults are reached.
 *
 *   node dist/test/cloud/main.js --port 0 --bucket cold [--region eu-west-1] [--latency-ms 100] [--bytes-per-second 50000000]
 *     [--light] [--directory DIR] [--access-key AK --secret-key SK]
 */
import { parseArgs } from 'node:util'
import { startCloud } from './cloud.js'

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    region: { type: 'string', default: 'us-east-1' },
    bucket: { type: 'string', multiple: true, default: [] },
    'latency-ms': { type: 'string', default: '0' },
    'bytes-per-second': { type: 'string', default: 'Infinity' },
    light: { type: 'boolean', default: false },
    directory: { type: 'string' },
    'access-key': { type: 'string', default: 'emulator' },
    'secret-key': { type: 'string', default: 'emulator-secret' },
  },
})

const cloud = await startCloud({
  port: Number(values.port),
  region: values.region,
  buckets: values.bucket,
  latencyMs: Number(values['latency-ms']),
  bytesPerSecond: Number(values['bytes-per-second']),
  light: values.light,
  ...(values.directory !== undefined && { directory: values.directory }),
  credentials: { accessKeyId: values['access-key'], secretAccessKey: values['secret-key'] },
})

let stopping = false
const stop = async () => {
  if (stopping) return
  stopping = true
  await cloud.stop()
  process.exit(0)
}
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void stop())
process.once('disconnect', () => void stop())

process.stdout.write(
  `${cloud.url}\nAWS_ACCESS_KEY_ID=${cloud.credentials.accessKeyId}\nAWS_SECRET_ACCESS_KEY=${cloud.credentials.secretAccessKey}\n`,
)
