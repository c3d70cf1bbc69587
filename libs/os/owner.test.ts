import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from '@jest/globals'
import { isOwnerGone, thisOwner } from './owner.js'
import { BECOME_NOBODY, runScript, startScript } from './test-process.js'

const imports = { owner: new URL('./owner.js', import.meta.url).href }

/** This owner with some of its parts exchanged. */
function otherwise(parts: { machine?: string; boot?: string; namespace?: string; pid?: string; start?: string }): string {
  const [machine, boot, namespace, pid, start] = thisOwner().split('/')
  const all = { machine, boot, namespace, pid, start, ...parts }
  return [all.machine, all.boot, all.namespace, all.pid, all.start].join('/')
}

describe('an owner', () => {
  test('has one name as long as the process lives', () => {
    expect(thisOwner()).toBe(thisOwner())
    expect(thisOwner().split('/')).toHaveLength(5)
    expect(isOwnerGone(thisOwner())).toBe(false)
  })

  const mayRename = spawnSync('unshare', ['-u', 'true']).status === 0
  const onOtherHosts = mayRename ? test : test.skip
  const note = mayRename ? '' : ' (skipped: no other host name may be taken here)'
  onOtherHosts(
    `is short enough for a part of a file name, whatever the host is called, and another on another host${note}`,
    () => {
      const owners = ['a', 'b'].map((letter) => {
        const through = ['unshare', '-u', 'sh', '-c', `hostname ${letter.repeat(63)} && exec "$@"`, 'sh']
        return runScript(imports, 'say(owner.thisOwner())', { through }) as string
      })
      for (const name of owners) {
        expect(name.length).toBeLessThan(115)
        expect(isOwnerGone(name)).toBe(false) // its process has ended, but that cannot be known here
      }
      expect(owners[0]!.split('/')[0]).not.toBe(owners[1]!.split('/')[0])
    },
  )

  test('has another name in every process, and is gone when its process is', async () => {
    const { child, said } = await startScript(imports, 'say(owner.thisOwner()); setInterval(() => {}, 1e6)')
    const other = said as string
    expect(other).not.toBe(thisOwner())
    expect(isOwnerGone(other)).toBe(false)
    child.kill('SIGKILL')
    await once(child, 'exit')
    expect(isOwnerGone(other)).toBe(true)
  })

  test('of another machine is never gone', () => {
    expect(isOwnerGone(otherwise({ machine: 'elsewhere', pid: '999999999' }))).toBe(false)
  })

  test('of this machine before it was started again is gone', () => {
    expect(isOwnerGone(otherwise({ boot: 'an-earlier-boot' }))).toBe(true)
  })

  test('of another container is never gone: its pids mean other processes', () => {
    expect(isOwnerGone(otherwise({ namespace: '1', pid: '999999999' }))).toBe(false)
  })

  test('whose pid was given to another process is gone', () => {
    expect(isOwnerGone(otherwise({ start: '1' }))).toBe(true)
  })

  test.each(['', 'x', 'a/b/c/d/e', '////', `${thisOwner().split('/')[0]}`, otherwise({ pid: 'x' }), otherwise({ pid: '-1' })])(
    'that nobody can be called (%j) is never gone',
    (name) => {
      expect(isOwnerGone(name)).toBe(false)
    },
  )
})

const onLinux = process.platform === 'linux' ? describe : describe.skip

onLinux('a process on Linux', () => {
  test('that ended and was not yet waited for is gone', async () => {
    // The shell starts a process that ends, and becomes another program, which waits for nobody.
    const parent = spawn('sh', ['-c', "exec 3<&0; sh -c 'echo $$; read x <&3' & exec sleep 1000"], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    try {
      const [pid] = (await once(parent.stdout.setEncoding('utf8'), 'data')) as [string]
      const stat = () => readFileSync(`/proc/${pid.trim()}/stat`, 'latin1').split(') ')[1]!.split(' ')
      const zombie = otherwise({ pid: pid.trim(), start: stat()[19]! })
      expect(isOwnerGone(zombie)).toBe(false)
      parent.stdin.end('\n')
      while (stat()[0] !== 'Z') await new Promise((resolve) => setTimeout(resolve, 5))
      expect(isOwnerGone(zombie)).toBe(true)
    } finally {
      parent.kill('SIGKILL')
    }
  })

  const mayMount = spawnSync('unshare', ['-m', 'mount', '-t', 'proc', '-o', 'hidepid=2', 'proc', '/proc']).status === 0
  const asRoot = mayMount ? test : test.skip
  asRoot(`of a user whom /proc hides is not gone${mayMount ? '' : ' (skipped: mounting is not permitted here)'}`, () => {
    const through = ['unshare', '-m', 'sh', '-c', 'mount -t proc -o hidepid=2 proc /proc && exec "$@"', 'sh']
    const script = `${BECOME_NOBODY}
      const alive = ${JSON.stringify(thisOwner())}
      const ended = alive.replace(/[0-9]+(?=[/][^/]*$)/, '4194303')
      say({ seen: fs.existsSync('/proc/${process.pid}/stat'), alive: owner.isOwnerGone(alive), ended: owner.isOwnerGone(ended) })`
    expect(runScript(imports, script, { through })).toEqual({ seen: false, alive: false, ended: true })
  })
})
