/**
 * Somebody may add objects to the vault, or write into the catalog: neither decides what the catalog holds, what is removed, where bytes
 * go, or where files are placed; and no object fills the memory of who reads it.
 */
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, lstatSync, mkdirSync, readdirSync, truncateSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import type { Case, CaseContext } from './case.js'
import { checkRan, checkRestored, checkVault, fail, removeTree } from './check-invariants.js'
import { writeLedger } from './ledger.js'
import { type OpenPlace, openPlace } from './place.js'
import { randomFrom } from './random.js'
import { runKilled } from './steps.js'

const ROUNDS = 10
/** Of the V8 heap, in MB. */
const SMALL_HEAP = 192
const NEVER = '/etc/ssh/sshd_config'

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
const line = (value: unknown) => `${JSON.stringify(value)}\n`

async function withPlace(run: (place: OpenPlace) => Promise<void>): Promise<void> {
  const place = await openPlace('local')
  try {
    await run(place)
  } finally {
    await place.close()
  }
}

/** Beside the unfinished tar of a killed run: a whole attempt that claims the sources' own sizes and times, dated 2099. */
function plantAttempt(place: OpenPlace, root: string, files: readonly string[]): void {
  const vault = join(place.at.home, 'vault')
  const unfinished = readdirSync(vault, { recursive: true, encoding: 'utf8' }).filter((name) =>
    /\/\.[^/]*\.1\.tar\.[0-9a-f]+\.tmp$/.test(name),
  )
  if (unfinished.length === 0) throw new Error('the killed run left no unfinished tar: the round proves nothing')
  for (const name of unfinished) {
    const bundle = /[0-9a-f-]{36}(?=\.1\.tar)/.exec(name)?.[0] as string
    const set = dirname(name).split('/').at(-1) as string
    const data = Buffer.from('attacker chose this\n')
    const tar = Buffer.concat([Buffer.alloc(512), data, Buffer.alloc(512 - data.length + 1024)])
    const head = {
      format: 'firn-bundle/1',
      bundle,
      attempt: 1,
      set,
      set_started_at: new Date().toISOString(),
      host: 'testhost',
      roots: [root],
      created_at: '2099-01-01T00:00:00.000Z',
      description: '',
      tags: [],
      vault: 'x',
    }
    const entries = [...files, NEVER].map((path) => {
      const stat = lstatSync(existsSync(path) ? path : (files[0] as string), { bigint: true })
      const [size, mtime_ns, ctime_ns, ino, dev] = [stat.size, stat.mtimeNs, stat.ctimeNs, stat.ino, stat.dev].map(Number)
      const facts = { size, mtime_ns, ctime_ns, atime_ns: 1, dev, ino, nlink: 1, mode: 0o4755, uid: 0, gid: 0 }
      return { path, type: 'file', ...facts, sha256: sha256(data), offset: 512, state: 'ok' }
    })
    const end = { tar_bytes: tar.length, tar_sha256: sha256(tar), hmac: randomBytes(32).toString('hex') }
    const at = join(vault, dirname(name), `${bundle}.1`)
    writeFileSync(`${at}.tar`, tar)
    writeFileSync(`${at}.manifest.ndjson.gz`, gzipSync([head, ...entries, end].map(line).join('')))
  }
}

async function attempts(context: CaseContext): Promise<void> {
  await withPlace(async (place) => {
    for (let round = 0; round < ROUNDS; round++) {
      const random = randomFrom(context.seed, `planted ${round}`)
      const root = place.at.path(`planted-${round}`)
      mkdirSync(root)
      const files = Array.from({ length: 5 }, (_, index) => join(root, `f${index}`))
      for (const file of files) writeFileSync(file, random.bytes(1 + random.below(2_000_000)))
      const ledger = writeLedger(root)
      const args = ['-r', '--json', '--delete-after-archive', '--yes', root]
      const { killed } = await runKilled(place.at, 'archive-files', args, 'upload.seal:after', 1)
      if (!killed) throw new Error('the command ended before it could be killed')
      plantAttempt(place, root, files)
      const ran = await place.at.run('archive-files', args)
      checkRan(place, ran, [0])
      fail(
        'sources that were removed',
        readdirSync(root).map((name) => `${name} is still there`),
      )
      const to = place.at.path(`back-${round}`)
      mkdirSync(to, { mode: 0o700 })
      checkRan(place, await place.at.run('find-and-retrieve', ['--path', root, '--to', to]), [0])
      checkRestored(root, ledger, to)
      const never = await place.at.run('find-and-retrieve', ['--path', NEVER, '-l'])
      fail('what was never archived', never.code === 4 ? [] : [`${NEVER} is found: ${never.stdout}`])
      await checkVault(place)
      removeTree(to)
      context.count('planted attempts that were not adopted', 1)
    }
  })
}

