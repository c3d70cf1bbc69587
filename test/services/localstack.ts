/** LocalStack, its S3 alone: classes are kept and their objects frozen until a thaw is asked for, which is over at once. */
import { spawn } from 'node:child_process'
import { freePort } from '../free-port.js'
import { installPython, pythonProgram } from './python.js'
import { type Server, untilReady } from './server.js'

const STARTS_WITHIN_SECONDS = 180
const STOPS_WITHIN_MS = 20_000

export const localstack: Server = {
  name: 'localstack',
  variable: 'FIRN_TEST_LOCALSTACK_URL',
  packages: ['python3-venv'],

  install(directory) {
    // The newest that Python 3.11 runs; the rest are what its S3 needs of the packages that it usually brings in an image.
    installPython(directory, [
      ...['localstack-core[base-runtime]==4.6.0', 'moto-ext[s3]', 'jinja2', 'cryptography', 'jsonpath-ng', 'jsonpath-rw'],
      ...['airspeed-ext', 'cbor2<5.7', 'pyopenssl<25', 'werkzeug<3.2', 'service_identity<24.3'],
    ])
  },

  async start(directory, scratch) {
    const port = await freePort()
    const env = {
      PATH: process.env['PATH'],
      HOME: scratch,
      TMPDIR: scratch,
      SERVICES: 's3',
      GATEWAY_LISTEN: `127.0.0.1:${port}`,
      EAGER_SERVICE_LOADING: '0',
      DISABLE_EVENTS: '1',
      SKIP_SSL_CERT_DOWNLOAD: '1',
      FILESYSTEM_ROOT: scratch,
    }
    // A group of its own: the supervisor's child is what answers.
    const server = spawn(pythonProgram(directory, 'localstack-supervisor'), {
      env,
      cwd: scratch,
      detached: true,
      stdio: 'ignore',
    })
    const ended = new Promise((resolve) => server.once('exit', resolve))
    const kill = (signal: NodeJS.Signals) => {
      try {
        process.kill(-(server.pid as number), signal)
      } catch {} // gone already
    }
    await untilReady(
      async () => {
        const answer = await fetch(`http://127.0.0.1:${port}/_localstack/health`)
        if (!answer.ok) throw new Error(`LocalStack answers ${answer.status}`)
      },
      STARTS_WITHIN_SECONDS,
      () => server.exitCode !== null,
    )
    return {
      // It looks at no credentials.
      url: `http://test:test@127.0.0.1:${port}`,
      async stop() {
        kill('SIGTERM')
        const late = setTimeout(() => kill('SIGKILL'), STOPS_WITHIN_MS)
        await ended
        clearTimeout(late)
        kill('SIGKILL') // a child that did not hear
      },
    }
  },
}
