/**
 * The port to where bundles lie. A vault keeps objects under keys (`2026/11/<set>/<bundle>.1.tar`); it does not know what a tar is.
 *
 * What an implementation must be:
 * - Atomic: an object is either not there or whole. An unfinished upload is never listed, read or counted.
 * - Write-once: nothing is ever overwritten; a key that exists is refused with `vault-exists`.
 * - Durable: when `complete` or `put` returns, the object survives a power cut.
 * - Read-after-write: what `complete` or `put` returned is seen by `stat`, `list` and `read` of every process at once.
 * - An aborted call changes nothing that a later call could mistake for an object.
 * Errors are FirnErrors: vault-refused (never retry), vault-away (its place is gone), vault-full, vault-failed (retry), vault-missing, vault-exists, vault-frozen.
 */
export interface Vault {
  /** What names this vault in the catalog: scheme and place, without options. `local:/srv/vault`. */
  readonly id: string

  /**
   * `seal` reads back what was written and says its SHA-256: then whoever sends need not hash it too, and need not `verify` it after
   * `complete`. Where it is left out, `verify` is what shows that the vault holds what was sent.
   */
  readonly readsBack?: boolean

  /** It thaws the range that is asked for. Where this is left out, a thaw is of the whole object, whoever wants which part of it. */
  readonly thawsRanges?: boolean

  /** The largest object that it can take; whatever there is room for where it is left out. */
  readonly maxObjectBytes?: number

  /**
   * Can it be written? Makes the place if it is not there yet, unless `make` is false: then it throws `vault-away`. Throws `vault-refused`
   * with the reason.
   */
  prepare(options?: CallOptions & { make?: boolean }): Promise<void>

  /**
   * Begins an object of unknown size. Cold class, if the vault has classes. `expectedBytes`: about how large it will be, where that is
   * known; the parts that it travels in are chosen by it. `warm`: in the class of what is put.
   */
  upload(key: string, options?: CallOptions & { expectedBytes?: number; warm?: boolean }): Promise<Upload>

  /**
   * A small object in one step, in a class that needs no thaw (manifests, `firn-vault.json`). `replace`: the one exception to
   * write-once, atomic too, for the note that says who writes this vault.
   */
  put(key: string, bytes: Uint8Array, options?: CallOptions & { replace?: boolean }): Promise<void>

  /** What the vault itself says of an object; undefined where there is none. */
  stat(key: string, options?: CallOptions): Promise<Stored | undefined>

  /**
   * Is the object what was sent? A local vault reads it back; a service is asked. Throws `damaged` or `vault-missing`. `checksum`: what the
   * upload said of an object in parts. Returns by what it was shown; by its size alone only if the service says no more of it.
   */
  verify(key: string, expected: Expected, options?: CallOptions): Promise<Shown>

  /** Every object whose key starts with `prefix`, in key order, page by page. */
  list(prefix: string, options?: CallOptions): AsyncIterable<Stored & { key: string }>

  /** `length` bytes from `offset` (the whole object without a range). `vault-frozen` where it must be thawed first. */
  read(key: string, range: { offset: number; length: number } | undefined, options?: CallOptions): AsyncIterable<Uint8Array>

  /**
   * Asks for a readable copy. Asking twice asks once. A hot vault answers `ready`.
   * `days`: how long the copy shall stay readable.
   */
  thaw(key: string, request: ThawRequest, options?: CallOptions): Promise<Thaw>

  /**
   * How far the thaw of each key is; asks for nothing. In batches: thousands of keys cost tens of requests. A key that is not there
   * is left out. `ranges`: what is wanted of a key, where that is less than the whole (see ThawRequest).
   */
  thawStates(
    keys: readonly string[],
    options?: CallOptions & { ranges?: ReadonlyMap<string, ByteRange> },
  ): Promise<Map<string, Thaw>>

  /**
   * What it costs to thaw cold objects and to read them; undefined where that costs nothing. Asks the vault for nothing. Throws
   * `usage` for a tier that is not offered.
   */
  quote(request: QuoteRequest): Quote | undefined

  /** Removes what unfinished uploads left behind, where `isDead` says so of the key they were for. Returns their keys. */
  sweep(isDead: (key: string) => boolean | Promise<boolean>, options?: CallOptions): Promise<string[]>

  close(): Promise<void>
}

export interface CallOptions {
  readonly signal?: AbortSignal
}

export interface Expected {
  readonly bytes: number
  /** Hex. */
  readonly sha256: string
  readonly checksum?: string | undefined
}

export type Shown = 'read' | 'checksum' | 'size'

/** An object under way. The order is a promise: write ... , seal, (the manifest is put), complete. */
export interface Upload {
  /** Takes the chunk over until the promise settles; the caller may reuse its memory then. */
  write(chunk: Uint8Array): Promise<void>
  /**
   * Every byte is with the vault, durable, and still invisible. A vault that reads back says what it then holds, having compared it with
   * what was written; throws `damaged` where it differs.
   */
  seal(): Promise<Sealed | undefined>
  /** Once it is sealed: how the vault will name bytes that were sent in parts, for `verify`; undefined if their SHA-256 says it. */
  checksum?(): string | undefined
  /** The object is there. `archiveId` is the vault's own name for it: the key where it has none. */
  complete(): Promise<{ archiveId: string }>
  /** Leaves nothing behind. Safe to call at any time, also after a failure. */
  abort(): Promise<void>
}

/** What a vault holds of an upload, as it read it back. */
export interface Sealed {
  readonly bytes: number
  /** Hex. */
  readonly sha256: string
}

export interface Stored {
  readonly bytes: number
  readonly modifiedAt: Date
  /** The vault's own name for it, where that is not the key. */
  readonly archiveId?: string
}

export type ThawTier = 'expedited' | 'standard' | 'bulk'

export interface ByteRange {
  readonly offset: number
  readonly length: number
}

export interface ThawRequest {
  readonly tier: ThawTier
  readonly days: number
  /** The only bytes that will be read: a vault that can thaw a part of an object may thaw no more than these. */
  readonly range?: ByteRange
}

export interface QuoteRequest {
  /** Objects to be thawed, and their bytes that will be. */
  readonly objects: number
  readonly thawBytes: number
  /** The part of them that is asked for: what a vault thaws that can thaw ranges. Default: all of it. */
  readonly rangeBytes?: number
  /** What will be read of them. */
  readonly readBytes: number
  readonly tier: ThawTier
  readonly days: number
}

export interface Quote {
  readonly usd: number
  /** What it is made of, each with a word for people: `thaw`, `requests`, `copy`, `read`, `transfer`. */
  readonly parts: readonly { readonly what: string; readonly usd: number }[]
  /** How long the thaw takes: at least and at most. */
  readonly hours: readonly [number, number]
  /** Of what day the prices are: `2026-11-01`, and of what region. */
  readonly pricesOf: string
  readonly region: string
  /** The vault's own region, where the price list lacks it and another's prices were taken. */
  readonly insteadOf?: string
}

/** cold: must be asked for. thawing: asked for. ready: readable, until `expiresAt` where it is a copy. */
export type Thaw =
  | { readonly state: 'cold' }
  | { readonly state: 'thawing'; readonly readyAt?: Date }
  | { readonly state: 'ready'; readonly expiresAt?: Date }
  | { readonly state: 'failed'; readonly reason: string }
