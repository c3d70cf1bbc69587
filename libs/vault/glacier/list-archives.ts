/**
 * What lies in a Glacier vault: its archives, by their pointers in the companion vault, and the small objects beside them, in the order
 * of the keys. A pointer's own name sorts a little later than the key it stands for (`a-b` comes before `a.archive.json`, and after
 * `a`), so what comes is held back until no key before it can follow.
 */
import type { CallOptions, Stored, Vault } from '../vault.js'
import { keyOfPointer, pointerKey, readPointer } from './pointer.js'

/** Pointers that are read together. */
const READS_AT_ONCE = 16
/** So many are held back before the companion is asked whether what they wait for is there at all. */
const HELD = 512

interface Held {
  readonly key: string
  /** Undefined for an archive: its pointer says. */
  readonly stored?: Stored
}

export async function* listArchives(
  companion: Vault,
  prefix: string,
  options: CallOptions,
  mostHeld = HELD,
): AsyncGenerator<Stored & { key: string }> {
  let held: Held[] = []
  const absent = new Set<string>()

  /** Keys before `key` whose pointers may still come, when the listing of the companion has come to `at`. */
  function* expectedBefore(key: string, at: string): Generator<string> {
    for (let end = Math.max(prefix.length, 1); end < key.length; end++) {
      // Only what goes on with `-` or `.` sorts before `.archive.json`.
      if (key[end] !== '-' && key[end] !== '.') continue
      const before = key.slice(0, end)
      if (!absent.has(before) && pointerKey(before) > at) yield before
    }
  }

  /** Takes out what nothing can come before any more. */
  function released(at: string | undefined): Held[] {
    held.sort((a, b) => (a.key < b.key ? -1 : 1))
    let count = 0
    while (count < held.length && (at === undefined || expectedBefore(held[count]!.key, at).next().done)) count++
    const free = held.slice(0, count)
    held = held.slice(count)
    return free
  }

  async function askForWhatIsExpected(at: string): Promise<void> {
    for (const { key } of held) {
      for (const before of expectedBefore(key, at)) {
        // One that is there comes later in the listing, and is waited for.
        if ((await companion.stat(pointerKey(before), options)) === undefined) absent.add(before)
      }
    }
  }

  async function* sized(entries: readonly Held[]): AsyncGenerator<Stored & { key: string }> {
    for (let start = 0; start < entries.length; start += READS_AT_ONCE) {
      options.signal?.throwIfAborted()
      const group = entries.slice(start, start + READS_AT_ONCE)
      const found = await Promise.all(group.map(async ({ key, stored }) => stored ?? storedOf(companion, key, options)))
      for (const [i, { key }] of group.entries()) if (found[i]) yield { key, ...found[i] }
    }
  }

  let fresh = 0
  for await (const { key: name, ...stored } of companion.list(prefix, options)) {
    const archive = keyOfPointer(name)
    if (archive !== undefined && !archive.startsWith(prefix)) continue
    held.push(archive === undefined ? { key: name, stored } : { key: archive })
    if (++fresh < READS_AT_ONCE) continue
    fresh = 0
    if (held.length > mostHeld) {
      await askForWhatIsExpected(name)
      if (absent.size > 10 * mostHeld) absent.clear()
    }
    yield* sized(released(name))
  }
  yield* sized(released(undefined))
}

export async function storedOf(
  companion: Vault,
  key: string,
  options: CallOptions,
): Promise<(Stored & { archiveId: string }) | undefined> {
  const pointer = await readPointer(companion, key, options)
  return pointer && { bytes: pointer.bytes, modifiedAt: pointer.createdAt, archiveId: pointer.archiveId }
}
