/** What goes wrong, and what must hold all the same: interruptions, crashes, full disks, damage, cold storage. */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, renameSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals'
import { getXattr, setXattr } from '#libs/os/libc.js'
import { rawFromText } from '#libs/os/raw.js'
import { filesOf, type Home, openHome, type Running, says, statusOf, tarOf, until } from '../firn.js'
import { lookAt, makeFiles, overwrite } from '../tree.js'

const filesIn = (directory: string): string[] =>
  readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((name) => !name.endsWith('vault'))

test.each(['apps/firn.js', 'apps/crawler/main.js', 'apps/finder/main.js'])('%s starts where 64 files may be open', (main) => {
  const path = fileURLToPath(new URL(`../../${main}`, import.meta.url))
  const ran = spawnSync('sh', ['-c', 'ulimit -n 64; exec "$@"', 'sh', process.execPath, path, '--help'], { encoding: 'utf8' })
  expect([ran.status, ran.stderr]).toEqual([0, ''])
})

describe('at the end', () => {
  let at: Home
  beforeAll(() => {
    at = openHome()
    makeFiles(at.path('tree'), 500, { bytes: 1_000 })
  })
  afterAll(() => at.dispose())

  test('what cannot be closed makes nothing undone: the exit code is that of the summary', async () => {
    const running = at.start('archive-files', ['-r', '--debug', '--files-per-bundle', '50', 'tree'])
    await says(running, 'set begun')
    const lock = join(at.home, 'postgres/lock')
    renameSync(lock, `${lock}.away`)
    mkdirSync(lock)
    const ran = await running.ended
    rmdirSync(lock)
    renameSync(`${lock}.away`, lock)
    expect(ran.code).toBe(0)
    expect(ran.stderr).toMatch(/^not everything could be closed: .*lock cannot be opened/m)
    const list = await at.run('find-and-retrieve', ['--path', at.path('tree'), '-l', '--json'])
    expect([list.code, filesOf(list).length]).toEqual([0, 500])
  })
})

describe('an interrupted run', () => {
  let at: Home
  beforeAll(() => {
    at = openHome()
    makeFiles(at.path('tree'), 3_000, { bytes: 3_000 })
  })
  afterAll(() => at.dispose())

  test('by ^C ends with 130, by a kill with nothing; the next run finishes it, and nothing false is recorded', async () => {
    const args = ['-r', '--debug', '--files-per-bundle', '100', 'tree']
    const tars = () => filesIn(join(at.home, 'vault')).filter((name) => name.includes('.tar'))
    const setBegun = (running: Running) => says(running, 'set begun')
    const bundleStored = (running: Running) => says(running, 'bundle stored')
    /** The first sign of it is its temporary in the vault. */
    const bundleBegun = async () => {
      const before = new Set(tars())
      await until(() => tars().some((name) => !before.has(name)))
    }
    for (const [signal, happened, code] of [
      ['SIGINT', setBegun, 130],
      ['SIGINT', bundleBegun, 130],
      ['SIGKILL', bundleBegun, -1],
      ['SIGTERM', bundleStored, 143],
      ['SIGKILL', bundleStored, -1],
    ] as const) {
      const running = at.start('archive-files', args)
      await happened(running)
      running.kill(signal)
      expect([signal, (await running.ended).code]).toEqual([signal, code])
    }
    const last = await at.run('archive-files', args)
    expect(last.code).toBe(0)
    expect(last.stderr).toMatch(/^finishing set [0-9a-f-]{36} of an interrupted run$/m)
    expect(new Set((await statusOf(at)).sets.map(({ state }) => state))).toEqual(new Set(['archived']))
    const list = await at.run('find-and-retrieve', ['--path', at.path('tree'), '-l', '--json'])
    expect(filesOf(list)).toHaveLength(3_000)
    const check = await at.run('firn', ['check', '--read-data', '--json'])
    expect(check.messages.filter((message) => message['message_type'] === 'problem' && message['kind'] !== 'unknown')).toEqual([])
    expect(filesIn(join(at.home, 'vault')).filter((name) => /(^|\/)\.[^/]*$/.test(name))).toEqual([])
    const back = await at.run('find-and-retrieve', ['--all', '--to', at.path('back')])
    expect(back.code).toBe(0)
    expect(lookAt(join(at.path('back'), at.path('tree')))).toEqual(lookAt(at.path('tree')))
  }, 180_000)

  test('two commands at once on one FIRN_HOME both work', async () => {
    makeFiles(at.path('one'), 300)
    makeFiles(at.path('two'), 300)
    const [one, two, list] = await Promise.all([
      at.run('archive-files', ['-r', '--json', 'one']),
      at.run('archive-files', ['-r', '--json', 'two']),
      at.run('find-and-retrieve', ['--path', at.path('tree'), '-l']),
    ])
    expect(one.summary).toMatchObject({ files_archived: 300, exit_code: 0 })
    expect(two.summary).toMatchObject({ files_archived: 300, exit_code: 0 })
    expect(list.code).toBe(0)
  })

  test('a flipped byte is named with its file, and the others are restored', async () => {
    makeFiles(at.path('flip'), 20)
    await at.run('archive-files', ['-r', 'flip'])
    const path = at.path('flip', 'dir-0', 'file-7.txt')
    overwrite(await tarOf(at, path), 'content 7 ', 'CONTENT 7 ')
    const ran = await at.run('find-and-retrieve', ['--path', at.path('flip'), '--to', at.path('flipped'), '--json'])
    expect(ran.code).toBe(1)
    expect(ran.summary).toMatchObject({ files_matched: 20, files_restored: 19, files_failed: 1 })
    expect(ran.messages.find((message) => message['message_type'] === 'problem')).toMatchObject({ path })
    const check = await at.run('firn', ['check', '--read-data'])
    expect(check.code).toBe(1)
    expect(check.stdout).toContain(path)
    // Damaged bytes are held no more: the next run sends the file again.
    const again = await at.run('archive-files', ['-r', '--json', 'flip'])
    expect(again.summary).toMatchObject({ files_archived: 20 })
  })
})

