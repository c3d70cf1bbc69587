import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from '@jest/globals'
import type { Raw } from '#libs/os/raw.js'
import { scratchDirectory } from '#libs/os/scratch-directory.js'
import { findManifest } from './find-manifest.js'
import { readManifest } from './manifest-stream.js'
import { openPacker } from './pack.js'
import { packWhole, plannedTree, requestOf } from './test-packing.js'

const scratch = scratchDirectory()
const packer = openPacker({ threads: 1 })
afterAll(() => packer.close())

/** In pieces of this size, as a vault gives them. */
async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function manifestIn(tar: Buffer, size: number): Promise<Buffer | undefined> {
  const found = await findManifest(pieces(tar, size))
  return found && tar.subarray(found.offset, found.offset + found.size)
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

/** Of a header that was changed. */
function setChecksum(block: Buffer): void {
  block.fill(0x20, 148, 156)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
}

describe('the manifest in a tar', () => {
  test('is found behind members of every kind, however the tar comes', async () => {
    const { tar, manifest } = await packWhole(packer, requestOf(plannedTree(tree())))
    for (const size of [1_000, 65_536, tar.length]) expect(await manifestIn(tar, size)).toEqual(Buffer.from(manifest))
  })

  test('is the last of that name, also when a file is called so', async () => {
    // As it is called in the tar of a file /.firn/manifest.ndjson.
    const { tar, manifest } = await packWhole(packer, requestOf([]))
    const other = Buffer.from(tar.subarray(0, 1_536))
    expect(await manifestIn(Buffer.concat([other, tar]), 10_240)).toEqual(Buffer.from(manifest))
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

  test('is looked for in a strict way: what Firn does not write ends it, and nothing waits for ever', async () => {
    const { tar } = await packWhole(packer, requestOf([]))
    const head = (change: (head: Buffer) => void) => {
      const block = Buffer.from(tar.subarray(0, 512))
      change(block)
      setChecksum(block)
      return pieces(Buffer.concat([block, tar.subarray(512)]), 700)
    }
    for (const change of [
      // A directory with bytes: a reader that skips none of them, and waits for them, never ends.
      (block: Buffer) => block.write('5', 156),
      (block: Buffer) => block.write('3', 156),
      (block: Buffer) => block.write('x', 156),
      (block: Buffer) => block.write('ustar  \0', 257, 'latin1'),
      (block: Buffer) => block.write('-0000000001', 124),
      (block: Buffer) => block.fill(0xff, 124, 136),
    ])
      await expect(findManifest(head(change))).rejects.toMatchObject({ code: 'damaged' })
  })

  test('is not believed behind the end of the tar', async () => {
    const { tar, manifest } = await packWhole(packer, requestOf([]))
    const other = await packWhole(packer, requestOf(plannedTree(scratch)))
    expect(await manifestIn(Buffer.concat([tar, other.tar]), 1_000)).toEqual(Buffer.from(manifest))
    expect(await manifestIn(Buffer.concat([tar, Buffer.from('garbage')]), 1_000)).toEqual(Buffer.from(manifest))
  })

  test('has lines as entries have them: nothing else is kept in memory', async () => {
    let read = 0
    async function* endless(): AsyncGenerator<Uint8Array> {
      for (; read < 2048; read++) yield Buffer.alloc(2 ** 20)
    }
    const reading = async () => {
      for await (const _ of readManifest(endless(), { maxBytes: 2 ** 31 }));
    }
    await expect(reading()).rejects.toMatchObject({ code: 'damaged' })
    expect(read).toBeLessThan(100)
  })

  test('hears of a vault that fails while it is read', async () => {
    async function* failing(): AsyncGenerator<Uint8Array> {
      yield Buffer.alloc(512)
      throw new Error('the line is down')
    }
    await expect(findManifest(failing())).rejects.toThrow('the line is down')
  })
})
