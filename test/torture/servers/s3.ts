/**
 * An S3 that misbehaves, while a tree is archived and while it is restored: refusals by chance, answers that are cut, writes that happen
 * and are not answered, conflicts, bits that flip on the way, silence, blackouts, credentials that expire. A command may give up and be
 * started again; what it recorded is the truth at every moment, and what it restored is what was there.
 */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { DAY_MS, HOUR_MS } from '../../cloud/clock.js'
import type { Cloud } from '../../cloud/cloud.js'
import type { Fault } from '../../cloud/faults.js'
import type { Ran } from '../../firn.js'
import type { Case, CaseContext } from '../case.js'
import {
  checkNames,
  checkRan,
  checkRestored,
  checkSummary,
  checkTree,
  checkUntouched,
  checkVault,
  fail,
} from '../check-invariants.js'
import { differences, type Ledger, withoutDirectoryTimes, writeLedger } from '../ledger.js'
import { type OpenPlace, openPlace } from '../place.js'
import { plantTree } from '../plant.js'
import { archiveArgs, type Planted, restoreArgs, WITH_FIFO } from '../planted.js'
import { type Random, randomFrom } from '../random.js'

type Trouble = (cloud: Cloud, seed: number) => unknown

interface Named {
  readonly name: string
  readonly begin: Trouble
}

const faults = (name: string, ...all: readonly Fault[]): Named => ({
  name,
  begin(cloud, seed) {
    for (const [i, fault] of all.entries()) cloud.faults.add({ ...fault, seed: seed + i })
  },
})

const WRITES = ['PutObject', 'CompleteMultipartUpload'] as const
const onWrites = (fault: Omit<Fault, 'operation'>): Fault[] => WRITES.map((operation) => ({ ...fault, operation }))

/** While a tree is archived. */
const OF_ARCHIVING: readonly Named[] = [
  faults('30 % of 503', { kind: 'slow-down', percent: 30 }),
  faults('20 % of 500', { kind: 'internal-error', percent: 20 }),
  faults('20 % of resets', { kind: 'reset', percent: 20 }),
  faults('20 % of answers lost', { kind: 'lost-answer', percent: 20 }),
  faults('Complete happens and is not answered', { kind: 'lost-answer', operation: 'CompleteMultipartUpload', times: 2 }),
  faults('Complete answers 200 with an error', { kind: 'error-in-200', operation: 'CompleteMultipartUpload', times: 2 }),
  faults('409', ...onWrites({ kind: 'conflict', percent: 30 })),
  faults('412', ...onWrites({ kind: 'taken', percent: 15 })),
  faults(
    'bits flipped on the way there',
    { kind: 'bit-flip-sent', operation: 'PutObject', percent: 30 },
    { kind: 'bit-flip-sent', operation: 'UploadPart', percent: 30 },
  ),
  faults('other checksums answered', { kind: 'other-checksum', percent: 15 }),
  faults('answers cut', { kind: 'truncate', percent: 15 }),
]

/** While one is restored. */
const OF_RESTORING: readonly Named[] = [
  faults('30 % of 503', { kind: 'slow-down', percent: 30 }),
  faults('20 % of resets', { kind: 'reset', percent: 20 }),
  faults('20 % of answers lost', { kind: 'lost-answer', percent: 20 }),
  faults('bits flipped on the way back', { kind: 'bit-flip', operation: 'GetObject', percent: 40 }),
  faults('answers cut', { kind: 'truncate', operation: 'GetObject', percent: 40 }),
  faults('copies that expire while they are read', { kind: 'expire-copy', operation: 'GetObject', percent: 20 }),
]

const STARTS = 5

/** One of everything, and a file that needs an upload in parts. */
function plantLarge({ at }: OpenPlace, name: string, random: Random): Planted {
  const root = at.path(name)
  plantTree(root, random)
  writeFileSync(`${root}/large`, random.bytes(1_000).toString('hex').repeat(4_500))
  return { root, ledger: writeLedger(root, { xattrs: true }) }
}

/** The same command, as long as it says that something failed or that it should be tried again. */
async function archiveUntilDone(place: OpenPlace, { count }: CaseContext, tree: Planted): Promise<Ran> {
  for (let starts = 1; ; starts++) {
    const ran = await place.at.run('archive-files', archiveArgs(tree, '-f'))
    checkRan(place, ran, starts < STARTS ? [WITH_FIFO, 1, 75] : [WITH_FIFO])
    if (ran.code === WITH_FIFO) return ran
    count('commands that had to be started again', 1)
    await checkVault(place, { underway: true })
  }
}

