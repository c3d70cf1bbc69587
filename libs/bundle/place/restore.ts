/**
 * Restores single entries, synchronously, in the placing thread: bytes are verified before anything has a name in the target, and
 * an error of one entry is its outcome and nobody else's.
 */
import { createHash, hash } from 'node:crypto'
import { chmodSync, lstatSync, symlinkSync } from 'node:fs'
import { errnoOf } from '#libs/errors/errors.js'
import { joinRaw, nameOf, parentOf, type Raw, rawToBytes } from '#libs/os/raw.js'
import { step } from '#libs/os/steps.js'
import { directoryAt } from './at.js'
import { type Chain, isUnderConstruction } from './chain.js'
import type { Dresser } from './dress.js'
import type { Outcome } from './messages.js'
import { failureOf, Obstacle } from './obstacle.js'
import type { Inode, Name, Piece, Symlink } from './plan.js'
import { openPut, removeIfThere } from './put.js'
import { isSameFile, isSameSymlink, readWhole } from './same.js'
import { createStagedFile, type StagedFile } from './staged-file.js'
import type { Staging } from './staging.js'

export interface Restorer {
  directory(name: Name): Outcome
  symlink(symlink: Symlink): Outcome
  /** The outcome of all names of an inode where none of its bytes is needed, else nothing. */
  look(piece: Piece, inode: Inode): Outcome[]
  /** A piece whose bytes are all here. */
  whole(piece: Piece, bytes: Uint8Array): Outcome[]
  /** A piece whose bytes come one after the other. */
  begin(piece: Piece): PieceUnderWay
}

export interface PieceUnderWay {
  /** How many bytes are still to come. */
  missing(): number
  take(bytes: Uint8Array): void
  /** All bytes were taken. */
  end(): Outcome[]
  /** No more bytes come. */
  giveUp(): void
}

export interface RestorerParts {
  readonly chain: Chain
  readonly staging: Staging
  readonly dresser: Dresser
  readonly overwrite: boolean
  /** Called now and then during long work; throws when it shall stop. */
  readonly tick: () => void
}

export const WRONG_BYTES = 'its bytes do not match their SHA-256'
const EXISTS = 'exists already; --overwrite replaces it'
const DIRECTORY = 'a directory stands in its place'

