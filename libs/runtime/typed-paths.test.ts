import { execFileSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from '@jest/globals'
import { scratchDirectory } from '#libs/os/scratch-directory.js'
import { typedPaths } from './typed-paths.js'

const scratch = scratchDirectory()
const line = (...args: string[]) => ['node', 'firn', ...args].map((argument) => Buffer.from(argument, 'latin1'))

test('bytes that are not UTF-8 are those of the command line, in its order', () => {
  expect(typedPaths(['a', 'caf\u00e9'], line('a'))).toEqual(['a', 'caf\u00c3\u00a9'])
  expect(typedPaths(['caf\uFFFD'], line('-r', 'caf\xe9'))).toEqual(['caf\xe9'])
  const twin = 'caf\xef\xbf\xbd'
  expect(typedPaths(['caf\uFFFD', 'caf\uFFFD', 'caf\uFFFD'], line('caf\xe9', twin, 'caf\xe8'))).toEqual([
    'caf\xe9',
    twin,
    'caf\xe8',
  ])
  expect(typedPaths(['caf\uFFFD'], line('--path=caf\xe9'))).toEqual(['caf\xe9'])
  expect(typedPaths(['caf\uFFFD'], line('caf'))).toEqual([twin])
})

test('what cannot be told from the value of another option is refused', () => {
  expect(() => typedPaths(['caf\uFFFD'], line('-s', 'caf\xe8', 'caf\xe9'))).toThrow(/which of several arguments/)
  expect(typedPaths(['caf\uFFFD'], line('-s', 'caf\xe9', 'caf\xe9'))).toEqual(['caf\xe9'])
})

test('a process reads its own, also in a directory whose name is no UTF-8', () => {
  const directory = Buffer.concat([Buffer.from(`${scratch}/`), Buffer.from('d\xe9', 'latin1')])
  mkdirSync(directory)
  const module = JSON.stringify(new URL('./typed-paths.js', import.meta.url).href)
  const script = `const { typedPath, absolutePath } = await import(${module})
    console.log(Buffer.from(absolutePath(typedPath(process.argv[1])), 'latin1').toString('hex'))`
  // Bytes get into an argument through a shell only.
  const command = `cd "$(printf "$OCTAL")" && exec "$NODE" --input-type=module -e "$SCRIPT" -- "$(printf 'f\\351')"`
  const octal = [...directory].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('')
  const env = { ...process.env, NODE: process.execPath, SCRIPT: script, OCTAL: octal }
  const said = execFileSync('sh', ['-c', command], { env, encoding: 'utf8' }).trim()
  expect(Buffer.from(said, 'hex').toString('latin1')).toBe(join(directory.toString('latin1'), 'f\xe9'))
})