/** `end`: ends the trouble that the command goes through. What broken uploads left the vault may still have: see `checkAfterwards`. */
async function archiveThrough(place: OpenPlace, context: CaseContext, tree: Planted, end: () => unknown): Promise<void> {
  const ran = await archiveUntilDone(place, context, tree)
  await end()
  await checkSummary(place, ran, tree.ledger)
  await checkTree(place, tree.root, tree.ledger)
  checkUntouched(tree.root, tree.ledger)
}

/** A run without trouble sweeps what broken uploads left; what dead attempts stored is named. */
async function checkAfterwards(place: OpenPlace, context: CaseContext): Promise<void> {
  checkRan(place, await place.at.run('archive-files', ['--json', place.at.path('tree')]), [0])
  const unknown = await checkVault(place)
  context.count('objects that a dead attempt left, each named by check', unknown.length)
  await checkNames(place, unknown)
}

/** Under trouble a file may be missing in the target; none may be wrong. */
function checkNothingWrong({ root, ledger }: Planted, to: string): void {
  let there: Ledger
  try {
    there = writeLedger(to + root)
  } catch {
    return // not even its directory
  }
  const but = { mode: true, times: true, directories: true, hardlinks: true, more: true }
  fail(`I3: what was restored of ${root} under trouble`, differences(there, ledger, but))
}

/** `end`: ends the trouble that the command goes through. */
async function restoreThrough(
  place: OpenPlace,
  context: CaseContext,
  tree: Planted,
  name: string,
  end: () => unknown,
): Promise<void> {
  const to = place.at.path(name)
  mkdirSync(to)
  place.cloud?.clock.pass(9 * DAY_MS) // what was thawed is cold again
  const ran = await place.at.run('find-and-retrieve', restoreArgs(tree, to))
  checkRan(place, ran, [0, 1, 75])
  checkNothingWrong(tree, to)
  await end()
  if (ran.code !== 0) {
    context.count('commands that had to be started again', 1)
    checkRan(place, await place.at.run('find-and-retrieve', restoreArgs(tree, to)), [0])
  }
  // What was restored in part is a tree of its user's when the command is given again: its directories keep the times of that.
  checkRestored(tree.root, ran.code === 1 ? withoutDirectoryTimes(tree.ledger) : tree.ledger, to, { xattrs: true })
  rmSync(to, { recursive: true, force: true })
}

async function withCloud(run: (place: OpenPlace, cloud: Cloud) => Promise<void>): Promise<void> {
  const place = await openPlace('s3')
  try {
    await run(place, place.cloud as Cloud)
  } finally {
    await place.close()
  }
}

async function during<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw new Error(`${what}: ${error instanceof Error ? error.message : error}`, { cause: error })
  }
}

const misbehaving: Case = {
  name: 'servers/s3-faults',
  run: (context) =>
    withCloud(async (place, cloud) => {
      const injected = () => cloud.requests.recent().filter(({ fault }) => fault !== undefined).length
      const clear = () => {
        context.count('faults injected', injected())
        cloud.requests.reset()
        cloud.faults.clear()
      }
      let last: Planted | undefined
      for (const [i, { name, begin }] of OF_ARCHIVING.entries()) {
        last = plantLarge(place, `wood-${i}`, randomFrom(context.seed, `s3 ${i}`))
        begin(cloud, context.seed)
        await during(`archiving, ${name}`, () => archiveThrough(place, context, last as Planted, clear))
      }
      await checkAfterwards(place, context)
      for (const [i, { name, begin }] of OF_RESTORING.entries()) {
        begin(cloud, context.seed)
        await during(`restoring, ${name}`, () => restoreThrough(place, context, last as Planted, `back-${i}`, clear))
      }
    }),
}

/** Begins some trouble; what it returns ends it. */
type Strike = (cloud: Cloud, context: CaseContext) => () => unknown

/** A tree is archived through one strike, and restored through another. */
const struck = (what: string, archiving: Strike, restoring: Strike): Case => ({
  name: `servers/s3-${what}`,
  waits: true,
  run: (context) =>
    withCloud(async (place, cloud) => {
      const tree = plantLarge(place, 'wood', randomFrom(context.seed, what))
      await archiveThrough(place, context, tree, archiving(cloud, context))
      cloud.faults.clear()
      await checkAfterwards(place, context)
      await restoreThrough(place, context, tree, 'back', restoring(cloud, context))
    }),
})

/** Longer than a request is tried at other times. */
const BLACKOUT_MS = 30_000

/** Begins in the middle: with the n-th of these requests. */
const blackout =
  (operation: string, nth: number): Strike =>
  (cloud, { count }) => {
    const before = cloud.requests.count(operation)
    const strike = async () => {
      while (cloud.requests.count(operation) < before + nth) await sleep(10)
      cloud.link.broken = true
      await sleep(BLACKOUT_MS)
      cloud.link.broken = false
      count('blackouts of the vault', 1)
    }
    const over = strike()
    return () => over
  }

