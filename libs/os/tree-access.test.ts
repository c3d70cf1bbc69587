/** What lies below a root, and nothing else, whatever the owner of the tree exchanges meanwhile. */
import { execFileSync } from 'node:child_process'
import {
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from '@jest/globals'
import type { Raw } from './raw.js'
import { scratchDirectory } from './scratch-directory.js'
import { runScript, WITHOUT_KOFFI } from './test-process.js'
import { realRootOf, TreeAccess } from './tree-access.js'

const scratch = scratchDirectory()
const raw = (path: string) => path as Raw
let count = 0

/** `root/sub/file`, and beside the root `outside/file` with other content. */
function place() {
  const at = join(scratch, `p${count++}`)
  const [root, sub, outside] = [join(at, 'root'), join(at, 'root/sub'), join(at, 'outside')]
  for (const directory of [sub, outside]) mkdirSync(directory, { recursive: true })
  writeFileSync(join(sub, 'file'), 'inside')
  writeFileSync(join(outside, 'file'), 'secret')
  /** In one moment the directory is a symlink to what lies outside. */
  const exchange = () => {
    renameSync(sub, join(at, 'root/was-sub'))
    symlinkSync('../outside', sub)
  }
  return { at, root, sub, outside, file: join(sub, 'file'), exchange }
}

function contentOf(tree: TreeAccess, path: string): string {
  using held = tree.hold(raw(path))
  const buffer = Buffer.alloc(100)
  return buffer.toString('latin1', 0, readSync(held.read(), buffer))
}
const codeOf = (act: () => unknown): unknown => {
  try {
    return act()
  } catch (error) {
    return (error as NodeJS.ErrnoException).code
  }
}
const namesOf = (tree: TreeAccess, path: string): string[] => {
  const names = tree.list(raw(path))
  return Array.from({ length: names.count }, (_, index) => names.name(index))
}

describe('access to a tree', () => {
  test('reads, lists and looks at what lies below a root, also of a root that is / or a file', () => {
    const { root, sub, file } = place()
    for (const roots of [[root], ['/'], [file, sub], [file, root]]) {
      using tree = new TreeAccess(roots.map(raw))
      expect(tree.stat(raw(file)).size).toBe(6)
      expect(contentOf(tree, file)).toBe('inside')
      if (roots[0] === root || roots[0] === '/') expect(namesOf(tree, root)).toEqual(['sub'])
      expect(namesOf(tree, sub)).toEqual(['file'])
      expect(tree.stat(raw(sub)).format).toBe(0o040000)
    }
    using tree = new TreeAccess([raw('/')])
    expect(namesOf(tree, '/')).toEqual(readdirSync('/').sort())
    expect(tree.stat(raw('/')).format).toBe(0o040000)
  })

  test('a path that lies below no root is refused', () => {
    const { root, outside } = place()
    using tree = new TreeAccess([raw(root)])
    for (const path of [join(outside, 'file'), `${root}2`, '/']) expect(codeOf(() => tree.stat(raw(path)))).toBe('EXDEV')
  })

  test('names that are not UTF-8, and hundreds of directories in one another, are entered and left again', () => {
    const { root } = place()
    let path = root
    for (let depth = 0; depth < 200; depth++) {
      path = join(path, depth % 2 ? 'd' : '\xff')
      mkdirSync(Buffer.from(path, 'latin1'))
      writeFileSync(Buffer.from(join(path, 'file'), 'latin1'), String(depth))
    }
    const before = readdirSync('/proc/self/fd').length
    using tree = new TreeAccess([raw(root)])
    for (let depth = 199; depth >= 0; depth--, path = join(path, '..'))
      expect(contentOf(tree, join(path, 'file'))).toBe(String(depth))
    expect(readdirSync('/proc/self/fd').length - before).toBeLessThan(70)
  })

  test('a directory that becomes a symlink leads nowhere, whether it was entered before or not', () => {
    const { root, sub, file, exchange } = place()
    using entered = new TreeAccess([raw(root)])
    expect(namesOf(entered, sub)).toEqual(['file'])
    using fresh = new TreeAccess([raw(root)])
    exchange()
    // What was opened stays what it was.
    expect(contentOf(entered, file)).toBe('inside')
    for (const act of [
      () => fresh.stat(raw(file)),
      () => fresh.hold(raw(file)),
      () => fresh.list(raw(sub)),
      () => fresh.unlink(raw(file)),
    ])
      expect(codeOf(act)).toBe('ELOOP')
    expect(fresh.stat(raw(sub)).format).toBe(0o120000)
  })

  test('the way to a root may go through symlinks, and is found out once', () => {
    const { at, root, outside } = place()
    const way = join(at, 'way')
    symlinkSync('root', way)
    using tree = new TreeAccess([raw(join(way, 'sub'))])
    expect(tree.stat(raw(join(way, 'sub/file'))).size).toBe(6)
    expect(realRootOf(raw(join(way, 'sub')))).toBe(join(root, 'sub'))
    // Its owner lets the way lead elsewhere: known already, or given, where it led then is what counts.
    mkdirSync(join(at, 'other'))
    symlinkSync(outside, join(at, 'other/sub'))
    renameSync(way, join(at, 'old-way'))
    symlinkSync('other', way)
    using given = new TreeAccess([raw(join(way, 'sub'))], [raw(join(root, 'sub'))])
    for (const access of [tree, given]) expect(contentOf(access, join(way, 'sub/file'))).toBe('inside')
  })

  test('a root that is a symlink is held as one, with its target, and is not entered', () => {
    const { at, outside } = place()
    const link = join(at, 'link')
    symlinkSync(outside, link)
    using tree = new TreeAccess([raw(link)])
    using held = tree.hold(raw(link))
    expect(held.stat.format).toBe(0o120000)
    expect(held.readLink()).toBe(outside)
    expect(held.listXattrs()).toEqual([])
    expect(codeOf(() => tree.list(raw(link)))).toBe('ELOOP')
    expect(codeOf(() => tree.stat(raw(join(link, 'file'))))).toBe('ELOOP')
  })

  test('holds what it is asked for before it opens it: no FIFO and no device is opened', () => {
    const { root, file } = place()
    execFileSync('mkfifo', [join(root, 'fifo')])
    using tree = new TreeAccess([raw(root), raw('/dev')])
    for (const path of [join(root, 'fifo'), '/dev/ptmx', '/dev/null', root]) {
      using held = tree.hold(raw(path))
      expect(codeOf(() => held.read())).toBe('EINVAL')
    }
    // The name is another file's now; what is held is read.
    using held = tree.hold(raw(file))
    renameSync(file, join(root, 'moved'))
    linkSync(join(root, '../outside/file'), file)
    const buffer = Buffer.alloc(6)
    readSync(held.read(), buffer)
    expect(buffer.toString()).toBe('inside')
  })

  test('removes a name in the directory that was opened', () => {
    const { root, sub, file, outside, exchange } = place()
    using tree = new TreeAccess([raw(root)])
    tree.stat(raw(file))
    exchange()
    tree.unlink(raw(file))
    expect(existsSync(join(root, 'was-sub/file'))).toBe(false)
    expect(existsSync(join(outside, 'file'))).toBe(true)
    expect(codeOf(() => tree.unlink(raw(join(sub, 'nothing'))))).toBe('ENOENT')
  })

  test('leaves no descriptor behind', () => {
    const { root, sub, file } = place()
    const before = readdirSync('/proc/self/fd').length
    {
      using tree = new TreeAccess([raw(root)])
      contentOf(tree, file)
      tree.list(raw(sub))
      codeOf(() => tree.hold(raw(join(sub, 'nothing'))))
    }
    expect(readdirSync('/proc/self/fd').length).toBe(before)
    const fd = openSync(file, 'r')
    closeSync(fd)
  })

  test('gives no descriptor to a program that is started meanwhile', () => {
    const { root, sub, file } = place()
    using tree = new TreeAccess([raw(root)])
    using held = tree.hold(raw(file))
    held.read()
    const listed = execFileSync('sh', ['-c', 'ls -l /proc/self/fd'], { encoding: 'utf8' })
    expect(listed).not.toContain(sub)
  })

  test('without koffi it holds, reads and removes through /proc', () => {
    const { root, sub, file, exchange } = place()
    const imports = { access: new URL('./tree-access.js', import.meta.url).href }
    exchange()
    const script = `
      const tree = new access.TreeAccess([${JSON.stringify(root)}])
      const code = (act) => { try { return act() ?? 'done' } catch (error) { return error.code } }
      const held = tree.hold(${JSON.stringify(join(root, 'was-sub/file'))})
      say([fs.readFileSync(held.read(), 'latin1'), code(() => tree.hold(${JSON.stringify(file)})), tree.list(${JSON.stringify(root)}).count,
        tree.hold(${JSON.stringify(sub)}).readLink(), code(() => tree.unlink(${JSON.stringify(join(root, 'was-sub/file'))}))])`
    expect(runScript(imports, script, { before: WITHOUT_KOFFI })).toEqual(['inside', 'ELOOP', 2, '../outside', 'done'])
    expect(existsSync(join(root, 'was-sub/file'))).toBe(false)
  })
})
