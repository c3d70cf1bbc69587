import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { isFirnError } from '#libs/errors/errors.js'
import type { Raw } from '#libs/os/raw.js'
import type { Entry } from './entry.js'
import { entryLine, headerLine, type ManifestHeader, parseManifest } from './manifest.js'
import { absolutePath, manifestEntry } from './test-entries.js'
import { headerOf } from './test-packing.js'

const header = headerOf(['/data'])
const bytesOf = (entries: readonly Entry[], of: ManifestHeader = header) =>
  Buffer.from([headerLine(of), ...entries.map(entryLine)].join(''))

const entry: Entry = {
  path: '/data/a' as Raw,
  type: 'file',
  size: 5,
  mtimeNs: 1_700_000_000_123_456_789n,
  ctimeNs: -1n,
  atimeNs: 2n ** 63n + 1n,
  dev: 2n ** 64n - 1n,
  ino: 2n ** 53n + 1n,
  nlink: 1,
  mode: 0o4755,
  uid: 2 ** 32 - 1,
  gid: 0,
  uname: 'ann',
  gname: '',
  sha256: 'ab'.repeat(32),
  offset: 1536,
  state: 'ok',
}

describe('a manifest', () => {
  test('is read as it was written, whatever entries are in it', () => {
    fc.assert(
      fc.property(fc.array(manifestEntry, { maxLength: 10 }), (entries) => {
        expect(parseManifest(bytesOf(entries))).toEqual({ header, entries })
      }),
    )
  })

  test('is read as it was written, whatever its header says', () => {
    const text = fc.string({ unit: 'grapheme' })
    fc.assert(
      fc.property(
        fc.record({
          attempt: fc.integer({ min: 1 }),
          host: text,
          description: text,
          tags: fc.array(text),
          vault: text,
          roots: fc.array(absolutePath),
          createdAt: fc.date({ noInvalidDate: true, min: new Date(0), max: new Date('9999-01-01') }),
        }),
        (more) => {
          const given = headerOf([], more)
          expect(parseManifest(bytesOf([], given))).toEqual({ header: given, entries: [] })
        },
      ),
    )
  })

  test('says integers beyond 2^53 exactly, as plain JSON integers', () => {
    const line = entryLine(entry)
    expect(line).toContain('"ino":9007199254740993,')
    expect(line).toContain('"atime_ns":9223372036854775809,')
    expect(parseManifest(bytesOf([entry])).entries).toEqual([entry])
  })

  test('is JSON, one object a line, with nothing that does not apply', () => {
    const line = entryLine({
      ...entry,
      type: 'directory',
      size: 0,
      uname: '',
      sha256: undefined,
      offset: undefined,
    } as unknown as Entry)
    expect(Object.keys(JSON.parse(line))).toEqual(
      'path type size mtime_ns ctime_ns atime_ns dev ino nlink mode uid gid state'.split(' '),
    )
    expect(line.indexOf('\n')).toBe(line.length - 1)
  })

  test('tells names apart that are not UTF-8, and takes text in names for nothing but text', () => {
    const names = [
      '/\xff',
      '/\xfe',
      '/\xef\xbf\xbd',
      '/"dev":12345678901234567890',
      '/\\"ino":1',
      '/a\nb',
      '/\u0085',
      '/\xe2\x80\xa8',
    ]
    const entries = names.map((path) => ({ ...entry, path: path as Raw }))
    expect(parseManifest(bytesOf(entries)).entries).toEqual(entries)
    const xattrs = { 'user."mtime_ns":5': 'AAAA', dev: 'AQ==', 'user.x"ino":7': '' }
    expect(parseManifest(bytesOf([{ ...entry, xattrs }])).entries).toEqual([{ ...entry, xattrs }])
  })

  test('of a million holes is read', () => {
    const holes = Array.from({ length: 1_000_000 }, (_, i): [number, number] => [2 * i, 1])
    const sparse = { ...entry, size: 2_000_000, holes }
    expect(parseManifest(bytesOf([sparse])).entries[0]?.holes).toHaveLength(1_000_000)
  })
})

