/**
 * Amazon Glacier as far as Firn asks it: vaults, archives in one or in parts with their tree hashes, retrieval jobs that take hours of
 * the virtual clock, and the inventory of yesterday. What is not emulated is refused with NotImplemented, never answered with a guess.
 */
import { keepBlob } from '../blobs.js'
import type { Clock } from '../clock.js'
import type { Payload } from '../payload.js'
import { Refusal } from '../refusal.js'
import type { RequestBook } from '../requests.js'
import type { Answer, Call, Service } from '../service.js'
import { describeJob, initiateJob, jobOutput, lastInventory, listJobs } from './jobs.js'
import {
  abortMultipart,
  checkDescription,
  completeMultipart,
  created,
  initiateMultipart,
  listMultiparts,
  listParts,
  uploadPart,
} from './multipart.js'
import { pageOf } from './page.js'
import { leafHasher, rootOf } from './tree-hash.js'
import {
  AS_THE_SERVICE,
  arnOf,
  deleteArchive,
  type EmulatedVault,
  type GlacierLimits,
  invalid,
  newId,
  notFound,
} from './vaults.js'
import type { Within } from './within.js'

export interface GlacierParts {
  readonly clock: Clock
  readonly book: RequestBook
  /** Where bytes are kept. */
  readonly directory: string
  readonly limits?: Partial<GlacierLimits>
}

export interface EmulatedGlacier extends Service {
  /** By name; of every account and region. */
  readonly vaults: ReadonlyMap<string, EmulatedVault>
  /** An account without archives, since the service closed: every request is refused. */
  closeToNewCustomers(): void
}

type Step = (within: Within, payload: Payload) => Answer | Promise<Answer>

