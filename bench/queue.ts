/**
 * `npm run bench -- --queue <jobs>`: how fast bundles are put into the queue, singly as the crawler does and many at a time as the
 * reconciler does, and how fast workers that do nothing with them take them out again: in the embedded database and in Redis, which is
 * started, and installed where it is missing (as root).
 */
import { openQueue } from '#libs/queue/open-queue.js'
import { redis } from '../test/services/redis.js'
import { startServers } from '../test/services/start.js'
import { withEmbedded } from './embedded.js'

const TAKEN_AT_ONCE = 8
/** As one crawler adds them, a little ahead of its catalog. */
const SINGLY = 1_000

export async function benchQueue(jobs: number): Promise<void> {
  const rows: string[] = []
  await withEmbedded({ durable: true }, async (url) => rows.push(await measureQueue('embedded Postgres', url, jobs)))
  const servers = await startServers([redis])
  try {
    rows.push(await measureQueue('Redis', servers.env[redis.variable] as string, jobs))
  } finally {
    await servers.stop()
  }
  console.log(
    `\n| ${jobs.toLocaleString('en')} jobs | added one by one, /s | added many at a time, /s | waiting, then | taken and ended, /s |\n|---|---|---|---|---|`,
  )
  for (const row of rows) console.log(row)
}

async function measureQueue(name: string, url: string, jobs: number): Promise<string> {
  const queue = await openQueue(url, { onError: (error) => console.error(String(error)) })
  try {
    const payloads = Array.from({ length: jobs }, (_, i) => ({ bundleId: idOf(i) }))
    const rate = async (count: number, act: () => Promise<void>) => {
      const began = performance.now()
      await act()
      return Math.round(count / ((performance.now() - began) / 1000)).toLocaleString('en')
    }
    const singly = await rate(SINGLY, async () => {
      for (const payload of payloads.slice(0, SINGLY)) await queue.add('store-bundle', payload)
    })
    const many = await rate(jobs - SINGLY, () => queue.addMany('store-bundle', payloads.slice(SINGLY)))
    const waiting = await queue.pending('store-bundle')
    const taken = await rate(jobs, async () => {
      let ended = 0
      let wake = () => {}
      const all = new Promise<void>((resolve) => {
        wake = resolve
      })
      const count = async () => {
        if (++ended === jobs) wake()
      }
      const worker = await queue.work('store-bundle', count, { concurrency: TAKEN_AT_ONCE })
      await all
      await worker.stop(10_000)
    })
    return `| ${name} | ${singly} | ${many} | ${waiting.toLocaleString('en')} | ${taken} |`
  } finally {
    await queue.close()
  }
}

const idOf = (number: number): string => `00000000-0000-4000-8000-${number.toString(16).padStart(12, '0')}`