describe('reading a manifest', () => {
  const damaged = (bytes: Buffer | string) =>
    expect(() => parseManifest(Buffer.from(bytes as string))).toThrow(expect.objectContaining({ code: 'damaged' }))
  /** Its first line, or the entry's, with fields changed; `undefined` takes one away. */
  const changed = (line: string, change: Record<string, unknown>): string => {
    let text = line
    for (const [key, value] of Object.entries(change)) {
      const json = value === undefined ? '' : `"${key}":${typeof value === 'bigint' ? value : JSON.stringify(value)},`
      const field = new RegExp(`"${key}":("(\\\\.|[^"\\\\])*"|-?\\d+|\\[[^\\]]*\\]),?`)
      text = field.test(text) ? text.replace(field, json) : text.replace('{', `{${json}`)
    }
    return text.replace(/,\}/, '}')
  }

  const badEntries: [string, Record<string, unknown>][] = [
    ['a path that is not absolute', { path: 'a' }],
    ['no path', { path: undefined }],
    ['an empty path', { path: '' }],
    ['a path with ..', { path: '/a/../b' }],
    ['a path that ends with ..', { path: '/a/..' }],
    ['a path with .', { path: '/./b' }],
    ['a path with //', { path: '//b' }],
    ['a path with a slash at its end', { path: '/b/' }],
    ['a path with a NUL', { path: '/a\0b' }],
    ['two paths', { path_b64: 'L2E=' }],
    ['a path in no base64', { path: undefined, path_b64: '!' }],
    ['an unknown type', { type: 'fifo' }],
    ['an unknown state', { state: 'fine' }],
    ['no state', { state: undefined }],
    ['a negative size', { size: -1 }],
    ['a broken size', { size: 1.5 }],
    ['a size beyond 2^53', { size: 2n ** 53n }],
    ['a size in quotes', { size: '5' }],
    ['no mtime', { mtime_ns: undefined }],
    ['a time that is no number', { mtime_ns: 'soon' }],
    ['a time that is empty', { mtime_ns: '' }],
    ['a time with a fraction', { mtime_ns: 1.5 }],
    ['a time that no kernel has', { mtime_ns: 10n ** 29n }],
    ['a negative device', { dev: -1n }],
    ['an inode beyond 2^64', { ino: 2n ** 64n }],
    ['a mode beyond 7777', { mode: 0o10000 }],
    ['an owner beyond 2^32', { uid: 2 ** 32 }],
    ['a name of the owner that is no text', { uname: 7 }],
    ['a short hash', { sha256: 'ab' }],
    ['a hash in capitals', { sha256: 'AB'.repeat(32) }],
    ['a file without a hash', { sha256: undefined }],
    ['a file without an offset', { offset: undefined }],
    ['a negative offset', { offset: -1 }],
    ['a data bundle that is no id', { data_bundle: '../x' }],
    ['a data bundle that is a number', { data_bundle: 7 }],
    ['a hard link without its first name', { type: 'hardlink' }],
    ['a hard link to no path', { type: 'hardlink', link: 'x' }],
    ['a symlink without a target', { type: 'symlink' }],
    ['holes that are no list', { holes: 'none' }],
    ['a hole beyond the end', { holes: [[4, 2]] }],
    ['a hole of nothing', { holes: [[1, 0]] }],
    [
      'holes out of order',
      {
        holes: [
          [3, 1],
          [1, 1],
        ],
      },
    ],
    [
      'holes that overlap',
      {
        holes: [
          [0, 3],
          [2, 2],
        ],
      },
    ],
    ['an xattr that is no text', { xattrs: { 'user.x': 1 } }],
    ['an xattr that is no base64', { xattrs: { 'user.x': '?' } }],
    ['a list of xattrs', { xattrs: ['x'] }],
  ]
  test.each(badEntries)('refuses %s', (_, change) => {
    const line = changed(entryLine(entry), change)
    expect(line).not.toBe(entryLine(entry))
    damaged(headerLine(header) + line)
  })

  test('takes the unchanged lines that the ones above were made of', () => {
    expect(parseManifest(Buffer.from(headerLine(header) + changed(entryLine(entry), {}))).entries).toEqual([entry])
  })

  const badHeaders: [string, Record<string, unknown>][] = [
    ['another format', { format: 'firn-bundle/2' }],
    ['no format', { format: undefined }],
    ['a bundle that is no id', { bundle: 'x' }],
    ['a set that is no id', { set: '../../etc' }],
    ['attempt 0', { attempt: 0 }],
    ['no time', { created_at: 'yesterday' }],
    ['no host', { host: undefined }],
    ['a root that is not absolute', { roots: ['a'] }],
    ['a root that is nothing', { roots: [null] }],
    ['tags that are no texts', { tags: [1] }],
    ['no vault', { vault: undefined }],
  ]
  test.each(badHeaders)('refuses a header with %s', (_, change) => {
    const line = changed(headerLine(header), change)
    expect(line).not.toBe(headerLine(header))
    damaged(line)
  })

  test('refuses bytes that are not UTF-8: a name in them could not be told from another', () => {
    const line = Buffer.from(entryLine(entry))
    line[line.indexOf('/data/a') + 6] = 0xff
    damaged(Buffer.concat([Buffer.from(headerLine(header)), line]))
  })

  test('refuses what was cut short anywhere but at the end of a line', () => {
    const whole = bytesOf([entry])
    const first = whole.indexOf('\n') + 1
    for (let length = 0; length < whole.length; length++) if (length !== first) damaged(whole.subarray(0, length))
  })

  test('of any bytes gives a manifest or says `damaged`', () => {
    const whole = bytesOf([entry, { ...entry, xattrs: { 'user.x': 'AAAA' }, holes: [[1, 2]] }])
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.uint8Array({ maxLength: 4 }), fc.nat(4), (at, put, gone) => {
        const bytes = Buffer.concat([whole.subarray(0, at), put, whole.subarray(at + gone)])
        try {
          parseManifest(bytes)
        } catch (error) {
          if (!isFirnError(error, 'damaged')) throw error
        }
      }),
      { numRuns: 1_000 },
    )
  })
})
