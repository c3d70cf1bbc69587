/** Planned entries as JSON lines of a temporary table: written and read by one process, gone with its connection. */
import type { PlannedEntry } from '#libs/bundle/entry.js'

const BIG = ['mtimeNs', 'ctimeNs', 'atimeNs', 'dev', 'ino'] as const

/** `Raw` names stay as they are: one character a byte, and never NUL. */
export const plannedToJson = (entry: PlannedEntry): string =>
  JSON.stringify(entry, (_key, value: unknown) => (typeof value === 'bigint' ? String(value) : value))

export function plannedFromJson(json: string): PlannedEntry {
  const entry = JSON.parse(json) as Record<string, unknown>
  for (const key of BIG) entry[key] = BigInt(entry[key] as string)
  return entry as unknown as PlannedEntry
}
