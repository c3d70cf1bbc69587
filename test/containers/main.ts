/**
 * `npm run test:containers`: builds the image and runs docker-compose.yml for real, as root, on an engine of this machine or one of its
 * own: three workers, one of which is killed; archive, find, restore and compare; a worker without the tree; an upgrade; down.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { lookAt, makeFiles } from '../tree.js'
import { type Engine, openEngine } from './engine.js'
import { makeImages } from './images.js'

const project = fileURLToPath(new URL('../../..', import.meta.url))
const NAME = 'firn-journey'
const FIRN_USER = 10_001
const FILES = 3_000
/** A machine that has much else to do needs longer. */
const PATIENCE_S = 300

// The work below is told by its children, which get the same signal; then everything is taken down.
process.on('SIGINT', () => {})

const scratch = mkdtempSync('/tmp/firn-containers-')
chmodSync(scratch, 0o755)
const outcome = { passed: 0, failed: 0 }
try {
  const engine = await openEngine(scratch)
  try {
    makeImages(engine, project, scratch)
    await journey(engine)
  } finally {
    await engine.close()
  }
} catch (error) {
  outcome.failed++
  console.error(error instanceof Error ? error.message : error)
} finally {
  rmSync(scratch, { recursive: true, force: true })
}
console.log(`${outcome.passed} passed, ${outcome.failed} failed`)
process.exit(outcome.failed > 0 ? 1 : 0)

async function journey(engine: Engine): Promise<void> {
  const tree = join(scratch, 'tree')
  const restored = join(scratch, 'restored')
  makeFiles(tree, FILES, { bytes: 20_000 })
  mkdirSync(restored)
  chownSync(restored, FIRN_USER, FIRN_USER)
  const settings = join(scratch, 'env')
  const password = 'words4testing'
  const write = (image: string) =>
    writeFileSync(
      settings,
      Object.entries({
        FIRN_IMAGE: image,
        FIRN_TREE: tree,
        FIRN_HOST: 'journey',
        FIRN_RESTORED: restored,
        FIRN_WORKERS: '1',
        POSTGRES_PASSWORD: password,
        OWNER_PASSWORD: `${password}1`,
        CRAWLER_PASSWORD: `${password}2`,
        WORKER_PASSWORD: `${password}3`,
        RETRIEVER_PASSWORD: `${password}4`,
        FINDER_PASSWORD: `${password}5`,
        REDIS_PASSWORD: password,
        ELASTIC_PASSWORD: password,
        SEARCH_PASSWORD: `${password}6`,
        AWS_SECRET_ACCESS_KEY: password,
        ES_JAVA_OPTS: '-Xms512m -Xmx512m',
      })
        .map(([key, value]) => `${key}=${value}\n`)
        .join(''),
    )
  const [program, ...first] = engine.compose
  const files = ['docker-compose.yml', 'test/containers/compose.override.yml'].flatMap((file) => ['-f', join(project, file)])
  const begin = [...first, '-p', NAME, '--env-file', settings, ...files, '--profile', 'tools']
  const compose = (...args: string[]) => execFileSync(program, [...begin, ...args], { stdio: ['ignore', 2, 2] })
  const up = () => compose('up', '-d', '--quiet-pull', '--no-build', '--scale', 'worker=3', 'worker', 'retriever')
  const firn = (service: 'crawler' | 'finder', ...args: string[]) =>
    startFirn(program, [...begin, 'run', '--rm', '--no-deps', '-T', service, '--json', ...args])
  const workers = () =>
    ids(
      engine.ask(
        'ps',
        '-q',
        '-f',
        `label=com.docker.compose.project=${NAME}`,
        '-f',
        'label=com.docker.compose.service=worker',
        '-f',
        'label=com.docker.compose.oneoff=False',
      ),
    )
  const health = (container: string) => engine.ask('inspect', '-f', '{{.State.Health.Status}}', container)
  const said = (container: string) =>
    execFileSync('sh', ['-c', `docker logs ${container} 2>&1`], { encoding: 'utf8', maxBuffer: 1e9 })
  const healthy = () =>
    until('three healthy workers', () => workers().length === 3 && workers().every((one) => health(one) === 'healthy'))

  try {
    await step('the image is built, and runs as nobody special', () => {
      engine.docker('build', '-q', '--network', 'host', '-t', `${NAME}:1`, project)
      write(`${NAME}:1`)
      equal(engine.ask('run', '--rm', '--entrypoint', 'id', `${NAME}:1`, '-u'), String(FIRN_USER))
      equal(engine.ask('run', '--rm', `${NAME}:1`, 'worker', '--help')?.includes('--grace'), true)
    })
    await step('compose brings everything up, tables and bucket first, and three workers are ready', async () => {
      up()
      await healthy()
    })
    await step('no password is in the arguments of a process', () => {
      for (const container of ids(engine.ask('ps', '-q')))
        equal(engine.ask('top', container, '-eo', 'pid,args')?.includes(password), false)
    })
    await step('a worker is killed while a tree is archived, and nothing is lost', async () => {
      const archiving = firn('crawler', '-r', '--files-per-bundle', '50', tree)
      const victim = workers()[0] as string
      await until('a bundle begun', () => said(victim).includes('bundle begun'))
      engine.docker('kill', '-s', 'KILL', victim)
      const { code, summary } = await archiving.ended
      equal([code, summary['files_archived'], summary['files_failed']], [0, FILES, 0])
    })
    await step('every file is found, by words and by path', async () => {
      const byPath = await firn('finder', '-l', '--path', tree).ended
      equal(byPath.messages.filter(({ message_type }) => message_type === 'file').length, FILES)
      const byWords = await firn('finder', '-l', '-s', 'file 77 txt').ended
      equal(byWords.messages.filter(({ message_type }) => message_type === 'file').length, 1)
    })
    await step('everything is restored as it was', async () => {
      const { code, summary } = await firn('finder', '--path', tree, '--to', '/restored/asked', '--yes').ended
      equal([code, summary['files_restored']], [0, FILES])
      equal(lookAt(join(restored, 'asked', tree)), lookAt(tree))
    })
    await step('the retriever completes a detached retrieval', async () => {
      const { code, summary } = await firn('finder', '--path', join(tree, 'dir-1'), '--detach', '--yes').ended
      equal(code, 0)
      const place = join(restored, String(summary['retrieval_id']), tree, 'dir-1')
      await until('the files', () => seen(place) === seen(join(tree, 'dir-1')))
    })
    await step('a worker without the tree leaves it to those that have it', async () => {
      makeFiles(join(tree, 'more'), 200)
      const empty = join(scratch, 'empty')
      mkdirSync(empty)
      compose('stop', '-t', '45', 'worker')
      const blind = [...begin, 'run', '-d', '--no-deps', '-v', `${empty}:${tree}:ro`, 'worker']
      const container = execFileSync(program, blind, { encoding: 'utf8', stdio: ['ignore', 'pipe', 2] }).trim()
      const { code } = await firn('crawler', '-r', '--detach', tree).ended
      equal(code, 0)
      await until('the worker to see nothing', () => said(container).includes('left to a host that sees the tree'))
      up()
      const again = await firn('crawler', '-r', tree).ended
      equal([again.code, again.summary['files_failed'], again.summary['files_unchanged']], [0, 0, FILES + 200])
      engine.docker('rm', '-f', container)
    })
    await step(
      'a new image takes over: workers stop in order, tables are brought up to date, what was archived is found',
      async () => {
        await healthy()
        const before = workers()
        engine.docker('build', '-q', '--network', 'host', '--label', 'upgrade=2', '-t', `${NAME}:2`, project)
        write(`${NAME}:2`)
        up()
        await healthy()
        equal(
          workers().filter((one) => before.includes(one)),
          [],
        )
        const { code, summary } = await firn('crawler', '-r', tree).ended
        equal([code, summary['files_archived'], summary['files_unchanged']], [0, 0, FILES + 200])
      },
    )
    await step('a worker that is stopped ends in order, within its time', () => {
      const stopped = workers()[0] as string
      engine.docker('stop', '-t', '45', stopped)
      equal(engine.ask('inspect', '-f', '{{.State.ExitCode}}', stopped), '143')
    })
  } finally {
    await step('down takes everything away', () => {
      compose('down', '-v', '--remove-orphans', '-t', '45')
      equal(ids(engine.ask('ps', '-aq', '-f', `label=com.docker.compose.project=${NAME}`)), [])
      equal(ids(engine.ask('volume', 'ls', '-q', '-f', `label=com.docker.compose.project=${NAME}`)), [])
      for (const image of [`${NAME}:1`, `${NAME}:2`]) engine.ask('rmi', image)
      engine.ask('image', 'prune', '-f')
    })
  }
}

