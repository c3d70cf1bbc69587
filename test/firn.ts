/** Firn as its users run it: whole processes on a FIRN_HOME of their own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

export type CommandName = 'archive-files' | 'find-and-retrieve' | 'firn'

const MAIN: Record<CommandName, string> = {
  'archive-files': 'apps/crawler/main.js',
  'find-and-retrieve': 'apps/finder/main.js',
  firn: 'apps/firn.js',
}

/** The compiled file that a command begins with. */
export const mainOf = (name: CommandName): string => fileURLToPath(new URL(`../${MAIN[name]}`, import.meta.url))

export interface Ran {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
  /** Of `--json`: the messages, in order. */
  readonly messages: readonly Record<string, unknown>[]
  readonly summary: Record<string, unknown>
}

/** A command that runs; the caller ends it. */
export type Running = ChildProcess & {
  readonly ended: Promise<Ran>
  /** What it wrote on stderr so far. */
  said(): string
}

/** Who runs the commands, where that is not the user of the tests. */
export interface User {
  readonly uid: number
  readonly gid: number
}

export interface Home {
  readonly directory: string
  readonly home: string
  readonly env: NodeJS.ProcessEnv
  /** Runs a command to its end. */
  run(name: CommandName, args: readonly string[], env?: NodeJS.ProcessEnv): Promise<Ran>
  start(name: CommandName, args: readonly string[], env?: NodeJS.ProcessEnv): Running
  /** A path below the scratch directory. */
  path(...parts: string[]): string
  /** Also ends what a test that failed left running. */
  dispose(): void
}

/** A scratch directory with a FIRN_HOME in it; nothing of the caller's own configuration reaches the commands. */
export function openHome(more: NodeJS.ProcessEnv = {}, user?: User): Home {
  // Short: the database's socket lies below it.
  const directory = mkdtempSync(join(tmpdir(), 'firn-'))
  chmodSync(directory, 0o711) // as root the database has a user of its own, who must get to it
  if (user) chownSync(directory, user.uid, user.gid)
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
  const running = new Set<ChildProcess>()
  const start = (name: CommandName, args: readonly string[], extra: NodeJS.ProcessEnv = {}) => {
    const child = spawn(process.execPath, [mainOf(name), ...args], {
      env: { ...env, ...extra },
      cwd: directory,
      stdio: ['ignore', 'pipe', 'pipe'],
      ...user,
    })
    running.add(child)
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
        running.delete(child)
        const messages = args.includes('--json') ? parse(stdout) : []
        const summary = messages.findLast((message) => message['message_type'] === 'summary') ?? {}
        resolve({ code: signal ? -1 : code, stdout, stderr, messages, summary })
      })
    })
    return Object.assign(child, { ended, said: () => stderr })
  }
  return {
    directory,
    home,
    env,
    start,
    run: (name, args, extra) => start(name, args, extra).ended,
    path: (...parts) => join(directory, ...parts),
    dispose() {
      for (const child of running) child.kill('SIGKILL')
      rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
    },
  }
}

function parse(stdout: string): Record<string, unknown>[] {
  return stdout.split('\n').flatMap((line) => (line.trim() === '' ? [] : [JSON.parse(line) as Record<string, unknown>]))
}

/** The files that `-l --json` listed. */
export const filesOf = ({ messages }: Ran): Record<string, unknown>[] =>
  messages.filter((message) => message['message_type'] === 'file')

/** The tar in the local vault that holds a path, as `-r` names it. */
export async function tarOf(at: Home, path: string): Promise<string> {
  const csv = await at.run('find-and-retrieve', ['--path', path, '-r'])
  return join(at.home, 'vault', csv.stdout.trimEnd().split(',')[1] as string)
}

/** What `firn status` says of sets and of retrievals. */
export async function statusOf(at: Home) {
  const { messages } = await at.run('firn', ['status', '--json'])
  const about = (id: string) => messages.filter((message) => message[id] !== undefined)
  return { sets: about('set_id'), retrievals: about('retrieval_id') }
}

/** The first line on stderr that has this text, now or when it comes. */
export async function says(process: Running, text: string): Promise<string> {
  let ended = false
  void process.ended.then(() => {
    ended = true
  })
  for (;;) {
    const line = process
      .said()
      .split('\n')
      .find((one) => one.includes(text))
    if (line !== undefined) return line
    if (ended) throw new Error(`ended before it said ${text}: ${process.said()}`)
    await sleep(10)
  }
}

export async function until(holds: () => boolean | Promise<boolean>, seconds = 60): Promise<void> {
  for (const end = Date.now() + seconds * 1000; !(await holds()); await sleep(10)) {
    if (Date.now() > end) throw new Error('it did not come to pass')
  }
}
