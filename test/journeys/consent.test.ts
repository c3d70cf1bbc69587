import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { statusOf } from '../firn.js'
import { describeInBothModes, type Installation } from '../modes.js'
import { lookAt, makeFiles } from '../tree.js'

describeInBothModes('a vault that takes money', (open) => {
  let at: Installation
  const asked = (...more: string[]) => ['--path', at.path('tree'), '--to', at.path('back'), ...more]
  const statuses = async () => (await statusOf(at)).retrievals
  beforeAll(async () => {
    at = await open({ cold: true })
    makeFiles(at.path('tree'), 30)
    expect((await at.run('archive-files', ['-r', '--files-per-bundle', '10', 'tree'])).code).toBe(0)
  })
  afterAll(() => at.dispose())

  test('is asked for nothing by -l and -r: they work without it', async () => {
    const [list, dryRun] = await at.vault.untouched(
      async () => [await at.run('find-and-retrieve', asked('-l')), await at.run('find-and-retrieve', asked('-r'))] as const,
    )
    expect([list.code, dryRun.code]).toEqual([0, 0])
    expect(list.stdout.trimEnd().split('\n')).toHaveLength(30)
    expect(dryRun.stdout.trimEnd().split('\n')).toHaveLength(3)
    expect(await statuses()).toEqual([])
  }, 60_000)

  test('is asked for nothing without a yes: exit 5, with the price', async () => {
    const ran = await at.run('find-and-retrieve', asked('--json'))
    expect(ran.code).toBe(5)
    const quote = ran.messages.find((message) => message['message_type'] === 'quote')
    expect(quote).toMatchObject({ archives: 3, archives_cold: 3, requests: 6, tier: 'standard', days: 7, hours: [9, 12] })
    expect(quote?.['tiers']).toMatchObject([{ tier: 'standard' }, { tier: 'bulk' }])
    const detached = await at.run('find-and-retrieve', ['--path', at.path('tree'), '--detach'])
    expect(detached.code).toBe(5)
    expect(detached.stderr).toMatch(/\* standard +\$0\.\d+ +ready in 9 to 12 hours/)
    expect(detached.stderr).toMatch(/prices of us-east-1, \d{4}-\d{2}-\d{2}/)
    expect(await statuses()).toEqual([])
  }, 60_000)

  test('is asked for nothing that costs more than --max-cost: exit 5, also with --yes', async () => {
    const ran = await at.run('find-and-retrieve', asked('--max-cost', '0', '--yes'))
    expect(ran.code).toBe(5)
    expect(ran.stderr).toMatch(/more than the --max-cost of \$0\.00/)
  }, 60_000)

  test('of a tier that it does not have is a usage error', async () => {
    const ran = await at.run('find-and-retrieve', asked('--tier', 'expedited', '--yes'))
    expect(ran.code).toBe(2)
    expect(ran.stderr).toContain('choose --tier standard or bulk')
    expect(await statuses()).toEqual([])
  }, 60_000)

  test('takes prices from the file that FIRN_PRICES_FILE names', async () => {
    const prices = at.path('prices.json')
    const deep = { get_per_1000: 0, egress_per_gb: 0, thaw: { bulk: { per_gb: 0, per_1000: 1_000_000, hours: [1, 2] } } }
    const regions = { 'eu-1': { s3: { DEEP_ARCHIVE: deep } } }
    writeFileSync(prices, JSON.stringify({ format: 'firn-prices/1', date: '2031-02-03', regions }))
    const ran = await at.run('find-and-retrieve', asked('--tier', 'bulk'), { FIRN_PRICES_FILE: prices })
    expect(ran.code).toBe(5)
    expect(ran.stderr).toContain('$3000.00')
    expect(ran.stderr).toContain('prices of eu-1, 2031-02-03 (the price list has none of us-east-1)')
    writeFileSync(prices, '{}')
    const bad = await at.run('find-and-retrieve', asked(), { FIRN_PRICES_FILE: prices })
    expect(bad.code).toBe(2)
    expect(bad.stderr).toContain(`The price file ${prices} is not in order`)
  }, 60_000)

  test('with a yes gives the files back, and says what was agreed to; a retriever on duty does the watching', async () => {
    const retriever = at.start('firn', ['retriever'])
    await sleep(3_000)
    const ran = await at.run('find-and-retrieve', asked('--yes', '--json'))
    retriever.kill('SIGTERM')
    expect((await retriever.ended).code).toBe(143)
    expect(ran.code).toBe(0)
    expect(lookAt(join(at.path('back'), at.path('tree')))).toEqual(lookAt(at.path('tree')))
    const [retrieval] = await statuses()
    expect(retrieval).toMatchObject({ state: 'done', consent: { tier: 'standard', archives: 3, cold: 3 } })
    expect(retrieval?.['thaw_spent_usd']).toBeGreaterThan(0)
  }, 90_000)

  test('a check that reads says in one line what is cold, and calls nothing wrong', async () => {
    makeFiles(at.path('more'), 5)
    await at.run('archive-files', ['-r', 'more'])
    const check = await at.run('firn', ['check', '--read-data'])
    expect(check.code).toBe(0)
    expect(check.stderr).toContain('1 bundle is cold and was not read')
    expect(check.stdout).toBe('')
  }, 60_000)
})
