import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { describe, expect, test } from '@jest/globals'
import { EXIT } from '#libs/errors/errors.js'
import { EXIT_STATUS } from './command.js'

/** A command that does what its argument says, in a process of its own. */
const PROGRAM = `
  import { commonOptions, runCommand } from ${JSON.stringify(new URL('./command.js', import.meta.url).href)}
  import { FirnError } from '#libs/errors/errors.js'
  const ways = {
    done: async () => 0,
    part: async () => 3,
    refuse: async () => { throw new FirnError('no-consent', 'Nobody agreed.') },
    crash: async () => { throw new TypeError('x is not a function\\nat all') },
    stray: () => new Promise(() => { setTimeout(() => Promise.reject(new Error('lost on the way')), 1); setTimeout(() => {}, 60000) }),
    print: async ({ reporter, config }) => { await reporter.result(config.host + ' ' + config.workers); return 0 },
    wait: ({ signal, reporter }) => new Promise((_, reject) => {
      const alive = setInterval(() => {}, 1000)
      signal.addEventListener('abort', () => { clearInterval(alive); reject(signal.reason) })
      reporter.note('waiting')
    }),
    stubborn: ({ reporter }) => new Promise(() => { setInterval(() => {}, 1000); reporter.note('waiting') }),
  }
  await runCommand({
    name: 'archive-files',
    define: (command) => commonOptions(command).argument('<way>').option('--workers <n>').option('--verbose-tags'),
    settings: { workers: ['workers', '--workers'] },
    run: (context) => ways[context.args[0]](context),
  }, process.argv.slice(1))
`

interface Ran {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

function start(args: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess & { readonly ended: Promise<Ran> } {
  const child = spawn(process.execPath, ['--input-type=module', '-e', PROGRAM, '--', ...args], {
    cwd: new URL('../../..', import.meta.url), // for #libs
    env: { PATH: process.env['PATH'], HOME: tmpdir(), XDG_CONFIG_HOME: '/nonexistent', FIRN_HOST: 'here', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let [out, err] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text
  })
  return Object.assign(child, { ended: once(child, 'close').then(([code]) => ({ code: code as number | null, out, err })) })
}

const run = (...args: string[]): Promise<Ran> => start(args).ended

describe('a command', () => {
  test('ends with what it returns, and says nothing by itself', async () => {
    expect(await run('done')).toEqual({ code: 0, out: '', err: '' })
    expect(await run('part')).toEqual({ code: 3, out: '', err: '' })
  })

  test('gets its configuration from flags and environment', async () => {
    expect(await run('print', '--workers', '7')).toEqual({ code: 0, out: 'here 7\n', err: '' })
  })

  test('says a foreseen error in its sentence, with its exit code', async () => {
    expect(await run('refuse')).toEqual({ code: 5, out: '', err: 'firn: Nobody agreed.\n' })
  })

  test('says an unforeseen error in one line, and where it came from only with --debug', async () => {
    const plain = await run('crash')
    expect(plain).toMatchObject({ code: 1, err: expect.stringMatching(/^firn: x is not a function .*--debug.*\n$/) })
    expect((await run('crash', '-d')).err).toMatch(/\n\s+at .*crash/)
  })

  test('does so also for an error that nobody waited for', async () => {
    expect(await run('stray')).toMatchObject({ code: 1, err: expect.stringMatching(/^firn: lost on the way .*\n$/) })
  })

  test('gives errors as messages with --json', async () => {
    const { code, out } = await run('refuse', '--json')
    expect(code).toBe(5)
    expect(JSON.parse(out)).toEqual({ message_type: 'error', code: 'no-consent', message: 'Nobody agreed.', exit_code: 5 })
    const wrong = await run('done', '--jsno', '--json')
    expect(JSON.parse(wrong.out)).toMatchObject({ message_type: 'error', code: 'usage', exit_code: 2 })
  })

  test.each([
    [['--verbose-tag', 'done'], /unknown option '--verbose-tag' \(Did you mean --verbose-tags\?\); see archive-files --help/],
    [[], /missing required argument 'way'; see/],
    [['done', 'more'], /too many arguments.*; see/],
    [['done', '--workers'], /argument missing; see/],
    [['done', '--workers', '0'], /--workers.*from 1 to/],
    [['done', '--config', '/nonexistent/x.yaml'], /--config: \/nonexistent\/x.yaml cannot be read/],
  ])('refuses %j in one sentence, exit 2', async (args, sentence) => {
    const { code, out, err } = await run(...args)
    expect({ code, out, lines: err.trimEnd().split('\n').length }).toEqual({ code: 2, out: '', lines: 1 })
    expect(err).toMatch(sentence)
  })

  test('says what is wrong with the environment', async () => {
    const { code, err } = await start(['done'], { FIRN_WORKER: '2' }).ended
    expect(code).toBe(2)
    expect(err).toMatch(/FIRN_WORKER .*did you mean FIRN_WORKERS/)
  })

  test('explains itself and its exit codes with --help, whatever else is wrong', async () => {
    const { code, out, err } = await start(['--help'], { FIRN_WORKERS: 'many' }).ended
    expect({ code, err }).toEqual({ code: 0, err: '' })
    expect(out).toContain('Usage: archive-files')
    expect(out).toContain(EXIT_STATUS)
    for (const number of Object.values(EXIT)) expect(EXIT_STATUS).toMatch(new RegExp(`^  ${number} `, 'm'))
  })

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('stops at %s with %d', async (signal, code) => {
    const child = start(['wait'])
    await once(child.stderr!, 'data')
    child.kill(signal)
    const ended = await child.ended
    expect(ended.code).toBe(code)
    expect(ended.err).toMatch(new RegExp(`^waiting\n${signal}: stopping; once more stops at once\nstopped; `))
  })

  test('that does not stop is ended by the second ^C', async () => {
    const child = start(['stubborn'])
    await once(child.stderr!, 'data')
    child.kill('SIGINT')
    await once(child.stderr!, 'data')
    child.kill('SIGINT')
    expect((await child.ended).code).toBe(130)
  })
})
