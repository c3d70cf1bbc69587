/** An object on its way into a directory: a temporary beside its final name, synced, then linked to it. */
import { type FileHandle, rename, unlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { FirnError } from '#libs/errors/errors.js'
import { step } from '#libs/os/steps.js'
import { beginLife } from '../upload-life.js'
import type { CallOptions, Sealed, Upload } from '../vault.js'
import { publish, syncDirectory } from './durable.js'
import { createCode, newEqualityKey } from './equality.js'
import type { Hasher } from './hasher.js'
import { temporaryName } from './hidden-name.js'
import { createFile } from './owned.js'

/**
 * How many bytes may wait in the page cache before the disk is set to work on them. Without it a bundle of some hundred MB would be
 * written out in one go by the last fsync, while everybody waits.
 */
const WRITE_BACK_BYTES = 32 * 1024 * 1024

export interface UploadPlace {
  readonly key: string
  readonly path: string
  /** Called when the object is whole and before it gets its name; `undo` when it does not get it. */
  readonly beforeName?: { make(path: string): Promise<void>; undo(path: string): Promise<void> } | undefined
  /** Take the place of what is there, instead of refusing. */
  readonly replace: boolean
  /** Reads the sealed object back, to be compared with what was written; nobody does where it is left out. */
  readonly readBack?: Hasher | undefined
  /** Says errors of the system in the words of the port. */
  explain(error: unknown): unknown
}

/** The directory of `place.path` must be there. */
export async function beginUpload(place: UploadPlace, { signal }: CallOptions): Promise<Upload> {
  const { key, path, beforeName, replace, readBack, explain } = place
  const temporary = join(dirname(path), temporaryName(basename(path)))
  const handle: FileHandle = await createFile(temporary)
  step('local-vault.begun')

  const equality = newEqualityKey()
  const written = readBack && createCode(equality)
  let sealed: Sealed | undefined
  let offset = 0
  let unsynced = 0
  let writeBack: Promise<void> | undefined
  const inFlight = new Set<Promise<void>>()
  const life = beginLife(key, signal, async (from) => {
    // close() waits for the writes in flight.
    if (from === 'writing') await handle.close().catch(() => {})
    await unlink(temporary).catch((error) => {
      if (error.code !== 'ENOENT') throw explain(error)
    })
  })
  const fail = (error: unknown) => life.fail(explain(error))

  async function seal(): Promise<Sealed | undefined> {
    life.checkUsable()
    if (life.state === 'sealed') return sealed
    try {
      await Promise.all([...inFlight, writeBack])
      signal?.throwIfAborted()
      await handle.datasync()
      await handle.close()
      step('local-vault.synced')
      life.becomes('sealed')
      if (readBack) sealed = await compare(readBack)
    } catch (error) {
      await fail(error)
    }
    return sealed
  }

  /** What the file holds is what the vault will say of it: the SHA-256 is taken of what was read, once that is known to be what was sent. */
  async function compare(hasher: Hasher): Promise<Sealed> {
    const { bytes, sha256, code } = await hasher.hash(temporary, { signal, equality })
    if (bytes === offset && code === written?.digest()) return { bytes, sha256 }
    throw new FirnError('damaged', `${key} was read back otherwise than it was written: the disk or its cable may be failing.`)
  }

  async function writeAll(chunk: Uint8Array, at: number): Promise<void> {
    for (let written = 0; written < chunk.length; ) {
      written += (await handle.write(chunk, written, chunk.length - written, at + written)).bytesWritten
    }
  }

  function startWriteBack(): void {
    if (writeBack || unsynced < WRITE_BACK_BYTES) return
    unsynced = 0
    const running = handle.datasync()
    writeBack = running
    running.then(
      () => {
        writeBack = undefined
      },
      // Left in place: `seal` waits for it and finds the error.
      () => {},
    )
  }

  return {
    async write(chunk) {
      life.checkWritable()
      written?.update(chunk)
      const writing = writeAll(chunk, offset)
      offset += chunk.length
      unsynced += chunk.length
      inFlight.add(writing)
      try {
        await writing
        inFlight.delete(writing)
        if (life.state === 'writing') startWriteBack()
        life.checkUsable()
      } catch (error) {
        inFlight.delete(writing)
        await fail(error)
      }
    },

    seal: () => life.oneAtATime(seal),

    complete: () =>
      life.oneAtATime(async () => {
        await seal()
        life.checkUsable()
        try {
          await beforeName?.make(path)
          await (replace ? rename(temporary, path) : publish(temporary, path))
        } catch (error) {
          await beforeName?.undo(path)
          await fail(error)
        }
        step('local-vault.named')
        life.becomes('done')
        try {
          await syncDirectory(dirname(path))
        } catch (error) {
          throw explain(error)
        }
        return { archiveId: key }
      }),

    abort: life.abort,
  }
}
