/**
 * Paths as they were typed. Node takes the arguments for UTF-8 and puts U+FFFD where they are not: two files would become one, and a third,
 * whose name has that character, would be taken for them. The kernel has the bytes.
 */
import { readFileSync, readlinkSync } from 'node:fs'
import { posix } from 'node:path'
import { FirnError } from '#libs/errors/errors.js'
import { type Raw, rawFromBytes, rawFromText, shown } from '#libs/os/raw.js'

const LOST = '\uFFFD'

/** The paths that these arguments, or values of options, are of: in the order in which they stand on the command line. */
export function typedPaths(texts: readonly string[], commandLine = ownCommandLine()): Raw[] {
  const taken = new Map<string, number>()
  return texts.map((text) => {
    if (!text.includes(LOST) || commandLine === undefined) return rawFromText(text)
    const forms = commandLine.flatMap((argument) => formsOf(argument, text))
    const [first] = forms
    if (first === undefined) return rawFromText(text) // not from there
    if (new Set(forms).size === 1) return first
    const at = taken.get(text) ?? 0
    taken.set(text, at + 1)
    const form = forms[at]
    // Another option has a value that reads the same.
    if (form === undefined || forms.length !== texts.filter((one) => one === text).length) {
      throw new FirnError(
        'usage',
        `${shown(rawFromText(text))} holds bytes that are not UTF-8, and it cannot be told which of several arguments it is; give them to commands of their own`,
      )
    }
    return form
  })
}

export const typedPath = (text: string): Raw => typedPaths([text])[0] as Raw

/** As `path.resolve`. */
export const absolutePath = (path: Raw): Raw => posix.resolve(path.startsWith('/') ? '/' : workingDirectory(), path) as Raw

/** The bytes of an argument, or of the value behind its `=`, if they read like this. */
function formsOf(argument: Buffer, text: string): Raw[] {
  if (argument.toString() === text) return [rawFromBytes(argument)]
  const value = argument.subarray(argument.indexOf('=') + 1)
  return argument.toString('latin1', 0, 2) === '--' && argument.includes('=') && value.toString() === text
    ? [rawFromBytes(value)]
    : []
}

/** Undefined on systems that do not show it. */
function ownCommandLine(): Buffer[] | undefined {
  let bytes: Buffer
  try {
    bytes = readFileSync('/proc/self/cmdline')
  } catch {
    return undefined
  }
  const found: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const end = bytes.indexOf(0, at)
    found.push(bytes.subarray(at, end < 0 ? bytes.length : end))
    at = end < 0 ? bytes.length : end + 1
  }
  return found
}

function workingDirectory(): Raw {
  try {
    return rawFromBytes(readlinkSync('/proc/self/cwd', 'buffer'))
  } catch {
    return rawFromText(process.cwd())
  }
}
