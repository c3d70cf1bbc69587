/**
 * What Firn has in an Elasticsearch, all below one prefix:
 *
 * - `firn-files-<n>`, behind the alias `firn-files`: one document per file. Its id is `<bundle>-<seq>`. And one per bundle, with the
 *   bundle's number as id, which says that the bundle was added: it has no field that a search could find.
 * - `firn-sets-1`, behind the alias `firn-sets`: one document per set. Apart from the files, so that tags and descriptions may change without
 *   touching them: a search first asks which sets have its words, and then for the files that have them or are of such a set.
 *
 * Words are split by `words.ts` and come to the server as one text with spaces between them, so that `whitespace`, which every server
 * has, is all that its analysis must do.
 */
import type { estypes } from '@elastic/elasticsearch'
import { looseTextOf, type Raw } from '#libs/os/raw.js'
import { setReadings } from '../query.js'
import type { IndexedSet } from '../search-index.js'
import { readingOf } from '../words.js'
import type { ElasticsearchPlace } from './elasticsearch-url.js'

export interface Names {
  /** The alias that is searched and written. */
  readonly files: string
  /** The alias of a files index that is being made. */
  readonly next: string
  readonly sets: string
  readonly setsIndex: string
  /** The index of a generation. */
  readonly generation: (n: number) => string
  /** The generation of such an index; undefined for anybody else's. */
  readonly generationOf: (index: string) => number | undefined
}

export function namesFor({ prefix }: Pick<ElasticsearchPlace, 'prefix'>): Names {
  const files = `${prefix}-files`
  return {
    files,
    next: `${files}-next`,
    sets: `${prefix}-sets`,
    setsIndex: `${prefix}-sets-1`,
    generation: (n) => `${files}-${n}`,
    generationOf: (index) => {
      const digits = index.startsWith(`${files}-`) ? index.slice(files.length + 1) : ''
      return /^[1-9]\d{0,8}$/.test(digits) ? Number(digits) : undefined
    },
  }
}

/** Of fields and words: an index of another version cannot be searched, only made anew. */
export const VERSION = 1

const WORDS: estypes.MappingProperty = { type: 'text', analyzer: 'whitespace', norms: false, index_options: 'positions' }

/** Hits come in the order of `b` and `s` and say nothing else, so a document's text is not kept: the catalog has it. */
export const FILE_MAPPINGS: estypes.MappingTypeMapping = {
  dynamic: false,
  _meta: { firn: VERSION },
  _source: { enabled: false },
  properties: {
    w: WORDS,
    v: WORDS,
    set: { type: 'keyword', ignore_above: 8191, doc_values: false },
    b: { type: 'long' },
    s: { type: 'integer', index: false },
  },
}

export const SET_MAPPINGS: estypes.MappingTypeMapping = {
  dynamic: false,
  _meta: { firn: VERSION },
  _source: { enabled: false },
  properties: { id: { type: 'keyword', ignore_above: 8191 }, w: WORDS, v: WORDS },
}

export function copiesOf({ replicas }: ElasticsearchPlace): estypes.IndicesIndexSettings {
  return replicas === undefined ? { auto_expand_replicas: '0-1' } : { number_of_replicas: replicas }
}

/**
 * Documents lie in the order in which hits are given: so the first thousand of a frequent word are read and no more, which makes the
 * slowest searches three times as fast.
 */
export function fileSettings(place: ElasticsearchPlace): estypes.IndicesIndexSettings {
  return { number_of_shards: place.shards, ...copiesOf(place), sort: { field: ['b', 's'], order: ['desc', 'asc'] } }
}

export interface FileDocument {
  readonly set: string
  readonly b: number
  readonly s: number
  readonly w: string
  /** The words with case ignored, only where that is another reading. */
  readonly v?: string
}

export function fileDocument(setId: string, bundleNumber: bigint, seq: number, path: Raw): FileDocument {
  const { words, whole } = readingOf(looseTextOf(path))
  const w = words.join(' ')
  const v = whole === words ? w : whole.join(' ')
  return { set: setId, b: Number(bundleNumber), s: seq, w, ...(v !== w && { v }) }
}

export const fileId = (bundleNumber: bigint | number, seq: number): string => `${bundleNumber}-${seq}`

/** A phrase lies within the description or one tag: values of a field are 100 positions apart. */
export function setDocument({ id, description, tags }: IndexedSet) {
  const readings = setReadings(description, tags).filter(({ words }) => words.length > 0)
  return { id, w: readings.map(({ words }) => words.join(' ')), v: readings.map(({ whole }) => whole.join(' ')) }
}
