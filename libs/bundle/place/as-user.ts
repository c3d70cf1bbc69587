/** For tests: runs code as an ordinary user. It runs a copy of this build, since that user may not be able to reach this one. */
import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

export interface UserBuild extends Disposable {
  /** Runs an ES module's body; `place`, `testTar` and `fs` are at hand. What it gives to `say` is returned. */
  run(user: { uid: number; gid: number; groups?: readonly number[] }, body: string): unknown
}

export function buildForUsers(): UserBuild {
  // Not below TMPDIR, which may be closed to others.
  const home = mkdtempSync('/tmp/firn-user-')
  chmodSync(home, 0o755)
  const libs = fileURLToPath(new URL('../..', import.meta.url))
  for (const room of ['errors', 'os', 'bundle']) cpSync(join(libs, room), join(home, 'dist/libs', room), { recursive: true })
  cpSync(join(libs, '../../package.json'), join(home, 'package.json'))
  const koffi = createRequire(import.meta.url).resolve('koffi')
  const modules = koffi.slice(0, koffi.lastIndexOf(`node_modules${sep}`) + 'node_modules'.length)
  mkdirSync(join(home, 'node_modules'))
  for (const name of ['koffi', '@koromix'])
    if (existsSync(join(modules, name))) cpSync(join(modules, name), join(home, 'node_modules', name), { recursive: true })
  spawnSync('chmod', ['-R', 'a+rX', home])
  return {
    run({ uid, gid, groups = [] }, body) {
      const script = join(home, `run-${uid}.mjs`)
      writeFileSync(
        script,
        `import * as fs from 'node:fs'
        process.setgroups(${JSON.stringify([gid, ...groups])}); process.setgid(${gid}); process.setuid(${uid}); process.umask(0o027)
        const place = await import('./dist/libs/bundle/place.js')
        const testTar = await import('./dist/libs/bundle/place/test-tar.js')
        const say = (value) => fs.writeSync(1, JSON.stringify(value))
        ${body}`,
      )
      const { stdout, stderr, status } = spawnSync(process.execPath, [script], { encoding: 'utf8', env: {} })
      if (status !== 0) throw new Error(`the user's process ended with ${status}: ${stderr}`)
      return JSON.parse(stdout)
    },
    [Symbol.dispose]() {
      rmSync(home, { recursive: true, force: true })
    },
  }
}
