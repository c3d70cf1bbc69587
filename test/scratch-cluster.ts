/** What the set-up of a test run hands over to its end. Jest loads both in one process, but perhaps each with modules of its own. */
import type { EmbeddedPostgres } from '#libs/runtime/postgres/embedded-postgres.js'

interface ScratchCluster {
  readonly home: string
  readonly postgres: EmbeddedPostgres
}

const place = globalThis as { firnScratchCluster?: ScratchCluster | undefined }

export function handOver(cluster: ScratchCluster): void {
  place.firnScratchCluster = cluster
}

export function takeOver(): ScratchCluster | undefined {
  const cluster = place.firnScratchCluster
  place.firnScratchCluster = undefined
  return cluster
}
