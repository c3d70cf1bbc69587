/**
 * `npm run bench -- --remote [--rounds 3]`: bundles to an S3 endpoint that takes 100 ms for each request.
 *
 * How full the line is, with one machine that has nothing but npm, and a bandwidth that leaves its cores time to spare; how workers add up,
 * each a process that handles one bundle at a time, where a bundle waits longer for answers than for anything else; and how much memory
 * one worker takes with four bundles of 500 MB at a time. The endpoint is the emulator of the tests in a process of its own on the same
 * machine, and does as little as it may (no checksums that nobody asked for). PostgreSQL and Redis are started, and installed where they
 * are missing (as root).
 */
import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { scratchDatabase } from '../test/database.js'
import { type Home, openHome, type Ran } from '../test/firn.js'
import { postgres } from '../test/services/postgres.js'
import { redis } from '../test/services/redis.js'
import { startServers } from '../test/services/start.js'
import { median } from './measure.js'
import { treeIn, treeNamed } from './trees.js'

const LATENCY_MS = 100
const LINE_BYTES_PER_SECOND = 40e6

export async function benchRemote(root: string, rounds: number): Promise<void> {
  await benchLine(directoryOf(root, 'M'), rounds)
  const servers = await startServers([postgres, redis])
  Object.assign(process.env, servers.env)
  try {
    await benchWorkers(directoryOf(root, 'W'), rounds)
    await benchMemory(directoryOf(root, 'M'))
  } finally {
    await servers.stop()
  }
}

const directoryOf = (root: string, name: string): string => treeIn(root, treeNamed(name))

/** A whole process on an existing FIRN_HOME, 20 bundles of 100 MB. */
async function benchLine(tree: string, rounds: number): Promise<void> {
  const shares: number[] = []
  for (let round = 0; round < rounds; round++) {
    await using endpoint = await startEndpoint(LINE_BYTES_PER_SECOND)
    using home = scratchHome(endpoint)
    succeed(await home.run('archive-files', ['-r', '--json', home.path('tree')])) // makes the database
    const began = performance.now()
    const { summary } = succeed(await home.run('archive-files', ['-r', '--json', '--bundle-size', '100MB', tree]))
    const seconds = (performance.now() - began) / 1000
    const bytes = Number(summary['bytes'])
    shares.push(bytes / seconds / LINE_BYTES_PER_SECOND)
    say(`line: ${(bytes / 1e6).toFixed()} MB in ${summary['bundles']} bundles, ${seconds.toFixed(1)} s`)
  }
  console.log(
    `\nS3 at ${LATENCY_MS} ms a request and ${LINE_BYTES_PER_SECOND / 1e6} MB/s, 20 bundles of 100 MB: ` +
      `**${(median(shares) * 100).toFixed(0)} %** of the bandwidth (median of ${rounds})`,
  )
}

/** 240 bundles of 1.25 MB by workers that take one at a time. One, two and four of them take turns: the machine's speed changes meanwhile. */
async function benchWorkers(tree: string, rounds: number): Promise<void> {
  const counts = [1, 2, 4]
  const times = new Map<number, number[]>(counts.map((count) => [count, []]))
  for (let round = 0; round < rounds; round++) {
    for (const count of counts) {
      const { seconds } = await distributed(count, { FIRN_WORKERS: '1' }, ['--files-per-bundle', '50', tree])
      times.get(count)?.push(seconds)
    }
  }
  console.log(`\n| workers | seconds | x one worker, of as many |\n|---|---|---|`)
  const one = median(times.get(1) ?? [])
  for (const [count, all] of times)
    console.log(`| ${count} | ${median(all).toFixed(1)} | ${(one / median(all) / count).toFixed(2)} |`)
}

async function benchMemory(tree: string): Promise<void> {
  const { peaks } = await distributed(1, { FIRN_WORKERS: '4' }, ['--files-per-bundle', '100000', '--bundle-size', '500MB', tree])
  console.log(
    `\nOne worker, four bundles of 500 MB at a time: peak memory ${peaks.map((bytes) => (bytes / 1e6).toFixed()).join(', ')} MB`,
  )
}

