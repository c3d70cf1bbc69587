/**
 * Preloaded into Firn's commands (`NODE_OPTIONS=--import`), also into their threads: the n-th operation on files below some paths
 * fails as a device fails it, or happens and its answer is lost; or it and all that follow fail. What Firn asks of the file system goes
 * through node:fs and, for what Node lacks, through koffi: both are patched here, before Firn is loaded.
 */
import fs from 'node:fs'
import { createRequire, syncBuiltinESMExports } from 'node:module'
import { constants } from 'node:os'
import { getEnvironmentData, setEnvironmentData } from 'node:worker_threads'

export type FileFaultMode = 'fails' | 'answer lost' | 'stays broken'

export interface FileFault {
  /** Absolute paths without symlinks; what lies at or below them is touched. */
  readonly below: readonly string[]
  /** From 1; 0: none, they are only counted. */
  readonly at: number
  readonly mode: FileFaultMode
  /** What a change is answered; a look is answered EIO. */
  readonly errno: 'EIO' | 'ENOSPC' | 'EROFS'
  /** The operation that was struck, or with `at` 0 each one, is written down here. */
  readonly log: string
}

type Call = (this: unknown, ...args: never[]) => unknown
interface Named {
  readonly name: string
  readonly changes: boolean
}

const asked = process.env['TORTURE_FILES']
if (asked !== undefined) await breakFiles(JSON.parse(asked) as FileFault)

