/** Uploads in parts: what the service checks of each part, and what only at the end. */
import { dropBlobs, keepBlob } from '../blobs.js'
import { HOUR_MS } from '../clock.js'
import type { Payload } from '../payload.js'
import type { Answer } from '../service.js'
import { pageOf } from './page.js'
import { leafHasher, MIB, rootOf } from './tree-hash.js'
import { type Archive, arnOf, type EmulatedVault, invalid, type Multipart, newId, notFound, type Part } from './vaults.js'
import type { Within } from './within.js'

/** How long CompleteMultipartUpload may be repeated; the documentation says "a short period". */
const REPEATABLE_MS = HOUR_MS
const MOST_PARTS = 10_000

export function checkDescription(text: string): string {
  if (!/^[\x20-\x7e]{0,1024}$/.test(text)) throw invalid('Invalid description: 1,024 printable ASCII characters at most')
  return text
}

export function initiateMultipart({ vault, call, clock, base }: Within): Answer {
  const partBytes = Number(call.headers['x-amz-part-size'])
  const isPower = Number.isInteger(Math.log2(partBytes / MIB))
  if (!isPower || partBytes < MIB || partBytes > 4096 * MIB) {
    throw invalid(
      `Invalid part size: ${call.headers['x-amz-part-size']}. Part size must not be null, must be a power of two and be between 1048576 and 4294967296 bytes.`,
    )
  }
  const description = checkDescription(call.headers['x-amz-archive-description'] ?? '')
  const id = newId(69)
  vault.uploads.set(id, { id, description, partBytes, createdAt: clock.now(), parts: new Map() })
  return { status: 201, headers: { 'x-amz-multipart-upload-id': id, location: `${base}/multipart-uploads/${id}` } }
}

function open(vault: EmulatedVault, id: string): Multipart {
  const upload = vault.uploads.get(id)
  if (!upload || upload.completed) throw notFound(`The upload ID ${id} was`)
  return upload
}

/** A short part in the middle is taken: nobody can know yet that it is not the last. */
export async function uploadPart({ vault, call, directory }: Within, id: string, payload: Payload): Promise<Answer> {
  const upload = open(vault, id)
  const [, from, to] = /^bytes (\d+)-(\d+)\/\*$/.exec(call.headers['content-range'] ?? '') ?? []
  const [first, last] = [Number(from), Number(to)]
  if (from === undefined || last < first) throw invalid(`Invalid Content-Range: ${call.headers['content-range']}`)
  if (first % upload.partBytes !== 0 || last - first + 1 > upload.partBytes) {
    throw invalid(`Content-Range: bytes ${first}-${last}/* is incompatible with part size: ${upload.partBytes}`)
  }
  if (first / upload.partBytes >= MOST_PARTS) throw invalid(`More than ${MOST_PARTS} parts`)
  if (payload.announced !== last - first + 1) throw invalid('Content-Length does not fit Content-Range')
  const announced = call.headers['x-amz-sha256-tree-hash']
  if (announced === undefined) throw invalid('Missing x-amz-sha256-tree-hash')
  const hasher = leafHasher()
  const blob = await keepBlob(directory, payload.chunks(), hasher.update)
  const leaves = hasher.leaves()
  const treeHash = rootOf(leaves)
  if (treeHash !== announced || vault.uploads.get(id) !== upload) {
    await dropBlobs([blob])
    if (treeHash === announced) throw notFound(`The upload ID ${id} was`)
    throw invalid(`Checksum mismatch: expected ${announced} but had ${treeHash}`)
  }
  const before = upload.parts.get(first)
  upload.parts.set(first, { first, blob, leaves, treeHash })
  if (before) await dropBlobs([before.blob])
  return { status: 204, headers: { 'x-amz-sha256-tree-hash': treeHash } }
}

export function listParts(within: Within, id: string): Answer {
  const upload = open(within.vault, id)
  const page = pageOf(inOrder(upload), within, ({ first }) => String(first))
  return {
    status: 200,
    body: JSON.stringify({
      MultipartUploadId: id,
      ArchiveDescription: upload.description,
      PartSizeInBytes: upload.partBytes,
      CreationDate: upload.createdAt.toISOString(),
      VaultARN: arnOf(within.region, within.vault.name),
      Parts: page.items.map(({ first, blob, treeHash }) => ({
        RangeInBytes: `${first}-${first + blob.bytes - 1}`,
        SHA256TreeHash: treeHash,
      })),
      Marker: page.marker,
    }),
  }
}

export async function completeMultipart({ vault, call, clock, base }: Within, id: string): Promise<Answer> {
  const upload = vault.uploads.get(id)
  const bytes = Number(call.headers['x-amz-archive-size'])
  const announced = call.headers['x-amz-sha256-tree-hash']
  if (!upload) throw notFound(`The upload ID ${id} was`)
  const { completed } = upload
  if (completed) {
    if (clock.now().getTime() - completed.at.getTime() > REPEATABLE_MS) throw notFound(`The upload ID ${id} was`)
    return created(completed.archive, base)
  }
  const parts = inOrder(upload)
  let end = 0
  for (const [i, { first, blob }] of parts.entries()) {
    if (first !== end) throw invalid(`The parts do not follow each other: ${first} after ${end}`)
    if (i < parts.length - 1 && blob.bytes !== upload.partBytes)
      throw invalid('Only the last part may be smaller than the part size')
    end += blob.bytes
  }
  if (parts.length === 0 || end !== bytes) throw invalid(`Invalid archive size: ${bytes}; the parts have ${end} bytes`)
  const leaves = parts.flatMap((part) => part.leaves)
  const treeHash = rootOf(leaves)
  if (treeHash !== announced) throw invalid(`Checksum mismatch: expected ${announced} but had ${treeHash}`)
  const archive: Archive = {
    id: newId(104),
    description: upload.description,
    createdAt: clock.now(),
    bytes,
    blobs: parts.map(({ blob }) => blob),
    leaves,
    treeHash,
  }
  vault.archives.set(archive.id, archive)
  upload.completed = { at: clock.now(), archive }
  return created(archive, base)
}

export const created = ({ id, treeHash }: Archive, base: string): Answer => ({
  status: 201,
  headers: { 'x-amz-archive-id': id, 'x-amz-sha256-tree-hash': treeHash, location: `${base}/archives/${id}` },
})

export async function abortMultipart({ vault }: Within, id: string): Promise<Answer> {
  const upload = open(vault, id)
  vault.uploads.delete(id)
  await dropBlobs([...upload.parts.values()].map(({ blob }) => blob))
  return { status: 204 }
}

export function listMultiparts(within: Within): Answer {
  const { vault, region } = within
  const running = [...vault.uploads.values()].filter(({ completed }) => !completed)
  const page = pageOf(running, within, ({ id }) => id)
  return {
    status: 200,
    body: JSON.stringify({
      UploadsList: page.items.map(({ id, description, partBytes, createdAt }) => ({
        MultipartUploadId: id,
        ArchiveDescription: description,
        PartSizeInBytes: partBytes,
        CreationDate: createdAt.toISOString(),
        VaultARN: arnOf(region, vault.name),
      })),
      Marker: page.marker,
    }),
  }
}

const inOrder = ({ parts }: Multipart): Part[] => [...parts.values()].sort((a, b) => a.first - b.first)
