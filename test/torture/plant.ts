/** Trees that are small and have one of everything that goes wrong: odd names, links, times, modes, holes, a file larger than a bundle. */
import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, linkSync, mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import type { Random } from './random.js'

/** A word that is in the description of no other tree: so that a search for it finds this one. */
export const wordOf = (n: number): string => `quark${n}x`

/** About thirty entries. */
export function plantTree(root: string, random: Random): void {
  const at = (name: string | Buffer) => Buffer.concat([Buffer.from(`${root}/`), Buffer.from(name)])
  mkdirSync(root)
  for (const directory of ['a', 'a/b', 'a/b/c', 'empty', 'closed', 'z']) mkdirSync(at(directory))
  for (let i = 0; i < 9; i++)
    writeFileSync(at(`${random.pick(['', 'a/', 'a/b/', 'a/b/c/'])}file-${i}.txt`), random.bytes(random.below(3_000)))
  const names = [
    Buffer.from([0x6e, 0xff, 0xfe, 0x2e, 0x78]),
    'two\nlines',
    '-dash',
    'snow ❄ müde',
    `${'long-'.repeat(40)}name`,
    'space at the end ',
    '\u001b[31mred',
  ]
  for (const name of random.shuffle(names).slice(0, 5)) writeFileSync(at(name), random.bytes(1 + random.below(200)))
  writeFileSync(at('z/nothing'), '')
  writeFileSync(at('z/larger-than-a-bundle'), random.bytes(1_000).toString('hex').repeat(120))
  writeFileSync(at('z/holes'), 'before the hole')
  truncateSync(at('z/holes'), 70_000)
  writeFileSync(at('z/one-of-three'), random.bytes(500))
  linkSync(at('z/one-of-three'), at('a/two-of-three'))
  linkSync(at('z/one-of-three'), at('a/b/three-of-three'))
  symlinkSync('../z/nothing', at('a/to-nothing'))
  symlinkSync('/nowhere/at/all', at('dangling'))
  symlinkSync('a/b', at('to-directory'))
  writeFileSync(at('z/before-1970'), 'old')
  execFileSync('touch', ['-d', '1969-12-31 23:59:58.123456789 UTC', `${root}/z/before-1970`])
  writeFileSync(at('z/setuid'), 'not for everybody')
  chmodSync(at('z/setuid'), 0o4711)
  writeFileSync(at('closed/read-only'), 'look, do not touch')
  chmodSync(at('closed/read-only'), 0o440)
  chmodSync(at('closed'), 0o550)
  spawnSync('setfattr', ['-n', 'user.color', '-v', 'blue', `${root}/z/setuid`])
  spawnSync('mkfifo', [`${root}/fifo`])
}
