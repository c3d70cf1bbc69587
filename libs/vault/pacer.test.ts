/** A service that asks for fewer requests gets fewer, one by one, and after a while as many as before; seen by the requests, in virtual time. */
import { setImmediate as turnOfLoop } from 'node:timers/promises'
import { describe, expect, test } from '@jest/globals'
import { scratchGlacier } from './glacier/scratch-glacier.js'
import { openPacer, type PaceClock } from './pacer.js'
import { openScratchVault, scratchCloud } from './s3/scratch-s3.js'

/** Time that passes when everybody waits. */
function virtualTime(): PaceClock & { run(untilMs: number): Promise<void> } {
  let now = 0
  const sleepers: { at: number; wake: () => void }[] = []
  return {
    now: () => now,
    sleep: (ms) => new Promise((wake) => void sleepers.push({ at: now + ms, wake })),
    async run(untilMs) {
      for (;;) {
        await turnOfLoop()
        sleepers.sort((a, b) => a.at - b.at)
        const next = sleepers[0]
        if (next === undefined || next.at > untilMs) return
        sleepers.shift()
        now = next.at
        next.wake()
      }
    },
  }
}

describe('the pace of requests', () => {
  test('falls to what the service takes, with few refusals, and comes back when the service does', async () => {
    const time = virtualTime()
    const pacer = openPacer({ pauseMs: 150, clock: time })
    const seen: { at: number; refused: boolean }[] = []
    const busy = (at: number) => at >= 5_000 && at < 65_000
    const lane = async () => {
      for (;;) {
        const turn = await pacer.turn()
        const at = time.now()
        const lately = seen.filter((one) => one.at > at - 1_000).length
        const refused = busy(at) && lately >= 20
        seen.push({ at, refused })
        await time.sleep(100, undefined)
        if (refused) turn.refused(1)
        else turn.answered()
      }
    }
    for (let lanes = 0; lanes < 16; lanes++) void lane()
    await time.run(120_000)
    const between = (from: number, to: number) => seen.filter(({ at }) => at >= from && at < to)
    const rate = (from: number, to: number) => between(from, to).length / ((to - from) / 1_000)
    expect(rate(0, 5_000)).toBe(160)
    const during = between(10_000, 65_000)
    expect(rate(10_000, 65_000)).toBeLessThan(25)
    // Nor does it starve: the service would take 20.
    expect(rate(10_000, 65_000)).toBeGreaterThan(8)
    expect(during.filter(({ refused }) => refused).length / during.length).toBeLessThan(0.1)
    expect(rate(80_000, 120_000)).toBeGreaterThan(150)
  })

  test('after a pause begins them one by one, in the order in which they came, and lets go who is called off', async () => {
    const time = virtualTime()
    const pacer = openPacer({ pauseMs: 150, clock: time })
    const first = await pacer.turn()
    first.refused(1)
    const began: [string, number][] = []
    const called = new AbortController()
    const wait = (name: string, signal?: AbortSignal) =>
      pacer.turn(signal).then(
        () => void began.push([name, time.now()]),
        (reason: unknown) => void began.push([`${name} ${reason}`, time.now()]),
      )
    for (const name of ['a', 'b']) void wait(name)
    void wait('c', called.signal)
    void wait('d')
    await turnOfLoop()
    called.abort('called off')
    await time.run(60_000)
    expect(began.map(([name]) => name)).toEqual(['c called off', 'a', 'b', 'd'])
    const times = began.map(([, at]) => at)
    expect(times[0]).toBe(0)
    // The hold is 600 ms, or down to half of it by chance.
    expect(times[1]).toBeGreaterThanOrEqual(300)
    expect(times[1]).toBeLessThanOrEqual(600)
    expect(times[2]).toBeGreaterThan(times[1]!)
    // Close to: the hold is a fraction of ms, and sums of such are rounded.
    expect(times[3]! - times[2]!).toBeCloseTo(times[2]! - times[1]!, 6)
  })

  test('is not kept at all while nobody is refused', async () => {
    const pacer = openPacer({ pauseMs: 150, clock: { now: () => 0, sleep: () => expect('nobody').toBe('waiting') as never } })
    const turns = await Promise.all(Array.from({ length: 1_000 }, () => pacer.turn()))
    for (const turn of turns) turn.answered()
  })
})

/** Waits for nothing, and writes down after how many requests of the emulator each wait began. */
function countingClock(served: () => number): PaceClock & { readonly waits: { afterRequests: number; ms: number }[] } {
  let now = 0
  const waits: { afterRequests: number; ms: number }[] = []
  return {
    waits,
    now: () => now,
    async sleep(ms) {
      waits.push({ afterRequests: served(), ms })
      await turnOfLoop()
      now += ms
    },
  }
}

/** So many requests of so many lanes. */
async function manyAtOnce(lanes: number, each: number, request: (n: number) => Promise<unknown>): Promise<void> {
  await Promise.all(
    Array.from({ length: lanes }, async (_, lane) => {
      for (let i = 0; i < each; i++) await request(lane * each + i)
    }),
  )
}

describe('a storm of refusals', () => {
  const REFUSED = 20

  test('slows the S3 vault down and passes: every request after it waits its turn, then none does', async () => {
    const at = await scratchCloud()
    try {
      const clock = countingClock(() => at.cloud.requests.count('HeadObject'))
      const vault = await openScratchVault(at, `s3://cold/${at.newPrefix()}?endpoint=${at.cloud.url}`, { clock })
      at.cloud.faults.add({ kind: 'slow-down', operation: 'HeadObject', after: 20, times: REFUSED })
      await manyAtOnce(16, 25, (n) => vault.stat(`not/there-${n}`))
      expect(at.cloud.requests.count('HeadObject')).toBe(400 + REFUSED)
      // Each refused request and some of those behind it.
      expect(clock.waits.length).toBeGreaterThanOrEqual(REFUSED)
      expect(clock.waits[0]!.afterRequests).toBeGreaterThan(20)
      expect(clock.waits.at(-1)!.afterRequests).toBeLessThan(300)
      await vault.close()
    } finally {
      await at.stop()
    }
  })

  test('slows the Glacier vault down and passes, with every archive sent once', async () => {
    const at = await scratchGlacier()
    try {
      await at.vault.prepare()
      const clock = countingClock(() => at.cloud.requests.count('InitiateMultipartUpload'))
      const vault = at.open({ clock })
      at.cloud.faults.add({ kind: 'slow-down', operation: 'InitiateMultipartUpload', after: 8, times: REFUSED })
      await manyAtOnce(16, 10, async (n) => {
        const upload = await vault.upload(`set/bundle-${n}.1.tar`)
        await upload.write(Buffer.from(`archive ${n}`))
        await upload.seal()
        await upload.complete()
      })
      expect(at.cloud.requests.count('InitiateMultipartUpload')).toBe(160 + REFUSED)
      expect([...at.emulated.archives.values()]).toHaveLength(160)
      expect(clock.waits.length).toBeGreaterThanOrEqual(REFUSED)
      expect(clock.waits.at(-1)!.afterRequests).toBeLessThan(160)
      await vault.close()
    } finally {
      await at.done()
    }
  })
})
