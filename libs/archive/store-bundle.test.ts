import { createHash } from 'node:crypto'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { encodeSidecar } from '#libs/bundle/sidecar.js'
import { FirnError } from '#libs/errors/errors.js'
import { rawFromText } from '#libs/os/raw.js'
import { counted, type VaultOperation } from '#libs/vault/wrappers/counted.js'
import { faulty } from '#libs/vault/wrappers/faulty.js'
import { shiftDate } from '../../test/shifted-date.js'
import { crawl } from './crawl.js'
import { reconcile, sweepUnfinished } from './reconcile.js'
import { isAccounted, openStory, type ScratchStory, smallFiles } from './scratch-story.js'
import { giveUpBundle, storeBundle } from './store-bundle.js'

let at: ScratchStory
beforeAll(async () => {
  at = await openStory()
  await at.claim()
})
afterAll(async () => at[Symbol.asyncDispose]())

/** A set whose bundles are planned, and nobody works at them. */
const planned = async (name: string, files = 5) => {
  const root = at.tree(name, smallFiles(files))
  const set = await at.catalog.createSet(at.request([root]), at.parts.owner)
  await crawl(at.parts, set, [])
  const [bundleId] = await at.catalog.strandedBundles(0, at.parts.isGone)
  return { root, set, bundleId: bundleId as string }
}
const finish = async (setId: string) => {
  const set = await at.catalog.finishSet(setId)
  await at.catalog.releaseSet(setId, at.parts.owner)
  return set
}
/** Which operations a vault is asked for. */
const watched = () => {
  const seen: VaultOperation[] = []
  at.wrap((vault) => counted(vault, ({ operation, begins }) => begins && seen.push(operation)))
  return seen
}
const plain = () => at.wrap((vault) => vault)

test('a clock that is an hour ahead does not make an older version the newest', async () => {
  const root = at.tree('clock', { report: 'first' })
  const archive = async () => {
    const set = await at.catalog.createSet(at.request([root]), at.parts.owner)
    await crawl(at.parts, set, [])
    for (const bundleId of await at.catalog.strandedBundles(0, at.parts.isGone)) await storeBundle(at.parts, bundleId)
    return finish(set.id)
  }
  const setRight = shiftDate(() => 3_600_000)
  try {
    await archive()
  } finally {
    setRight()
  }
  writeFileSync(join(root, 'report'), 'second, and longer')
  expect((await archive()).counts).toMatchObject({ archived: 1 })
  const [found, ...others] = (await at.select({ paths: [rawFromText(root)] })).filter(({ type }) => type === 'file')
  expect([found?.size, others]).toEqual([18, []])
  // Nor is what was archived last taken for changed.
  expect((await archive()).counts).toMatchObject({ archived: 0, unchanged: 1 })
})

test('trouble of the database is no fault of the bundle: it is not given up for it', async () => {
  const { set, bundleId } = await planned('patient')
  await giveUpBundle(at.parts, bundleId, new FirnError('try-again', 'The database cannot be reached.'))
  expect(await at.catalog.bundle(bundleId)).toMatchObject({ state: 'planned' })
  await storeBundle(at.parts, bundleId)
  expect(await finish(set.id)).toMatchObject({ state: 'archived', counts: { archived: 5, bundlesFailed: 0 } })
})

