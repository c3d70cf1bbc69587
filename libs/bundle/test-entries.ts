/** For tests: entries of any kind that a file system can have, as fast-check makes them up. */
import fc from 'fast-check'
import { type Raw, rawFromBytes, rawFromText } from '#libs/os/raw.js'
import type { Entry, EntryStat, EntryType, HeldBytes, PlannedEntry } from './entry.js'

/** One component of a path: any bytes but `/` and NUL, mostly those that make trouble. */
const component: fc.Arbitrary<string> = fc
  .oneof(
    fc.string({ minLength: 1, maxLength: 20 }).map((text) => rawFromBytes(Buffer.from(text)) as string),
    fc.uint8Array({ minLength: 1, maxLength: 12 }).map((bytes) => rawFromBytes(bytes) as string),
    fc.constantFrom('a', '\n', ' ', '\xff', 'caf\xe9', 'caf\xc3\xa9', '"\\', '%', 'x'.repeat(255)),
  )
  .map((name) => name.replace(/[/\0]/g, '_'))
  .filter((name) => name !== '.' && name !== '..')

export const absolutePath: fc.Arbitrary<Raw> = fc.oneof(
  { weight: 1, arbitrary: fc.constant('/' as Raw) },
  { weight: 20, arbitrary: fc.array(component, { minLength: 1, maxLength: 6 }).map((parts) => `/${parts.join('/')}` as Raw) },
)

/** From long before 1970 to where the seconds of a file system end. */
const time: fc.Arbitrary<bigint> = fc.oneof(
  fc.bigInt({ min: -(2n ** 62n), max: 2n ** 64n }),
  fc.constantFrom(0n, -1n, 1n, -1_000_000_000n, -1_500_000_000n, 999_999_999n, 253_402_300_800_000_000_000n),
)
const number32 = fc.integer({ min: 0, max: 2 ** 32 - 1 })
const number64 = fc.oneof(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.constant(2n ** 53n + 1n))
const size = fc.oneof(fc.maxSafeNat(), fc.constantFrom(0, 1, 2 ** 33, 2 ** 53 - 1))
const sha256 = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('hex'))
const id = fc.uuid().filter((text) => text === text.toLowerCase())

const stat: fc.Arbitrary<EntryStat> = fc.record({
  type: fc.constantFrom<EntryType>('file', 'hardlink', 'symlink', 'directory'),
  size,
  mtimeNs: time,
  ctimeNs: time,
  atimeNs: time,
  dev: number64,
  ino: number64,
  nlink: number32,
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: number32,
  gid: number32,
})

const held: fc.Arbitrary<HeldBytes> = fc.record({ bundle: id, offset: size, sha256 })

export const plannedEntry: fc.Arbitrary<PlannedEntry> = fc
  .tuple(
    stat,
    fc.record({ path: absolutePath }),
    fc.record({ link: absolutePath, held, unchanged: fc.constant(true as const) }, { requiredKeys: [] }),
  )
  .map(([numbers, path, rest]) => ({ ...numbers, ...path, ...rest }))

/** Any that a manifest may hold. */
export const manifestEntry: fc.Arbitrary<Entry> = fc
  .tuple(
    stat,
    fc.record({
      path: absolutePath,
      uname: fc.string({ unit: 'grapheme' }),
      gname: fc.string({ unit: 'grapheme' }),
      state: fc.constantFrom('ok' as const, 'changed' as const),
    }),
    fc.record({ sha256, offset: size }),
    fc.record(
      {
        dataBundle: id,
        xattrs: fc.dictionary(
          fc.oneof(fc.string({ minLength: 1, unit: 'grapheme' }).map(rawFromText), component as fc.Arbitrary<Raw>),
          fc.base64String(),
          {
            minKeys: 1,
            noNullPrototype: true,
          },
        ),
      },
      { requiredKeys: [] },
    ),
    fc.array(fc.tuple(fc.integer({ min: 0, max: 5_000 }), fc.integer({ min: 1, max: 5_000 })), { maxLength: 4 }),
    fc.oneof(absolutePath, component as fc.Arbitrary<Raw>),
  )
  .map(([numbers, always, data, optional, gaps, target]) => {
    const { type } = numbers
    const isLink = type === 'hardlink' || type === 'symlink'
    const hasData = type === 'file' || type === 'hardlink'
    let at = 0
    const holes = gaps.map(([gap, length]): [number, number] => {
      at += gap + length
      return [at - length, length]
    })
    const { dataBundle, ...rest } = optional
    return {
      ...numbers,
      size: Math.max(numbers.size, at),
      ...always,
      ...(hasData && data),
      ...(hasData && dataBundle !== undefined && { dataBundle }),
      ...rest,
      ...(hasData && holes.length > 0 && { holes }),
      ...(isLink && { link: type === 'hardlink' && !target.startsWith('/') ? (`/${target}` as Raw) : target }),
    }
  })
