/**
 * What Firn writes into the descriptions of archives, uploads and jobs: the key, as JSON. Archives have no names; from their
 * descriptions the inventory can say which key each of them is. 1,024 printable ASCII characters at most, which every key is.
 */
export function describeKey(key: string): string {
  return JSON.stringify({ firn: 1, key })
}

/** The key in a description that Firn wrote; undefined for any other. */
export function describedKey(description: string | undefined): string | undefined {
  if (!description?.startsWith('{"firn":1,')) return undefined
  try {
    const { key } = JSON.parse(description) as { key?: unknown }
    return typeof key === 'string' ? key : undefined
  } catch {
    return undefined
  }
}
