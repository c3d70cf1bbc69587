import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from '@jest/globals'
import type { Raw } from '#libs/os/raw.js'
import { scratchDirectory } from '#libs/os/scratch-directory.js'
import { findManifest } from './find-manifest.js'
import { openPacker } from './pack.js'
import { packWhole, plannedTree, requestOf } from './test-packing.js'

const scratch = scratchDirectory()
const packer = openPacker({ threads: 1 })
afterAll(() => packer.close())

/** In pieces of this size, as a vault gives them. */
async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

function tree(): string {
  const root = join(scratch, 'tree')
  mkdirSync(join(root, '.firn'), { recursive: true })
  writeFileSync(join(root, '.firn', 'manifest.ndjson'), 'of somebody else')
  writeFileSync(Buffer.from(`${root}/${'\xff'.repeat(150)}`, 'latin1'), 'not UTF-8')
  writeFileSync(join(root, 'n'.repeat(200)), 'x'.repeat(3_000_000))
  symlinkSync('t'.repeat(300), join(root, 'link'))
  return root
}

describe('the manifest in a tar', () => {
  test('is found behind members of every kind, however the tar comes', async () => {
    const { tar, manifest } = await packWhole(packer, requestOf(plannedTree(tree())))
    for (const size of [1_000, 65_536, tar.length]) expect(await findManifest(pieces(tar, size))).toEqual(Buffer.from(manifest))
  })

  test('is the last of that name, also when a file is called so', async () => {
    // As it is called in the tar of a file /.firn/manifest.ndjson.
    const { tar, manifest } = await packWhole(packer, requestOf([]))
    const other = Buffer.from(tar.subarray(0, 1_536))
    expect(await findManifest(pieces(Buffer.concat([other, tar]), 10_240))).toEqual(Buffer.from(manifest))
  })

  test('is not in a tar without one', async () => {
    expect(await findManifest(pieces(Buffer.alloc(10_240), 512))).toBeUndefined()
    expect(await findManifest(pieces(Buffer.alloc(0), 512))).toBeUndefined()
  })

  test('is not looked for in what is no tar, or ends too early', async () => {
    const { tar } = await packWhole(packer, requestOf(plannedTree(scratch).filter(({ type }) => type === ('file' as Raw))))
    await expect(findManifest(pieces(Buffer.from('x'.repeat(2_000)), 100))).rejects.toMatchObject({ code: 'damaged' })
    await expect(findManifest(pieces(tar.subarray(0, 5_000), 512))).rejects.toMatchObject({ code: 'damaged' })
  })

  test('hears of a vault that fails while it is read', async () => {
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield Buffer.alloc(512)
      throw new Error('the line is down')
    }
    await expect(findManifest(failing())).rejects.toThrow('the line is down')
  })
})