/** One that fails ends the journey: what follows builds on it. */
async function step(name: string, run: () => void | Promise<void>): Promise<void> {
  const began = performance.now()
  const seconds = () => `${((performance.now() - began) / 1000).toFixed(1)} s`
  try {
    await run()
    outcome.passed++
    console.log(`ok      ${name} (${seconds()})`)
  } catch (error) {
    console.log(`FAILED  ${name} (${seconds()})`)
    throw error
  }
}

interface Ran {
  readonly code: number | null
  readonly messages: readonly Record<string, unknown>[]
  readonly summary: Record<string, unknown>
}

function startFirn(program: string, args: readonly string[]): { process: ChildProcess; ended: Promise<Ran> } {
  const process = spawn(program, args, { stdio: ['ignore', 'pipe', 2] })
  let stdout = ''
  process.stdout?.setEncoding('utf8').on('data', (text) => {
    stdout += text
  })
  const ended = new Promise<Ran>((resolve, reject) => {
    process.on('error', reject)
    process.on('close', (code) => {
      const messages = stdout
        .split('\n')
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line) as Record<string, unknown>)
      const summary = messages.findLast(({ message_type }) => message_type === 'summary') ?? {}
      if (code !== 0) console.error(stdout.slice(-2_000))
      resolve({ code, messages, summary })
    })
  })
  return { process, ended }
}

function ids(text: string | undefined): string[] {
  return (text ?? '').split('\n').filter((line) => line !== '')
}

/** What is there, as text; where nothing is, nothing. */
function seen(directory: string): string {
  try {
    return [...lookAt(directory)]
      .map(([path, { sha256, mode, mtimeNs }]) => `${path} ${sha256} ${mode} ${mtimeNs}`)
      .sort()
      .join('\n')
  } catch {
    return ''
  }
}

function equal(found: unknown, expected: unknown): void {
  const text = (value: unknown) =>
    JSON.stringify(value instanceof Map ? [...value].sort(([a], [b]) => (a < b ? -1 : 1)) : value, (_key, one: unknown) =>
      typeof one === 'bigint' ? String(one) : one,
    )
  if (text(found) !== text(expected))
    throw new Error(`found ${text(found)?.slice(0, 500)}, expected ${text(expected)?.slice(0, 500)}`)
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (const end = Date.now() + PATIENCE_S * 1000; !holds(); await sleep(500)) {
    if (Date.now() > end) throw new Error(`waited ${PATIENCE_S} s in vain for ${what}`)
  }
}
