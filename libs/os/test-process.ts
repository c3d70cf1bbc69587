/** For tests: a piece of script in a Node process of its own, where it may be another user, lack a library, or be killed. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'

export interface ScriptOptions {
  /** Starts the process through another program: `['unshare', '-m', ...]`. */
  readonly through?: readonly string[]
  /** CommonJS that runs before anything else. */
  readonly before?: string
}

/** Becomes nobody, if it is root; after its imports, which may lie where nobody may not go. */
export const BECOME_NOBODY =
  'if (process.getuid() === 0) { process.setgroups([65534]); process.setgid(65534); process.setuid(65534) }'

/** An ES module; what it passes to `say` is the answer. `imports`: name to URL of a compiled module, there as variables. */
export function runScript(imports: Record<string, string>, script: string, options: ScriptOptions = {}): unknown {
  const [file, ...args] = commandOf(imports, script, options)
  return JSON.parse(
    execFileSync(file as string, args, { encoding: 'utf8', env: environment(), stdio: ['ignore', 'pipe', 'inherit'] }),
  )
}

/** The same, not waited for: returns it and its first answer. */
export async function startScript(
  imports: Record<string, string>,
  script: string,
): Promise<{ child: ChildProcess; said: unknown }> {
  const [file, ...args] = commandOf(imports, script, {})
  const child = spawn(file as string, args, { env: environment(), stdio: ['ignore', 'pipe', 'inherit'] })
  const [text] = (await once(child.stdout.setEncoding('utf8'), 'data')) as [string]
  return { child, said: JSON.parse(text) }
}

function commandOf(imports: Record<string, string>, script: string, options: ScriptOptions): string[] {
  const text = [
    ...Object.entries(imports).map(([name, url]) => `import * as ${name} from ${JSON.stringify(url)}`),
    'import fs from "node:fs"',
    'const say = (answer) => fs.writeSync(1, JSON.stringify(answer))',
    script,
  ].join('\n')
  const before = options.before ? ['--import', `data:text/javascript,${encodeURIComponent(options.before)}`] : []
  return [...(options.through ?? []), process.execPath, ...before, '--input-type=module', '-e', text]
}

/** Without the options that Jest was started with. */
function environment(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _, ...env } = process.env
  return env
}

/** The `before` of a process in which koffi cannot be loaded, as on a machine that it was not built for. */
export const WITHOUT_KOFFI = `
  import Module from 'node:module'
  const load = Module._load
  Module._load = (name, ...rest) => {
    if (name === 'koffi') throw new Error('no build for this machine')
    return load(name, ...rest)
  }`
