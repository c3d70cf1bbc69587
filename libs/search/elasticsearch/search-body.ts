/** A query as Elasticsearch takes it: exactly what `matchesQuery` says, so that no hit needs to be compared with its text. */
import type { estypes } from '@elastic/elasticsearch'
import type { Phrase, Query } from '../query.js'

type Condition = estypes.QueryDslQueryContainer

/** What the texts of sets say to a query. */
export interface SetAnswers {
  /** For each phrase of `query.all`, the sets that have it. */
  readonly have: readonly (readonly string[])[]
  /** The sets that have a phrase which must not be. */
  readonly excluded: readonly string[]
}

export function fileCondition(query: Query, sets: SetAnswers, setIds: readonly string[] | undefined): Condition {
  return {
    bool: {
      filter: [
        ...query.all.map((phrase, i) => anyOf([...inPath(phrase), ...ofSets(sets.have[i] as readonly string[])])),
        ...(setIds === undefined ? [] : [anyOf(ofSets(setIds))]),
      ],
      must_not: [...query.none.flatMap(inPath), ...ofSets(sets.excluded)],
    },
  }
}

/** As `hasPhrase` has it, for documents that have the second reading only where it differs from the first. */
function inPath({ words, whole }: Phrase): Condition[] {
  const [plain, loose] = [words.join(' '), whole.join(' ')]
  const either = [inARow('w', plain), inARow('v', loose)]
  if (plain === loose) return either
  return [...either, { bool: { filter: [inARow('w', loose)], must_not: [{ exists: { field: 'v' } }] } }]
}

/** Sets have both readings always. */
export const inSet = ({ words, whole }: Phrase, name: string): Condition => ({
  bool: { should: [inARow('w', words.join(' ')), inARow('v', whole.join(' '))], minimum_should_match: 1, _name: name },
})

const inARow = (field: 'w' | 'v', text: string): Condition => ({ match_phrase: { [field]: text } })

/** `index.max_terms_count`. */
const TERMS_AT_ONCE = 65_536

function ofSets(ids: readonly string[]): Condition[] {
  const conditions: Condition[] = []
  for (let at = 0; at < ids.length; at += TERMS_AT_ONCE) conditions.push({ terms: { set: ids.slice(at, at + TERMS_AT_ONCE) } })
  return conditions
}

/** Of no conditions, none holds. */
const anyOf = (conditions: readonly Condition[]): Condition =>
  conditions.length === 0 ? { match_none: {} } : { bool: { should: [...conditions], minimum_should_match: 1 } }