export function emulateGlacier({ clock, book, directory, limits: some }: GlacierParts): EmulatedGlacier {
  const vaults = new Map<string, EmulatedVault>()
  const limits = { ...AS_THE_SERVICE, ...some }
  let closed = false

  function stepOf(call: Call, [, kind, id, more]: readonly string[]): { operation: string; step: Step } | undefined {
    const at = `${call.method} ${kind ?? ''}${id === undefined ? '' : '/id'}${more === undefined ? '' : `/${more}`}`
    switch (at) {
      case 'GET ':
        return { operation: 'DescribeVault', step: describeVault }
      case 'POST archives':
        return { operation: 'UploadArchive', step: uploadArchive }
      case 'DELETE archives/id':
        return { operation: 'DeleteArchive', step: (within) => removeArchive(within, id as string) }
      case 'POST multipart-uploads':
        return { operation: 'InitiateMultipartUpload', step: initiateMultipart }
      case 'GET multipart-uploads':
        return { operation: 'ListMultipartUploads', step: listMultiparts }
      case 'PUT multipart-uploads/id':
        return { operation: 'UploadMultipartPart', step: (within, payload) => uploadPart(within, id as string, payload) }
      case 'GET multipart-uploads/id':
        return { operation: 'ListParts', step: (within) => listParts(within, id as string) }
      case 'POST multipart-uploads/id':
        return { operation: 'CompleteMultipartUpload', step: (within) => completeMultipart(within, id as string) }
      case 'DELETE multipart-uploads/id':
        return { operation: 'AbortMultipartUpload', step: (within) => abortMultipart(within, id as string) }
      case 'POST jobs':
        return { operation: 'InitiateJob', step: initiateJob }
      case 'GET jobs':
        return { operation: 'ListJobs', step: listJobs }
      case 'GET jobs/id':
        return { operation: 'DescribeJob', step: (within) => describeJob(within, id as string) }
      case 'GET jobs/id/output':
        return { operation: 'GetJobOutput', step: (within) => jobOutput(within, id as string) }
      default:
        return undefined
    }
  }

  const describeVault: Step = ({ vault, region }) => ({ status: 200, body: JSON.stringify(vaultFacts(vault, region)) })

  function vaultFacts(vault: EmulatedVault, region: string) {
    const there = [...vault.archives.values()].filter(({ deletedAt }) => !deletedAt)
    return {
      VaultName: vault.name,
      VaultARN: arnOf(region, vault.name),
      CreationDate: vault.createdAt.toISOString(),
      LastInventoryDate: lastInventory(vault, clock.now())?.toISOString() ?? null,
      NumberOfArchives: there.length,
      SizeInBytes: there.reduce((sum, { bytes }) => sum + bytes, 0),
    }
  }

  const uploadArchive: Step = async ({ vault, call, base }, payload) => {
    const description = checkDescription(call.headers['x-amz-archive-description'] ?? '')
    if (!payload.announced) throw invalid('Invalid Content-Length: 0')
    const hasher = leafHasher()
    const blob = await keepBlob(directory, payload.chunks(), hasher.update)
    const leaves = hasher.leaves()
    const treeHash = rootOf(leaves)
    if (treeHash !== call.headers['x-amz-sha256-tree-hash']) throw invalid('Checksum mismatch')
    const archive = { id: newId(104), description, createdAt: clock.now(), bytes: blob.bytes, blobs: [blob], leaves, treeHash }
    vault.archives.set(archive.id, archive)
    return created(archive, base)
  }

  async function removeArchive({ vault }: Within, id: string): Promise<Answer> {
    const archive = vault.archives.get(id)
    if (!archive || archive.deletedAt) throw notFound(`The archive ID ${id} was`)
    await deleteArchive(archive, clock)
    return { status: 204 }
  }

  function checkCall(call: Call): void {
    if (closed) {
      throw new Refusal(
        403,
        'NoLongerSupportedException',
        'This API is no longer supported for new customers. Please use Amazon S3 Glacier storage classes.',
      )
    }
    if (call.headers['x-amz-glacier-version'] !== '2012-06-01') {
      throw new Refusal(400, 'MissingParameterValueException', 'Required parameter missing: API version')
    }
  }

  return {
    name: 'glacier',
    signsPathTwiceEncoded: true,
    vaults,
    closeToNewCustomers() {
      closed = true
    },

    claims: ({ headers }) =>
      headers['x-amz-glacier-version'] !== undefined || /\/glacier\/aws4_request/.test(headers['authorization'] ?? ''),

    route(call) {
      const [account, word, ...segments] = call.path.split('/').slice(1).map(decodeURIComponent)
      const name = segments[0]
      if (account === undefined || word !== 'vaults')
        throw new Refusal(501, 'NotImplemented', `This emulator does not know ${call.method} ${call.path}`)
      const base = `/${account}/vaults/${name}`
      if (!name) {
        return {
          operation: 'ListVaults',
          target: '',
          run: async ({ region }) => {
            checkCall(call)
            const page = pageOf([...vaults.values()], { call, limits: { ...limits, page: 10 } }, (vault) =>
              arnOf(region, vault.name),
            )
            return {
              status: 200,
              body: JSON.stringify({ VaultList: page.items.map((one) => vaultFacts(one, region)), Marker: page.marker }),
            }
          },
        }
      }
      if (call.method === 'PUT' && segments.length === 1) {
        return {
          operation: 'CreateVault',
          target: name,
          run: async () => {
            checkCall(call)
            if (!vaults.has(name))
              vaults.set(name, { name, createdAt: clock.now(), archives: new Map(), uploads: new Map(), jobs: new Map() })
            return { status: 201, headers: { location: base } }
          },
        }
      }
      const found = stepOf(call, segments)
      if (!found) throw new Refusal(501, 'NotImplemented', `This emulator does not know ${call.method} ${call.path}`)
      return {
        operation: found.operation,
        target: segments
          .slice(0, 3)
          .filter((_, i) => i !== 1)
          .join('/'),
        run: async ({ region }, payload) => {
          checkCall(call)
          const vault = vaults.get(name)
          if (!vault) throw notFound(`Vault ${arnOf(region, name)} was`)
          return found.step({ vault, call, clock, book, region, directory, limits, base }, payload)
        },
      }
    },

    refuse: ({ status, code, message, headers }) => ({
      status,
      headers: { ...headers, 'content-type': 'application/json' },
      body: JSON.stringify({ code: NAMES[code] ?? code, message, type: status < 500 ? 'Client' : 'Server' }),
    }),
  }
}

/** The words of Glacier for what the emulator's common parts refuse in those of S3. */
const NAMES: Readonly<Record<string, string>> = {
  AccessDenied: 'AccessDeniedException',
  InvalidAccessKeyId: 'UnrecognizedClientException',
  SignatureDoesNotMatch: 'InvalidSignatureException',
  RequestTimeTooSkewed: 'InvalidSignatureException',
  ExpiredToken: 'ExpiredTokenException',
  SlowDown: 'ThrottlingException',
  InternalError: 'ServiceUnavailableException',
  GlacierExpeditedRetrievalNotAvailable: 'InsufficientCapacityException',
  XAmzContentSHA256Mismatch: 'InvalidParameterValueException',
  IncompleteBody: 'InvalidParameterValueException',
}
