/** Stops the scratch Postgres of the test run and removes it. */
import { rm } from 'node:fs/promises'
import { takeOver } from './scratch-cluster.js'

// biome-ignore lint/style/noDefaultExport: Jest calls the default export
export default async function tearDown(): Promise<void> {
  const cluster = takeOver()
  if (cluster === undefined) return
  await cluster.postgres.close()
  await rm(cluster.home, { recursive: true, force: true })
}
