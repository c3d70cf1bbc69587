import { closeSync, ftruncateSync, openSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import { findHoles } from '#libs/os/libc.js'
import { scratchDirectory } from '#libs/os/scratch-directory.js'
import { copyData, type Holes, hashData, readWhole } from './read-data.js'
import { createTarSink } from './tar-sink.js'
import { sha256 } from './test-packing.js'

const scratch = scratchDirectory()
const content = Buffer.from(Array.from({ length: 5_000 }, (_, i) => (i * 7) % 251))
let count = 0

function withFile<T>(bytes: Uint8Array, work: (fd: number) => T): T {
  const path = join(scratch, `${count++}`)
  writeFileSync(path, bytes)
  const fd = openSync(path, 'r+')
  try {
    return work(fd)
  } finally {
    closeSync(fd)
  }
}

const never = () => {}
function copied(fd: number, size: number, holes: Holes = [], capacity = 700) {
  const sent: Buffer[] = []
  const sink = createTarSink(
    {
      next: () => Buffer.alloc(capacity, 0xee),
      send: (buffer, bytes) => void sent.push(Buffer.from(buffer.subarray(0, bytes))),
    },
    { hash: true },
  )
  const digest = copyData(fd, sink, size, holes, never)
  sink.end()
  return { digest, bytes: Buffer.concat(sent) }
}

describe('the data of a file', () => {
  test('go through buffers of any size, hashed', () => {
    for (const capacity of [1, 512, 4_999, 5_000, 5_001]) {
      expect(withFile(content, (fd) => copied(fd, content.length, [], capacity))).toEqual({
        digest: sha256(content),
        bytes: content,
      })
    }
  })

  test('end at the size that was asked for, where the file has grown', () => {
    expect(withFile(content, (fd) => copied(fd, 4_000))).toEqual({
      digest: sha256(content.subarray(0, 4_000)),
      bytes: content.subarray(0, 4_000),
    })
  })

  test('have no digest where the file ended early', () => {
    const { digest, bytes } = withFile(content, (fd) => copied(fd, 6_000))
    expect(digest).toBeUndefined()
    expect(bytes.equals(content)).toBe(true)
    expect(withFile(content, (fd) => hashData(fd, 6_000, [], never))).toBeUndefined()
  })

  test('are zeros where there are holes, without reading them', () => {
    const holes: Holes = [
      [0, 100],
      [200, 800],
      [4_990, 10],
    ]
    const expected = Buffer.from(content)
    for (const [offset, length] of holes) expected.fill(0, offset, offset + length)
    expect(withFile(content, (fd) => copied(fd, content.length, holes))).toEqual({ digest: sha256(expected), bytes: expected })
    expect(withFile(content, (fd) => hashData(fd, content.length, holes, never))).toBe(sha256(expected))
  })

  test('of a small file fill their place to the end of the block with zeros', () => {
    const buffer = Buffer.alloc(6_000, 0xee)
    expect(withFile(content, (fd) => readWhole(fd, buffer, 512, content.length, 512 + 5_120))).toBe(sha256(content))
    expect(buffer.subarray(512, 5_512).equals(content)).toBe(true)
    expect(buffer.subarray(5_512, 5_632).every((byte) => byte === 0)).toBe(true)
    expect(buffer[511]).toBe(0xee)
    expect(buffer[5_632]).toBe(0xee)
    expect(withFile(content, (fd) => readWhole(fd, buffer, 0, 5_500, 6_000))).toBeUndefined()
    expect(buffer.subarray(5_000).every((byte) => byte === 0)).toBe(true)
  })

  test('stop when they are told to, in the middle of a file', () => {
    let asked = 0
    const stop = () => {
      if (++asked === 3) throw new Error('stopped')
    }
    withFile(content, (fd) => {
      const sink = createTarSink({ next: () => Buffer.alloc(512), send: never }, { hash: false })
      expect(() => copyData(fd, sink, content.length, [], stop)).toThrow('stopped')
      asked = 2
      expect(() => hashData(fd, content.length, [], stop)).toThrow('stopped')
    })
  })

  test('that cannot be read are the error of the system', () => {
    const fd = openSync(scratch, 'r') // of a directory nothing can be read
    try {
      expect(() => copied(fd, 10)).toThrow(expect.objectContaining({ code: 'EISDIR' }))
      expect(() => hashData(fd, 10, [], never)).toThrow(expect.objectContaining({ code: 'EISDIR' }))
    } finally {
      closeSync(fd)
    }
  })

  test('of 20 GB of which nearly all is one hole have their data found at once', () => {
    const path = join(scratch, 'huge')
    const fd = openSync(path, 'w+')
    try {
      ftruncateSync(fd, 20e9)
      writeSync(fd, 'in the middle', 10e9)
      const holes = findHoles(fd, 20e9)
      const inHoles = holes.reduce((sum, [, length]) => sum + length, 0)
      expect(holes.length).toBe(2)
      expect(20e9 - inHoles).toBeLessThan(2 ** 21)
    } finally {
      closeSync(fd)
    }
  })
})
