/**
 * The vault's own files beside its objects. All begin with a dot, as no key component may, so that one test hides them; a temporary
 * carries the name of the object that it is for, so that whoever sweeps can ask whether that object's attempt still lives.
 */
import { randomBytes } from 'node:crypto'

export const isHidden = (name: string): boolean => name.startsWith('.')

/** A temporary of its own for each call: two attempts at one name do not meet before the end. */
export const temporaryName = (name: string): string => `.${name}.${randomBytes(8).toString('hex')}.tmp`

/** Held while an object gets its name on a file system without hard links; looks like a temporary, so that a sweep finds it. */
export const claimName = (name: string): string => `.${name}.${'0'.repeat(16)}.tmp`

/** Where the thaw state of an object is kept. */
export const thawName = (name: string): string => `.${name}.thaw`

/** The object that a temporary or a thaw state belongs to; undefined for a file that is none of ours. */
export function ownerOf(hidden: string): { name: string; kind: 'temporary' | 'thaw' } | undefined {
  const temporary = /^\.(.+)\.[0-9a-f]{16}\.tmp$/.exec(hidden)
  if (temporary?.[1]) return { name: temporary[1], kind: 'temporary' }
  const thaw = /^\.(.+)\.thaw$/.exec(hidden)
  return thaw?.[1] ? { name: thaw[1], kind: 'thaw' } : undefined
}
