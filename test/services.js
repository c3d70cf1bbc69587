#!/usr/bin/env node
/**
 * `npm run test:services`: the suites against a real PostgreSQL server and with every tool that reads tars, ACLs and attributes, all from
 * Debian's packages. Installs what is missing (as root), starts what is needed on a socket of its own, and stops it again. Here a
 * missing server or tool is a failure, never a skip.
 */
import { execFileSync, spawn, spawnSync } from 'node:child_process'
import { chmodSync, chownSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'

const PACKAGES = ['postgresql', 'libarchive-tools', 'tar', 'python3', 'acl', 'attr']

install()
const directory = mkdtempSync(join(tmpdir(), 'firn-pg-'))
const server = startPostgres()
let code = 1
try {
  const url = `postgresql://postgres@localhost/postgres?host=${encodeURIComponent(directory)}`
  await untilReady(url)
  const jest = spawnSync(
    process.execPath,
    [
      '--experimental-vm-modules',
      '--disable-warning=ExperimentalWarning',
      'node_modules/jest/bin/jest.js',
      'libs',
      ...process.argv.slice(2),
    ],
    {
      stdio: 'inherit',
      env: { ...process.env, FIRN_TEST_POSTGRES_URL: url, FIRN_TEST_SERVICES: '1' },
    },
  )
  code = jest.status ?? 1
} finally {
  const ended = new Promise((resolve) => server.once('exit', resolve))
  server.kill('SIGINT') // at once, and in order
  await ended
  rmSync(directory, { recursive: true, force: true })
}
process.exit(code)

function install() {
  const missing = PACKAGES.filter((name) => spawnSync('dpkg', ['-s', name], { stdio: 'ignore' }).status !== 0)
  if (missing.length === 0) return
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  execFileSync('apt-get', ['update', '-q'], { stdio: 'inherit', env })
  execFileSync('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...missing], { stdio: 'inherit', env })
}

/** A cluster in a directory of its own, on no port; Debian's package made the user. */
function startPostgres() {
  const id = (flag) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }))
  const owner = { uid: id('-u'), gid: id('-g') }
  const versions = readdirSync('/usr/lib/postgresql').sort((a, b) => Number(b) - Number(a))
  const bin = join('/usr/lib/postgresql', versions[0], 'bin')
  chownSync(directory, owner.uid, owner.gid)
  chmodSync(directory, 0o755)
  const data = join(directory, 'data')
  execFileSync(join(bin, 'initdb'), ['-D', data, '-U', 'postgres', '-A', 'trust', '--encoding=UTF8', '--locale=C'], {
    ...owner,
    stdio: 'ignore',
    cwd: directory,
  })
  const settings = ['listen_addresses=', `unix_socket_directories=${directory}`, 'max_connections=300', 'fsync=off']
  return spawn(join(bin, 'postgres'), ['-D', data, ...settings.flatMap((setting) => ['-c', setting])], {
    ...owner,
    stdio: 'ignore',
    cwd: directory,
  })
}

async function untilReady(url) {
  for (let tries = 0; ; tries++) {
    const client = new pg.Client(url)
    try {
      await client.connect()
      await client.end()
      return
    } catch (error) {
      if (tries > 100 || server.exitCode !== null) throw error
      await sleep(100)
    }
  }
}