/** Archives with workers that were there before; says how long that took, and how much memory each worker took at its peak. */
async function distributed(
  count: number,
  env: NodeJS.ProcessEnv,
  args: readonly string[],
): Promise<{ seconds: number; peaks: number[] }> {
  const database = await scratchDatabase()
  const name = database.url.slice(database.url.lastIndexOf('/') + 1).replace(/\?.*/, '')
  await using endpoint = await startEndpoint()
  using home = scratchHome(endpoint, {
    FIRN_DATABASE_URL: database.url,
    FIRN_QUEUE_URL: `${process.env['FIRN_TEST_REDIS_URL']}?prefix={${name}}`,
    ...env,
  })
  const workers: ReturnType<Home['start']>[] = []
  try {
    succeed(await home.run('firn', ['migrate']))
    for (let i = 0; i < count; i++) workers.push(home.start('firn', ['worker']))
    // Each has had work before the time is taken: all of them have loaded what they need.
    succeed(await home.run('archive-files', ['-r', '--json', '--files-per-bundle', '1', home.path('tree')]))
    const { summary } = succeed(await home.run('archive-files', ['-r', '--json', ...args]))
    const seconds = await busyWith(database.url, String(summary['set_id']))
    say(`${count} workers: ${seconds.toFixed(1)} s`)
    return { seconds, peaks: workers.map(({ pid }) => peakOf(pid as number)) }
  } finally {
    for (const worker of workers) worker.kill('SIGTERM')
    await Promise.all(workers.map(({ ended }) => ended))
    await database.drop()
  }
}

/** Seconds from when the first bundle of a set was taken to when the last one was searchable: the command's own start is not the workers'. */
async function busyWith(url: string, set: string): Promise<number> {
  const client = new pg.Client(url)
  await client.connect()
  try {
    const span = 'extract(epoch FROM max(changed_at) - min(archived_at))::float8 AS seconds'
    return (await client.query(`SELECT ${span} FROM bundle WHERE "set" = $1`, [set])).rows[0].seconds
  } finally {
    await client.end()
  }
}

/** Peak resident memory, from the kernel. */
const peakOf = (pid: number): number =>
  Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]) * 1024

function scratchHome({ url, env }: Endpoint, more: NodeJS.ProcessEnv = {}): Home & Disposable {
  const home = openHome({ FIRN_VAULT_URL: `s3://bench/a?class=DEEP_ARCHIVE&region=us-east-1&endpoint=${url}`, ...env, ...more })
  for (let i = 0; i < 16; i++) writeFileSync(home.path('tree', `${i}`), `${i}`)
  return Object.assign(home, { [Symbol.dispose]: () => home.dispose() })
}

interface Endpoint extends AsyncDisposable {
  readonly url: string
  /** Its credentials. */
  readonly env: Readonly<Record<string, string>>
}

async function startEndpoint(bytesPerSecond = Number.POSITIVE_INFINITY): Promise<Endpoint> {
  const main = fileURLToPath(new URL('../test/cloud/main.js', import.meta.url))
  const options = ['--light', '--bucket', 'bench', '--latency-ms', `${LATENCY_MS}`, '--bytes-per-second', `${bytesPerSecond}`]
  const child = spawn(process.execPath, [main, ...options], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = new Promise((resolve) => child.once('close', resolve))
  const lines: string[] = []
  for await (const line of createInterface(child.stdout)) if (lines.push(line) === 3) break
  const [url, ...credentials] = lines as [string, ...string[]]
  return {
    url,
    env: Object.fromEntries(credentials.map((line) => line.split('=') as [string, string])),
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM')
      await ended
    },
  }
}

function succeed(ran: Ran): Ran {
  if (ran.code !== 0) throw new Error(`exit ${ran.code}: ${ran.stderr || ran.stdout.slice(-1_000)}`)
  return ran
}

const say = (line: string): void => void process.stderr.write(`${line}\n`)