describe('an attempt that lost its lease', () => {
  test('records nothing and overwrites nothing; what it sent has a name of its own, and check names it', async () => {
    const { set, bundleId } = await planned('fenced')
    // Another process takes the bundle over, and stores it, at the last moment before the first would have recorded it.
    at.wrap((vault) => ({
      ...vault,
      async upload(...args) {
        const upload = await vault.upload(...args)
        return {
          ...upload,
          async complete() {
            const completed = await upload.complete()
            plain()
            at.rebirth()
            await storeAfterTakeOver(bundleId)
            return completed
          },
        }
      },
    }))
    await expect(storeBundle(at.parts, bundleId)).rejects.toMatchObject({ code: 'lease-lost' })
    const bundle = await at.catalog.bundle(bundleId)
    expect(bundle).toMatchObject({ state: 'stored', attempt: 2 })
    // The first was whole: the second adopted it instead of sending it again.
    expect(bundle?.key).toMatch(/\.1\.tar$/)
    expect(await finish(set.id)).toMatchObject({ state: 'archived', counts: { archived: 5, bundlesStored: 1 } })
    expect(await at.check()).toEqual([])
  })

  test('while it packs: both are whole, one counts', async () => {
    const { set, bundleId } = await planned('fenced-early')
    at.wrap((vault) => ({
      ...vault,
      async upload(...args) {
        plain()
        const upload = await vault.upload(...args)
        return {
          ...upload,
          async seal() {
            at.rebirth()
            await storeAfterTakeOver(bundleId)
            return upload.seal()
          },
        }
      },
    }))
    await expect(storeBundle(at.parts, bundleId)).rejects.toMatchObject({ code: 'lease-lost' })
    expect((await at.catalog.bundle(bundleId))?.key).toMatch(/\.2\.tar$/)
    expect(at.tars().filter((key) => key.includes(bundleId))).toHaveLength(2)
    expect(await finish(set.id)).toMatchObject({ counts: { archived: 5, bundlesStored: 1 } })
    const found = await at.check()
    expect(found.map(({ kind }) => kind)).toEqual(['unknown', 'unknown'])
    expect(found.every((finding) => 'key' in finding && finding.key.includes(`${bundleId}.1.`))).toBe(true)
    for (const finding of found) if ('key' in finding) rmSync(join(at.vaultDirectory, finding.key))
  })

  const storeAfterTakeOver = (bundleId: string) => storeBundle(at.parts, bundleId)
})

