/** URLs of Glacier vaults, and what the port's opener makes of them. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { openVault } from '../open-vault.js'
import { readPrices } from '../prices/price-list.js'
import { SHIPPED_PRICES } from '../prices/shipped-prices.js'
import { parseVaultUrl } from '../vault-url.js'
import { glacierPlace } from './glacier-options.js'
import { MIB } from './tree-hash.js'

const place = (url: string) => glacierPlace(parseVaultUrl(url))

describe('the URL of a Glacier vault', () => {
  test('names vault, region, account, endpoint and the place of its manifests', () => {
    expect(place('glacier://photos?manifests=local:/srv/m')).toEqual({
      vaultName: 'photos',
      account: '-',
      manifests: 'local:/srv/m',
    })
    const url =
      'glacier://my.photos_2?region=eu-west-1&account=111122223333&endpoint=http://127.0.0.1:9&manifests=s3%3A%2F%2Fb%2Fp%3Fregion%3Deu-west-1'
    expect(place(url)).toEqual({
      vaultName: 'my.photos_2',
      region: 'eu-west-1',
      account: '111122223333',
      endpoint: 'http://127.0.0.1:9',
      manifests: 's3://b/p?region=eu-west-1',
    })
  })

  test.each([
    ['glacier://photos', /needs a place for its manifests.*add manifests=s3:/],
    ['glacier:photos?manifests=local:/m', /names no Glacier vault: write for example glacier:/],
    ['glacier://?manifests=local:/m', /names no Glacier vault/],
    ['glacier://photos/below?manifests=local:/m', /names no Glacier vault/],
    ['glacier://photos?manifests=glacier://other', /cannot lie in a Glacier vault/],
    ['glacier://photos?manifests=local:/m&acount=1', /"acount" is unknown: did you mean "account"/],
    ['glacier://photos?manifests=local:/m&account=1111-2222-3333', /twelve digits/],
    ['glacier://photos?manifests=local:/m&endpoint=ftp://x', /endpoint is no address/],
  ])('%s is refused with a sentence', (url, sentence) => {
    expect(() => place(url)).toThrow(expect.objectContaining({ code: 'usage', message: expect.stringMatching(sentence) }))
  })

  test('never repeats a password in a sentence', () => {
    expect(() => place('glacier://photos?manifests=local:/m&endpoint=https://me:secret@host')).toThrow(/^(?!.*secret)/s)
  })

  test('opens a vault that asks the prices of its region, for no more than is thawed', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'firn-glacier-'))
    const options = { prices: () => readPrices(SHIPPED_PRICES), uploadMemoryBytes: 64 * MIB }
    const vault = await openVault(`glacier://photos?region=us-east-1&manifests=local:${directory}`, options)
    try {
      expect(vault.id).toBe('glacier://photos')
      const all = { objects: 2, thawBytes: 1000 * MIB, readBytes: 1000 * MIB, tier: 'standard', days: 1 } as const
      const whole = vault.quote(all)
      const some = vault.quote({ ...all, rangeBytes: 100_000, readBytes: 100_000 })
      expect(whole?.region).toBe('us-east-1')
      expect(some?.usd).toBeLessThan((whole?.usd ?? 0) / 10)
      // Not less than the whole MiB that are thawed for it.
      const thaw = (quote: typeof some) => quote?.parts.find(({ what }) => what === 'thaw')?.usd ?? 0
      expect(thaw(some) / thaw(whole)).toBeGreaterThan((2 * MIB) / (1000 * MIB))
    } finally {
      await vault.close()
      await rm(directory, { recursive: true })
    }
  })
})
