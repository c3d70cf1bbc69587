/** Firn as its users run it: whole processes on a FIRN_HOME of their own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export type CommandName = 'archive-files' | 'find-and-retrieve' | 'firn'

const MAIN: Record<CommandName, string> = {
  'archive-files': 'apps/crawler/main.js',
  'find-and-retrieve': 'apps/finder/main.js',
  firn: 'apps/firn.js',
}

export interface Ran {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
  /** Of `--json`: the messages, in order. */
  readonly messages: readonly Record<string, unknown>[]
  readonly summary: Record<string, unknown>
}

export interface Home {
  readonly directory: string
  readonly home: string
  readonly env: NodeJS.ProcessEnv
  /** Runs a command to its end. */
  run(name: CommandName, args: readonly string[], env?: NodeJS.ProcessEnv): Promise<Ran>
  /** Starts one; the caller ends it. */
  start(name: CommandName, args: readonly string[], env?: NodeJS.ProcessEnv): ChildProcess & { readonly ended: Promise<Ran> }
  /** A path below the scratch directory. */
  path(...parts: string[]): string
  dispose(): void
}

/** A scratch directory with a FIRN_HOME in it; nothing of the caller's own configuration reaches the commands. */
export function openHome(more: NodeJS.ProcessEnv = {}): Home {
  // Short: the database's socket lies below it.
  const directory = mkdtempSync(join(tmpdir(), 'firn-'))
  chmodSync(directory, 0o711) // as root the database has a user of its own, who must get to it
  const home = join(directory, 'home')
  const { PATH, TMPDIR, NODE_EXTRA_CA_CERTS } = process.env
  const env = {
    PATH,
    ...(TMPDIR && { TMPDIR }),
    ...(NODE_EXTRA_CA_CERTS && { NODE_EXTRA_CA_CERTS }),
    HOME: directory,
    FIRN_HOME: home,
    FIRN_HOST: 'testhost',
    ...more,
  }
  mkdirSync(join(directory, 'tree'))
  const start = (name: CommandName, args: readonly string[], extra: NodeJS.ProcessEnv = {}) => {
    const main = fileURLToPath(new URL(`../${MAIN[name]}`, import.meta.url))
    const child = spawn(process.execPath, [main, ...args], {
      env: { ...env, ...extra },
      cwd: directory,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let stdout = ''
    let stderr = ''
    child.stdout.setEncoding('utf8').on('data', (text) => {
      stdout += text
    })
    child.stderr.setEncoding('utf8').on('data', (text) => {
      stderr += text
    })
    const ended = new Promise<Ran>((resolve, reject) => {
      child.on('error', reject)
      child.on('close', (code, signal) => {
        const messages = args.includes('--json') ? parse(stdout) : []
        const summary = messages.findLast((message) => message['message_type'] === 'summary') ?? {}
        resolve({ code: signal ? -1 : code, stdout, stderr, messages, summary })
      })
    })
    return Object.assign(child, { ended })
  }
  return {
    directory,
    home,
    env,
    start,
    run: (name, args, extra) => start(name, args, extra).ended,
    path: (...parts) => join(directory, ...parts),
    dispose: () => rmSync(directory, { recursive: true, force: true }),
  }
}

function parse(stdout: string): Record<string, unknown>[] {
  return stdout.split('\n').flatMap((line) => (line.trim() === '' ? [] : [JSON.parse(line) as Record<string, unknown>]))
}
