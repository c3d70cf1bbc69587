/** A Docker engine and compose, had without any registry of images: Debian's engine, and compose built from the Go module proxy. */
import { execFileSync, type SpawnOptions, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, openSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { goProgram } from '../services/go.js'
import { installPackages, serversDirectory } from '../services/server.js'

const COMPOSE = 'github.com/docker/compose/v2/cmd'
const COMPOSE_VERSION = 'v2.40.3'

export interface Engine {
  /** Runs `docker`, with its output on stderr; throws when it fails. */
  docker(...args: string[]): void
  /** Its stdout, trimmed; undefined when it fails. */
  ask(...args: string[]): string | undefined
  /** The program and the arguments that `docker compose` begins with here. */
  readonly compose: readonly [string, ...string[]]
  /** Stops the engine if it was started here. */
  close(): Promise<void>
}

export async function openEngine(scratch: string): Promise<Engine> {
  const runs = () => spawnSync('docker', ['version', '--format', '{{.Server.Version}}'], { stdio: 'ignore' }).status === 0
  let stop = async () => {}
  if (!runs()) {
    installPackages(['docker.io', 'iptables'])
    const log = openSync(join(scratch, 'dockerd.log'), 'a')
    // Without a system manager; the limit is for databases that want many files and machines that allow few.
    const options: SpawnOptions = { stdio: ['ignore', log, log], detached: true }
    const engine = spawn('dockerd', ['--default-ulimit', 'nofile=10000:10000'], options)
    const ended = new Promise((resolve) => engine.once('exit', resolve))
    stop = async () => {
      engine.kill('SIGTERM')
      await ended
    }
    for (let tries = 0; !runs(); tries++) {
      if (tries === 120 || engine.exitCode !== null) {
        await stop()
        throw new Error(`dockerd does not come up; see ${join(scratch, 'dockerd.log')}`)
      }
      await sleep(500)
    }
  }
  return {
    docker: (...args) => void execFileSync('docker', args, { stdio: ['ignore', 2, 2], env: CLASSIC }),
    ask(...args) {
      const { status, stdout } = spawnSync('docker', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
      return status === 0 ? stdout.trim() : undefined
    },
    compose: composeHere(),
    close: stop,
  }
}

/** The builder that every engine has. */
const CLASSIC = { ...process.env, DOCKER_BUILDKIT: '0' }

function composeHere(): readonly [string, ...string[]] {
  if (spawnSync('docker', ['compose', 'version'], { stdio: 'ignore' }).status === 0) return ['docker', 'compose']
  const directory = join(serversDirectory(), 'compose')
  const program = join(directory, `docker-compose-${COMPOSE_VERSION}`)
  if (!existsSync(program)) {
    mkdirSync(directory, { recursive: true })
    const compiler = goProgram()
    const go = (...args: string[]) => execFileSync(compiler, args, { cwd: directory, stdio: ['ignore', 2, 2] })
    if (!existsSync(join(directory, 'go.mod'))) go('mod', 'init', 'scratch')
    go('get', `${COMPOSE}@${COMPOSE_VERSION}`)
    go('build', '-o', program, COMPOSE)
  }
  return [program]
}
