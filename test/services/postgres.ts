/** Debian's PostgreSQL: a cluster in a directory of its own, on no port. */
import { execFileSync, spawn } from 'node:child_process'
import { chmodSync, chownSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { type Server, untilReady } from './server.js'

export const postgres: Server = {
  name: 'postgres',
  variable: 'FIRN_TEST_POSTGRES_URL',
  packages: ['postgresql'],
  install() {},
  async start(_directory, scratch) {
    const id = (flag: string) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' })) // the package made the user
    const owner = { uid: id('-u'), gid: id('-g'), cwd: scratch }
    const versions = readdirSync('/usr/lib/postgresql').sort((a, b) => Number(b) - Number(a))
    const bin = join('/usr/lib/postgresql', versions[0]!, 'bin')
    chownSync(scratch, owner.uid, owner.gid)
    chmodSync(scratch, 0o755)
    const data = join(scratch, 'data')
    const cluster = ['-D', data, '-U', 'postgres', '-A', 'trust', '--encoding=UTF8', '--locale=C']
    execFileSync(join(bin, 'initdb'), cluster, { ...owner, stdio: 'ignore' })
    const settings = ['listen_addresses=', `unix_socket_directories=${scratch}`, 'max_connections=300', 'fsync=off']
    const args = ['-D', data, ...settings.flatMap((setting) => ['-c', setting])]
    const server = spawn(join(bin, 'postgres'), args, { ...owner, stdio: 'ignore' })
    const ended = new Promise((resolve) => server.once('exit', resolve))
    const url = `postgresql://postgres@localhost/postgres?host=${encodeURIComponent(scratch)}`
    await untilReady(
      () => connectOnce(url),
      20,
      () => server.exitCode !== null,
    )
    return {
      url,
      async stop() {
        server.kill('SIGINT') // at once, and in order
        await ended
      },
    }
  },
}

async function connectOnce(url: string): Promise<void> {
  const client = new pg.Client(url)
  await client.connect()
  await client.end()
}
