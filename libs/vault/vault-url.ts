/** How a vault is named on a command line: `scheme:place?key=value`. Taken apart here for every scheme, so that all refuse alike. */
import { FirnError } from '#libs/errors/errors.js'
import { redacted } from '#libs/errors/redacted.js'

export interface VaultUrl {
  /** Without the colon. */
  readonly scheme: string
  /** What stands between the colon and the question mark, as it is: nothing is decoded, a path may hold any other character. */
  readonly place: string
  readonly query: ReadonlyMap<string, string>
}

export function parseVaultUrl(url: string): VaultUrl {
  const [, scheme, place, query] = /^([a-z][a-z0-9+.-]*):([^?]*)(?:\?(.*))?$/s.exec(url) ?? []
  if (scheme === undefined || place === undefined) {
    throw new FirnError(
      'usage',
      `"${redacted(url)}" is not a vault: a vault is written scheme:place, for example local:/srv/vault.`,
    )
  }
  return { scheme, place, query: new Map(new URLSearchParams(query ?? '')) }
}

/** Throws where the URL has an option that its scheme does not know: a misspelt one must not be lost in silence. */
export function checkOptions(url: VaultUrl, known: readonly string[]): void {
  for (const key of url.query.keys()) {
    if (!known.includes(key)) {
      throw new FirnError('usage', `The vault option "${key}" is unknown: did you mean "${nearest(key, known)}"?`)
    }
  }
}

function nearest(word: string, choices: readonly string[]): string {
  const byDistance = choices.map((choice) => ({ choice, distance: editDistance(word.toLowerCase(), choice) }))
  return byDistance.reduce((best, next) => (next.distance < best.distance ? next : best)).choice
}

/** Levenshtein: how many letters must be added, dropped or changed. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)))
    }
    row = next
  }
  return row[b.length]!
}
