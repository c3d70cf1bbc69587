/** docs/bundle-format.md promises a way back without Firn: its commands are run here, as they stand there. */
import { type StdioOptions, spawnSync } from 'node:child_process'
import {
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from '@jest/globals'
import { describeWith } from '../../test/tools.js'
import { lookAt } from '../../test/tree.js'
import { bundleKey, manifestKey } from './key.js'
import { openPacker } from './pack.js'
import { encodeSidecar } from './sidecar.js'
import { headerOf, packWhole, plannedTree, requestOf } from './test-packing.js'

const DOC = readFileSync(new URL('../../../docs/bundle-format.md', import.meta.url), 'utf8')

/** The ```sh blocks, in order. */
const COMMANDS = [...DOC.matchAll(/```sh\n(.*?)```/gs)].map(([, commands = '']) => commands)

describeWith(['bash', 'tar', 'jq', 'gzip', 'sha256sum', 'base64'], 'the commands of docs/bundle-format.md', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'firn-format-'))
  const tree = join(scratch, 'srv', 'fish')
  const TAR = join(scratch, 'bundle.tar')
  const MANIFEST = join(scratch, 'bundle.manifest.ndjson.gz')

  /** `/srv/fish` of the example lies in a scratch directory here. */
  const run = (commands: string, cwd = scratch) => {
    const there = commands.replaceAll('/srv/fish', tree)
    // Without a socket on its input, which some take for somebody who logs in, and read their own files of settings.
    const stdio: StdioOptions = ['ignore', 'pipe', 'pipe']
    return spawnSync('bash', ['-euc', there], { cwd, encoding: 'utf8', env: { ...process.env, TAR, MANIFEST }, stdio })
  }

  beforeAll(async () => {
    mkdirSync(join(tree, 'deep'), { recursive: true })
    writeFileSync(join(tree, 'a.txt'), 'one fish\n')
    linkSync(join(tree, 'a.txt'), join(tree, 'hard.txt'))
    symlinkSync('../nowhere', join(tree, 'dangling'))
    writeFileSync(join(tree, 'café.txt'), 'café\n')
    writeFileSync(Buffer.concat([Buffer.from(`${tree}/caf`), Buffer.from([0xe9]), Buffer.from('.txt\n')]), 'x')
    writeFileSync(join(tree, 'deep', 'sparse'), '')
    truncateSync(join(tree, 'deep', 'sparse'), 100_000)
    writeFileSync(join(tree, 'deep', 'sparse'), 'END', { flag: 'a' })
    for (const path of ['deep', '.']) utimesSync(join(tree, path), 1_700_000_000, 1_700_000_000)
    const packer = openPacker({ threads: 1 })
    try {
      const packed = await packWhole(packer, requestOf(plannedTree(tree), { header: headerOf([tree]) }))
      writeFileSync(TAR, packed.tar)
      writeFileSync(MANIFEST, await encodeSidecar(packed.manifest, { tarBytes: packed.tarBytes, tarSha256: packed.tarSha256! }))
    } finally {
      await packer.close()
    }
  })
  afterAll(() => rmSync(scratch, { recursive: true, force: true }))

  test('bring everything back, and find it whole', () => {
    const [whole, inside, everything, check, single, where] = COMMANDS
    expect(COMMANDS).toHaveLength(6)
    expect(run(whole!)).toMatchObject({ status: 0, stdout: 'whole\n', stderr: '' })
    expect(run(inside!).stdout.split('\n')[0]).toBe(tree)
    expect(run(everything!)).toMatchObject({ status: 0, stderr: '' })
    expect(lookAt(join(scratch, 'back', tree))).toEqual(lookAt(tree))
    expect(run(check!)).toMatchObject({ status: 0, stdout: '', stderr: '' })
    expect(run(single!)).toMatchObject({ status: 0, stdout: 'one: OK\n', stderr: '' })
    expect(readFileSync(join(scratch, 'with-holes')).equals(readFileSync(join(tree, 'deep', 'sparse')))).toBe(true)
    expect(run(where!).stdout.trim().split('\n')).toHaveLength(5)
  })

  test('name a file that is not what it was', () => {
    writeFileSync(join(scratch, 'back', tree, 'café.txt'), 'tea\n')
    expect(run(COMMANDS[3]!).stdout).toBe(`damaged: ${tree}/café.txt\n`)
    writeFileSync(TAR, 'x', { flag: 'a' })
    expect(run(COMMANDS[0]!)).toMatchObject({ status: 1, stdout: '' })
  })

  test('speak of keys as Firn makes them', () => {
    const names = {
      startedAt: new Date('2026-11-21T06:09:59.523Z'),
      setId: '10de4f6d-267f-4d3c-ac17-618600ecb936',
      bundleId: '495d3731-e7ab-4f37-acf9-9bfd426cb4ea',
      attempt: 1,
    }
    expect(DOC).toContain(`\n${bundleKey(names)}\n${manifestKey(names)}\n`)
  })
})
