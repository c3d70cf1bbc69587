/** Names of users and groups by their numbers, from the machine's own files; empty where a number has none. */
import { readFileSync } from 'node:fs'

export interface OwnerNames {
  user(uid: number): string
  group(gid: number): string
}

/** Read when opened: a packing thread opens it for each bundle, so that new users are seen. */
export function openOwnerNames(): OwnerNames {
  const users = namesIn('/etc/passwd')
  const groups = namesIn('/etc/group')
  return { user: (uid) => users.get(uid) ?? '', group: (gid) => groups.get(gid) ?? '' }
}

/** `name:password:number:...`; the first line of a number counts. */
function namesIn(file: string): Map<number, string> {
  const names = new Map<number, string>()
  let text = ''
  try {
    text = readFileSync(file, 'utf8')
  } catch {
    // a machine without it has no names
  }
  for (const line of text.split('\n')) {
    const [name, , number] = line.split(':')
    if (name && number && /^\d+$/.test(number) && !names.has(Number(number))) names.set(Number(number), name)
  }
  return names
}
