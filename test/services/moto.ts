/** moto: S3 with classes, and Glacier vaults. It looks at no signature and no checksum. */
import { spawn } from 'node:child_process'
import { freePort } from '../free-port.js'
import { installPython, pythonProgram } from './python.js'
import { type Server, untilReady } from './server.js'

const STARTS_WITHIN_SECONDS = 120

export const moto: Server = {
  name: 'moto',
  variable: 'FIRN_TEST_MOTO_URL',
  packages: ['python3-venv'],

  install(directory) {
    installPython(directory, ['moto[server,s3,glacier]==5.2.*'])
  },

  async start(directory, scratch) {
    const port = await freePort()
    const env = { PATH: process.env['PATH'], HOME: scratch, TMPDIR: scratch }
    const args = ['-H', '127.0.0.1', '-p', String(port)]
    const server = spawn(pythonProgram(directory, 'moto_server'), args, { env, cwd: scratch, stdio: 'ignore' })
    const ended = new Promise((resolve) => server.once('exit', resolve))
    await untilReady(
      () => fetch(`http://127.0.0.1:${port}/moto-api/`),
      STARTS_WITHIN_SECONDS,
      () => server.exitCode !== null,
    )
    return {
      url: `http://test:test@127.0.0.1:${port}`,
      async stop() {
        server.kill('SIGTERM')
        await ended
      },
    }
  },
}
