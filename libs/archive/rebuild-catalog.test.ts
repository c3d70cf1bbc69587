import {
  chmodSync,
  closeSync,
  copyFileSync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import pg from 'pg'
import { manifestKey, parseKey } from '#libs/bundle/key.js'
import { encodeSidecar } from '#libs/bundle/sidecar.js'
import type { BundleRow, FileRow } from '#libs/catalog/catalog.js'
import { claimVault } from './own-vault.js'
import { rebuildCatalog } from './rebuild-catalog.js'
import { openStory, type ScratchStory, smallFiles } from './scratch-story.js'

let at: ScratchStory
let root: string
let stored: BundleRow[]
beforeAll(async () => {
  at = await openStory()
  root = at.tree('tree', { ...smallFiles(30), 'deep/one': 'linked', 'deep/touched': 'same bytes' })
  linkSync(join(root, 'deep/one'), join(root, 'deep/two'))
  symlinkSync('nowhere', join(root, 'dangling'))
  await at.archive(at.request([root], { filesPerBundle: 10 }, { tags: ['a', 'b'], description: 'the first' }))
  chmodSync(join(root, 'deep/touched'), 0o600)
  await at.archive(at.request([root], { filesPerBundle: 10 }))
  stored = await bundles(at)
})
afterAll(async () => at[Symbol.asyncDispose]())

const bundles = async (story: ScratchStory): Promise<BundleRow[]> => {
  const rows: BundleRow[] = []
  for await (const page of story.catalog.storedBundles(at.vault.id)) rows.push(...page)
  return rows
}
/** All that the catalog knows of files, but for the numbers that it gave itself. */
const rows = async (story: ScratchStory) =>
  (await story.select({ allVersions: true, directories: true })).map(({ bundleNumber: _own, ...row }: FileRow) => row)
const fileOf = (bundle: BundleRow | undefined) => join(at.vaultDirectory, bundle?.key as string)
const sidecarOf = (bundle: BundleRow | undefined) => {
  const names = parseKey(bundle?.key as string)
  if (names === undefined) throw new Error('no key')
  return join(at.vaultDirectory, manifestKey(names))
}
const another = () => openStory({ vaultDirectory: at.vaultDirectory })
const rebuild = async (story: ScratchStory) => {
  const troubles: string[] = []
  const rebuilt = await rebuildCatalog(story.parts, at.vault, at.vault.id, { onTrouble: (key) => troubles.push(key) })
  const { adopted, known, refused, failed } = rebuilt
  return { adopted, known, refused, failed, troubles }
}
const spoilt = async (file: string, spoil: () => void, then: () => Promise<void>) => {
  copyFileSync(file, at.path('kept'))
  spoil()
  try {
    await then()
  } finally {
    rmSync(file, { force: true })
    copyFileSync(at.path('kept'), file)
  }
}
const flip = (file: string, offset: number) => {
  const handle = openSync(file, 'r+')
  writeSync(handle, Buffer.from([(readFileSync(file)[offset] as number) ^ 1]), 0, 1, offset)
  closeSync(handle)
}

describe('a catalog that is rebuilt', () => {
  test('has equal rows; a second time changes nothing; the next run finds everything unchanged', async () => {
    await using fresh = await another()
    expect(await rebuild(fresh)).toEqual({ adopted: stored.length, known: 0, refused: 0, failed: 0, troubles: [] })
    const again = await rows(fresh)
    expect(again).toEqual(await rows(at))
    expect(again.some(({ dataBundle }) => dataBundle !== undefined)).toBe(true)
    const sets = await fresh.catalog.sets()
    expect(sets.map(({ id, tags, description, host }) => ({ id, tags, description, host }))).toEqual(
      (await at.catalog.sets()).map(({ id, tags, description, host }) => ({ id, tags, description, host })),
    )
    expect(await rebuild(fresh)).toEqual({ adopted: 0, known: stored.length, refused: 0, failed: 0, troubles: [] })
    expect(await rows(fresh)).toEqual(again)
    expect(await fresh.check()).toEqual([])

    const request = { ...fresh.request([root]), vaultUrl: at.vault.id, vaultId: at.vault.id }
    await expect(fresh.archive(request)).rejects.toMatchObject({ code: 'vault-refused' })
    await claimVault(at.vault, fresh, { takeOver: true })
    expect((await fresh.archive(request)).counts).toMatchObject({ found: 34, unchanged: 34, bundles: 0 })
    await expect(at.archive(at.request([root]))).rejects.toMatchObject({ code: 'vault-refused' })
    await claimVault(at.vault, at, { takeOver: true })
  })

  test('takes the manifest inside a tar whose own is lost or cannot be read, and says so', async () => {
    for (const spoil of [(file: string) => rmSync(file), (file: string) => writeFileSync(file, 'no gzip')]) {
      await using fresh = await another()
      const file = sidecarOf(stored[0])
      await spoilt(
        file,
        () => spoil(file),
        async () => {
          expect(await rebuild(fresh)).toEqual({
            adopted: stored.length,
            known: 0,
            refused: 0,
            failed: 0,
            troubles: expect.arrayContaining([stored[0]?.key]),
          })
          expect(await rows(fresh)).toEqual(await rows(at))
        },
      )
    }
  })

  test('reports what cannot be read, and goes on with the others; later it adopts the rest', async () => {
    await using fresh = await another()
    const file = fileOf(stored[1])
    await spoilt(
      file,
      () => truncateSync(file, 1_500),
      async () => {
        const first = await rebuild(fresh)
        expect(first).toMatchObject({ adopted: stored.length - 1, refused: 1, failed: 0 })
        expect(new Set(first.troubles)).toEqual(new Set([stored[1]?.key]))
      },
    )
    expect(await rebuild(fresh)).toEqual({ adopted: 1, known: stored.length - 1, refused: 0, failed: 0, troubles: [] })
    expect(await rows(fresh)).toEqual(await rows(at))
  })

  test('does not believe a tar under the name of another', async () => {
    await using fresh = await another()
    const [one, two] = [fileOf(stored[0]), fileOf(stored[1])]
    const sidecar = sidecarOf(stored[0])
    await spoilt(
      sidecar,
      () => rmSync(sidecar),
      async () => {
        copyFileSync(one, at.path('kept-tar'))
        copyFileSync(two, one)
        try {
          expect(await rebuild(fresh)).toMatchObject({ adopted: stored.length - 1, refused: 1, failed: 0 })
        } finally {
          copyFileSync(at.path('kept-tar'), one)
        }
      },
    )
  })

  test('refuses what is dated in the future, unless the time of the object is to be taken instead', async () => {
    const bundle = stored[0]
    const file = sidecarOf(bundle)
    const dated = (field: string) => {
      const text = gunzipSync(readFileSync(file)).toString()
      writeFileSync(file, gzipSync(text.replace(new RegExp(`"${field}":"[^"]*"`), `"${field}":"2099-01-01T00:00:00.000Z"`)))
    }
    for (const field of ['created_at', 'set_started_at']) {
      await using fresh = await another()
      await spoilt(
        file,
        () => dated(field),
        async () => {
          expect(await rebuild(fresh)).toMatchObject({
            adopted: stored.length - 1,
            refused: 1,
            failed: 0,
            troubles: [bundle?.key],
          })
          const accepted = await rebuildCatalog(fresh.parts, at.vault, at.vault.id, { acceptDates: true })
          expect(accepted).toMatchObject({ adopted: 1, refused: 0 })
          const adopted = await fresh.catalog.bundle(bundle?.id as string)
          expect(adopted?.archivedAt?.getTime()).toBeLessThan(Date.now() + 60_000)
          expect(adopted?.adopted).toBe(true)
        },
      )
    }
  })

  test('refuses a manifest that unpacks to more than its tar, and names it', async () => {
    await using fresh = await another()
    const file = sidecarOf(stored[0])
    await spoilt(
      file,
      () => {
        const [header, entry] = gunzipSync(readFileSync(file)).toString().split('\n')
        writeFileSync(
          file,
          gzipSync(`${header}\n${`${entry}\n`.repeat(200_000)}{"tar_bytes":1,"tar_sha256":"${'0'.repeat(64)}"}\n`),
        )
      },
      async () => {
        // The manifest inside the tar is as good.
        expect(await rebuild(fresh)).toMatchObject({ adopted: stored.length, refused: 0 })
      },
    )
  })

  test('of a bundle that this catalog planned adopts only what its worker wrote', async () => {
    await using story = await openStory()
    const set = await story.archive(story.request([story.tree('own', smallFiles(3))]))
    const [bundle] = await story.bundlesOf(set)
    const sql = new pg.Client(story.databaseUrl)
    await sql.connect()
    try {
      const again = async () => {
        await sql.query('DELETE FROM file')
        await sql.query("UPDATE bundle SET state = 'failed', key = NULL, secret = $1", [Buffer.alloc(32, 1)])
        return rebuildCatalog(story.parts, story.vault, story.vault.id)
      }
      expect(await again()).toMatchObject({ adopted: 0, refused: 1 })
      const tar = join(story.vaultDirectory, bundle?.key as string)
      const file = tar.replace(/tar$/, 'manifest.ndjson.gz')
      const lines = gunzipSync(readFileSync(file)).toString().split('\n').slice(0, -2)
      const facts = { tarBytes: bundle?.tarBytes as number, tarSha256: bundle?.tarSha256 as string }
      const whose = { secret: Buffer.alloc(32, 1), bundle: bundle?.id as string, attempt: 1 }
      writeFileSync(file, await encodeSidecar(Buffer.from(`${lines.join('\n')}\n`), facts, whose))
      expect(await again()).toMatchObject({ adopted: 1, refused: 0 })
    } finally {
      await sql.end()
    }
  })

  test('takes the last whole attempt at a bundle', async () => {
    await using fresh = await another()
    const bundle = stored[0]
    const later = fileOf(bundle).replace(/\.1\.tar$/, '.10.tar')
    writeFileSync(later, 'an attempt that is none')
    try {
      expect(await rebuild(fresh)).toMatchObject({ adopted: stored.length, failed: 0 })
      expect(await rows(fresh)).toEqual(await rows(at))
    } finally {
      rmSync(later)
    }
  })
})

describe('a check', () => {
  test('finds nothing in a vault that is well', async () => {
    expect(await at.check(false)).toEqual([])
    expect(await at.check(true)).toEqual([])
  })

  test('names a missing and a truncated tar without reading, and heals them when they are back', async () => {
    const file = fileOf(stored[0])
    await spoilt(
      file,
      () => rmSync(file),
      async () => {
        expect(await at.check(false)).toMatchObject([{ kind: 'missing', bundle: { id: stored[0]?.id } }])
        expect(await at.catalog.bundle(stored[0]?.id as string)).toMatchObject({ state: 'missing' })
      },
    )
    expect(await at.check(false)).toEqual([])
    expect(await at.catalog.bundle(stored[0]?.id as string)).toMatchObject({ state: 'stored' })
    await spoilt(
      file,
      () => truncateSync(file, 2_000),
      async () => {
        expect(await at.check(false)).toMatchObject([{ kind: 'damaged', bundle: { id: stored[0]?.id } }])
      },
    )
    expect(await at.check(true)).toEqual([])
    expect(await at.catalog.bundle(stored[0]?.id as string)).toMatchObject({ state: 'stored' })
  })

  test('names the file of a flipped byte, and a byte between files', async () => {
    const bundle = stored.find(({ files }) => files === 10)
    const row = (await at.catalog.entriesOf(bundle?.number as bigint)).find(
      ({ offset, size }) => offset !== undefined && size > 0,
    )
    const file = fileOf(bundle)
    await spoilt(
      file,
      () => flip(file, (row?.offset as number) + 3),
      async () => {
        expect(await at.check(false)).toEqual([])
        expect(await at.check(true)).toMatchObject([{ kind: 'damaged', bundle: { id: bundle?.id }, files: [row?.path] }])
      },
    )
    await spoilt(
      file,
      () => flip(file, (row?.offset as number) + (row?.size as number) + 1),
      async () => {
        expect(await at.check(true)).toMatchObject([{ kind: 'damaged', files: [] }])
      },
    )
    expect(await at.check(true)).toEqual([])
  })

  test('names tars that were swapped, manifests that are lost or garbled, and what nobody knows', async () => {
    const [one, two] = [fileOf(stored[0]), fileOf(stored[1])]
    renameSync(one, at.path('swap'))
    renameSync(two, one)
    renameSync(at.path('swap'), two)
    expect((await at.check(true)).filter(({ kind }) => kind === 'damaged')).toHaveLength(2)
    renameSync(one, at.path('swap'))
    renameSync(two, one)
    renameSync(at.path('swap'), two)
    expect(await at.check(true)).toEqual([])

    const sidecar = sidecarOf(stored[0])
    await spoilt(
      sidecar,
      () => rmSync(sidecar),
      async () => {
        expect(await at.check(false)).toMatchObject([{ kind: 'no-manifest' }])
      },
    )
    await spoilt(
      sidecar,
      () => flip(sidecar, 30),
      async () => {
        expect(await at.check(true)).toMatchObject([{ kind: 'no-manifest' }])
      },
    )
    expect(await at.catalog.bundle(stored[0]?.id as string)).toMatchObject({ state: 'stored' })

    const unknown = ['holiday.jpg', stored[0]?.key?.replace(/\.1\.tar$/, '.7.tar') as string]
    for (const key of unknown) writeFileSync(join(at.vaultDirectory, key), 'x')
    expect((await at.check(false)).map((finding) => [finding.kind, 'key' in finding && finding.key]).sort()).toEqual(
      unknown.map((key) => ['unknown', key]).sort(),
    )
    for (const key of unknown) rmSync(join(at.vaultDirectory, key))
  })
})
