/**
 * The members of a bundle's tar, read strictly: the headers that Firn writes (tar-header.ts) and no others. It is read where a manifest
 * is lost, thus where nothing vouches for the tar, so it believes no number before it has looked at it, and keeps nothing that is large.
 */
import { FirnError } from '#libs/errors/errors.js'
import { BLOCK } from './tar-header.js'

export interface Member {
  /** Raw bytes, as latin1; where a header before it says so, from there. */
  readonly name: string
  readonly size: number
  /** Of its data in the tar. */
  readonly offset: number
  readonly isFile: boolean
}

/** All xattrs of one entry, with much to spare. */
const MAX_LEADING_BYTES = 16 * 2 ** 20

const damaged = (what: string, at: number) => new FirnError('damaged', `it cannot be read as a tar: ${what} at byte ${at}`)

/** Calls `onMember` for each member. All of `tar` is read, also what lies behind its end. Throws `damaged`. */
export async function readMembers(tar: AsyncIterable<Uint8Array>, onMember: (member: Member) => void): Promise<void> {
  const block = Buffer.alloc(BLOCK)
  let filled = 0
  let offset = 0
  let isOver = false
  let path: string | undefined
  let size: number | undefined
  /** What is done with the bytes that follow a header, and how many are to come, with and without what fills the last block. */
  let take: ((bytes: Uint8Array) => void) | undefined
  let whenTaken: (() => void) | undefined
  let missing = 0
  let padding = 0

  function begin(bytes: number, then: typeof take, after?: () => void): void {
    missing = bytes
    padding = (BLOCK - (bytes % BLOCK)) % BLOCK
    take = then
    whenTaken = after
    if (missing === 0) ended()
  }

  function ended(): void {
    const after = whenTaken
    take = undefined
    whenTaken = undefined
    after?.()
  }

  function leading(bytes: number, at: number, read: (value: Buffer) => void): void {
    if (bytes > MAX_LEADING_BYTES) throw damaged(`a header of ${bytes} bytes`, at)
    const chunks: Buffer[] = []
    begin(
      bytes,
      (chunk) => chunks.push(Buffer.from(chunk)),
      () => read(Buffer.concat(chunks)),
    )
  }

  function head(): void {
    const at = offset - BLOCK
    if (block.every((byte) => byte === 0)) {
      isOver = true
      if (path !== undefined || size !== undefined) throw damaged('a header that no member follows', at)
      return
    }
    const sum = block.reduce((total, byte, index) => total + (index >= 148 && index < 156 ? 0x20 : byte), 0)
    if (octal(block, 148, 8) !== sum) throw damaged('no header', at)
    if (block.toString('latin1', 257, 265) !== 'ustar\x0000') throw damaged('a header of another kind of tar', at)
    const said = octal(block, 124, 12)
    if (said === undefined) throw damaged('no size', at)
    const flag = String.fromCharCode(block[156] as number)
    if (flag === 'x') {
      leading(said, at, (value) => {
        const records = recordsOf(value)
        if (records === undefined) throw damaged('records that cannot be read', at)
        path = records.get('path') ?? path
        const bytes = records.get('size')
        if (bytes === undefined) return
        if (!/^\d{1,16}$/.test(bytes) || !Number.isSafeInteger(Number(bytes))) throw damaged('an impossible size', at)
        size = Number(bytes)
      })
    } else if (flag === 'L') {
      leading(said, at, (value) => {
        path = until0(value)
      })
    } else if (flag === 'K') {
      leading(said, at, () => {})
    } else if (flag === '0' || flag === '1' || flag === '2' || flag === '5') {
      const isFile = flag === '0'
      const bytes = size ?? said
      if (!isFile && bytes > 0) throw damaged('bytes of what has none', at)
      const prefix = until0(block.subarray(345, 500))
      const own = until0(block.subarray(0, 100))
      const name = path ?? (prefix === '' ? own : `${prefix}/${own}`)
      path = undefined
      size = undefined
      onMember({ name, size: bytes, offset, isFile })
      begin(bytes, undefined)
    } else throw damaged(`a member of the kind ${JSON.stringify(flag)}`, at)
  }

  for await (const chunk of tar) {
    for (let from = 0; from < chunk.byteLength && !isOver; ) {
      const left = chunk.byteLength - from
      if (missing > 0) {
        const length = Math.min(missing, left)
        take?.(chunk.subarray(from, from + length))
        missing -= length
        from += length
        offset += length
        if (missing === 0) ended()
      } else if (padding > 0) {
        const length = Math.min(padding, left)
        padding -= length
        from += length
        offset += length
      } else {
        const length = Math.min(BLOCK - filled, left)
        block.set(chunk.subarray(from, from + length), filled)
        filled += length
        from += length
        offset += length
        if (filled < BLOCK) continue
        filled = 0
        head()
      }
    }
  }
  const isAtMember = missing === 0 && padding === 0 && filled === 0 && path === undefined && size === undefined
  if (!isOver && !isAtMember) throw damaged('its end', offset)
}

/** Digits up to a NUL or a space; undefined for anything else. */
function octal(block: Buffer, from: number, length: number): number | undefined {
  const [, digits] = /^([0-7]+)[\0 ]*$/.exec(block.toString('latin1', from, from + length)) ?? []
  return digits === undefined ? undefined : Number.parseInt(digits, 8)
}

function until0(bytes: Buffer): string {
  const end = bytes.indexOf(0)
  return bytes.toString('latin1', 0, end < 0 ? bytes.length : end)
}

/** `<length> <key>=<value>\n`, one after the other; undefined where that is not what they are. */
function recordsOf(bytes: Buffer): Map<string, string> | undefined {
  const records = new Map<string, string>()
  for (let at = 0; at < bytes.length; ) {
    const space = bytes.indexOf(0x20, at)
    if (space < 0 || space - at > 9) return undefined
    const digits = bytes.toString('latin1', at, space)
    const end = at + Number(digits)
    if (!/^\d+$/.test(digits) || end <= space + 1 || end > bytes.length || bytes[end - 1] !== 0x0a) return undefined
    const equals = bytes.indexOf(0x3d, space)
    if (equals < 0 || equals >= end) return undefined
    const key = bytes.toString('latin1', space + 1, equals)
    // An xattr may be large; nobody asks for it here.
    if (key === 'path' || key === 'size') {
      const value = bytes.toString('latin1', equals + 1, end - 1)
      if (value === '' || value.includes('\0')) return undefined
      records.set(key, value)
    }
    at = end
  }
  return records
}
