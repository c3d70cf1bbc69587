/**
 * The owner of a tree exchanges a directory for a symlink at the worst moment: between listing and lstat, or between lstat and removal.
 * What lies outside is never in the vault and never removed, however the root was given.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Case, CaseContext } from './case.js'
import { checkRan, fail, removeTree } from './check-invariants.js'
import { differences, writeLedger } from './ledger.js'
import { type OpenPlace, openPlace } from './place.js'
import { randomFrom } from './random.js'

const ROUNDS = 30
const DIRECTORIES = 5
const FILES = 6
const CANARY = 'only the user who archives may read this'
const PRELOAD = new URL('./race-preload.js', import.meta.url).href

interface Scene {
  /** As it is typed. */
  readonly root: string
  /** The directory that is exchanged, and the symlink that takes its place. */
  readonly directory: string
  readonly link: string
  readonly outside: string
  readonly number: number
  close(): void
}

/** How a root may be given: through a symlink, through `..`, as a bind mount. */
const WAYS = ['symlink', 'dots', 'bind'] as const

function prepare(context: CaseContext, place: OpenPlace, name: string, round: number): Scene {
  const at = (...parts: string[]) => place.at.path(name, ...parts)
  for (let d = 0; d < DIRECTORIES; d++) {
    mkdirSync(at('tree', `d${d}`, 'sub'), { recursive: true })
    for (let f = 0; f < FILES; f++) writeFileSync(at('tree', `d${d}`, `f${f}`), `${name} ${d} ${f}`)
    writeFileSync(at('tree', `d${d}`, 'sub', 'f0'), `${name} ${d} sub`)
  }
  mkdirSync(at('outside', 'sub'), { recursive: true, mode: 0o700 })
  for (const file of ['sub/f0', ...Array.from({ length: FILES }, (_, f) => `f${f}`)])
    writeFileSync(at('outside', file), CANARY, { mode: 0o600 })
  symlinkSync(at('outside'), at('link'))
  let root = at('tree')
  let close = () => {}
  const way = WAYS[round % WAYS.length]
  if (way === 'symlink') {
    symlinkSync(at(), `${at()}-way`)
    root = `${at()}-way/tree`
  } else if (way === 'dots') {
    symlinkSync(at('tree', 'd0'), at('into'))
    root = `${at('into')}/../../tree`
  } else {
    mkdirSync(at('mounted'))
    if (spawnSync('mount', ['--bind', at('tree'), at('mounted')]).status === 0) {
      root = at('mounted')
      close = () => void spawnSync('umount', [at('mounted')])
    } else context.note('no bind mount: mounting is not possible here')
  }
  const number = randomFrom(context.seed, name).below(DIRECTORIES)
  return { root, directory: at('tree', `d${number}`), link: at('link'), outside: at('outside'), number, close }
}

async function round(place: OpenPlace, name: string, scene: Scene, point: string, args: string[]) {
  const { root, directory, link, outside } = scene
  const before = writeLedger(outside)
  const log = place.at.path(`${name}.log`)
  const env = {
    NODE_OPTIONS: `--import=${PRELOAD}`,
    TORTURE_RACE_AT: point,
    TORTURE_EXCHANGE: `${directory}:${link}`,
    TORTURE_RACE_LOG: log,
  }
  const ran = await place.at.run('archive-files', ['-r', '--json', ...args, root], env)
  checkRan(place, ran, [0, 3])
  fail(`${point} in ${root}`, existsSync(log) ? [] : ['the exchange did not come to pass: the round proves nothing'])
  fail('I6: what lies outside', differences(before, writeLedger(outside)))
  const tars = [...place.sight.objects().keys()].filter((key) => key.endsWith('.tar'))
  const leaked = tars.filter((key) => readFileSync(join(place.at.home, 'vault', key)).includes(CANARY))
  fail(
    'I6: bytes from outside the root',
    leaked.map((key) => `${key} has them`),
  )
}

async function races(context: CaseContext, kind: 'reading' | 'removing'): Promise<void> {
  const place = await openPlace('local')
  try {
    for (let number = 0; number < ROUNDS; number++) {
      const name = `${kind}-${number}`
      const scene = prepare(context, place, name, number)
      try {
        if (kind === 'reading') {
          // The root is listed first, then each directory and the one in it.
          await round(place, name, scene, `walk:listed#${2 + 2 * scene.number}`, [])
        } else {
          checkRan(place, await place.at.run('archive-files', ['-r', '--json', scene.root]), [0])
          const nth = scene.number * (FILES + 1) + 1 + randomFrom(context.seed, name).below(FILES)
          await round(place, name, scene, `remove:before#${nth}`, ['--delete-after-archive', '--yes'])
        }
        context.count(`exchanges while ${kind}`, 1)
      } finally {
        scene.close()
      }
      removeTree(place.at.path(name))
    }
  } finally {
    await place.close()
  }
}

export const RACES: readonly Case[] = (['reading', 'removing'] as const).map((kind) => ({
  name: `race/${kind}`,
  run: (context) => races(context, kind),
}))
