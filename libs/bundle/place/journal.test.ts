import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import fc from 'fast-check'
import { openJournal } from './journal.js'
import { raw, scratch } from './test-tar.js'

/** All records, the newest first, as the end of a retrieval reads them. */
function drained(directory: string): string[] {
  const journal = openJournal(raw(directory))
  const all: string[] = []
  for (let newest = journal.newest(); newest !== undefined; newest = journal.newest()) {
    all.push(...newest.ats)
    journal.truncate(newest.start)
  }
  journal.close()
  return all
}

test('gives its records back once each, the newest first, over any number of blocks', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ minLength: 1, maxLength: 4095, unit: 'grapheme-ascii' }), { maxLength: 200 }), (records) => {
      using at = scratch()
      const journal = openJournal(raw(at.path))
      for (const record of records) journal.append(raw(record))
      journal.close()
      expect(drained(at.path)).toEqual([...records].reverse())
    }),
    { numRuns: 50 },
  )
})

test('is read to its end also where it is damaged', () => {
  for (const damage of [
    Buffer.alloc(200_000),
    Buffer.alloc(200_000, 'x'),
    Buffer.from('torn'),
    Buffer.from(`${'y'.repeat(65_535)}\0`),
  ]) {
    using at = scratch()
    const journal = openJournal(raw(at.path))
    journal.append(raw('first'))
    journal.close()
    writeFileSync(join(at.path, 'directories'), damage, { flag: 'a' })
    const after = openJournal(raw(at.path))
    after.append(raw('last'))
    after.close()
    const all = drained(at.path)
    expect([all[0], all.at(-1)]).toEqual(['last', 'first'])
  }
})