async function bombs(context: CaseContext): Promise<void> {
  await withPlace(async (place) => {
    const root = place.at.path('honest')
    mkdirSync(root)
    for (let file = 0; file < 3_000; file++) writeFileSync(join(root, `f${file}`), `${file}`)
    checkRan(place, await place.at.run('archive-files', ['-r', '--json', '--files-per-bundle', '1000', root]), [0])
    const set = '00000000-0000-4000-8000-00000000000a'
    const directory = join(place.at.home, 'vault/2026/11', set)
    mkdirSync(directory, { recursive: true })
    const entry = { path: '/x/a', type: 'directory', size: 0, mtime_ns: 0, ctime_ns: 0, atime_ns: 0, dev: 0, ino: 0, nlink: 0 }
    const entryText = line({ ...entry, mode: 0, uid: 0, gid: 0, state: 'ok' })
    const bombed: string[] = []
    // Beside a tar of a kilobyte, and beside one that has as many bytes as the manifest has when it is unpacked, all of them a hole.
    for (const [index, tarBytes] of [1_024, 300 * 2 ** 20].entries()) {
      const bundle = `00000000-0000-4000-8000-0000000000b${index}`
      const stem = join(directory, `${bundle}.1`)
      const dated = { set_started_at: '2026-11-30T16:00:00.000Z', created_at: '2026-11-30T16:00:00.000Z' }
      const head = {
        format: 'firn-bundle/1',
        bundle,
        attempt: 1,
        set,
        ...dated,
        host: 'h',
        roots: ['/x'],
        description: '',
        tags: [],
        vault: 'x',
      }
      writeFileSync(`${stem}.tar`, Buffer.alloc(1_024))
      truncateSync(`${stem}.tar`, tarBytes)
      const text = line(head) + entryText.repeat(1_800_000)
      writeFileSync(
        `${stem}.manifest.ndjson.gz`,
        gzipSync(`${text}${line({ tar_bytes: tarBytes, tar_sha256: '0'.repeat(63) })}`, { level: 9 }),
      )
      bombed.push(bundle)
    }
    const heap = { NODE_OPTIONS: `--max-old-space-size=${SMALL_HEAP}` }
    await place.sql.query('DELETE FROM file; DELETE FROM problem; DELETE FROM bundle; DELETE FROM "set"')
    const rebuilt = await place.at.run('firn', ['rebuild-catalog', '--from', `local:${place.at.home}/vault`, '--json'], heap)
    checkRan(place, rebuilt, [3])
    fail(
      'rebuild-catalog',
      rebuilt.summary['adopted'] === 3 ? [] : [`${rebuilt.summary['adopted']} of 3 honest bundles were adopted`],
    )
    const said = rebuilt.messages.map((message) => JSON.stringify(message)).join('\n')
    fail(
      'rebuild-catalog',
      bombed.flatMap((bundle) => (said.includes(bundle) ? [] : [`${bundle} is not named`])),
    )
    const checked = await place.at.run('firn', ['check', '--read-data', '--json'], heap)
    checkRan(place, checked, [1])
    fail(
      'check',
      checked.summary['wrong'] === 4 ? [] : [`${checked.summary['wrong']} objects are named instead of the 4 planted ones`],
    )
    context.count('manifests that unpack to a quarter of a gigabyte', bombed.length)
  })
}

async function rows(context: CaseContext): Promise<void> {
  await withPlace(async (place) => {
    const root = place.at.path('rows')
    mkdirSync(root)
    for (let file = 0; file < 20; file++) writeFileSync(join(root, `f${file}`), `${file}`)
    const evil = place.at.path('evil')
    mkdirSync(evil)
    const { killed } = await runKilled(place.at, 'archive-files', ['-r', root], 'catalog.markCrawled:after', 1)
    if (!killed) throw new Error('the command ended before it could be killed')
    await place.sql.query('UPDATE "set" SET vault_url = $1', [`local:${evil}`])
    await place.at.run('archive-files', ['-r', root])
    fail(
      'a vault that a row names',
      readdirSync(evil).map((name) => `${name} was written there`),
    )
    await place.sql.query(`UPDATE "set" SET vault_url = $1`, [`local:${place.at.home}/vault`])
    checkRan(place, await place.at.run('archive-files', ['-r', root]), [0])

    // Where files are placed.
    const asked = await place.at.run('find-and-retrieve', ['--path', root, '--detach', '--json'])
    checkRan(place, asked, [0])
    for (const target of [evil, `${place.at.home}/restore/../../evil`, '/']) {
      await place.sql.query('UPDATE retrieval SET target = $1', [Buffer.from(target)])
      const retriever = place.at.start('firn', ['retriever', '--once'])
      await retriever.ended
      fail(`a target that a row names (${target})`, readdirSync(evil))
    }
    // The bytes of a bundle in another place than that of the configuration.
    await place.sql.query("UPDATE vault SET id = $1, url = $1 || '?thaw=0'", [`local:${evil}`])
    const to = place.at.path('back')
    mkdirSync(to, { mode: 0o700 })
    const back = await place.at.run('find-and-retrieve', ['--path', root, '--to', to])
    checkRan(place, back, [2])
    fail('the sentence', /FIRN_VAULTS/.test(back.stderr) ? [] : [`it does not say what to do: ${back.stderr}`])
    context.count('forged rows that commanded nothing', 5)
  })
}

export const PLANTED_OBJECTS: readonly Case[] = [
  { name: 'planted/attempts', run: attempts },
  { name: 'planted/bombs', run: bombs },
  { name: 'planted/rows', run: rows },
]