describe('cold storage', () => {
  let at: Home
  const cold = (seconds: number) => ({ FIRN_VAULT_URL: `local:${at.path('cold')}?thaw=${seconds}` })
  beforeAll(async () => {
    at = openHome()
    makeFiles(at.path('tree'), 30)
    expect((await at.run('archive-files', ['-r', 'tree'], cold(2))).code).toBe(0)
  })
  afterAll(() => at.dispose())

  test('is asked, waited for, and restored from', async () => {
    const ran = await at.run('find-and-retrieve', ['--all', '--to', at.path('back'), '--json'], cold(2))
    expect(ran.code).toBe(0)
    expect(ran.summary).toMatchObject({ files_restored: 30 })
  })

  test('a detached retrieval is completed by the retriever (G-14), also by the next one after a kill in the middle (G-17)', async () => {
    makeFiles(at.path('large'), 2_000)
    await at.run('archive-files', ['-r', '--files-per-bundle', '50', 'large'], cold(1))
    const asked = await at.run('find-and-retrieve', ['--path', at.path('large'), '--detach', '--json'], cold(1))
    expect(asked.code).toBe(0)
    const id = asked.summary['retrieval_id'] as string
    const target = join(at.home, 'restore', id)
    const detached = async () => (await statusOf(at)).retrievals.filter((one) => one['detached'] === true)

    const killed = at.start('firn', ['retriever'], cold(1))
    await until(() => existsSync(join(target, at.path('large'))))
    killed.kill('SIGKILL')
    await killed.ended
    expect(readdirSync(target)).toContain(`.firn-${id}`)
    expect(await detached()).toMatchObject([{ retrieval_id: id, state: expect.not.stringMatching('done') }])

    const retriever = at.start('firn', ['retriever'], cold(1))
    await until(async () => (await detached()).every(({ state }) => state === 'done'))
    retriever.kill('SIGTERM')
    expect((await retriever.ended).code).toBe(143)
    expect(lookAt(join(target, at.path('large')))).toEqual(lookAt(at.path('large')))
    expect(readdirSync(target, { recursive: true, encoding: 'utf8' }).filter((name) => /(^|\/)\.firn/.test(name))).toEqual([])
    expect(await detached()).toMatchObject([
      { retrieval_id: id, files: 2_000, files_restored: 2_000, files_failed: 0, items: { done: 40 } },
    ])
  }, 120_000)
})

describe('a vault on a full disk', () => {
  let at: Home
  let mounted = false
  beforeAll(() => {
    at = openHome()
    mkdirSync(at.path('small'))
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', at.path('small')], { stdio: 'ignore' })
      mounted = true
    } catch {
      // said by the test
    }
  })
  afterAll(() => {
    if (mounted) execFileSync('umount', [at.path('small')])
    at.dispose()
  })

  test('stops the run with the reason; with room again the next run finishes', async () => {
    if (!mounted) {
      console.warn('not tried: this user may not mount a small file system')
      return
    }
    makeFiles(at.path('tree'), 500, { bytes: 10_000 })
    const args = ['-r', '--json', '--vault', `local:${at.path('small')}/v`, '--files-per-bundle', '50', 'tree']
    const full = await at.run('archive-files', args)
    expect(full.code).toBe(1)
    expect(full.stderr).toContain('no space')
    expect((await at.run('firn', ['check', '--read-data'])).code).toBe(0)
    execFileSync('mount', ['-o', 'remount,size=50m', at.path('small')])
    const again = await at.run('archive-files', args)
    expect(again.code).toBe(0)
    const list = await at.run('find-and-retrieve', ['--path', at.path('tree'), '-l', '--json'])
    expect(filesOf(list)).toHaveLength(500)
  }, 120_000)
})

test('extended attributes are kept with -f, and come back (G-19)', async () => {
  const at = openHome()
  try {
    const path = at.path('tree', 'file')
    writeFileSync(path, 'x')
    try {
      setXattr(rawFromText(path), 'user.firn.test', Buffer.from([1, 0, 255]))
    } catch {
      console.warn('not tried: this file system keeps no extended attributes')
      return
    }
    expect((await at.run('archive-files', ['-r', '-f', 'tree'])).code).toBe(0)
    expect((await at.run('find-and-retrieve', ['--all', '--to', at.path('back')])).code).toBe(0)
    expect(getXattr(rawFromText(join(at.path('back'), path)), 'user.firn.test')).toEqual(Buffer.from([1, 0, 255]))
  } finally {
    at.dispose()
  }
})
