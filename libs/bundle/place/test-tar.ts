/** For tests: entries with their bytes as they would lie in a tar, a scratch directory, and what stands in a tree afterwards. */
import { createHash } from 'node:crypto'
import { chmodSync, lstatSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Raw, rawFromBytes, rawFromText } from '#libs/os/raw.js'
import type { Entry } from '../entry.js'
import { openPlacer, type PlaceEntry, type PlaceOptions, type PlaceResult, type ReadRange } from '../place.js'

export const raw = (text: string): Raw => rawFromText(text)
export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

export interface TestTar {
  readonly entries: PlaceEntry[]
  readonly tar: Buffer
  readonly read: ReadRange
  /** The ranges that were read. */
  readonly reads: { offset: number; length: number }[]
}

export type TestEntry = Partial<Omit<PlaceEntry, 'at'>> & { at: string; bytes?: Uint8Array | string; gap?: number }

let inodes = 0n

/** Members with a block of 512 bytes before each, where a tar has its headers (`gap`: more than that). */
export function tarOf(members: readonly TestEntry[], chunkBytes = 60_000): TestTar {
  const parts: Buffer[] = []
  let offset = 0
  const entries = members.map(({ at, bytes, gap = 512, ...rest }): PlaceEntry => {
    const type = rest.type ?? (bytes === undefined ? 'directory' : 'file')
    const content = Buffer.from(bytes ?? '')
    const hasBytes = type === 'file' || type === 'hardlink'
    parts.push(Buffer.alloc(gap, 0xaa))
    offset += gap
    const entry: PlaceEntry = {
      path: `/${at}` as Raw,
      at: at as Raw,
      type,
      size: hasBytes ? content.length : 0,
      mtimeNs: 1_600_000_000_123_456_789n,
      ctimeNs: 1_600_000_001_000_000_001n,
      atimeNs: 1_600_000_002_987_654_321n,
      dev: 1n,
      ino: ++inodes,
      nlink: 1,
      mode: type === 'directory' ? 0o755 : 0o644,
      uid: process.geteuid?.() ?? 0,
      gid: process.getegid?.() ?? 0,
      uname: '',
      gname: '',
      state: 'ok',
      ...(hasBytes && { offset, sha256: sha256(content) }),
      ...rest,
    }
    const isCopyOfEarlier = rest.offset !== undefined
    if (hasBytes && !isCopyOfEarlier) {
      parts.push(content)
      offset += content.length
    }
    return entry
  })
  const tar = Buffer.concat(parts)
  const reads: { offset: number; length: number }[] = []
  return {
    entries,
    tar,
    reads,
    async *read({ offset, length }) {
      reads.push({ offset, length })
      const end = Math.min(tar.length, offset + length)
      // One buffer for all chunks, as a vault may do it.
      const chunk = Buffer.alloc(chunkBytes)
      for (let from = offset; from < end; from += chunkBytes) {
        const part = tar.subarray(from, Math.min(end, from + chunkBytes))
        part.copy(chunk)
        yield chunk.subarray(0, part.length)
      }
    },
  }
}

export async function collect(results: AsyncIterable<readonly PlaceResult[]>): Promise<PlaceResult[]> {
  const all: PlaceResult[] = []
  for await (const page of results) all.push(...page)
  return all
}

/** Places everything, finishes with the entries given, closes. */
export async function restore(target: string, tar: TestTar, options: Partial<PlaceOptions> = {}): Promise<PlaceResult[]> {
  const placer = await openPlacer({ target: raw(target), retrievalId: 'r1', overwrite: false, setuid: false, ...options })
  try {
    const results = await collect(placer.place(tar.entries, tar.read))
    const directories = new Map<Raw, Entry>(
      tar.entries.flatMap((entry) => (entry.type === 'directory' ? [[entry.at, entry]] : [])),
    )
    await placer.finish(async () => directories)
    return results
  } finally {
    await placer.close()
  }
}

/** `placed a/b`, `failed c: reason`, in the order of `at`. */
export const told = (results: readonly PlaceResult[]): string[] =>
  results.map(({ entry, outcome, reason }) => `${outcome} ${entry.at}${reason ? `: ${reason}` : ''}`).sort()

/** Everything about a tree but ctimes and atimes, and but what lies below `except` (`/a`); names in latin1. */
export function snapshot(root: string, except?: string): Record<string, string> {
  const found: Record<string, string> = {}
  const visit = (path: Buffer, name: string) => {
    if (name === except) return
    const stat = lstatSync(path, { bigint: true })
    const what = stat.isFile()
      ? sha256(readFileSync(path))
      : stat.isSymbolicLink()
        ? `-> ${readlinkSync(path, 'latin1')}`
        : stat.isDirectory()
          ? 'directory'
          : 'special'
    found[name] =
      `${what} ${stat.mode.toString(8)} ${stat.uid}:${stat.gid} ${stat.mtimeNs} ${stat.isDirectory() ? '' : stat.nlink}`
    if (!stat.isDirectory()) return
    for (const child of readdirSync(path, { encoding: 'buffer' }))
      visit(Buffer.concat([path, Buffer.from('/'), child]), `${name}/${rawFromBytes(child)}`)
  }
  visit(Buffer.from(root), '')
  return found
}

/** A directory of its own for one test, in `base`. */
export function scratch(base = tmpdir()): { path: string; [Symbol.dispose](): void } {
  const path = mkdtempSync(join(base, 'firn-place-'))
  return {
    path,
    [Symbol.dispose]() {
      openAll(path)
      rmSync(path, { recursive: true, force: true })
    },
  }
}

/** An ordinary user cannot remove what lies in a directory that is read-only. */
function openAll(path: string): void {
  if (process.geteuid?.() === 0) return
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue
    chmodSync(join(path, entry.name), 0o700)
    openAll(join(path, entry.name))
  }
}
