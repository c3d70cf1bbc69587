/**
 * Names as the kernel has them. A path is bytes, not text: two names that differ only in bytes that are not UTF-8 are two files,
 * and decoding both to text would make them one. So a name travels as a string with one latin1 character a byte: it compares in
 * byte order, is a key of a Map, and costs no decoding.
 */
import { isUtf8 } from 'node:buffer'

declare const raw: unique symbol

/** Bytes of a name or a path, one latin1 character a byte. Never print it: see `shown`. */
export type Raw = string & { readonly [raw]: true }

export const rawFromBytes = (bytes: Uint8Array): Raw =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1') as Raw

export const rawToBytes = (name: Raw): Buffer => Buffer.from(name, 'latin1')

/** The raw form of text that a person typed (UTF-8). */
export const rawFromText = (text: string): Raw => rawFromBytes(Buffer.from(text))

const PLAIN = /^[\x20-\x7e]*$/

/** The text of a name, or undefined where its bytes are not UTF-8. */
export function textOf(name: Raw): string | undefined {
  if (PLAIN.test(name)) return name
  const bytes = rawToBytes(name)
  return isUtf8(bytes) ? bytes.toString() : undefined
}

/** The text of a name with U+FFFD for what is not UTF-8: for word splitting, where nothing depends on it being exact. */
export const looseTextOf = (name: Raw): string => (PLAIN.test(name) ? name : rawToBytes(name).toString())

/** How a name is shown on a terminal or in a log: control characters and bytes that are not UTF-8 as `\n`, `\x1b`, `\xff`. */
export function shown(name: Raw): string {
  if (PLAIN.test(name)) return name
  const text = textOf(name)
  return text === undefined
    ? rawToBytes(name)
        .toString('latin1')
        .replace(/[^\x20-\x7e]/g, escaped)
    : shownText(text)
}

/** What a terminal or a reader could take for something else: controls, line breaks, bidirectional marks, what has no character. */
const UNSHOWN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}\p{Cs}]/gu

/** The same for other text that comes from elsewhere: hosts, tags, descriptions, ids and keys of vaults, reasons. */
export const shownText = (text: string): string => (PLAIN.test(text) ? text : text.replace(UNSHOWN, escaped))

/** JSON in which such characters are escaped as JSON has it: the same value, harmless where it is looked at. */
export const shownJson = (json: string): string =>
  /^[\x0a\x20-\x7e]*$/.test(json)
    ? json
    : json.replace(UNSHOWN, (found) =>
        found === '\n'
          ? found
          : [...found]
              .flatMap(unitsOf)
              .map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`)
              .join(''),
      )

const unitsOf = (character: string): number[] => Array.from({ length: character.length }, (_, at) => character.charCodeAt(at))

function escaped(character: string): string {
  if (character === '\n') return '\\n'
  if (character === '\t') return '\\t'
  const code = character.codePointAt(0) ?? 0
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`
}

/** `{path}` where the bytes are UTF-8, `{path_b64}` where they are not: how JSON carries a name. */
export function jsonName<K extends string>(key: K, name: Raw): Record<string, string> {
  const text = textOf(name)
  return text === undefined ? { [`${key}_b64`]: rawToBytes(name).toString('base64') } : { [key]: text }
}

/** The reverse of `jsonName`. */
export function nameFromJson(key: string, record: Record<string, unknown>): Raw | undefined {
  const b64 = record[`${key}_b64`]
  if (typeof b64 === 'string') return rawFromBytes(Buffer.from(b64, 'base64'))
  const text = record[key]
  return typeof text === 'string' ? rawFromText(text) : undefined
}

/** The directory of an absolute path: `/a/b` is in `/a`, `/a` in `/`. */
export function parentOf(path: Raw): Raw {
  const slash = path.lastIndexOf('/')
  return (slash <= 0 ? '/' : path.slice(0, slash)) as Raw
}

/** The last component of an absolute path; empty for `/`. */
export const nameOf = (path: Raw): Raw => path.slice(path.lastIndexOf('/') + 1) as Raw

export const joinRaw = (directory: Raw, name: Raw): Raw => (directory === '/' ? `/${name}` : `${directory}/${name}`) as Raw

/** Whether `path` is `directory` or lies below it. */
export const isWithin = (path: Raw, directory: Raw): boolean =>
  path === directory || path.startsWith(directory === '/' ? '/' : `${directory}/`)

/** The nearest of some paths that this one is, or lies within; it takes as many steps as the path has names, however many they are. */
export function nearestOf(path: Raw, tops: { has(top: Raw): boolean }): Raw | undefined {
  for (let at = path; ; at = parentOf(at)) {
    if (tops.has(at)) return at
    if (at === '/' || !at.startsWith('/')) return undefined
  }
}
