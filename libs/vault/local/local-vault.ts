/** A vault in a directory: objects are files under their keys, with nothing else in between, so that `tar` and `ls` can read it. */
import { constants } from 'node:fs'
import { access, open, opendir, stat, unlink } from 'node:fs/promises'
import { dirname, join, normalize } from 'node:path'
import { errnoOf, FirnError } from '#libs/errors/errors.js'
import { checkKey, checkPrefix } from '../object-key.js'
import type { PriceList } from '../prices/price-list.js'
import { quoteFor } from '../prices/quote.js'
import type { CallOptions, QuoteRequest, Shown, Stored, Thaw, Vault } from '../vault.js'
import { checkOptions, type VaultUrl } from '../vault-url.js'
import { makeDirectory, syncDirectory } from './durable.js'
import { openHasher } from './hasher.js'
import { isHidden, ownerOf, temporaryName } from './hidden-name.js'
import { localError } from './local-error.js'
import { beginUpload } from './local-upload.js'
import { createDirectory, createFile } from './owned.js'
import { thawStates } from './thaw-state.js'

/** One read: so much is held in memory for each reader, twice. */
const READ_BYTES = 1024 * 1024
/** Files of a directory that are looked at together: enough to keep the thread pool busy. */
const STATS_AT_ONCE = 64
/** Directories that are known to be there and durable; forgotten all together beyond that. */
const KNOWN_DIRECTORIES = 4096

export interface LocalVaultOptions {
  /** Absolute. Made by `prepare`; when it is missing later, that is an error: its disk may not be mounted. */
  readonly directory: string
  /** Makes what is uploaded from now on cold: it must be thawed, which takes so long. 0 is legal. Default: nothing is cold. */
  readonly thawSeconds?: number
  /** What it asks for thawing and reading, as a service would: to rehearse. Default: nothing. */
  readonly quote?: Vault['quote']
  /** Milliseconds since 1970, for tests that cannot wait for days. Default `Date.now`. */
  readonly now?: () => number
}

/** `local:/srv/vault?thaw=5`; with `&prices=DEEP_ARCHIVE` it also asks the prices of that class of S3. */
export async function localOptions(url: VaultUrl, prices: () => Promise<PriceList>): Promise<LocalVaultOptions> {
  checkOptions(url, ['thaw', 'prices'])
  if (!url.place.startsWith('/')) {
    throw new FirnError('usage', `The vault "local:${url.place}" is not absolute: write local:/ and the whole path.`)
  }
  if (url.place.includes('\0')) throw new FirnError('usage', 'The path of a local vault cannot hold a NUL character.')
  const directory = normalize(url.place).replace(/(?<=.)\/+$/, '')
  const thaw = url.query.get('thaw')
  const storageClass = url.query.get('prices')
  if (thaw !== undefined && !/^\d{1,9}(\.\d{1,3})?$/.test(thaw)) {
    throw new FirnError('usage', `The vault option thaw=${thaw} is no number of seconds: write for example thaw=5.`)
  }
  const priced = storageClass !== undefined && { quote: quoteOf(await prices(), storageClass) }
  return { directory, ...(thaw !== undefined && { thawSeconds: Number(thaw) }), ...priced }
}

/** What the temporary is called that tries whether the vault can be written. No object has such a key: those have directories. */
const PROBE = 'prepare'

const quoteOf = (prices: PriceList, storageClass: string) => (request: QuoteRequest) =>
  quoteFor(prices, { service: 's3', storageClass, region: 'us-east-1' }, request)

/** The directory and its parents, as far as they are not there, the uppermost first. */
async function missingDirectories(directory: string): Promise<string[]> {
  try {
    await stat(directory)
    return []
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error
    return [...(await missingDirectories(dirname(directory))), directory]
  }
}