describe('an attempt that died', () => {
  test('between the vault and the catalog is adopted: nothing is sent again', async () => {
    const { set, bundleId } = await planned('adopted')
    const dying = { ...at.parts, catalog: { ...at.catalog, markStored: () => Promise.reject(new Error('dead')) } }
    await expect(storeBundle(dying, bundleId)).rejects.toThrow('dead')
    const seen = watched()
    await storeBundle(at.parts, bundleId)
    plain()
    expect(seen).not.toContain('upload')
    expect(seen).not.toContain('put')
    expect(await at.catalog.bundle(bundleId)).toMatchObject({
      state: 'stored',
      attempt: 2,
      key: expect.stringMatching(/\.1\.tar$/),
    })
    expect(await finish(set.id)).toMatchObject({ state: 'archived', counts: { archived: 5 } })
    expect(await at.check()).toEqual([])
  })

  test('is adopted with the problems that it had', async () => {
    const { root, set, bundleId } = await planned('adopted-problems')
    rmSync(join(root, 'd0/file-3.txt'))
    const dying = { ...at.parts, catalog: { ...at.catalog, markStored: () => Promise.reject(new Error('dead')) } }
    await expect(storeBundle(dying, bundleId)).rejects.toThrow('dead')
    await storeBundle(at.parts, bundleId)
    const ended = await finish(set.id)
    expect(ended).toMatchObject({ state: 'partial', counts: { found: 5, archived: 4, failed: 1 } })
    expect(isAccounted(ended)).toBe(true)
  })

  /** A whole attempt 1, as its worker left it: its objects, and the secret of the bundle. */
  const whole = async (name: string) => {
    const { root, set, bundleId } = await planned(name)
    const dying = { ...at.parts, catalog: { ...at.catalog, markStored: () => Promise.reject(new Error('dead')) } }
    await expect(storeBundle(dying, bundleId)).rejects.toThrow('dead')
    const key = at.tars().find((one) => one.includes(`${bundleId}.1.`)) as string
    const tar = join(at.vaultDirectory, key)
    const sidecar = tar.replace(/tar$/, 'manifest.ndjson.gz')
    const lines = gunzipSync(readFileSync(sidecar)).toString().split('\n').slice(0, -1)
    const secret = (await at.catalog.attemptSecret(bundleId)) as Uint8Array
    return { root, set, bundleId, tar, sidecar, lines, secret, whose: { secret, bundle: bundleId, attempt: 1 } }
  }
  /** The next attempt sends its own; what was planted is named by check, and is in no row. */
  const isNotAdopted = async ({ root, set, bundleId }: Awaited<ReturnType<typeof whole>>) => {
    await storeBundle(at.parts, bundleId)
    expect((await at.catalog.bundle(bundleId))?.key).toMatch(/\.2\.tar$/)
    expect(await finish(set.id)).toMatchObject({ state: 'archived', counts: { archived: 5 } })
    expect(await at.select({ paths: [rawFromText('/etc/ssh')] })).toEqual([])
    const rows = await at.select({ paths: [rawFromText(root)] })
    expect(rows.filter(({ archivedAt }) => archivedAt.getTime() > Date.now() + 60_000)).toEqual([])
    for (const finding of await at.check()) if ('key' in finding) rmSync(join(at.vaultDirectory, finding.key))
    expect(await at.check(true)).toEqual([])
  }
  const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

  test('is not adopted if somebody else put it there: a tar and a manifest that fit each other, and prove nothing', async () => {
    const dead = await whole('planted')
    const [header = '', ...entries] = dead.lines
    const never = JSON.stringify({ ...JSON.parse(entries[1] as string), path: '/etc/ssh/sshd_config', mode: 0o4755 })
    const dated = header.replace(/"created_at":"[^"]*"/, '"created_at":"2099-01-01T00:00:00.000Z"')
    const tar = Buffer.alloc(10_240, 'attacker')
    writeFileSync(dead.tar, tar)
    const last = JSON.stringify({ tar_bytes: tar.length, tar_sha256: sha256(tar) })
    writeFileSync(dead.sidecar, gzipSync([dated, ...entries.slice(0, -1), never, last, ''].join('\n')))
    await isNotAdopted(dead)
  })

  test('is not adopted if anything in its manifest, or its tar, is other than its worker wrote it', async () => {
    const changes: ((dead: Awaited<ReturnType<typeof whole>>) => void)[] = [
      ({ sidecar, lines }) => writeFileSync(sidecar, gzipSync(`${lines.join('\n').replace('"mode":420', '"mode":511')}\n`)),
      ({ sidecar, lines }) => writeFileSync(sidecar, gzipSync(`${lines.join('\n').replace(/,"hmac":"\w+"/, '')}\n`)),
      ({ tar }) => {
        const bytes = readFileSync(tar)
        bytes[600] = (bytes[600] as number) ^ 1
        writeFileSync(tar, bytes)
      },
    ]
    for (const [index, change] of changes.entries()) {
      const dead = await whole(`changed-${index}`)
      change(dead)
      await isNotAdopted(dead)
    }
  })

  test('is not adopted if it has what was not planned, or data outside its tar, whoever wrote it', async () => {
    for (const [index, change] of [
      (line: string) => line.replace('"path":"/', '"path":"/etc/ssh/'),
      (line: string) => line.replace(/"offset":\d+/, '"offset":900000'),
    ].entries()) {
      const dead = await whole(`unplanned-${index}`)
      const { lines, tar } = dead
      const changed = lines.slice(0, -1).map((line, number) => (number === lines.length - 2 ? change(line) : line))
      const facts = { tarBytes: readFileSync(tar).length, tarSha256: sha256(readFileSync(tar)) }
      writeFileSync(dead.sidecar, await encodeSidecar(Buffer.from(`${changed.join('\n')}\n`), facts, dead.whose))
      await isNotAdopted(dead)
    }
  })

  test('is adopted as one that was read back where the vault read it, and as one that was not where it did not', async () => {
    for (const [shown, adopted] of [
      ['read', false],
      ['checksum', true],
      ['size', false],
    ] as const) {
      const dead = await whole(`shown-${shown}`)
      at.wrap((vault) => ({ ...vault, verify: async () => shown }))
      await storeBundle(at.parts, dead.bundleId)
      plain()
      expect(await at.catalog.bundle(dead.bundleId)).toMatchObject({ key: expect.stringMatching(/\.1\.tar$/), adopted })
      await finish(dead.set.id)
    }
    // By its size alone, and cold: nothing shows what it is.
    const dead = await whole('cold')
    const frozen = new FirnError('vault-frozen', 'it is cold')
    at.wrap((vault) => ({
      ...vault,
      verify: async () => 'size',
      async *read(key, ...rest) {
        if (key.endsWith('.tar')) throw frozen
        yield* vault.read(key, ...rest)
      },
    }))
    await storeBundle(at.parts, dead.bundleId)
    plain()
    expect((await at.catalog.bundle(dead.bundleId))?.key).toMatch(/\.2\.tar$/)
    await finish(dead.set.id)
    for (const finding of await at.check()) if ('key' in finding) rmSync(join(at.vaultDirectory, finding.key))
  })

  test('after its manifest and before its tar counts for nothing, and so does a tar without manifest', async () => {
    for (const lost of ['.tar', '.manifest.ndjson.gz']) {
      const { set, bundleId } = await planned(`lost${lost}`)
      const dying = { ...at.parts, catalog: { ...at.catalog, markStored: () => Promise.reject(new Error('dead')) } }
      await expect(storeBundle(dying, bundleId)).rejects.toThrow('dead')
      const object = readdirSync(at.vaultDirectory, { recursive: true, encoding: 'utf8' }).find((name) =>
        name.endsWith(`${bundleId}.1${lost}`),
      )
      rmSync(join(at.vaultDirectory, object as string))
      await storeBundle(at.parts, bundleId)
      expect((await at.catalog.bundle(bundleId))?.key).toMatch(/\.2\.tar$/)
      await finish(set.id)
      const found = await at.check()
      expect(found.map(({ kind }) => kind)).toEqual(['unknown'])
      for (const finding of found) if ('key' in finding) rmSync(join(at.vaultDirectory, finding.key))
    }
  })

  test('leaves a temporary that is swept once nobody holds its lease, and never one of others', async () => {
    const { set, bundleId } = await planned('swept')
    const lease = await at.catalog.leaseBundle(bundleId, at.parts.owner, at.parts.isGone)
    const { startedAt, id } = set
    const month = startedAt.toISOString().slice(0, 7).replace('-', '/')
    const half = await at.vault.upload(`${month}/${id}/${bundleId}.1.tar`)
    const strange = await at.vault.upload(`${month}/${id}/${id}.1.tar`)
    writeFileSync(join(at.vaultDirectory, month, id, '.notes.txt'), 'mine')
    expect(lease.kind).toBe('leased')
    expect(await sweepUnfinished(at.parts, at.vault)).toEqual([])
    at.rebirth()
    expect(await sweepUnfinished(at.parts, at.vault)).toEqual([`${month}/${id}/${bundleId}.1.tar`])
    expect(at.leftovers()).toHaveLength(2)
    await Promise.all([half.abort(), strange.abort()])
    await storeBundle(at.parts, bundleId)
    await finish(set.id)
    for (const name of at.leftovers()) rmSync(join(at.vaultDirectory, name))
  })

  test('leaves a temporary that is swept also where the next attempt takes its lease while the sweep looks', async () => {
    const { set, bundleId } = await planned('swept-meanwhile')
    const { startedAt, id } = set
    const key = `${startedAt.toISOString().slice(0, 7).replace('-', '/')}/${id}/${bundleId}.1.tar`
    const half = await at.vault.upload(key)
    let leased = false
    // Whichever is asked first, the second attempt begins behind it.
    const between = async <T>(answer: Promise<T>): Promise<T> => {
      const said = await answer
      if (!leased) {
        leased = true
        await at.catalog.leaseBundle(bundleId, at.parts.owner, at.parts.isGone)
      }
      return said
    }
    await at.catalog.leaseBundle(bundleId, at.parts.owner, at.parts.isGone)
    at.rebirth()
    const catalog = {
      knownBundles: (ids: readonly string[]) => between(at.catalog.knownBundles(ids)),
      hasLiveLease: (one: string, isGone: (owner: string) => boolean) => between(at.catalog.hasLiveLease(one, isGone)),
    }
    expect(await sweepUnfinished({ catalog, isGone: at.parts.isGone }, at.vault)).toEqual([key])
    await half.abort()
    at.rebirth()
    await storeBundle(at.parts, bundleId)
    await finish(set.id)
  })
})

