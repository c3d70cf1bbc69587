/** The trees that the bench archives: made once, from fixed seeds, with content that neither compresses nor repeats. */
import { createCipheriv, createHash } from 'node:crypto'
import { closeSync, existsSync, mkdirSync, openSync, renameSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'

export interface Tree {
  readonly name: string
  readonly what: string
  readonly files: number
  readonly make: (directory: string) => void
}

export const TREES: readonly Tree[] = [
  { name: 'S', what: '100,000 files of 6 KB mean in 3,800 directories', files: 100_000, make: small(100_000, 3_800, 6_000) },
  { name: 'M', what: '10,000 files of 200 KB mean', files: 10_000, make: small(10_000, 400, 200_000) },
  { name: 'W', what: '12,000 files of 25 KB mean', files: 12_000, make: small(12_000, 240, 25_000) },
  { name: 'L', what: 'three files of 1 GiB', files: 3, make: large(3, 2 ** 30) },
  { name: 'H', what: '1,000,000 files of 1 KB mean', files: 1_000_000, make: small(1_000_000, 38_000, 1_000) },
  { name: 'N', what: '100,000 files of 1 KB mean', files: 100_000, make: small(100_000, 3_800, 1_000) },
  { name: 'B', what: '2,500 files of 200 KB mean', files: 2_500, make: small(2_500, 100, 200_000) },
  { name: 'D', what: '100,000 files of 1 KB mean in one directory', files: 100_000, make: small(100_000, 1, 1_000) },
]

export function treeNamed(name: string): Tree {
  const tree = TREES.find((one) => one.name === name)
  if (!tree) throw new Error(`there is no tree ${name}: ${TREES.map((one) => one.name).join(', ')}`)
  return tree
}

/** So many small files, for figures that grow with their number. */
export const treeOf = (files: number): Tree => ({
  name: `F${files}`,
  what: `${files.toLocaleString('en')} files of 1 KB mean`,
  files,
  make: small(files, Math.ceil(files / 26), 1_000),
})

/** The directory of a tree below `root`, made now if it is not there yet. */
export function treeIn(root: string, tree: Tree): string {
  const directory = join(root, tree.name)
  if (existsSync(directory)) return directory
  const making = `${directory}.making`
  rmSync(making, { recursive: true, force: true })
  mkdirSync(making, { recursive: true })
  tree.make(making)
  renameSync(making, directory)
  return directory
}

/** Sizes between 0 and twice the mean, so that the mean holds and no two files are alike. */
function small(files: number, directories: number, meanBytes: number): Tree['make'] {
  return (root) => {
    const random = randomBytes(`small ${files} ${meanBytes}`)
    const perDirectory = Math.ceil(files / directories)
    for (let directory = 0; directory * perDirectory < files; directory++) {
      const path = join(root, `d${directory % 50}`, `dir-${directory}`)
      mkdirSync(path, { recursive: true })
      for (let i = 0; i < perDirectory && directory * perDirectory + i < files; i++) {
        const bytes = random(4).readUInt32LE() % (2 * meanBytes)
        writeFileSync(join(path, `file-${directory * perDirectory + i}.dat`), random(bytes))
      }
    }
  }
}

function large(files: number, bytes: number): Tree['make'] {
  return (root) => {
    const random = randomBytes(`large ${files} ${bytes}`)
    for (let i = 0; i < files; i++) {
      const file = openSync(join(root, `large-${i}.bin`), 'w')
      for (let done = 0; done < bytes; done += 2 ** 22) writeSync(file, random(2 ** 22))
      closeSync(file)
    }
  }
}

/** A seeded stream of random bytes: AES in counter mode over zeros. */
function randomBytes(seed: string): (bytes: number) => Buffer {
  const key = createHash('sha256').update(seed).digest()
  const cipher = createCipheriv('aes-256-ctr', key, Buffer.alloc(16))
  return (bytes) => cipher.update(Buffer.alloc(bytes))
}
