/**
 * The inventory as it comes: JSON that may list millions of archives. One archive is held at a time: objects are cut out of the list by
 * their braces, and each is parsed by itself.
 */
import { FirnError } from '#libs/errors/errors.js'

export interface InventoryArchive {
  readonly archiveId: string
  readonly description: string
  readonly createdAt: Date
  readonly bytes: number
  readonly treeHash: string
}

/** Longer is no archive's entry: a description has 1,024 characters. */
const LONGEST_ENTRY = 64 * 1024

/** Calls `onArchive` for each, one after the other. Returns of when the inventory is. */
export async function parseInventory(
  chunks: AsyncIterable<Uint8Array>,
  onArchive: (archive: InventoryArchive) => Promise<void>,
): Promise<Date> {
  const decoder = new TextDecoder()
  let around = '' // what stands outside the entries: date and ARN of the vault
  let entry = ''
  let depth = 0
  let inString = false
  let escaped = false
  for await (const chunk of chunks) {
    const text = decoder.decode(chunk, { stream: true })
    let from = 0
    for (let i = 0; i < text.length; i++) {
      const char = text[i]
      if (escaped) escaped = false
      else if (inString && char === '\\') escaped = true
      else if (char === '"') inString = !inString
      else if (inString) continue
      else if (char === '{') {
        if (++depth !== 2) continue
        around += text.slice(from, i)
        from = i
      } else if (char === '}') {
        if (--depth !== 1) continue
        const archive = parseEntry(entry + text.slice(from, i + 1))
        entry = ''
        from = i + 1
        if (archive) await onArchive(archive)
      }
    }
    if (depth >= 2) entry += text.slice(from)
    else around += text.slice(from).replace(/^[\s,]+/, '')
    if (entry.length > LONGEST_ENTRY || around.length > LONGEST_ENTRY) throw unreadable()
    around = around.replace(/[\s,]*,[\s,]*(?=,|$)/g, ',')
  }
  const madeAt = /"InventoryDate"\s*:\s*"([^"]+)"/.exec(around)?.[1]
  if (depth !== 0 || madeAt === undefined || Number.isNaN(Date.parse(madeAt))) throw unreadable()
  return new Date(madeAt)
}

function parseEntry(text: string): InventoryArchive | undefined {
  let found: Record<string, unknown>
  try {
    found = JSON.parse(text) as Record<string, unknown>
  } catch (error) {
    throw unreadable(error)
  }
  const { ArchiveId, ArchiveDescription, CreationDate, Size, SHA256TreeHash } = found
  if (typeof ArchiveId !== 'string' || typeof Size !== 'number' || typeof SHA256TreeHash !== 'string') return undefined
  return {
    archiveId: ArchiveId,
    description: typeof ArchiveDescription === 'string' ? ArchiveDescription : '',
    createdAt: new Date(String(CreationDate)),
    bytes: Size,
    treeHash: SHA256TreeHash,
  }
}

const unreadable = (cause?: unknown) =>
  new FirnError('vault-failed', 'The inventory ends in its middle or is no JSON of a Glacier vault.', { cause })
