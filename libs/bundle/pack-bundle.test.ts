/** What packing does when something happens at one certain moment: between two reads of a file, or between two entries. */
import {
  appendFileSync,
  closeSync,
  existsSync,
  linkSync,
  readdirSync,
  readlinkSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { setXattr } from '#libs/os/libc.js'
import { type Raw, rawFromText } from '#libs/os/raw.js'
import { scratchDirectory } from '#libs/os/scratch-directory.js'
import type { Entry, PlannedEntry } from './entry.js'
import { parseManifest } from './manifest.js'
import type { PackRequest } from './pack.js'
import { packBundle } from './pack-bundle.js'
import { createTarSink } from './tar-sink.js'
import { membersOf, planned, requestOf, sha256 } from './test-packing.js'

const scratch = scratchDirectory()
const onLinux = existsSync('/proc/self/fd') ? test : test.skip
let count = 0
const file = (content: string | Buffer): string => {
  const path = join(scratch, `f${count++}`)
  writeFileSync(path, content)
  return path
}

/** Small, so that a few kilobytes are a large file. */
const BUFFER_BYTES = 4096
const LARGE = Buffer.alloc(3 * BUFFER_BYTES, 'large ')

interface Moments {
  /** A buffer went out: in the middle of a large file, once for each. */
  readonly onSent?: (buffers: number) => void
  /** Before an entry, and before each step of a large file. */
  readonly onStep?: (step: number) => void
  /** Room is made for a small file: it is open, and not read yet. */
  readonly onReserve?: (times: number) => void
}

function packNow(entries: readonly PlannedEntry[], moments: Moments = {}, more: Partial<PackRequest> = {}) {
  const sent: Buffer[] = []
  const sink = createTarSink(
    {
      next: () => Buffer.alloc(BUFFER_BYTES),
      send(buffer, bytes) {
        sent.push(Buffer.from(buffer.subarray(0, bytes)))
        moments.onSent?.(sent.length)
      },
    },
    { hash: true },
  )
  let steps = 0
  let reserved = 0
  const reserve = sink.reserve.bind(sink)
  sink.reserve = (bytes) => {
    reserve(bytes)
    moments.onReserve?.(++reserved)
  }
  const packed = packBundle(requestOf(entries, more), sink, () => moments.onStep?.(++steps))
  const tar = Buffer.concat(sent)
  const { entries: lines } = parseManifest(packed.manifest)
  const bytesOf = ({ offset = 0, size }: Entry) => tar.subarray(offset, offset + size)
  return { ...packed, tar, lines, bytesOf, members: membersOf(tar) }
}

const states = (lines: readonly Entry[]) => lines.map(({ path, state }) => [path, state])

/** Another time at each call, whatever the clock of the file system. */
const touch = (path: string) => utimesSync(path, 1_700_000_000, 1_700_000_000 + ++count)

describe('a large file', () => {
  onLinux('that cannot be read on is named, its member is void, and the tar goes on behind it', () => {
    const [path, after] = [file(LARGE), file('after')]
    const { problems, lines, bytesOf, members } = packNow([planned(path), planned(after)], {
      onSent: (buffers) => void (buffers === 1 && closeBehindItsBack(path)),
    })
    expect(problems).toEqual([{ path, kind: 'failed', reason: 'EBADF' }])
    expect(states(lines)).toEqual([
      [path, 'void'],
      [after, 'ok'],
    ])
    expect(bytesOf(lines[1] as Entry).toString()).toBe('after')
    expect(members.filter(({ flag }) => flag === '0').map(({ size }) => size)).toEqual([LARGE.length, 5, expect.any(Number)])
  })

  test('that changes at every reading is read twice, kept as it was read, and marked', () => {
    const [path, after] = [file(LARGE), file('after')]
    const { problems, lines, bytesOf } = packNow([planned(path), planned(after)], { onSent: () => touch(path) })
    expect(problems).toEqual([{ path, kind: 'changed', reason: expect.stringContaining('twice') }])
    expect(states(lines)).toEqual([
      [path, 'void'],
      [after, 'ok'],
      [path, 'changed'],
    ])
    expect(sha256(bytesOf(lines[2] as Entry))).toBe(lines[2]?.sha256)
  })

  test('that becomes shorter and vanishes then is named, and the tar is whole', () => {
    const path = file(LARGE)
    const { problems, lines, members } = packNow([planned(path)], {
      onSent(buffers) {
        if (buffers > 1) return
        truncateSync(path, 10)
        rmSync(path)
      },
    })
    expect(problems).toEqual([{ path, kind: 'failed', reason: 'vanished before it was read' }])
    expect(states(lines)).toEqual([[path, 'void']])
    expect(members).toHaveLength(3) // its pax header, its void member, and the manifest
  })

  test('is given up between two steps when the packing is to stop', () => {
    const stop = new Error('stop')
    const onStep = (step: number) => {
      if (step === 3) throw stop
    }
    expect(() => packNow([planned(file(LARGE))], { onStep })).toThrow(stop)
  })
})

describe('a small file', () => {
  test('that changes before it is read is taken back, and packed once, at the end', () => {
    const [path, after] = [file('before'), file('after')]
    const { problems, lines, bytesOf, members } = packNow([planned(path), planned(after)], {
      onReserve: (times) => void (times === 1 && appendFileSync(path, ', and more')),
    })
    expect(problems).toEqual([])
    expect(states(lines)).toEqual([
      [after, 'ok'],
      [path, 'ok'],
    ])
    expect(bytesOf(lines[1] as Entry).toString()).toBe('before, and more')
    expect(members.filter(({ name }) => name === path.slice(1))).toHaveLength(1)
  })

  test('that becomes shorter at every reading is named, and nothing of it is in the tar', () => {
    const path = file('four')
    let left = 4
    const { problems, lines, members } = packNow([planned(path)], {
      onReserve: () => void (left > 1 && truncateSync(path, --left)),
    })
    expect(problems).toMatchObject([{ path, kind: 'failed' }])
    expect(lines).toEqual([])
    expect(members).toHaveLength(1)
  })
})

describe('the names of one inode', () => {
  const pair = (content: string | Buffer) => {
    const first = file(content)
    const second = `${first}-2`
    linkSync(first, second)
    return { first, second, plan: () => [planned(first), planned(second, { type: 'hardlink', link: first as Raw })] }
  }

  test('all say the times of the bytes that were read, also when the inode is written to between them', () => {
    const { first, second, plan } = pair('as read')
    const { lines, problems } = packNow(plan(), {
      onStep(step) {
        if (step !== 2) return // between the two
        writeFileSync(second, 'changed')
        touch(second)
      },
    })
    expect(problems).toEqual([])
    const [of, link] = lines
    expect(link).toMatchObject({ path: second, type: 'hardlink', link: first, sha256: sha256('as read') })
    // With the newer time a later run would take 'changed' for archived.
    expect([link?.mtimeNs, link?.ctimeNs, link?.size]).toEqual([of?.mtimeNs, of?.ctimeNs, of?.size])
  })

  test('all have its attributes in the manifest, and the tar has them once', () => {
    const { first, plan } = pair('content')
    setXattr(rawFromText(first), 'user.firn', Buffer.from('kept'))
    const { lines, tar } = packNow(plan(), {}, { keep: { xattrs: 'all', cifs: false } })
    const xattrs = { 'user.firn': Buffer.from('kept').toString('base64') }
    expect(lines.map((line) => line.xattrs)).toEqual([xattrs, xattrs])
    expect(tar.toString('latin1').split('SCHILY.xattr.user.firn=kept')).toHaveLength(2)
  })

  test('whose bytes kept changing are all marked and all named', () => {
    const { first, second, plan } = pair(LARGE)
    const { lines, problems } = packNow(plan(), { onSent: () => touch(first) })
    expect(problems.map(({ path, kind }) => [path, kind])).toEqual([
      [first, 'changed'],
      [second, 'changed'],
    ])
    expect(states(lines).slice(1)).toEqual([
      [first, 'changed'],
      [second, 'changed'],
    ])
  })

  test('wait for bytes that are read again, and are links to those', () => {
    const { first, second, plan } = pair(LARGE)
    const { lines, problems } = packNow(plan(), { onSent: (buffers) => void (buffers === 1 && touch(first)) })
    expect(problems).toEqual([])
    expect(states(lines)).toEqual([
      [first, 'void'],
      [first, 'ok'],
      [second, 'ok'],
    ])
    expect(lines[2]).toMatchObject({ type: 'hardlink', link: first, offset: lines[1]?.offset })
  })
})

/** Closes the descriptor that this process has of a file: the next read of it fails, as one of a broken disk does. */
function closeBehindItsBack(path: string): void {
  for (const fd of readdirSync('/proc/self/fd')) {
    let target: string | undefined
    try {
      target = readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      // the descriptor of this listing itself
    }
    if (target === path) closeSync(Number(fd))
  }
}
