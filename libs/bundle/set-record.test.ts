import { gzipSync } from 'node:zlib'
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { type RecordHeader, type RecordPart, readRecord, recordLines } from './set-record.js'
import { absolutePath as path } from './test-entries.js'

const date = fc.date({ min: new Date(0), max: new Date('2100-01-01'), noInvalidDate: true })
const count = fc.nat(2 ** 40)
const hex = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('hex'))
const text = fc.string({ unit: 'binary' }).filter((value) => Buffer.from(value).toString() === value)
const optional = <T>(key: string, value: fc.Arbitrary<T>) =>
  fc.option(value, { nil: undefined }).map((one) => (one === undefined ? {} : { [key]: one }))

const header = fc
  .tuple(
    fc.record({
      set: fc.uuid(),
      host: text,
      roots: fc.array(path, { maxLength: 5 }),
      options: fc.constant({ force: false, walk: { include: ['ü'] } }),
      description: text,
      tags: fc.array(text, { maxLength: 3 }),
      vault: text,
      startedAt: date,
      state: fc.constantFrom('archiving', 'archived', 'partial', 'failed', 'cancelled'),
      counts: fc.record({ found: count, gone: count }),
    }),
    optional('finishedAt', date),
    optional('reason', text),
    optional('marks', fc.constant({ view: 'here', places: [] })),
  )
  .map((all) => ({ kind: 'header', header: Object.assign({}, ...all) as RecordHeader }) as RecordPart)
const bundle = fc
  .tuple(
    fc.record({
      bundle: fc.uuid(),
      attempt: fc.nat(99),
      state: fc.constantFrom('stored', 'failed'),
      files: count,
      entries: count,
      fileBytes: count,
    }),
    fc.option(fc.record({ key: text, bytes: count, sha256: hex }), { nil: {} }),
    optional('reason', text),
  )
  .map((all) => ({ kind: 'bundle', bundle: Object.assign({}, ...all) }) as RecordPart)
const problem = fc
  .tuple(fc.record({ kind: fc.constantFrom('skipped', 'failed', 'changed'), path, reason: text }), optional('bundle', fc.uuid()))
  .map((all) => ({ kind: 'problem', problem: Object.assign({}, ...all) }) as RecordPart)
const gone = fc.record({
  kind: fc.constantFrom('gone', 'removed'),
  gone: fc.record({ path, at: date }),
}) as fc.Arbitrary<RecordPart>
const record = fc
  .tuple(header, fc.array(fc.oneof(bundle, problem, gone), { maxLength: 20 }))
  .map(([first, rest]) => [first, ...rest])

async function encoded(parts: readonly RecordPart[]): Promise<Buffer> {
  const lines: Buffer[] = []
  const given = async function* () {
    yield* parts
  }
  for await (const line of recordLines(given())) lines.push(line)
  return Buffer.concat(lines)
}
async function read(bytes: Uint8Array, gzipped = true): Promise<RecordPart[]> {
  const chunks = async function* () {
    const packed = gzipped ? gzipSync(bytes) : bytes
    for (let at = 0; at < packed.length; at += 100) yield packed.subarray(at, at + 100)
  }
  const parts: RecordPart[] = []
  for await (const part of readRecord(chunks())) parts.push(part)
  return parts
}

describe('the record of a set', () => {
  test('gives back what was written, whatever the names', async () => {
    await fc.assert(
      fc.asyncProperty(record, async (parts) => {
        expect(await read(await encoded(parts))).toEqual(parts)
      }),
      { numRuns: 200 },
    )
  })

  test('with any byte changed, cut anywhere, or with a line more, is damaged', async () => {
    await fc.assert(
      fc.asyncProperty(record, fc.nat(), fc.integer({ min: 1, max: 255 }), async (parts, at, other) => {
        const bytes = await encoded(parts)
        const place = at % bytes.length
        const changed = Buffer.from(bytes)
        changed[place] = (changed[place] as number) ^ other
        const longer = Buffer.concat([bytes.subarray(0, bytes.indexOf('\n') + 1), bytes])
        for (const damaged of [changed, bytes.subarray(0, place), longer]) {
          await expect(read(damaged)).rejects.toMatchObject({ code: 'damaged' })
        }
      }),
      { numRuns: 200 },
    )
  })

  test('that is no gzip, or empty, is damaged', async () => {
    for (const bytes of [Buffer.from('plain'), Buffer.alloc(0)]) {
      await expect(read(bytes, false)).rejects.toMatchObject({ code: 'damaged' })
    }
    await expect(read(Buffer.alloc(0))).rejects.toMatchObject({ code: 'damaged' })
  })
})
