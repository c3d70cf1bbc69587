import { expect, test } from '@jest/globals'
import type { FileRow } from './catalog.js'
import { all, directory, entry, newSet, raw, scratchCatalog, storeBundle } from './scratch-catalog.js'

test('a retrieval gives its rows in pages, none of which ends between the names of one inode', async () => {
  const scratch = await scratchCatalog()
  const { catalog } = scratch
  try {
    const set = await newSet(catalog)
    // Four names of each inode, and one entry before them: so that the boundary of a page of any round number lies within an inode.
    const names = Array.from({ length: 9_000 }, (_, i) => {
      const offset = 1024 + 1024 * Math.floor(i / 4)
      return entry(`/many/${String(i).padStart(5, '0')}`, { size: 3, offset, nlink: 4 })
    })
    await storeBundle(catalog, set, [entry('/many/first', { size: 3, offset: 512 }), ...names, directory('/many')])
    const selection = { setIds: [set.id], directories: true }
    const created = await catalog.createRetrieval({ request: {}, target: raw('/to'), detached: false }, catalog.select(selection))
    const [item] = await all(catalog.items(created.id))
    const pages: (readonly FileRow[])[] = []
    for await (const page of catalog.itemRows(item?.id as string)) pages.push(page)
    expect(pages.length).toBeGreaterThan(1)
    expect(pages.flat().map(({ path }) => path)).toEqual(['/many/first', ...names.map(({ path }) => path), '/many'])
    const ends = pages.map((page) => page.at(-1)?.offset)
    const begins = pages.map((page) => page[0]?.offset)
    for (const [number, begin] of begins.slice(1).entries()) expect(begin).not.toBe(ends[number])
  } finally {
    await scratch.drop()
  }
})
