/** The word that somebody probably meant. */

export function nearest(word: string, candidates: readonly string[]): string {
  let best = { candidate: candidates[0] ?? '', distance: Number.POSITIVE_INFINITY }
  for (const candidate of candidates) {
    const distance = editDistance(word, candidate)
    if (distance < best.distance) best = { candidate, distance }
  }
  return best.candidate
}

/** Levenshtein's: insertions, deletions and replacements from one word to the other. */
function editDistance(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, i) => i)
  for (let i = 1; i <= from.length; i++) {
    const next = [i]
    for (let j = 1; j <= to.length; j++) {
      const replace = (row[j - 1] as number) + (from[i - 1] === to[j - 1] ? 0 : 1)
      next.push(Math.min(replace, (row[j] as number) + 1, (next[j - 1] as number) + 1))
    }
    row = next
  }
  return row[to.length] as number
}
