import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from '@jest/globals'
import { FirnError } from '#libs/errors/errors.js'
import { loadConfig, SETTING_KEYS, variableOf } from './config.js'

let directory: string

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'firn-config-'))
})

afterEach(() => rmSync(directory, { recursive: true }))

/** A place where no configuration of the machine's own is found. */
const bare = (env: NodeJS.ProcessEnv = {}) => ({ HOME: directory, XDG_CONFIG_HOME: join(directory, 'xdg'), ...env })

function usualFile(text: string): string {
  mkdirSync(join(directory, 'xdg/firn'), { recursive: true })
  const path = join(directory, 'xdg/firn/config.yaml')
  writeFileSync(path, text)
  return path
}

function complaint(sources: Parameters<typeof loadConfig>[0]): string {
  try {
    loadConfig(sources)
  } catch (error) {
    expect(error).toBeInstanceOf(FirnError)
    expect((error as FirnError).code).toBe('usage')
    return (error as FirnError).message
  }
  throw new Error('it was accepted')
}

describe('the configuration', () => {
  test('has a default for everything', () => {
    const { config, origins } = loadConfig({ env: bare({ FIRN_HOME: '/srv/firn' }) })
    expect(config).toMatchObject({
      home: '/srv/firn',
      host: hostname(),
      databaseUrl: 'embedded:',
      queueUrl: 'postgres:',
      vaultUrl: 'local:/srv/firn/vault',
      searchUrl: 'postgres:',
      filesPerBundle: 1000,
      bundleBytes: 500_000_000,
      checkSeconds: 600,
      restoreDir: '/srv/firn/restore',
      uploadMemoryBytes: 536_870_912,
      logLevel: 'info',
      telemetry: 'none',
    })
    expect(origins).toMatchObject({ home: 'FIRN_HOME', host: 'default', vaultUrl: 'default' })
    expect(Object.isFrozen(config)).toBe(true)
  })

  test('lives in the usual places without FIRN_HOME', () => {
    const { config } = loadConfig({ env: bare() })
    expect(config.home).toBe(process.getuid?.() === 0 ? '/var/lib/firn' : join(directory, '.local/share/firn'))
  })

  test('takes flags before the environment, the environment before the file, the file before defaults, and knows which', () => {
    const path = usualFile('workers: 3\nfiles_per_bundle: 30\nhost: from-file\nbundle_size: 1GB\n')
    const { config, origins } = loadConfig({
      flags: { workers: { flag: '--workers', value: '1' } },
      env: bare({ FIRN_WORKERS: '2', FIRN_FILES_PER_BUNDLE: '20', FIRN_SEARCH_URL: '' }),
    })
    expect(config).toMatchObject({ workers: 1, filesPerBundle: 20, host: 'from-file', bundleBytes: 1e9, searchUrl: 'postgres:' })
    expect(origins).toMatchObject({
      workers: '--workers',
      filesPerBundle: 'FIRN_FILES_PER_BUNDLE',
      host: path,
      searchUrl: 'default',
    })
  })

  test('reads the file that --config names instead of the usual one, and misses it when it is not there', () => {
    usualFile('workers: 3\n')
    const other = join(directory, 'other.yaml')
    writeFileSync(other, 'workers: 4\n')
    expect(loadConfig({ env: bare(), file: other }).config.workers).toBe(4)
    expect(complaint({ env: bare(), file: join(directory, 'none.yaml') })).toMatch(/--config: .*none\.yaml cannot be read/)
  })

  test('names the nearest key for one that it does not know, in the file and in the environment', () => {
    usualFile('vault_ulr: local:/x\n')
    const text = complaint({ env: bare({ FIRN_WORKER: '2' }) })
    expect(text).toMatch(/vault_ulr .*vault_url/)
    expect(text).toMatch(/FIRN_WORKER .*FIRN_WORKERS/)
  })

  test('says everything that is wrong at once, with where it stands', () => {
    usualFile('check_seconds: soon\nhost: [a, b]\nrestore_dir:\n')
    const text = complaint({
      flags: { bundleBytes: { flag: '--bundle-size', value: '0' } },
      env: bare({ FIRN_WORKERS: '-1', FIRN_LOG_LEVEL: 'loud', FIRN_HOME: '~/firn' }),
    })
    for (const part of ['--bundle-size', 'FIRN_WORKERS', 'FIRN_LOG_LEVEL', 'check_seconds', 'host', 'restore_dir', 'FIRN_HOME']) {
      expect(text).toContain(part)
    }
  })

  test.each(['0', '-1', '1.5', '1e3', 'NaN', 'many', ' ', '9999999999999999999'])('refuses %j files per bundle', (value) => {
    expect(complaint({ env: bare(), flags: { filesPerBundle: { flag: '--files-per-bundle', value } } })).toContain('whole number')
  })

  test.each(['a: b: c', '- a\n- b', 'just text', 'host: x\nhost: y'])('refuses the file %j in one sentence', (text) => {
    const path = usualFile(text)
    expect(complaint({ env: bare() })).toContain(path)
  })

  test('takes an empty file for none', () => {
    usualFile('# nothing yet\n')
    expect(loadConfig({ env: bare() }).config.filesPerBundle).toBe(1000)
  })

  test('makes paths absolute, also that of a local vault, and keeps its options', () => {
    const { config } = loadConfig({
      env: bare({ FIRN_HOME: 'a/../b', FIRN_RESTORE_DIR: 'c' }),
      flags: { vaultUrl: { flag: '--vault', value: 'local:v?thaw=5' } },
    })
    expect(config.home).toBe(join(process.cwd(), 'b'))
    expect(config.restoreDir).toBe(join(process.cwd(), 'c'))
    expect(config.vaultUrl).toBe(`local:${join(process.cwd(), 'v')}?thaw=5`)
  })

  test('reads a secret from a file, and refuses both ways at once', () => {
    const secret = join(directory, 'database')
    writeFileSync(secret, 'postgres://firn:hunter2@localhost/firn\n')
    const { config, origins } = loadConfig({ env: bare({ FIRN_DATABASE_URL_FILE: secret }) })
    expect(config.databaseUrl).toBe('postgres://firn:hunter2@localhost/firn')
    expect(origins.databaseUrl).toBe('FIRN_DATABASE_URL_FILE')
    expect(complaint({ env: bare({ FIRN_DATABASE_URL_FILE: secret, FIRN_DATABASE_URL: 'embedded:' }) })).toContain('both set')
    expect(complaint({ env: bare({ FIRN_DATABASE_URL_FILE: join(directory, 'none') }) })).toContain('FIRN_DATABASE_URL_FILE')
  })

  test.each(['embedded', 'mysql://x', 'postgres//x', 'embedded:x', 'postgres://user:hunter2@ho st:x/db'])(
    'refuses the database %j without showing a password',
    (value) => {
      const text = complaint({ env: bare({ FIRN_DATABASE_URL: value }) })
      expect(text).toContain('FIRN_DATABASE_URL')
      expect(text).not.toContain('hunter2')
    },
  )

  test.each(['a/b', '..', '', ' ', 'a\nb'])('refuses the host %j', (value) => {
    expect(complaint({ env: bare(), flags: { host: { flag: '--host', value } } })).toContain('--host')
  })

  test('refuses a file, a secret and a home that others may write, and warns of secrets that others may read', () => {
    const file = join(directory, 'shared.yaml')
    writeFileSync(file, 'database_url: postgres://firn:hunter2@db/firn?sslmode=verify-full\n')
    chmodSync(file, 0o644)
    const warned = loadConfig({ env: bare(), file })
    expect(warned.notices).toEqual([`${file} holds secrets and other users may read it: chmod go-r it.`])
    chmodSync(file, 0o600)
    expect(loadConfig({ env: bare(), file }).notices).toEqual([])
    chmodSync(file, 0o606)
    const usage = (text: string) => expect.objectContaining({ code: 'usage', message: expect.stringContaining(text) })
    expect(() => loadConfig({ env: bare(), file })).toThrow(usage('shared.yaml can be written by other users'))
    expect(() => loadConfig({ env: bare({ FIRN_DATABASE_URL_FILE: file }) })).toThrow(
      usage('FIRN_DATABASE_URL_FILE cannot be trusted'),
    )
    const home = join(directory, 'open-home')
    mkdirSync(home)
    chmodSync(home, 0o777)
    expect(() => loadConfig({ env: bare({ FIRN_HOME: home }) })).toThrow(usage('open-home can be written by other users'))
    expect(() => loadConfig({ env: bare({ FIRN_HOME: join(home, 'below') }) })).toThrow(usage('chmod go-w'))
  })

  test('refuses a server in clear text elsewhere, unless that is declared', () => {
    const load = (env: NodeJS.ProcessEnv) => loadConfig({ env: bare(env) }).config
    expect(
      complaint({ env: bare({ FIRN_DATABASE_URL: 'postgres://firn:hunter2@db/firn', FIRN_SEARCH_URL: 'http://elastic:9200' }) }),
    ).toBe(
      'FIRN_DATABASE_URL: reaches db in clear text: write sslmode=verify-full, or add insecure=1 to FIRN_DATABASE_URL if nobody else is on that network; ' +
        'FIRN_SEARCH_URL: reaches elastic in clear text: write https:, or add insecure=1 to FIRN_SEARCH_URL if nobody else is on that network',
    )
    expect(load({ FIRN_QUEUE_URL: 'redis://:x@redis?insecure=1' }).queueUrl).toBe('redis://:x@redis')
    expect(load({ FIRN_VAULT_URL: 's3://b?endpoint=http://s3:7070&insecure=1' }).vaultUrl).toBe('s3://b?endpoint=http://s3:7070')
    expect(load({ FIRN_DATABASE_URL: 'postgres://firn@db/firn?sslmode=verify-full' }).databaseUrl).toMatch(/verify-full$/)
  })

  test('names a variable for each setting', () => {
    expect(SETTING_KEYS.map(variableOf)).toContain('FIRN_UPLOAD_MEMORY')
    expect(new Set(SETTING_KEYS.map(variableOf)).size).toBe(SETTING_KEYS.length)
  })
})