test('jobs that were lost are found again, of bundles planned, abandoned, and not indexed', async () => {
  const { set, bundleId } = await planned('lost-jobs')
  await at.catalog.leaseBundle(bundleId, at.parts.owner, at.parts.isGone)
  expect(await at.catalog.strandedBundles(0, at.parts.isGone)).toEqual([])
  at.rebirth()
  const added: string[] = []
  const queue = { addMany: async (name: string, jobs: readonly object[]) => void added.push(...jobs.map(() => name)) }
  const unindexed = await at.catalog.unindexedBundles(100)
  expect(await reconcile({ ...at.parts, queue }, 0)).toBe(1 + unindexed.length)
  expect(added.filter((name) => name === 'store-bundle')).toHaveLength(1)
  await storeBundle(at.parts, bundleId)
  expect(await at.catalog.unindexedBundles(100)).toContain(bundleId)
  expect(await finish(set.id)).toMatchObject({ state: 'archived' })
})

describe('every call to the vault that storing a bundle makes', () => {
  test.each([false, true])('may fail (only its answer is lost: %s): tried again, all is stored', async (answerLost) => {
    const root = at.tree(`calls-${answerLost}`, smallFiles(5))
    let calls = 0
    for (let failing = 1; calls === 0 || failing <= calls; failing++) {
      const plan = await at.catalog.createSet(at.request([root], { force: true }), at.parts.owner)
      await crawl(at.parts, plan, [])
      const bundleId = (await at.catalog.strandedBundles(0, at.parts.isGone)).at(-1) as string
      const seen: VaultOperation[] = []
      at.wrap((vault) =>
        faulty(
          counted(vault, ({ operation, begins }) => begins && seen.push(operation)),
          [{ at: failing, error: new FirnError('vault-failed', 'the line is dead'), answerLost }],
        ),
      )
      await storeBundle(at.parts, bundleId).catch((error) => expect(error).toMatchObject({ code: 'vault-failed' }))
      plain()
      // As the queue would: once more, in a process of its own.
      at.rebirth()
      await storeBundle(at.parts, bundleId)
      calls = Math.max(calls, seen.length, 6)
      expect(await at.catalog.bundle(bundleId)).toMatchObject({ state: 'stored', files: 5 })
      expect(await finish(plan.id)).toMatchObject({ state: 'archived', counts: { found: 5, archived: 5, bundlesFailed: 0 } })
      await sweepUnfinished(at.parts, at.vault)
      expect(at.leftovers()).toEqual([])
      const found = await at.check()
      expect(found.every((finding) => finding.kind === 'unknown' && finding.key.includes(bundleId))).toBe(true)
      for (const finding of found) if ('key' in finding) rmSync(join(at.vaultDirectory, finding.key))
    }
  })

  test('of a whole run, too: the next run ends with everything stored', async () => {
    const root = at.tree('whole-run', smallFiles(6))
    for (const operation of ['prepare', 'read', 'sweep', 'put', 'complete'] as const) {
      at.wrap((vault) =>
        faulty(vault, [{ operation, at: 1, error: new FirnError('vault-failed', 'the line is dead'), answerLost: true }]),
      )
      await at.archive(at.request([root], { filesPerBundle: 3, force: true })).catch((error) => {
        expect(error).toMatchObject({ code: 'vault-failed' })
      })
      plain()
      const set = await at.archive(at.request([root], { filesPerBundle: 3 }))
      expect(set.state).toBe('archived')
      expect(isAccounted(set)).toBe(true)
    }
    expect((await at.check()).filter(({ kind }) => kind !== 'unknown')).toEqual([])
    expect(at.leftovers()).toEqual([])
    expect(await at.catalog.strandedBundles(0, at.parts.isGone)).toEqual([])
  })
})