async function breakFiles(fault: FileFault): Promise<void> {
  const { readlinkSync, appendFileSync } = fs
  const shared = getEnvironmentData('torture files') as unknown as SharedArrayBuffer | undefined
  const counter = new Int32Array(shared ?? new SharedArrayBuffer(4))
  if (shared === undefined) setEnvironmentData('torture files', counter.buffer as never)

  const pathOf = (what: unknown): string => {
    if (typeof what === 'string') return what
    if (typeof what === 'number') {
      try {
        return readlinkSync(`/proc/self/fd/${what}`)
      } catch {
        return ''
      }
    }
    if (what instanceof Uint8Array) return Buffer.from(what).toString('latin1').replace(/\0.*$/s, '')
    return typeof what === 'object' && what !== null && 'fd' in what ? pathOf((what as { fd: unknown }).fd) : ''
  }
  const isBelow = (path: string) => fault.below.some((one) => path === one || path.startsWith(`${one}/`))

  /** Whether this operation is struck. */
  function strikes({ name }: Named, whats: readonly unknown[]): boolean {
    const path = whats.map(pathOf).find(isBelow)
    if (path === undefined) return false
    const number = Atomics.add(counter, 0, 1) + 1
    const struck = fault.mode === 'stays broken' ? fault.at > 0 && number >= fault.at : number === fault.at
    if (number === fault.at || fault.at === 0) appendFileSync(fault.log, `${name} ${path}\n`)
    return struck
  }

  const codeOf = ({ changes }: Named) => (changes ? fault.errno : 'EIO')
  function failure(named: Named, what: unknown): Error {
    const code = codeOf(named)
    const path = pathOf(what)
    const text = `${code}: injected, ${named.name} '${path}'`
    return Object.assign(new Error(text), { code, errno: -constants.errno[code], syscall: named.name, path })
  }

  /** What happens all the same: a file is closed whatever close says; and of a write whose answer is lost, the half. */
  const happens = ({ name, changes }: Named) =>
    /close/i.test(name) || (changes && fault.mode === 'answer lost' && !/open/i.test(name))
  function doAnyway(named: Named, call: (args: unknown[]) => unknown, args: unknown[]): unknown {
    if (!happens(named)) return undefined
    if (/^write(Sync)?$/.test(named.name) && typeof args[3] === 'number') {
      const half = [...args]
      half[3] = Math.floor(args[3] / 2)
      return half[3] === 0 ? undefined : call(half)
    }
    return call(args)
  }

  /** `paths`: how many arguments, from `from` on, are paths; of a method it is the handle. */
  function patch(
    owner: object,
    name: string,
    options: { changes?: boolean; from?: number; paths?: number; method?: boolean },
  ): void {
    const { changes = false, from = 0, paths = 1, method = false } = options
    const original = Reflect.get(owner, name) as Call | undefined
    if (original === undefined) return
    const isAsync = !name.endsWith('Sync') && owner !== fs.realpathSync
    const patched = function (this: unknown, ...args: unknown[]): unknown {
      // An open that makes a file is a change.
      const makes =
        name.startsWith('open') &&
        args[1] !== undefined &&
        (typeof args[1] === 'string' ? args[1] !== 'r' : (Number(args[1]) & 3) !== 0)
      const named: Named = { name, changes: changes || makes }
      const whats = method ? [this] : args.slice(from, from + paths)
      const call = (given: unknown[]) => Reflect.apply(original, this, given as never[])
      if (!strikes(named, whats)) return call(args)
      const error = failure(named, whats[0])
      if (!isAsync) {
        doAnyway(named, call, args)
        throw error
      }
      return (async () => {
        await doAnyway(named, call, args)
        throw error
      })()
    }
    // With what it has of its own: realpathSync.native.
    Reflect.set(owner, name, Object.assign(patched, original))
  }

  const looks = 'lstat stat readdir opendir readlink readFile realpath access'.split(' ')
  const changesOne = 'mkdir rmdir unlink chmod chown lchown lutimes utimes truncate writeFile appendFile rm'.split(' ')
  for (const [owner, suffix] of [
    [fs, 'Sync'],
    [fs.promises, ''],
  ] as const) {
    patch(owner, `open${suffix}`, {})
    for (const name of looks) patch(owner, name + suffix, {})
    for (const name of changesOne) patch(owner, name + suffix, { changes: true })
    for (const name of ['rename', 'link']) patch(owner, name + suffix, { changes: true, paths: 2 })
    patch(owner, `symlink${suffix}`, { changes: true, from: 1 })
    patch(owner, `copyFile${suffix}`, { changes: true, from: 1 })
  }
  patch(fs.realpathSync, 'native', {})
  for (const name of ['readSync', 'fstatSync']) patch(fs, name, {})
  for (const name of 'writeSync ftruncateSync fsyncSync fdatasyncSync closeSync fchmodSync fchownSync futimesSync'.split(' '))
    patch(fs, name, { changes: true })
  const handle = await fs.promises.open('/dev/null')
  const prototype = Object.getPrototypeOf(handle) as object
  await handle.close()
  for (const name of ['read', 'stat', 'readFile']) patch(prototype, name, { method: true })
  for (const name of 'write writeFile appendFile sync datasync close truncate chmod chown utimes'.split(' '))
    patch(prototype, name, { changes: true, method: true })
  syncBuiltinESMExports()
  patchKoffi()

  function patchKoffi(): void {
    const koffi = createRequire(import.meta.url)('koffi') as {
      load(path: string | null): { func(signature: string): Call }
      errno(value?: number): number
    }
    const load = koffi.load.bind(koffi)
    koffi.load = (path) => {
      const library = load(path)
      return {
        func(signature) {
          const name = /(\w+)\(/.exec(signature)?.[1] ?? signature
          const original = library.func(signature)
          const changes = /utimens|setxattr|unlinkat/.test(name)
          // Those two take the number of a directory first, or of the file itself.
          const whats = /^(utimensat|statx|openat|unlinkat)$/.test(name) ? 2 : 1
          return ((...args: unknown[]) => {
            const named: Named = { name, changes }
            if (name === 'flock' || !strikes(named, args.slice(0, whats))) return original(...(args as never[]))
            doAnyway(named, (given) => original(...(given as never[])), args)
            koffi.errno(constants.errno[codeOf(named)])
            return -1
          }) as Call
        },
      }
    }
  }
}
