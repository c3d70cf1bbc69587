/** Trees for tests, and what a tree looks like from outside: the truth that an archived and restored tree is held against. */
import { createHash } from 'node:crypto'
import {
  closeSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { dirname, join } from 'node:path'

/** `files` small files, some to a directory, each with content of its own. */
export function makeFiles(root: string, files: number, options: { perDirectory?: number; bytes?: number } = {}): void {
  const { perDirectory = 50, bytes = 100 } = options
  for (let i = 0; i < files; i++) {
    const path = join(root, `dir-${Math.floor(i / perDirectory)}`, `file-${i}.txt`)
    if (i % perDirectory === 0) mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, `${i}\n`.padEnd(bytes, `content ${i} `))
  }
}

/** Damages a file in place: `text`, where it first is, becomes `other`. */
export function overwrite(path: string, text: string, other: string): void {
  const offset = readFileSync(path).indexOf(text)
  if (offset < 0) throw new Error(`${path} has no ${text}`)
  const file = openSync(path, 'r+')
  try {
    writeSync(file, other, offset)
  } finally {
    closeSync(file)
  }
}

export function setAge(path: string, days: number): void {
  const time = new Date(Date.now() - days * 86_400_000)
  utimesSync(path, time, time)
}

export interface Seen {
  readonly type: 'file' | 'directory' | 'symlink' | 'other'
  readonly mode: number
  readonly mtimeNs: bigint
  readonly size: number
  readonly sha256?: string
  readonly link?: string
  readonly nlink?: number
}

/** Everything below a directory by its path relative to it (latin1, so that every byte counts). */
export function lookAt(root: string, options: { directories?: boolean } = {}): Map<string, Seen> {
  const seen = new Map<string, Seen>()
  const walk = (directory: Buffer, relative: string) => {
    for (const name of readdirSync(directory, { encoding: 'buffer' }) as unknown as Buffer[]) {
      const path = Buffer.concat([directory, Buffer.from('/'), name])
      const at = relative === '' ? name.toString('latin1') : `${relative}/${name.toString('latin1')}`
      const stat = lstatSync(path, { bigint: true })
      const common = { mode: Number(stat.mode & 0o7777n), mtimeNs: stat.mtimeNs }
      if (stat.isDirectory()) {
        if (options.directories !== false) seen.set(at, { type: 'directory', ...common, size: 0 })
        walk(path, at)
      } else if (stat.isSymbolicLink()) {
        seen.set(at, { type: 'symlink', ...common, size: 0, link: readlinkSync(path, { encoding: 'buffer' }).toString('latin1') })
      } else if (stat.isFile()) {
        const sha256 = createHash('sha256').update(readFileSync(path)).digest('hex')
        seen.set(at, { type: 'file', ...common, size: Number(stat.size), sha256, nlink: Number(stat.nlink) })
      } else seen.set(at, { type: 'other', ...common, size: 0 })
    }
  }
  walk(Buffer.from(root), '')
  return seen
}
