import { execFileSync } from 'node:child_process'
import { createHash, createHmac } from 'node:crypto'
import { gunzipSync, gzipSync } from 'node:zlib'
import { describe, expect, test } from '@jest/globals'
import type { Raw } from '#libs/os/raw.js'
import type { Entry } from './entry.js'
import { entryLine, headerLine, parseManifest } from './manifest.js'
import { encodeSidecar, isProved, readSidecar, type SidecarEnd } from './sidecar.js'
import { headerOf } from './test-packing.js'

const manifest = Buffer.from(headerLine(headerOf(['/a'], { description: 'x'.repeat(500) })))
const sha256 = 'cd'.repeat(32)
const tar = { tarBytes: 10_240, tarSha256: sha256 }
const attempt = { secret: Buffer.alloc(32, 7), bundle: 'b', attempt: 3 }

async function* pieces(bytes: Uint8Array, size = 1_000): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function read(gzipped: Uint8Array, tarBytes = tar.tarBytes) {
  const entries: Entry[] = []
  let header: unknown
  for await (const part of readSidecar(pieces(gzipped), tarBytes)) {
    if (part.kind === 'header') header = part.header
    else if (part.kind === 'entries') entries.push(...part.entries)
    else return { header, entries, end: part }
  }
  throw new Error('no end')
}
const damaged = (bytes: Uint8Array, tarBytes?: number) => expect(read(bytes, tarBytes)).rejects.toMatchObject({ code: 'damaged' })

const entry = (index: number, more: Partial<Entry> = {}): Entry => ({
  path: `/a/${index}` as Raw,
  type: 'file',
  size: 5,
  mtimeNs: 1n,
  ctimeNs: 1n,
  atimeNs: 1n,
  dev: 1n,
  ino: 1n,
  nlink: 1,
  mode: 0o644,
  uid: 0,
  gid: 0,
  uname: '',
  gname: '',
  sha256,
  offset: 512,
  state: 'ok',
  ...more,
})

