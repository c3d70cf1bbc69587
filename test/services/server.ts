/** A real server for the tests: how it comes to this machine, how it is started on a place of its own, and stopped again. */
import { execFileSync, spawnSync } from 'node:child_process'
import { homedir } from 'node:os'
import { join } from 'node:path'

export interface Server {
  readonly name: string
  /** `FIRN_TEST_<SERVER>_URL`, where the suites read its address. */
  readonly variable: string
  /** Packages of Debian's that it needs; all servers' are installed in one go. */
  readonly packages: readonly string[]
  /** What comes from another registry; does nothing where it is there already. `directory` is kept from run to run. */
  install(directory: string): void | Promise<void>
  /** Starts it on a free port or a socket of its own, below `scratch`, and returns when it answers. */
  start(directory: string, scratch: string): Promise<Started>
}

export interface Started {
  /** With name and password, where it asks for them. */
  readonly url: string
  /** Stops it; nothing of it is left running. */
  stop(): Promise<void>
}

/** Where downloaded servers are kept from run to run. */
export const serversDirectory = (): string =>
  join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'firn-test-servers')

/** Installs the packages that are missing, as root. */
export function installPackages(packages: readonly string[]): void {
  const missing = packages.filter((name) => spawnSync('dpkg', ['-s', name], { stdio: 'ignore' }).status !== 0)
  if (missing.length === 0) return
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' }
  execFileSync('apt-get', ['update', '-q'], { stdio: 'inherit', env })
  execFileSync('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...missing], { stdio: 'inherit', env })
}

/** Asks until `answers` does not throw; gives up after `seconds`, with the last reason, or at once when `died` says so. */
export async function untilReady(
  answers: () => Promise<unknown>,
  seconds: number,
  died: () => boolean = () => false,
): Promise<void> {
  const until = Date.now() + seconds * 1000
  for (;;) {
    try {
      await answers()
      return
    } catch (error) {
      if (Date.now() > until || died()) throw error
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }
}
