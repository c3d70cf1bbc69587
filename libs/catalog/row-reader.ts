/**
 * Rows of `file` as they are read: the columns of each, and beside them what these only name, which is looked up once and kept: where
 * its directory is, and which bundle it lies in.
 */
import { FirnError } from '#libs/errors/errors.js'
import { joinRaw, type Raw } from '#libs/os/raw.js'
import { type BoundedMap, boundedMap, keptOrAsked } from './bounded-map.js'
import type { LocatedRow } from './catalog.js'
import type { Runs } from './database.js'
import type { Directories } from './directories.js'
import { type PackedRows, queryPacked } from './packed-rows.js'

export interface RowReader<R> {
  /** Of `file f`. */
  readonly columns: string
  /** The rows of a SELECT of `columns`, in its order. */
  read(select: string, values: readonly unknown[]): Promise<R[]>
  /** The same, with the id of each row's directory beside it. */
  readPlaced(select: string, values: readonly unknown[]): Promise<{ rows: R[]; directories: number[] }>
}

/** What the columns hold: of each row its name and the id of its directory stand beside it. */
export interface Unpacked<R> {
  readonly rows: R[]
  readonly names: Raw[]
  readonly directoryIds: number[]
}

/** While it is put together. */
export type Writable<T> = { -readonly [K in keyof T]: T[K] }

/** Facts of stored bundles do not change. */
const BUNDLES_KEPT = 10_000

/** Makes readers that share what they keep. */
export function rowReaders(database: Runs, directories: Directories) {
  const bundles = boundedMap<number, BundleFacts>(BUNDLES_KEPT)

  return <R extends Writable<LocatedRow>>(
    columns: string,
    unpack: (packed: PackedRows) => Unpacked<R> | Promise<Unpacked<R>>,
  ): RowReader<R> => {
    const readPlaced: RowReader<R>['readPlaced'] = async (select, values) => {
      const { rows, names, directoryIds } = await unpack(await queryPacked(database, select, values))
      // One after the other: most are known by now, and the first time each would open a connection of its own.
      const directoryOf = await directories.factsOf(new Set(directoryIds))
      const bundleOf = await bundleFacts(database, bundles, new Set(rows.map((row) => Number(row.bundleNumber))))
      rows.forEach((row, index) => {
        const directory = directoryOf.get(directoryIds[index] as number)
        const bundle = bundleOf.get(Number(row.bundleNumber))
        if (!directory || !bundle) throw contradiction(row)
        row.host = directory.host
        row.path = joinRaw(directory.path, names[index] as Raw)
        row.bundleId = bundle.bundleId
        row.setId = bundle.setId
        row.vaultId = bundle.vaultId
        row.archiveId = bundle.archiveId
        row.archivedAt = bundle.archivedAt
      })
      return { rows, directories: directoryIds }
    }
    return { columns, readPlaced, read: async (select, values) => (await readPlaced(select, values)).rows }
  }
}

export const contradiction = ({ bundleNumber, seq }: Pick<LocatedRow, 'bundleNumber' | 'seq'>) =>
  new FirnError('database', `The catalog contradicts itself: file ${bundleNumber}/${seq} names rows that are not there.`)

interface BundleFacts {
  readonly bundleId: string
  readonly setId: string
  readonly vaultId: string
  readonly archiveId: string
  readonly archivedAt: Date
}

const bundleFacts = (database: Runs, kept: BoundedMap<number, BundleFacts>, numbers: Set<number>) =>
  keptOrAsked(kept, numbers, async (unknown) => {
    const { rows } = await database.query<BundleFacts & { number: bigint }>(
      `SELECT b.number, b.id AS "bundleId", b.set AS "setId", v.id AS "vaultId", b.archive_id AS "archiveId",
         b.archived_at AS "archivedAt"
       FROM bundle b JOIN vault v ON v.number = b.vault WHERE b.number = ANY($1::bigint[])`,
      [unknown],
    )
    return rows.map(({ number, ...facts }) => [Number(number), facts])
  })