export function openRestorer({ chain, staging, dresser, overwrite, tick }: RestorerParts): Restorer {
  /** Copies what is being placed, where it can be neither linked nor moved. */
  let copy: (from: Raw, to: Raw) => void
  let linksWereCopied = false
  const { put } = openPut({
    overwrite,
    next: staging.next,
    nextBeside: (place) => staging.nextBeside(parentOf(place)),
    copy: (from, to) => copy(from, to),
    onNoLink: () => {
      linksWereCopied = true
    },
  })

  const placeOf = ({ at }: Name, options?: { make: boolean }): Raw =>
    joinRaw(chain.enter(directoryAt(at), options), nameOf(`/${at}` as Raw))

  /** Everything but the bytes; the file is closed and finished then. */
  function dress(file: StagedFile, path: Raw, inode: Inode): string | undefined {
    file.end()
    const notice = dresser.dress(file.fd, path, inode.dress)
    file.close()
    return dresser.times(path, inode.dress) ?? notice
  }

  function copyFile(from: Raw, to: Raw, inode: Inode): string | undefined {
    const file = createStagedFile(to, inode.holes)
    try {
      readOwn(from, (bytes) => {
        tick()
        file.write(bytes)
      })
      return dress(file, to, inode)
    } catch (error) {
      removeIfThere(to)
      throw error
    } finally {
      file.close()
    }
  }

  /** Gives a finished staged file its names; it is gone afterwards. */
  function placeNames(piece: Piece, inode: Inode, staged: Raw, notice: string | undefined): Outcome[] {
    const { names } = inode
    copy = (from, to) => void copyFile(from, to, inode)
    linksWereCopied = false
    let isGone = false
    try {
      const existing = names.length > 1 && !overwrite ? existingName(piece, names, staged) : undefined
      return names.map((name, number): Outcome => {
        try {
          const place = placeOf(name)
          const last = existing === undefined && number === names.length - 1
          const isPlaced = put(existing ?? staged, place, last)
          isGone = isPlaced && last
          if (!isPlaced && !isSame(piece, place, staged)) throw standing(place)
          const told = notice ?? (linksWereCopied && names.length > 1 ? 'its hard links became files of their own' : undefined)
          return { index: name.index, outcome: isPlaced ? 'placed' : 'present', ...noticed(told) }
        } catch (error) {
          return failed(name, error)
        }
      })
    } finally {
      if (!isGone) removeIfThere(staged)
    }
  }

  /** After an interruption between two names of an inode, the rest become links of those that are there. */
  function existingName(piece: Piece, names: readonly Name[], staged: Raw): Raw | undefined {
    for (const name of names) {
      try {
        const place = placeOf(name)
        if (isSame(piece, place, staged) && lstatSync(rawToBytes(place)).uid === lstatSync(rawToBytes(staged)).uid) return place
      } catch {
        // not there, or its own outcome will tell
      }
    }
    return undefined
  }

  /** Compared with the staged file's time: so a file system with coarser times is no difference. */
  function isSame({ size, sha256 }: Piece, place: Raw, staged: Raw): boolean {
    const { mtimeNs } = lstatSync(rawToBytes(staged), { bigint: true })
    try {
      return isSameFile(place, { size, mtimeNs, sha256 }, tick)
    } catch (error) {
      throw ['EACCES', 'EIO'].includes(errnoOf(error) ?? '')
        ? new Obstacle('exists already, and cannot be read to compare it')
        : error
    }
  }

  function stageWhole(piece: Piece, inode: Inode, bytes: Uint8Array): Outcome[] {
    const staged = staging.next()
    let file: StagedFile | undefined
    try {
      file = createStagedFile(staged, inode.holes)
      file.write(bytes)
      return placeNames(piece, inode, staged, dress(file, staged, inode))
    } catch (error) {
      file?.close()
      if (file) removeIfThere(staged)
      return allFailed([inode], error)
    }
  }

  return {
    directory(name) {
      if (name.at === '') return { index: name.index, outcome: 'present' }
      try {
        const parent = chain.enter(directoryAt(name.at))
        const before = lstatSync(rawToBytes(joinRaw(parent, nameOf(`/${name.at}` as Raw))), { throwIfNoEntry: false })
        chain.enter(name.at)
        return { index: name.index, outcome: before === undefined || isUnderConstruction(before) ? 'placed' : 'present' }
      } catch (error) {
        return failed(name, error)
      }
    },

    symlink(symlink) {
      const { index, link } = symlink
      try {
        const place = placeOf(symlink)
        const isThere = () => lstatSync(rawToBytes(place), { throwIfNoEntry: false }) !== undefined
        if (overwrite || !isThere()) {
          const placed = placeSymlink(symlink, place)
          if (placed) return { index, outcome: 'placed', ...noticed(placed.notice) }
        }
        if (isSameSymlink(place, link)) return { index, outcome: 'present' }
        throw standing(place)
      } catch (error) {
        return failed(symlink, error)
      }
    },

    look({ size, sha256 }, { dress, names }) {
      const outcomes: Outcome[] = []
      for (const name of names) {
        try {
          const place = placeOf(name, { make: false })
          const found = lstatSync(rawToBytes(place), { throwIfNoEntry: false })
          if (found === undefined) return []
          if (!found.isFile() || found.size !== size) outcomes.push(failed(name, standing(place)))
          else if (isSameFile(place, { size, mtimeNs: dress.mtimeNs, sha256 }, tick))
            outcomes.push({ index: name.index, outcome: 'present' })
          else return []
        } catch {
          return [] // what is in its way will be said when it is placed
        }
      }
      return outcomes
    },

    whole(piece, bytes) {
      if (hash('sha256', bytes, 'hex') !== piece.sha256) return allFailed(piece.inodes, new Obstacle(WRONG_BYTES))
      return piece.inodes.flatMap((inode) => stageWhole(piece, inode, bytes))
    },

    begin(piece) {
      const staged = staging.next()
      const first = piece.inodes[0] as Inode
      const sha256 = createHash('sha256')
      let missing = piece.size
      let file: StagedFile | undefined
      /** After an error the bytes are still taken, for the sake of what follows them. */
      let failure: unknown
      const guarded = (step: () => void) => {
        if (failure !== undefined) return
        try {
          step()
        } catch (error) {
          failure = error ?? new Obstacle('unknown')
        }
      }
      const giveUp = () => {
        file?.close()
        if (file) removeIfThere(staged)
        file = undefined
      }
      guarded(() => {
        file = createStagedFile(staged, first.holes)
      })
      return {
        missing: () => missing,
        take(bytes) {
          missing -= bytes.length
          guarded(() => {
            sha256.update(bytes)
            file?.write(bytes)
          })
        },
        end() {
          let notice: string | undefined
          guarded(() => {
            if (sha256.digest('hex') !== piece.sha256) throw new Obstacle(WRONG_BYTES)
            notice = dress(file as StagedFile, staged, first)
          })
          if (failure !== undefined) {
            giveUp()
            return allFailed(piece.inodes, failure)
          }
          // The others are copied from the first one, so that one leaves the staging directory last.
          const others = piece.inodes.slice(1).flatMap((inode) => placeCopy(piece, inode, staged))
          return [...others, ...placeNames(piece, first, staged, notice)]
        },
        giveUp,
      }
    },
  }

  function placeCopy(piece: Piece, inode: Inode, from: Raw): Outcome[] {
    const staged = staging.next()
    try {
      return placeNames(piece, inode, staged, copyFile(from, staged, inode))
    } catch (error) {
      return allFailed([inode], error)
    }
  }

  function dressSymlink(path: Raw, { dress }: Symlink): string | undefined {
    const notice = dresser.dressSymlink(path, dress)
    return dresser.times(path, dress) ?? notice
  }

  /** Staged like a file: a symlink has its owner and its times before it has its name. Undefined where something stands there. */
  function placeSymlink(symlink: Symlink, place: Raw): { notice: string | undefined } | undefined {
    const staged = staging.next()
    let notice: string | undefined
    const make = (path: Raw) => {
      symlinkSync(rawToBytes(symlink.link), rawToBytes(path))
      step('place.symlinked')
      notice = dressSymlink(path, symlink)
    }
    copy = (_, to) => make(to)
    try {
      make(staged)
      return put(staged, place, true) ? { notice } : undefined
    } finally {
      removeIfThere(staged)
    }
  }
}

const standing = (place: Raw): Obstacle => new Obstacle(lstatSync(rawToBytes(place)).isDirectory() ? DIRECTORY : EXISTS)

/** Reads a file of ours also where its mode, which it has already, keeps even us from it. */
function readOwn(path: Raw, take: (bytes: Uint8Array) => void): void {
  try {
    readWhole(path, { take })
    return
  } catch (error) {
    if (errnoOf(error) !== 'EACCES') throw error
  }
  const { mode } = lstatSync(rawToBytes(path))
  chmodSync(rawToBytes(path), 0o600)
  try {
    readWhole(path, { take })
  } finally {
    chmodSync(rawToBytes(path), mode & 0o7777)
  }
}

const noticed = (notice: string | undefined) => (notice === undefined ? {} : { notice })

export const failed = ({ index }: { index: number }, error: unknown): Outcome => ({
  index,
  outcome: 'failed',
  ...failureOf(error),
})

export const allFailed = (inodes: readonly Inode[], error: unknown): Outcome[] =>
  inodes.flatMap(({ names }) => names.map((name) => failed(name, error)))
