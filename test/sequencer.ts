/** In which order Jest begins the suites: the longest first, so that none of them is what everything else waits for at the end. */
import { statSync } from 'node:fs'

interface Suite {
  readonly path: string
}

/** Suites of a minute and more; the others come by the size of their files. */
const LONG = [
  /elasticsearch-index|glacier-vault|journeys\/distributed/,
  /journeys\/|postgres-index|redis-queue|embedded-postgres|s3-vault|s3-services/,
]

// biome-ignore lint/style/noDefaultExport: Jest makes one of the default export
export default class LongestFirst {
  sort(suites: readonly Suite[]): Suite[] {
    const rank = ({ path }: Suite) => (LONG.findIndex((long) => long.test(path)) + LONG.length + 1) % (LONG.length + 1)
    const size = ({ path }: Suite) => statSync(path).size
    return [...suites].sort((a, b) => rank(a) - rank(b) || size(b) - size(a))
  }

  allFailedTests(suites: readonly Suite[]): readonly Suite[] {
    return suites
  }

  cacheResults(): void {}
}