export function openLocalVault(options: LocalVaultOptions): Vault {
  const { directory: root, thawSeconds, now = Date.now } = options
  const id = `local:${root}`
  const hasher = openHasher()
  const thaws = thawSeconds === undefined ? undefined : thawStates(thawSeconds, now)
  const known = new Set<string>()

  /** The path of a key, and what to do with an error of an operation on it. */
  function at(key: string, verb: string): { path: string; explain: (error: unknown) => unknown } {
    checkKey(key)
    return { path: join(root, key), explain: (error) => localError(error, `The vault ${id} cannot ${verb} ${key}`) }
  }

  const away = () => new FirnError('vault-away', `The vault ${id} is not there: is its disk mounted?`)

  /** ENOENT of an object is one thing, of the whole vault another: an unmounted disk must not look like lost bundles. */
  async function checkRoot(): Promise<void> {
    const there = await stat(root).then(
      (found) => found.isDirectory(),
      () => false,
    )
    if (!there) throw away()
  }

  async function explained<T>(explain: (error: unknown) => unknown, step: () => Promise<T>): Promise<T> {
    try {
      return await step()
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') await checkRoot()
      throw explain(error)
    }
  }

  /** Runs `step` in a directory that is there. The set remembers; a directory that was removed meanwhile is made again. */
  async function inDirectory<T>(directory: string, step: () => Promise<T>): Promise<T> {
    if (known.has(directory)) {
      try {
        return await step()
      } catch (error) {
        if (errnoOf(error) !== 'ENOENT') throw error
        known.clear()
      }
    }
    await checkRoot()
    await makeDirectory(root, directory)
    if (known.size >= KNOWN_DIRECTORIES) known.clear()
    known.add(directory)
    return step()
  }

  async function begin(key: string, cold: boolean, options: CallOptions & { replace?: boolean }) {
    const { path, explain } = at(key, 'take')
    const beforeName = cold && thaws ? { make: thaws.makeCold, undo: thaws.forget } : undefined
    const readBack = cold ? hasher : undefined
    return explained(explain, () => {
      options.signal?.throwIfAborted()
      return inDirectory(dirname(path), () =>
        beginUpload({ key, path, beforeName, readBack, replace: options.replace ?? false, explain }, options),
      )
    })
  }

  async function statOf(path: string): Promise<Stored | undefined> {
    try {
      const found = await stat(path)
      return found.isFile() ? { bytes: found.size, modifiedAt: found.mtime } : undefined
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined
      throw error
    }
  }

  async function requireObject(key: string, path: string): Promise<Stored> {
    const stored = await statOf(path)
    if (stored) return stored
    await checkRoot()
    throw new FirnError('vault-missing', `The vault ${id} has no object ${key}.`)
  }

  /** What lies in a directory, in the order of the keys: a directory sorts as if its slash belonged to it. */
  async function sortedNames(directory: string): Promise<{ name: string; kind: 'file' | 'directory' | 'hidden' }[]> {
    const names: { name: string; kind: 'file' | 'directory' | 'hidden' }[] = []
    for await (const entry of await opendir(directory, { bufferSize: 512 })) {
      const { name } = entry
      if (isHidden(name)) names.push({ name, kind: 'hidden' })
      else if (entry.isFile()) names.push({ name, kind: 'file' })
      else if (entry.isDirectory()) names.push({ name, kind: 'directory' })
      else {
        // A year may have been moved to another disk with a symlink in its place; some file systems name no types at all.
        const target = await stat(join(directory, name)).catch(() => undefined)
        if (target?.isFile()) names.push({ name, kind: 'file' })
        else if (target?.isDirectory() && !(await holds(directory, target))) names.push({ name, kind: 'directory' })
      }
    }
    const order = ({ name, kind }: { name: string; kind: string }) => (kind === 'directory' ? `${name}/` : name)
    return names.sort((a, b) => (order(a) < order(b) ? -1 : 1))
  }

  /** Whether a symlink leads back to a directory that it lies in: following it would never end. */
  async function holds(directory: string, target: { dev: number; ino: number }): Promise<boolean> {
    for (let above = directory; above.startsWith(root); above = dirname(above)) {
      const found = await stat(above)
      if (found.dev === target.dev && found.ino === target.ino) return true
      if (above === root) break
    }
    return false
  }

  async function namesBelow(directory: string) {
    try {
      return await sortedNames(directory)
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT' && errnoOf(error) !== 'ENOTDIR') throw error
      await checkRoot()
      return []
    }
  }

  /** `above`: the key of the directory with its slash, or empty. */
  async function* objects(above: string, prefix: string, signal?: AbortSignal): AsyncGenerator<Stored & { key: string }> {
    const names = (await namesBelow(join(root, above))).filter(({ name, kind }) => {
      const key = `${above}${name}`
      return kind !== 'hidden' && (key.startsWith(prefix) || (kind === 'directory' && prefix.startsWith(`${key}/`)))
    })
    for (let start = 0; start < names.length; start += STATS_AT_ONCE) {
      signal?.throwIfAborted()
      const group = names.slice(start, start + STATS_AT_ONCE)
      const stats = await Promise.all(
        group.map(({ name, kind }) => (kind === 'file' ? statOf(join(root, above, name)) : undefined)),
      )
      for (const [index, { name, kind }] of group.entries()) {
        const stored = stats[index]
        if (kind === 'directory') yield* objects(`${above}${name}/`, prefix, signal)
        else if (stored) yield { key: `${above}${name}`, ...stored }
      }
    }
  }

  async function* leftovers(above: string): AsyncGenerator<{ path: string; key: string; kind: 'temporary' | 'thaw' }> {
    for (const { name, kind } of await namesBelow(join(root, above))) {
      if (kind === 'directory') yield* leftovers(`${above}${name}/`)
      const owner = kind === 'hidden' ? ownerOf(name) : undefined
      if (owner) yield { path: join(root, above, name), key: `${above}${owner.name}`, kind: owner.kind }
    }
  }

  return {
    id,
    readsBack: true,

    async prepare({ signal, make = true } = {}) {
      const explain = (error: unknown) => localError(error, `The vault ${id} cannot be used`)
      try {
        signal?.throwIfAborted()
        const missing = await missingDirectories(root)
        if (!make && missing[0] !== undefined) {
          await access(dirname(missing[0]), constants.W_OK) // or it could not be made either
          throw away()
        }
        const [upper] = missing
        // A whole way to it may be missing because its disk is not mounted.
        if (missing.length > 1 && upper !== undefined) {
          throw new FirnError(
            'vault-refused',
            `The vault ${id} cannot be made: there is no directory ${dirname(root)}. Is a disk not mounted? If the vault shall lie there, make that directory first.`,
          )
        }
        if (upper !== undefined) {
          await createDirectory(upper).catch((error) => {
            if (errnoOf(error) !== 'EEXIST') throw error
          })
          await syncDirectory(dirname(upper))
        }
        if (!(await stat(root)).isDirectory()) throw new FirnError('vault-refused', `The vault ${id} is no directory.`)
        const probe = join(root, temporaryName(PROBE))
        const handle = await createFile(probe)
        try {
          await handle.write('?')
        } finally {
          await handle.close()
          await unlink(probe).catch(() => {})
        }
      } catch (error) {
        throw error instanceof FirnError ? error : explain(error)
      }
    },

    upload: (key, { warm = false, ...options } = {}) => begin(key, !warm, options),

    async put(key, bytes, options = {}) {
      const upload = await begin(key, false, options)
      try {
        await upload.write(bytes)
        await upload.complete()
      } catch (error) {
        await upload.abort().catch(() => {})
        throw error
      }
    },

    async stat(key, { signal } = {}) {
      signal?.throwIfAborted()
      const { path, explain } = at(key, 'look at')
      return explained(explain, async () => {
        const stored = await statOf(path)
        if (!stored) await checkRoot()
        return stored
      })
    },

    async verify(key, expected, { signal } = {}) {
      const { path, explain } = at(key, 'read')
      return explained(explain, async (): Promise<Shown> => {
        signal?.throwIfAborted()
        const { bytes } = await requireObject(key, path)
        const damaged = (what: string) => new FirnError('damaged', `${key} in the vault ${id} is damaged: ${what}.`)
        if (bytes !== expected.bytes) throw damaged(`it has ${bytes} bytes instead of ${expected.bytes}`)
        const read = await hasher.hash(path, { signal })
        if (read.bytes !== expected.bytes) throw damaged(`it has ${read.bytes} bytes instead of ${expected.bytes}`)
        if (read.sha256 !== expected.sha256.toLowerCase())
          throw damaged(`its SHA-256 is ${read.sha256} instead of ${expected.sha256}`)
        return 'read'
      })
    },

    async *list(prefix, { signal } = {}) {
      checkPrefix(prefix)
      try {
        signal?.throwIfAborted()
        yield* objects('', prefix, signal)
      } catch (error) {
        throw localError(error, `The vault ${id} cannot be listed`)
      }
    },

    async *read(key, range, { signal } = {}) {
      const { path, explain } = at(key, 'read')
      signal?.throwIfAborted()
      if (
        range &&
        !(Number.isSafeInteger(range.offset) && Number.isSafeInteger(range.length) && range.offset >= 0 && range.length >= 0)
      ) {
        throw new FirnError('failed', `The range ${range.offset}+${range.length} of ${key} is none.`)
      }
      const handle = await explained(explain, async () => {
        await requireObject(key, path)
        if (thaws && (await thaws.stateOf(path)).state !== 'ready') {
          throw new FirnError('vault-frozen', `${key} in the vault ${id} is cold: it must be thawed before it can be read.`)
        }
        return open(path, constants.O_RDONLY | constants.O_NONBLOCK)
      })
      let next: Promise<Uint8Array> | undefined
      try {
        const { size } = await handle.stat()
        const end = range ? range.offset + range.length : size
        if (end > size) {
          throw new FirnError('damaged', `${key} in the vault ${id} has ${size} bytes; byte ${end} of it was asked for.`)
        }
        const readAt = async (offset: number): Promise<Uint8Array> => {
          const chunk = Buffer.allocUnsafeSlow(Math.min(READ_BYTES, end - offset))
          for (let filled = 0; filled < chunk.length; ) {
            signal?.throwIfAborted()
            const { bytesRead } = await handle.read(chunk, filled, chunk.length - filled, offset + filled)
            if (bytesRead === 0) throw new FirnError('damaged', `${key} in the vault ${id} became shorter while it was read.`)
            filled += bytesRead
          }
          return chunk
        }
        // One read ahead: the disk works while the reader hashes.
        let offset = range?.offset ?? 0
        if (offset < end) next = readAt(offset)
        while (next) {
          const chunk: Uint8Array = await next
          signal?.throwIfAborted()
          offset += chunk.length
          next = offset < end ? readAt(offset) : undefined
          next?.catch(() => {}) // met at the next turn, or of no interest when the reader leaves
          yield chunk
        }
      } catch (error) {
        throw explain(error)
      } finally {
        await handle.close() // waits for the read ahead
      }
    },

    async thaw(key, request, { signal } = {}) {
      const { path, explain } = at(key, 'thaw')
      return explained(explain, async (): Promise<Thaw> => {
        signal?.throwIfAborted()
        await requireObject(key, path)
        return thaws ? thaws.ask(path, request) : { state: 'ready' }
      })
    },

    quote: options.quote ?? (() => undefined), // a disk of one's own costs nothing

    async thawStates(keys, { signal } = {}) {
      const states = new Map<string, Thaw>()
      for (const key of keys) {
        const { path, explain } = at(key, 'look at')
        await explained(explain, async () => {
          signal?.throwIfAborted()
          if (await statOf(path)) states.set(key, thaws ? await thaws.stateOf(path) : { state: 'ready' })
          else {
            await checkRoot()
            states.set(key, { state: 'failed', reason: `The vault ${id} has no object ${key}.` })
          }
        })
      }
      return states
    },

    async sweep(isDead, { signal } = {}) {
      const removed = new Set<string>()
      try {
        for await (const { path, key, kind } of leftovers('')) {
          signal?.throwIfAborted()
          // A thaw state belongs to its object as long as there is one.
          if (kind === 'thaw' && (await statOf(join(root, key)))) continue
          // A probe lives for a moment, and does not need its name: what is there was left by one that could not remove it.
          const isProbe = key === PROBE
          if (!isProbe && !(await isDead(key))) continue
          await unlink(path).catch((error) => {
            if (errnoOf(error) !== 'ENOENT') throw error
          })
          if (!isProbe) removed.add(key)
        }
      } catch (error) {
        throw localError(error, `The vault ${id} cannot be swept`)
      }
      return [...removed]
    },

    close: () => hasher.close(),
  }
}
