/** The keys that every vault takes: the narrowest of what a file system, S3 and a Glacier description can hold, so that bundles may move. */
import { FirnError } from '#libs/errors/errors.js'

/** Room for the vault's own decoration of a file name (255 bytes at most on every common file system). */
const LONGEST_COMPONENT = 200
const LONGEST_KEY = 900

/**
 * Throws where `key` is not relative, plain and short: letters, digits, `.`, `_`, `-` between slashes. A component that begins with
 * a dot is refused too: those names are the vault's own (temporaries, thaw states), and `..` would leave it.
 */
export function checkKey(key: string): void {
  const problem = problemOf(key)
  if (problem) throw new FirnError('usage', `"${printable(key)}" is no key for a vault: ${problem}.`)
}

/** The same for the beginning of keys: empty, or a key whose last component may be cut anywhere. */
export function checkPrefix(prefix: string): void {
  const problem = prefix === '' ? undefined : problemOf(prefix.endsWith('/') ? prefix.slice(0, -1) : prefix)
  if (problem) throw new FirnError('usage', `"${printable(prefix)}" is no beginning of a key: ${problem}.`)
}

function problemOf(key: string): string | undefined {
  if (!/^[A-Za-z0-9._/-]+$/.test(key)) return 'it may hold letters, digits, and . _ - / only, and must hold something'
  if (key.length > LONGEST_KEY) return `it is longer than ${LONGEST_KEY} characters`
  for (const component of key.split('/')) {
    if (component === '') return 'it begins or ends with a slash, or has two in a row'
    if (component.startsWith('.')) return 'a component begins with a dot'
    if (component.length > LONGEST_COMPONENT) return `a component is longer than ${LONGEST_COMPONENT} characters`
  }
  return undefined
}

const printable = (key: string): string => key.slice(0, 100).replace(/[^\x20-\x7e]/g, '?')
