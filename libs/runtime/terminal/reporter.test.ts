import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { PassThrough, Writable } from 'node:stream'
import { describe, expect, test } from '@jest/globals'
import { rawFromBytes } from '#libs/os/raw.js'
import { openReporter, type Reporter, type ReporterOptions, toJson } from './reporter.js'

interface Screen {
  readonly reporter: Reporter
  out(): string
  err(): string
}

/** A reporter whose two streams are kept in memory. */
function screen(options: Partial<ReporterOptions> & { isTTY?: boolean; columns?: number } = {}): Screen {
  const { isTTY = false, columns = 80, ...rest } = options
  const keep = () => {
    let text = ''
    const stream = new PassThrough().setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
    })
    return { stream: Object.assign(stream, { isTTY, columns }) as unknown as NodeJS.WriteStream, text: () => text }
  }
  const stdout = keep()
  const stderr = keep()
  const reporter = openReporter({
    json: false,
    quiet: false,
    progress: true,
    ...rest,
    stdout: stdout.stream,
    stderr: stderr.stream,
  })
  return { reporter, out: stdout.text, err: stderr.text }
}

const STATE = { label: 'archiving', files: 1234, filesTotal: 2000, bytes: 5_000_000, bytesTotal: 10_000_000 }

describe('on a terminal', () => {
  test('progress is drawn below the lines that were written before it', async () => {
    const told: string[] = []
    const stream = (name: string) =>
      Object.assign(new Writable({ write: (chunk, _encoding, done) => done(void told.push(`${name}: ${chunk}`)) }), {
        isTTY: true,
        columns: 80,
      }) as unknown as NodeJS.WriteStream
    const reporter = openReporter({ json: false, quiet: false, progress: true, stdout: stream('out'), stderr: stream('err') })
    void reporter.result('a line')
    reporter.progress(STATE)
    await reporter.close()
    expect(told[0]).toBe('out: a line\n')
    expect(told[1]).toContain('archiving')
  })

  test('progress is one line that is redrawn, and gone at the end', async () => {
    const { reporter, err } = screen({ isTTY: true })
    reporter.progress(STATE)
    reporter.progress(STATE) // too soon
    await reporter.close()
    expect(err()).toMatch(/^\r\x1b\[Karchiving: 1,234\/2,000 files, 5\.00 MB\/10\.0 MB, .*\/s(, ETA [^\r]+)?\r\x1b\[K$/)
  })

  test('progress is never wider than the window', async () => {
    const { reporter, err } = screen({ isTTY: true, columns: 30 })
    reporter.progress({ ...STATE, note: 'x'.repeat(200) })
    await reporter.close()
    const [drawn] = err().split('\r\x1b[K').filter(Boolean)
    expect(drawn?.length).toBe(29)
  })

  test('a note clears it away first', async () => {
    const { reporter, err } = screen({ isTTY: true })
    reporter.progress(STATE)
    reporter.note('hello')
    await reporter.close()
    expect(err()).toMatch(/\r\x1b\[Khello\n$/)
  })
})

describe('elsewhere', () => {
  test('progress is not written at once, nor with escapes', async () => {
    const { reporter, err } = screen()
    reporter.progress(STATE)
    reporter.note('hello')
    await reporter.close()
    expect(err()).toBe('hello\n')
  })

  test('results go to stdout and everything else to stderr', async () => {
    const { reporter, out, err } = screen()
    await reporter.result('a,b')
    reporter.note('note')
    reporter.warn('warning')
    reporter.problem({ path: rawFromBytes(Buffer.from('/a\n\xff', 'latin1')), kind: 'skipped', reason: 'a FIFO' })
    reporter.error('It is broken.', 'failed', 1)
    await reporter.message('file', { size: 1 })
    await reporter.close()
    expect(out()).toBe('a,b\n')
    expect(err()).toBe('note\nwarning\n/a\\n\\xff: a FIFO\nfirn: It is broken.\n')
  })

  test('lines at one go are few calls of the system, and stand before what is said after them', async () => {
    const written: string[] = []
    const stream = (name: string) => {
      const write = (chunks: readonly { chunk: Buffer }[]) => written.push(`${name}: ${chunks.length}`)
      return new Writable({
        write: (chunk, _encoding, done) => done(void write([{ chunk }])),
        writev: (chunks, done) => done(void write(chunks)),
      }) as unknown as NodeJS.WriteStream
    }
    const reporter = openReporter({ json: false, quiet: false, progress: false, stdout: stream('out'), stderr: stream('err') })
    for (let i = 0; i < 100; i++) await reporter.result(`line ${i}`)
    reporter.note('100 lines')
    await reporter.close()
    expect(written.slice(0, 2)).toEqual(['out: 100', 'err: 1'])
  })

  test('control characters reach nobody', async () => {
    const { reporter, out, err } = screen()
    await reporter.result('a\x1b[2Jb\x9b')
    reporter.error('no such file: \x07x\r', 'usage', 2)
    await reporter.close()
    expect(out()).toBe('a\\x1b[2Jb\\x9b\n')
    expect(err()).toBe('firn: no such file: \\x07x\\x0d\n')
  })

  test('--quiet leaves problems and errors', async () => {
    const { reporter, err } = screen({ quiet: true, isTTY: true })
    reporter.progress(STATE)
    reporter.note('note')
    reporter.problem({ path: rawFromBytes(Buffer.from('/a')), kind: 'failed', reason: 'vanished' })
    await reporter.close()
    expect(err()).toBe('/a: vanished\n')
  })
})

describe('with --json', () => {
  test('everything is a message on stdout, a line each', async () => {
    const { reporter, out, err } = screen({ json: true })
    reporter.progress(STATE)
    reporter.problem({ path: rawFromBytes(Buffer.from([0x2f, 0xff])), kind: 'changed', reason: 'it changed' })
    await reporter.message('file', { path: '/a\nb', size: 2n ** 60n, missing: undefined })
    await reporter.result('not for people')
    reporter.error('It is broken.', 'failed', 1)
    await reporter.close()
    const messages = out()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>)
    expect(messages.map((message) => message['message_type'])).toEqual(['status', 'problem', 'file', 'error'])
    expect(messages[0]).toMatchObject({ label: 'archiving', files: 1234, files_total: 2000, bytes: 5_000_000 })
    expect(messages[1]).toMatchObject({ path_b64: 'L/8=', kind: 'changed' })
    expect(messages[3]).toMatchObject({ code: 'failed', message: 'It is broken.', exit_code: 1 })
    expect(err()).toBe('firn: It is broken.\n')
  })

  test('integers beyond 2^53 stay exact', () => {
    expect(toJson({ mtime_ns: 1_763_700_000_123_456_789n })).toBe('{"mtime_ns":1763700000123456789}')
  })
})

const PROGRAM = `
  import { openReporter } from ${JSON.stringify(new URL('./reporter.js', import.meta.url).href)}
  const reporter = openReporter({ json: false, quiet: false, progress: true, stdout: process.stdout, stderr: process.stderr })
  let code = 0
  let lines = 0
  try {
    for (; lines < Number(process.argv[1]) && reporter.isRead(); lines++) await reporter.result('x'.repeat(200))
    await reporter.close()
  } catch (error) { console.error(error.code, error.message); code = 1 }
  console.error(JSON.stringify({ lines, rss: process.memoryUsage().rss }))
  process.exit(code)
`
const args = (lines: number) => ['--input-type=module', '-e', PROGRAM, String(lines)]

describe('a pipe', () => {
  test('that is read slowly slows the writer down, and loses nothing', async () => {
    const child = spawn(process.execPath, args(200_000), { stdio: ['ignore', 'pipe', 'pipe'] })
    const ended = once(child, 'close')
    let said = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    let bytes = 0
    for await (const chunk of child.stdout) bytes += (chunk as Buffer).length
    expect((await ended)[0]).toBe(0)
    expect(bytes).toBe(200_000 * 201)
    expect(said).not.toContain('Warning')
    expect((JSON.parse(said) as { rss: number }).rss).toBeLessThan(200e6)
  })

  test('that closes early ends the listing quietly', async () => {
    const child = spawn(process.execPath, args(10_000_000), { stdio: ['ignore', 'pipe', 'pipe'] })
    const ended = once(child, 'close')
    let said = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text
    })
    await once(child.stdout, 'data')
    child.stdout.destroy()
    expect((await ended)[0]).toBe(0)
    expect((JSON.parse(said) as { lines: number }).lines).toBeLessThan(10_000_000)
  })

  const onFullDisk = existsSync('/dev/full') ? test : test.skip
  onFullDisk('to a full disk is a failure, in one sentence', () => {
    const ran = spawnSync('sh', ['-c', 'exec "$@" > /dev/full', 'sh', process.execPath, ...args(100_000)], { encoding: 'utf8' })
    expect(ran.stderr).toMatch(/^failed The output cannot be written: .*\n/)
    expect(ran.status).toBe(1)
  })
})
