/**
 * versitygw: S3 on a directory, strict with signatures, clocks, checksums and bucket policies. It has no classes and no thaws. Beside the
 * root account of its URL there are two that may do nothing until a policy allows it: `-worker` and `-finder` after the root's key, with
 * the same secret.
 */
import { execFileSync, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '../free-port.js'
import { goProgram } from './go.js'
import { type Server, untilReady } from './server.js'

const STARTS_WITHIN_SECONDS = 60

export const versitygw: Server = {
  name: 'versitygw',
  variable: 'FIRN_TEST_VERSITYGW_URL',
  packages: [],

  install(directory) {
    if (existsSync(join(directory, 'versitygw'))) return
    const env = { ...process.env, GOBIN: directory }
    execFileSync(goProgram(), ['install', 'github.com/versity/versitygw/cmd/versitygw@v1.8.0'], {
      env,
      stdio: ['ignore', 2, 'inherit'],
    })
  },

  async start(directory, scratch) {
    const port = await freePort()
    const data = join(scratch, 'data')
    const accounts = join(scratch, 'accounts')
    for (const made of [data, accounts]) mkdirSync(made)
    const [key, secret] = [randomBytes(8).toString('hex'), randomBytes(16).toString('hex')]
    const env = { PATH: process.env['PATH'], ROOT_ACCESS_KEY: key, ROOT_SECRET_KEY: secret }
    const program = join(directory, 'versitygw')
    const server = spawn(program, ['--port', `127.0.0.1:${port}`, '--quiet', '--iam-dir', accounts, 'posix', data], {
      env,
      stdio: 'ignore',
    })
    const ended = new Promise((resolve) => server.once('exit', resolve))
    // Any answer will do: without a signature it is a refusal.
    await untilReady(
      () => fetch(`http://127.0.0.1:${port}/`),
      STARTS_WITHIN_SECONDS,
      () => server.exitCode !== null,
    )
    for (const name of ['worker', 'finder']) {
      const admin = { ...env, ADMIN_ACCESS_KEY: key, ADMIN_SECRET_KEY: secret, ADMIN_ENDPOINT_URL: `http://127.0.0.1:${port}` }
      const account = ['--access', `${key}-${name}`, '--secret', secret, '--role', 'user']
      execFileSync(program, ['admin', 'create-user', ...account], { env: admin, stdio: ['ignore', 2, 'inherit'] })
    }
    return {
      url: `http://${key}:${secret}@127.0.0.1:${port}`,
      async stop() {
        server.kill('SIGTERM')
        await ended
      },
    }
  },
}