/** Requests that are taken in and never answered: each is given up after a minute of silence. */
const stalls =
  (operations: readonly string[], how: { readonly times: number; readonly after?: number }): Strike =>
  (cloud, { count }) => {
    for (const operation of operations) cloud.faults.add({ kind: 'stall', operation, ...how })
    return () => count('requests never answered', operations.length * how.times - cloud.faults.pending)
  }

/** Credentials with a token, as the role of a machine has them, from a place that hands out new ones. */
async function credentialsServer(cloud: Cloud): Promise<{ url: string; stop(): void; asked(): number }> {
  let asked = 0
  const server = createServer((_, response) => {
    asked++
    const { accessKeyId, secretAccessKey, sessionToken, expiration } = cloud.session(3_600)
    response.setHeader('content-type', 'application/json')
    // By the machine's clock they are good for an hour; that the service thinks otherwise is the trouble.
    const seemsGood = new Date(Math.max(expiration.getTime(), Date.now() + HOUR_MS))
    response.end(
      JSON.stringify({
        AccessKeyId: accessKeyId,
        SecretAccessKey: secretAccessKey,
        Token: sessionToken,
        Expiration: seemsGood.toISOString(),
      }),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}/role`, asked: () => asked, stop: () => void server.close() }
}

const expiring: Case = {
  name: 'servers/s3-credentials',
  run: (context) =>
    withCloud(async (place, cloud) => {
      const role = await credentialsServer(cloud)
      try {
        const { env } = place.at
        const fixed = { AWS_ACCESS_KEY_ID: env['AWS_ACCESS_KEY_ID'], AWS_SECRET_ACCESS_KEY: env['AWS_SECRET_ACCESS_KEY'] }
        for (const name of Object.keys(fixed)) delete env[name]
        env['AWS_CONTAINER_CREDENTIALS_FULL_URI'] = role.url
        // They expire with the first thing that is stored, so that also a fast machine meets it, and then again and again.
        const stored = () => cloud.requests.count('PutObject') + cloud.requests.count('UploadPart')
        const expire = async (over: () => boolean) => {
          while (stored() === 0 && !over()) await sleep(1)
          for (; !over(); await sleep(700)) {
            cloud.clock.pass(2 * HOUR_MS)
            context.count('credentials expired', 1)
          }
        }
        const tree = plantLarge(place, 'wood', randomFrom(context.seed, 'credentials'))
        let over = false
        const expiry = expire(() => over)
        await archiveThrough(place, context, tree, async () => {
          over = true
          await expiry
        })
        await restoreThrough(place, context, tree, 'back', () => {})
        if (role.asked() < 3) throw new Error(`the credentials were asked for ${role.asked()} times only`)

        // Fixed ones with a token, which nobody renews: a refusal that says so; with new ones the same command finishes.
        delete env['AWS_CONTAINER_CREDENTIALS_FULL_URI']
        const dying = () => {
          const { accessKeyId, secretAccessKey, sessionToken } = cloud.session(3_600)
          Object.assign(env, {
            AWS_ACCESS_KEY_ID: accessKeyId,
            AWS_SECRET_ACCESS_KEY: secretAccessKey,
            AWS_SESSION_TOKEN: sessionToken,
          })
        }
        dying()
        const other = plantLarge(place, 'other-wood', randomFrom(context.seed, 'dying'))
        const before = cloud.requests.count('PutObject')
        const running = place.at.start('archive-files', archiveArgs(other, '-f'))
        while (cloud.requests.count('PutObject') < before + 4 && running.exitCode === null) await sleep(5)
        cloud.clock.pass(2 * HOUR_MS)
        const ran = await running.ended
        checkRan(place, ran, [2])
        if (!/credentials have expired/.test(ran.stdout + ran.stderr)) throw new Error(`it does not say why: ${ran.stderr}`)
        await checkVault(place, { underway: true })
        context.count('credentials expired', 1)
        dying()
        await archiveThrough(place, context, other, () => {})
        await checkAfterwards(place, context)
        delete env['AWS_SESSION_TOKEN']
        Object.assign(env, fixed)
      } finally {
        role.stop()
      }
    }),
}

export const S3: readonly Case[] = [
  misbehaving,
  struck('blackout', blackout('UploadPart', 1), blackout('GetObject', 2)),
  struck(
    'stalls',
    stalls(['PutObject', 'UploadPart', 'HeadObject'], { times: 1, after: 1 }),
    stalls(['GetObject'], { times: 2 }),
  ),
  expiring,
]
