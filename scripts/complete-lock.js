#!/usr/bin/env node
// Completes package-lock.json after `npm install` against a mirror that lacks the packages of other platforms: npm then leaves them out
// of the lock file, and `npm ci` refuses it everywhere. Adds each optional package that is named and has no entry, and to every entry that
// lacks it the integrity that the registry says.
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'

const SYSTEMS = ['aix', 'android', 'darwin', 'freebsd', 'linux', 'netbsd', 'openbsd', 'openharmony', 'sunos', 'win32']
const PROCESSORS = { gnueabihf: 'arm', musleabihf: 'arm' }
for (const cpu of ['arm', 'arm64', 'ia32', 'loong64', 'ppc64', 'riscv64', 's390x', 'wasm32', 'x64']) PROCESSORS[cpu] = cpu

const file = new URL('../package-lock.json', import.meta.url)
const lock = JSON.parse(readFileSync(file, 'utf8'))
const entries = lock.packages
for (const [at, { optionalDependencies = {}, dev }] of Object.entries(entries)) {
  for (const [name, range] of Object.entries(optionalDependencies)) {
    if (entries[`node_modules/${name}`] ?? entries[`${at}/node_modules/${name}`]) continue
    const words = name.split(/[@/-]/)
    const os = SYSTEMS.filter((system) => words.includes(system))
    const cpu = [...new Set(words.flatMap((word) => PROCESSORS[word] ?? []))]
    const libc = os[0] === 'linux' && words.some((word) => word.startsWith('musl')) ? ['musl'] : undefined
    const version = range.replace(/^[\^~>=v ]+/, '')
    entries[`node_modules/${name}`] = { version, cpu, ...(dev && { dev }), ...(libc && { libc }), optional: true, os }
    console.log(`added ${name} ${version}`)
  }
}
for (const [at, entry] of Object.entries(entries)) {
  if (at === '' || entry.link || entry.integrity) continue
  const name = entry.name ?? at.slice(at.lastIndexOf('node_modules/') + 'node_modules/'.length)
  entry.integrity = execFileSync('npm', ['view', `${name}@${entry.version}`, 'dist.integrity'], { encoding: 'utf8' }).trim()
  if (!/^sha512-/.test(entry.integrity)) throw new Error(`the registry says no integrity of ${name} ${entry.version}`)
  console.log(`completed ${name} ${entry.version}`)
}
lock.packages = Object.fromEntries(Object.entries(entries).sort(([a], [b]) => (a < b ? -1 : 1)))
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`)