describe('the manifest beside a tar', () => {
  test('is the manifest of the tar and one more line, gzipped', async () => {
    const gzipped = await encodeSidecar(manifest, tar)
    expect(gunzipSync(gzipped).toString()).toBe(`${manifest}{"tar_bytes":10240,"tar_sha256":"${sha256}"}\n`)
    const { header, entries, end } = await read(gzipped)
    expect({ header, entries }).toEqual(parseManifest(manifest))
    expect(end).toEqual({ kind: 'end', ...tar, manifestSha256: createHash('sha256').update(manifest).digest('hex') })
  })

  test('comes in pages, in its order', async () => {
    const all = Array.from({ length: 2_500 }, (_, index) => entry(index))
    const gzipped = await encodeSidecar(Buffer.from(headerLine(headerOf(['/a'])) + all.map(entryLine).join('')), {
      ...tar,
      tarBytes: 2 ** 20,
    })
    expect((await read(gzipped, 2 ** 20)).entries).toEqual(all)
  })

  test('proves whose attempt it is of, and everything that it says', async () => {
    const checksum = 'sha256:abc=-3'
    const gzipped = await encodeSidecar(manifest, { ...tar, checksum }, attempt)
    const { end } = await read(gzipped)
    // As a stranger would make it from docs/bundle-format.md.
    const text = `firn-attempt/1\nb\n3\n${end.manifestSha256}\n10240\n${sha256}\n${checksum}`
    expect(end.hmac).toBe(createHmac('sha256', attempt.secret).update(text).digest('hex'))
    expect(isProved(end, attempt)).toBe(true)
    for (const other of [{ secret: Buffer.alloc(32, 8) }, { bundle: 'c' }, { attempt: 4 }])
      expect(isProved(end, { ...attempt, ...other })).toBe(false)
    for (const change of [{ tarBytes: 1 }, { tarSha256: 'ef'.repeat(32) }, { checksum: undefined }, { manifestSha256: sha256 }])
      expect(isProved({ ...end, ...change } as SidecarEnd, attempt)).toBe(false)
    expect(isProved((await read(await encodeSidecar(manifest, tar))).end, attempt)).toBe(false)
  })

  test('that was cut short, or that has a wrong byte, is damaged', async () => {
    const gzipped = await encodeSidecar(manifest, tar)
    for (let length = 0; length < gzipped.length; length += 7) await damaged(gzipped.subarray(0, length))
    const wrong = Buffer.from(gzipped)
    wrong[wrong.length - 6] = (wrong[wrong.length - 6] as number) ^ 1
    await damaged(wrong)
    await damaged(Buffer.from('no gzip'))
  })

  test('of which the vault fails to give the rest is not damaged: it is the error of the vault', async () => {
    const gzipped = await encodeSidecar(manifest, tar)
    async function* failing() {
      yield gzipped.subarray(0, 20)
      throw new Error('the line is down')
    }
    const reading = async () => {
      for await (const _ of readSidecar(failing(), tar.tarBytes));
    }
    await expect(reading()).rejects.toThrow('the line is down')
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
      `{"tar_bytes":10239,"tar_sha256":"${sha256}"}`,
    ]
    for (const last of lasts) await damaged(gzipSync(`${manifest}${last}\n`))
    await damaged(gzipSync(manifest))
    await damaged(gzipSync(''))
    await damaged(gzipSync('\n\n\n'))
  })

  test('of data outside the tar is damaged; links and data in other bundles have none there', async () => {
    const sidecarOf = (one: Entry) => encodeSidecar(Buffer.from(headerLine(headerOf(['/a'])) + entryLine(one)), tar)
    for (const more of [
      { offset: 10_236 },
      { offset: 2 ** 50 },
      { size: 10_000 },
      { type: 'hardlink', link: '/a/0' as Raw, offset: 20_000 },
    ] as const)
      await damaged(await sidecarOf(entry(1, more)))
    const elsewhere = { dataBundle: '00000000-0000-4000-8000-000000000001', offset: 2 ** 40 }
    for (const more of [
      { offset: 10_235 },
      elsewhere,
      { type: 'directory', offset: undefined, sha256: undefined, size: 0 },
    ] as const)
      await expect(read(await sidecarOf(entry(1, more as Partial<Entry>)))).resolves.toBeDefined()
  })

  test('that unpacks to more than the tar, which has the same manifest, is damaged before it fills the memory', async () => {
    const line = entryLine(entry(1))
    const bomb = gzipSync(headerLine(headerOf(['/a'])) + line.repeat(100_000))
    expect(bomb.length).toBeLessThan(200_000)
    await damaged(bomb)
    await damaged(gzipSync(Buffer.alloc(20 * 2 ** 20)), 2 ** 20)
  })

  test('that unpacks to one endless line is damaged, before it fills the memory', async () => {
    // Gzip allows one after the other: 300 MiB in a few hundred kilobytes.
    const bomb = Buffer.concat(Array<Buffer>(300).fill(gzipSync(Buffer.alloc(2 ** 20))))
    const before = process.resourceUsage().maxRSS
    await damaged(bomb, 2 ** 40)
    expect(process.resourceUsage().maxRSS - before).toBeLessThan(150 * 1024)
  })

  test('of lines that are small as text and large in memory is refused in a small heap, and an honest one of a million entries is read', () => {
    const script = `
      import { gzipSync } from 'node:zlib'
      import { createHash } from 'node:crypto'
      import { readSidecar } from ${JSON.stringify(new URL('./sidecar.js', import.meta.url).href)}
      const header = ${JSON.stringify(headerLine(headerOf(['/a'])))}
      const line = ${JSON.stringify(entryLine(entry(1)))}
      const codes = []
      const tarBytes = 2 ** 40
      const gz = (text) => gzipSync(text, { level: 1 })
      async function read(parts) {
        let entries = 0
        try { for await (const part of readSidecar((async function* () { yield* parts })(), tarBytes)) if (part.kind === 'entries') entries += part.entries.length; return entries }
        catch (error) { return error.code }
      }
      const [before, after] = line.split('"state"')
      for (const [begin, again, end] of [['"holes":[[', '0,1],[', '0,1]]'], ['"x":[', '0,', '0]'], ['"x":', '[', ''], ['"x":{', '"x":{},', '}']]) {
        const pieces = Array(22).fill(gz(again.repeat(2 ** 20 / again.length)))
        const line = [gz(before + begin), ...pieces, gz(end + ',"state"' + after)]
        // As an entry, and as the line behind all entries.
        codes.push(await read([gz(header), ...line, gz('{}\\n')]), await read([gz(header), ...line]))
      }
      const last = gz(JSON.stringify({ tar_bytes: tarBytes, tar_sha256: '${sha256}' }) + '\\n')
      codes.push(await read([gz(header), ...Array(100).fill(gz(line.repeat(10_000))), last]))
      console.log(JSON.stringify(codes))`
    const said = execFileSync(process.execPath, ['--max-old-space-size=192', '--input-type=module', '-e', script], {
      encoding: 'utf8',
      env: { PATH: process.env['PATH'] },
      stdio: 'pipe',
    })
    expect(JSON.parse(said)).toEqual([...Array(8).fill('damaged'), 1_000_000])
  }, 120_000)
})
