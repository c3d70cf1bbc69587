import { gunzipSync, gzipSync } from 'node:zlib'
import { describe, expect, test } from '@jest/globals'
import { headerLine, parseManifest } from './manifest.js'
import { decodeSidecar, encodeSidecar } from './sidecar.js'
import { headerOf } from './test-packing.js'

const manifest = Buffer.from(headerLine(headerOf(['/a'], { description: 'x'.repeat(500) })))
const sha256 = 'cd'.repeat(32)
const damaged = (bytes: Uint8Array, options = {}) =>
  expect(decodeSidecar(bytes, options)).rejects.toMatchObject({ code: 'damaged' })

describe('the manifest beside a tar', () => {
  test('is the manifest of the tar and one more line, gzipped', async () => {
    const gzipped = await encodeSidecar(manifest, 10_240, sha256)
    expect(gunzipSync(gzipped).toString()).toBe(`${manifest}{"tar_bytes":10240,"tar_sha256":"${sha256}"}\n`)
    expect(await decodeSidecar(gzipped)).toEqual({ ...parseManifest(manifest), tarBytes: 10_240, tarSha256: sha256 })
  })

  test('that was cut short, or that has a wrong byte, is damaged', async () => {
    const gzipped = await encodeSidecar(manifest, 10_240, sha256)
    for (let length = 0; length < gzipped.length; length += 7) await damaged(gzipped.subarray(0, length))
    const wrong = Buffer.from(gzipped)
    wrong[wrong.length - 6] = (wrong[wrong.length - 6] as number) ^ 1
    await damaged(wrong)
    await damaged(Buffer.from('no gzip'))
  })

  test('without its last line, or with another one, is damaged', async () => {
    const lasts = [
      '',
      '{}',
      'null',
      '[]',
      '7',
      `{"tar_bytes":-1,"tar_sha256":"${sha256}"}`,
      `{"tar_bytes":"1","tar_sha256":"${sha256}"}`,
      '{"tar_bytes":1,"tar_sha256":"x"}',
      '{',
    ]
    for (const last of lasts) await damaged(gzipSync(`${manifest}${last}\n`))
    await damaged(gzipSync(manifest))
    await damaged(gzipSync(''))
    await damaged(gzipSync('\n\n\n'))
  })

  test('that unpacks to more than a manifest can be is damaged, before it fills the memory', async () => {
    const bomb = gzipSync(Buffer.alloc(20 * 2 ** 20))
    expect(bomb.length).toBeLessThan(50_000)
    await damaged(bomb, { maxBytes: 2 ** 20 })
  })
  test('that unpacks to one endless line is damaged, before it fills the memory', async () => {
    // Gzip allows one after the other: 300 MiB in a few hundred kilobytes.
    const bomb = Buffer.concat(Array<Buffer>(300).fill(gzipSync(Buffer.alloc(2 ** 20))))
    const before = process.resourceUsage().maxRSS
    await damaged(bomb)
    expect(process.resourceUsage().maxRSS - before).toBeLessThan(150 * 1024)
  })
})
