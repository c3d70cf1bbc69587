import { createHash } from 'node:crypto'
import { describe, expect, test } from '@jest/globals'
import fc from 'fast-check'
import { createTarSink } from './tar-sink.js'

const CAPACITY = 64

/** A sink, and what it has handed on so far. */
function sinkWithSent() {
  const sent: Buffer[] = []
  const sink = createTarSink(
    {
      // What was in a buffer before is of no consequence.
      next: () => Buffer.alloc(CAPACITY, 0xee),
      send: (buffer, bytes) => void sent.push(Buffer.from(buffer.subarray(0, bytes))),
    },
    { hash: true },
  )
  return { sink, sent: () => Buffer.concat(sent) }
}

type Step = { do: 'write' | 'zeros' | 'piece'; bytes: number }
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constantFrom('write' as const, 'zeros' as const), bytes: fc.nat(200) }),
  fc.record({ do: fc.constant('piece' as const), bytes: fc.nat(CAPACITY) }),
)

describe('the sink of a tar', () => {
  test('hands on what was written, in order, with its position and hash, however it was written', () => {
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        const { sink, sent } = sinkWithSent()
        let expected = Buffer.alloc(0)
        steps.forEach(({ do: what, bytes }, i) => {
          const content = Buffer.alloc(bytes, what === 'zeros' ? 0 : i + 1)
          if (what === 'zeros') sink.zeros(bytes)
          else if (what === 'write') sink.write(content)
          else {
            sink.reserve(bytes)
            expect(sink.buffer.length - sink.at).toBeGreaterThanOrEqual(bytes)
            content.copy(sink.buffer, sink.at)
            sink.advance(bytes)
          }
          expected = Buffer.concat([expected, content])
          expect(sink.position).toBe(expected.length)
        })
        const { bytes, sha256 } = sink.end()
        expect(sent().equals(expected)).toBe(true)
        expect({ bytes, sha256 }).toEqual({ bytes: expected.length, sha256: createHash('sha256').update(expected).digest('hex') })
      }),
    )
  })

  test('takes back what it has not handed on, and says when it has', () => {
    fc.assert(
      fc.property(fc.nat(200), fc.nat(200), fc.nat(100), (before, taken, after) => {
        const { sink, sent } = sinkWithSent()
        sink.write(Buffer.alloc(before, 1))
        sink.write(Buffer.alloc(taken, 2))
        const takenBack = sink.takeBack(before)
        if (!takenBack) expect(sent().length).toBeGreaterThan(before)
        sink.write(Buffer.alloc(after, 3))
        const { sha256 } = sink.end()
        const expected = Buffer.concat([Buffer.alloc(before, 1), Buffer.alloc(takenBack ? 0 : taken, 2), Buffer.alloc(after, 3)])
        expect(sent().equals(expected)).toBe(true)
        expect(sha256).toBe(createHash('sha256').update(expected).digest('hex'))
      }),
    )
  })

  test('sends nothing where nothing was written', () => {
    const { sink, sent } = sinkWithSent()
    expect(sink.end().bytes).toBe(0)
    expect(sent()).toHaveLength(0)
  })
})
