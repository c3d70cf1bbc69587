import { execFileSync } from 'node:child_process'
import { closeSync, lstatSync, readSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { openQuietly } from './open-quietly.js'
import { type Raw, rawFromBytes, rawFromText } from './raw.js'
import { scratchDirectory } from './scratch-directory.js'
import { BECOME_NOBODY, runScript } from './test-process.js'

const directory = scratchDirectory()
const raw = (name: string): Raw => rawFromText(join(directory, name))

function readAll(path: Raw): string {
  const fd = openQuietly(path)
  try {
    const buffer = Buffer.alloc(100)
    return buffer.toString('latin1', 0, readSync(fd, buffer))
  } finally {
    closeSync(fd)
  }
}

const codeOf = (act: () => unknown): unknown => {
  try {
    act()
    return undefined
  } catch (error) {
    return (error as NodeJS.ErrnoException).code
  }
}

describe('opening quietly', () => {
  test('gives the bytes, also of a file whose name is not UTF-8', () => {
    const bytes = Buffer.concat([Buffer.from(`${directory}/`), Buffer.from([0xff, 0xfe, 0x41])])
    writeFileSync(bytes, 'content')
    expect(readAll(rawFromBytes(bytes))).toBe('content')
  })

  test('leaves the time of the last reading as it is', () => {
    const path = join(directory, 'read')
    writeFileSync(path, 'content')
    const before = new Date('2001-02-03T04:05:06Z') // older than its mtime: the next reading would be written down, also with relatime
    utimesSync(path, before, new Date('2002-02-03T04:05:06Z'))
    expect(readAll(raw('read'))).toBe('content')
    expect(lstatSync(path).atime).toEqual(before)
  })

  test('refuses a symlink', () => {
    symlinkSync('/etc/passwd', join(directory, 'link'))
    expect(codeOf(() => openQuietly(raw('link')))).toBe('ELOOP')
  })

  test('does not wait for a writer at a FIFO', () => {
    execFileSync('mkfifo', [join(directory, 'fifo')])
    closeSync(openQuietly(raw('fifo')))
  })

  test('names what is not there', () => {
    expect(codeOf(() => openQuietly(raw('nothing')))).toBe('ENOENT')
  })

  test("opens somebody else's file, whose atime only he may spare", () => {
    const imports = { quietly: new URL('./open-quietly.js', import.meta.url).href }
    const script = `${BECOME_NOBODY}
      const { O_RDONLY, O_NOATIME } = fs.constants
      let refused = O_NOATIME === undefined ? 'EPERM' : ''
      try { fs.openSync('/etc/passwd', O_RDONLY | O_NOATIME) } catch (error) { refused = error.code }
      say({ refused, bytes: fs.readSync(quietly.openQuietly('/etc/passwd'), Buffer.alloc(10)) })`
    expect(runScript(imports, script)).toEqual({ refused: 'EPERM', bytes: 10 })
  })
})
