/** What a vault holds, seen from outside: as files in a directory, or as the emulated service has them. Nothing of Firn's is asked. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { readBlobs } from '../cloud/blobs.js'
import type { Cloud } from '../cloud/cloud.js'

export interface VaultSight {
  /** Finished objects, by key, and how large each is. */
  objects(): Map<string, number>
  read(key: string): Promise<Buffer>
  /** What uploads that did not end left behind. */
  unfinished(): string[]
}

const HIDDEN = /(^|\/)\.[^/]*$/

export function localSight(directory: string): VaultSight {
  // A vault whose first operation failed is not there yet.
  const entries = () => (existsSync(directory) ? readdirSync(directory, { recursive: true, withFileTypes: true }) : [])
  const files = () =>
    entries()
      .filter((found) => found.isFile())
      .map((found) => relative(directory, join(found.parentPath, found.name)))
  return {
    objects: () =>
      new Map(
        files()
          .filter((key) => !HIDDEN.test(key))
          .map((key) => [key, statSync(join(directory, key)).size]),
      ),
    read: async (key) => readFileSync(join(directory, key)),
    // The state of a thaw belongs to its object.
    unfinished: () => files().filter((key) => HIDDEN.test(key) && !key.endsWith('.thaw')),
  }
}

export function s3Sight(cloud: Cloud, bucket: string): VaultSight {
  return {
    objects: () => new Map(cloud.s3.objects(bucket).map(({ key, bytes }) => [key, bytes])),
    read: (key) => cloud.s3.read(bucket, key),
    unfinished: () => cloud.s3.uploads(bucket).map(({ key }) => key),
  }
}

/** An archive counts where a pointer in the companion names it; those that none names are `strayArchives`. */
export function glacierSight(cloud: Cloud, name: string, companion: string): VaultSight & { strayArchives(): string[] } {
  const beside = localSight(companion)
  const vault = () => cloud.glacier.vaults.get(name)
  const POINTER = /\.archive\.json$/
  const pointers = () =>
    [...beside.objects().keys()]
      .filter((key) => POINTER.test(key))
      .map((key) => JSON.parse(readFileSync(join(companion, key), 'utf8')) as { key: string; archive_id: string })
  const live = () => [...(vault()?.archives.values() ?? [])].filter(({ deletedAt }) => deletedAt === undefined)
  return {
    objects() {
      const objects = new Map([...beside.objects()].filter(([key]) => !POINTER.test(key)))
      const archives = new Map(live().map((archive) => [archive.id, archive]))
      for (const { key, archive_id } of pointers()) {
        const archive = archives.get(archive_id)
        if (archive) objects.set(key, archive.bytes)
      }
      return objects
    },
    async read(key) {
      const id = pointers().find((pointer) => pointer.key === key)?.archive_id
      const archive = id === undefined ? undefined : vault()?.archives.get(id)
      if (archive === undefined) return beside.read(key)
      const chunks: Buffer[] = []
      for await (const chunk of readBlobs(archive.blobs, 0, archive.bytes)) chunks.push(chunk)
      return Buffer.concat(chunks)
    },
    unfinished: () => [
      ...beside.unfinished(),
      ...[...(vault()?.uploads.values() ?? [])]
        .filter(({ completed }) => completed === undefined)
        .map(({ description }) => description),
    ],
    strayArchives() {
      const known = new Set(pointers().map(({ archive_id }) => archive_id))
      return live()
        .filter(({ id }) => !known.has(id))
        .map(({ description }) => description)
    },
  }
}
