/** Headers with something changed in them, most with a checksum that fits again: else no reader would look any further. */
import type { Random } from '../random.js'
import { base256, summed } from './tar-bytes.js'

/** Where the fields of a header begin, and how long they are. */
const FIELDS: readonly (readonly [number, number])[] = [
  [0, 100], // name
  [100, 8], // mode
  [108, 8],
  [116, 8],
  [124, 12], // size
  [136, 12],
  [148, 8], // checksum
  [156, 1], // flag
  [157, 100], // link
  [257, 8], // magic
  [265, 32],
  [297, 32],
  [329, 8],
  [337, 8],
  [345, 155], // prefix
]
const NAMES = [
  '../out/f',
  '/etc/passwd',
  'gate/f',
  '..',
  '.',
  '',
  '.firn-r1/1',
  'there/f',
  'a\0b',
  '\u001b[2J',
  'l',
  'l/f',
  '\xff\xfe',
  '.firn/manifest.ndjson',
]
const FLAGS = ['0', '\0', '1', '2', '3', '4', '5', '6', '7', 'x', 'g', 'L', 'K', 'S', 'D', 'M', 'V', '\xff']
const NUMBERS = [-(2n ** 63n), -513n, -512n, -1n, 0n, 1n, 511n, 512n, 513n, 1536n, 2n ** 31n, 2n ** 33n, 2n ** 53n, 2n ** 63n]

/** A copy of `tar` in which one to three of its headers, at `heads`, are others. */
export function mutated(tar: Buffer, heads: readonly number[], random: Random): Buffer {
  const out = Buffer.from(tar)
  for (let n = 1 + random.below(3); n > 0; n--) {
    const at = random.pick(heads)
    const head = out.subarray(at, at + 512)
    for (let changes = 1 + random.below(3); changes > 0; changes--) changeOne(head, random)
    if (random.percent(90)) summed(head)
  }
  return random.percent(5) ? out.subarray(0, random.below(out.length)) : out
}

function changeOne(head: Buffer, random: Random): void {
  const [at, length] = random.pick(FIELDS)
  const field = head.subarray(at, at + length)
  const kind = random.below(8)
  if (at === 156) field.write(random.pick(FLAGS), 'latin1')
  else if (kind === 0) field.fill(random.pick([0, 0x20, 0x37, 0x80, 0xff]))
  else if (kind === 1) random.bytes(length).copy(field)
  else if (kind === 2) field[random.below(length)]! ^= 1 << random.below(8)
  else if (length >= 32) {
    field.fill(0)
    field.write(random.pick(NAMES), 'latin1')
  } else if (kind < 5) base256(random.pick(NUMBERS), length).copy(field)
  else
    field.write(
      String(random.pick(NUMBERS).toString(random.pick([8, 10, 16]))).padEnd(length, random.pick(['\0', ' ', '7'])),
      'latin1',
    )
}
