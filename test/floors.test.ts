import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from '@jest/globals'
import { faultsOf, type Packages, readFloors, type SourceFile } from './house.js'

const project = fileURLToPath(new URL('../..', import.meta.url))
const floors = readFloors(readFileSync(join(project, 'docs/contributing.md'), 'utf8'))
const packages = readPackages()

function readPackages(): Packages {
  const { dependencies, devDependencies } = JSON.parse(readFileSync(join(project, 'package.json'), 'utf8')) as Record<
    string,
    object
  >
  return { dependencies: new Set(Object.keys(dependencies!)), devDependencies: new Set(Object.keys(devDependencies!)) }
}

function sources(): SourceFile[] {
  const GENERATED = 'libs/catalog/client/'
  const THIS = 'test/floors.test.ts' // shows every fault
  return ['libs', 'apps', 'test', 'bench'].flatMap((directory) =>
    readdirSync(join(project, directory), { recursive: true, withFileTypes: true })
      .filter((found) => found.isFile() && found.name.endsWith('.ts'))
      .map((found) => relative(project, join(found.parentPath, found.name)))
      .filter((path) => !path.startsWith(GENERATED) && path !== THIS)
      .map((path) => ({ path, text: readFileSync(join(project, path), 'utf8') })),
  )
}

const judged = (path: string, text: string): string[] => faultsOf([{ path, text }], floors, packages)

describe('the house', () => {
  test('stands on the floors that docs/contributing.md lists', () => {
    expect(Math.max(...floors.values())).toBe(5)
    expect([...floors.keys()]).toEqual(
      expect.arrayContaining(['libs/os', 'libs/archive', 'libs/runtime', 'apps/crawler', 'apps/finder']),
    )
  })

  test('is in order', () => {
    const files = sources()
    expect(files.length).toBeGreaterThan(50)
    expect(faultsOf(files, floors, packages)).toEqual([])
  })
})

describe('the judge', () => {
  test.each([
    ['libs/vault/vault.ts', `import { X } from '#libs/bundle/entry.js'`, 'neighbour'],
    ['libs/walk/walk.ts', `import type {\n  A,\n  B,\n} from '#libs/queue/queue.js'`, 'neighbour'],
    ['libs/os/raw.ts', `import { X } from '#libs/archive/find.js'`, 'upwards'],
    ['libs/archive/find.ts', `const { x } = await import('#libs/runtime/config.js')`, 'upwards'],
    ['libs/archive/find.ts', `import { x } from '../vault/vault.js'`, 'write #libs/vault/vault.js'],
    ['libs/vault/vault.ts', `import { x } from '#libs/vault/key.js'`, 'inside a room'],
    ['libs/vault/vault.ts', `import { x } from '../../test/database.js'`, 'only tests may'],
    ['apps/finder/main.ts', `import { x } from '../crawler/options.js'`, 'reaches into apps/crawler'],
    ['apps/firn.ts', `import { x } from './crawler/main.js'`, 'when it is asked for'],
    ['libs/cellar/wine.ts', 'export const x = 1', 'no floor'],
    ['libs/archive/store.ts', `import { S3Client } from '@aws-sdk/client-s3'`, 'its door is libs/vault/s3/'],
    ['libs/vault/local/x.ts', `import { S3Client } from '@aws-sdk/client-s3'`, 'its door'],
    ['libs/vault/s3/x.ts', `import { S3Client } from '@aws-sdk/client-glacier'`, 'its door'],
    ['libs/archive/store.test.ts', `import { Queue } from 'bullmq'`, 'its door is libs/queue/'],
    ['libs/catalog/x.ts', `import { Redis } from 'ioredis'`, 'its door'],
    ['libs/search/x.ts', `import { PrismaPg } from '@prisma/adapter-pg'`, 'its door'],
    ['libs/catalog/x.ts', `import { Client } from '@elastic/elasticsearch'`, 'its door'],
    ['libs/vault/x.ts', `import tar from 'tar-stream'`, 'its door is libs/bundle/'],
    ['libs/walk/x.ts', `const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi')`, 'its door is libs/os/'],
    ['libs/archive/x.ts', `import pg from 'pg'`, 'its door'],
    ['libs/archive/x.ts', `import x from 'left-pad'`, 'does not declare'],
    ['libs/archive/x.ts', `import fc from 'fast-check'`, 'as a dependency of the program'],
    ['libs/archive/x.ts', 'const home = process.env.HOME', 'reads the environment'],
    ['apps/finder/main.ts', `const home = process['env']['HOME']`, 'reads the environment'],
    ['libs/bundle/all.ts', `export * from './tar.js'`, 'barrel'],
    ['libs/bundle/all.ts', `export { a, b } from './tar.js'`, 'barrel'],
    ['libs/bundle/x.ts', 'export default function x() {}', 'default export'],
    ['libs/bundle/index.ts', 'export const x = 1', 'called index'],
    ['libs/bundle/x.ts', `new Worker(new URL('../vault/x-thread.js', import.meta.url))`, 'reaches into libs/vault'],
  ])('finds fault with %s: %s', (path, text, complaint) => {
    expect(judged(path, text)).toEqual(expect.arrayContaining([expect.stringContaining(complaint)]))
  })

  test.each([
    ['libs/archive/find.ts', `import { X } from '#libs/vault/vault.js'\nimport { y } from './y.js'\nimport { z } from 'node:fs'`],
    ['libs/os/libc.ts', `const koffi = createRequire(import.meta.url)('koffi')`],
    ['libs/vault/x.test.ts', `import { x } from '../../test/database.js'\nimport pg from 'pg'\nimport fc from 'fast-check'`],
    ['libs/vault/s3/s3-vault.ts', `// like process.env, but not\nimport { parse } from '../vault-url.js'`],
    ['apps/firn.ts', `const { main } = await import('./crawler/main.js')`],
    ['apps/finder/main.ts', `import { runCommand } from '#libs/runtime/command.js'`],
    ['libs/runtime/config.ts', 'const env = process.env'],
    ['test/journeys/x.test.ts', `import { x } from '#libs/catalog/catalog.js'`],
  ])('finds none with %s', (path, text) => {
    expect(judged(path, text)).toEqual([])
  })
})
