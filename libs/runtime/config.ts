/**
 * The configuration, read once, at the door: flags, then the environment, then a YAML file, then defaults. Below this file nobody
 * reads the environment. Every value knows where it came from, and everything wrong is said in one message.
 */
import { readFileSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { availableParallelism, homedir, hostname } from 'node:os'
import { join, resolve } from 'node:path'
import { errnoOf, FirnError } from '#libs/errors/errors.js'
import { redacted } from '#libs/errors/redacted.js'
import { SHIPPED_PRICES } from '#libs/vault/prices/shipped-prices.js'
import { exposed, isDeclaredInsecure, shownHost, withoutDeclaration } from './clear-text.js'
import { refuseHome } from './home.js'
import { nearest } from './nearest.js'
import { parseSize } from './terminal/sizes.js'
import { whyPathIsNotTrusted } from './trusted.js'

export interface Config {
  /** FIRN_HOME, absolute. */
  readonly home: string
  readonly host: string
  readonly databaseUrl: string
  readonly queueUrl: string
  readonly vaultUrl: string
  /** Further vaults that may be used. */
  readonly vaults: readonly string[]
  /** What a worker may read, absolute; undefined: everything. */
  readonly roots: readonly string[] | undefined
  readonly searchUrl: string
  readonly filesPerBundle: number
  readonly bundleBytes: number
  readonly workers: number
  readonly checkSeconds: number
  readonly restoreDir: string
  /** Whether the retriever does what a detached retrieval asks for: overwrite what is there, restore setuid and setgid. */
  readonly detachedOverwrite: boolean
  readonly detachedSetuid: boolean
  readonly uploadMemoryBytes: number
  /** The price list: the one that comes with Firn, or the user's own. */
  readonly pricesFile: string
  readonly logLevel: LogLevel
  /** Where daemons answer for their health: `9464`, `127.0.0.1:9464`; '' is nowhere. */
  readonly healthPort: string
  /** Who is told how long each job takes. */
  readonly telemetry: Telemetry
}

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error'] as const
export type LogLevel = (typeof LOG_LEVELS)[number]

const TELEMETRIES = ['none', 'opentelemetry'] as const
export type Telemetry = (typeof TELEMETRIES)[number]

/** Where a value came from: `--vault`, `FIRN_VAULT_URL`, a file's path, or `default`. */
export type Origins = Readonly<Record<keyof Config, string>>

export interface Settings {
  readonly config: Config
  readonly origins: Origins
  /** What the user should know of the configuration, in sentences. */
  readonly notices: readonly string[]
}

export interface ConfigSources {
  /** What the command line says, as typed. */
  readonly flags?: Partial<Record<keyof Config, { readonly flag: string; readonly value: string }>>
  readonly env?: NodeJS.ProcessEnv
  /** `--config`. */
  readonly file?: string
}

interface Setting<K extends keyof Config> {
  readonly variable: string
  readonly parse: (text: string) => Config[K]
  readonly byDefault: (so: Partial<Config>, env: NodeJS.ProcessEnv) => Config[K]
}

/** In order: a default may look at the settings above it. */
const SETTINGS: { readonly [K in keyof Config]: Setting<K> } = {
  home: { variable: 'FIRN_HOME', parse: resolvedPath, byDefault: (_, env) => defaultHome(env) },
  host: { variable: 'FIRN_HOST', parse: plainName, byDefault: () => hostname() },
  databaseUrl: { variable: 'FIRN_DATABASE_URL', parse: databaseUrl, byDefault: () => 'embedded:' },
  queueUrl: {
    variable: 'FIRN_QUEUE_URL',
    parse: urlOf('postgres', 'postgresql', 'redis', 'rediss', 'redis+sentinel', 'rediss+sentinel'),
    byDefault: () => 'postgres:',
  },
  vaultUrl: { variable: 'FIRN_VAULT_URL', parse: vaultUrl, byDefault: (so) => `local:${join(so.home as string, 'vault')}` },
  vaults: { variable: 'FIRN_VAULTS', parse: listOf(/\s+/, vaultUrl), byDefault: () => [] },
  // A blank or a colon, and then the slash of the next one.
  roots: { variable: 'FIRN_ROOTS', parse: listOf(/[\s:]+(?=\/)/, resolvedPath), byDefault: () => undefined },
  searchUrl: {
    variable: 'FIRN_SEARCH_URL',
    parse: urlOf('postgres', 'postgresql', 'http', 'https'),
    byDefault: () => 'postgres:',
  },
  filesPerBundle: { variable: 'FIRN_FILES_PER_BUNDLE', parse: wholeNumber(1, 1_000_000), byDefault: () => 1000 },
  bundleBytes: { variable: 'FIRN_BUNDLE_SIZE', parse: parseSize, byDefault: () => 500_000_000 },
  workers: { variable: 'FIRN_WORKERS', parse: wholeNumber(1, 256), byDefault: () => availableParallelism() },
  checkSeconds: { variable: 'FIRN_CHECK_SECONDS', parse: wholeNumber(1, 86_400), byDefault: () => 600 },
  restoreDir: { variable: 'FIRN_RESTORE_DIR', parse: resolvedPath, byDefault: (so) => join(so.home as string, 'restore') },
  detachedOverwrite: { variable: 'FIRN_DETACHED_OVERWRITE', parse: yesOrNo, byDefault: () => false },
  detachedSetuid: { variable: 'FIRN_DETACHED_SETUID', parse: yesOrNo, byDefault: () => false },
  uploadMemoryBytes: { variable: 'FIRN_UPLOAD_MEMORY', parse: parseSize, byDefault: () => 512 * 2 ** 20 },
  pricesFile: { variable: 'FIRN_PRICES_FILE', parse: resolvedPath, byDefault: () => SHIPPED_PRICES },
  logLevel: { variable: 'FIRN_LOG_LEVEL', parse: oneOf(LOG_LEVELS), byDefault: () => 'info' },
  healthPort: { variable: 'FIRN_HEALTH_PORT', parse: healthAddress, byDefault: () => '' },
  telemetry: { variable: 'FIRN_TELEMETRY', parse: oneOf(TELEMETRIES), byDefault: () => 'none' },
}

const KEYS = Object.keys(SETTINGS) as (keyof Config)[]
const VARIABLES = KEYS.map((key) => SETTINGS[key].variable)
/** The key of a setting in the file: its variable without FIRN_, in lower case. */
const fileKey = (variable: string) => variable.slice('FIRN_'.length).toLowerCase()

export const variableOf = (key: keyof Config): string => SETTINGS[key].variable
export const SETTING_KEYS: readonly (keyof Config)[] = KEYS

export function loadConfig(sources: ConfigSources = {}): Settings {
  const env = sources.env ?? process.env
  const wrong: string[] = []
  const file = readFile(sources.file, env, wrong)
  for (const variable of Object.keys(env)) {
    if (!variable.startsWith('FIRN_') || variable.startsWith('FIRN_TEST_')) continue
    const known =
      VARIABLES.includes(variable) || (variable.endsWith('_FILE') && VARIABLES.includes(variable.slice(0, -'_FILE'.length)))
    if (!known) wrong.push(`${variable} is no setting of Firn; did you mean ${nearest(variable, VARIABLES)}?`)
  }
  const config: Record<string, unknown> = {}
  const origins: Record<string, string> = {}
  for (const key of KEYS) {
    const { variable, parse, byDefault } = SETTINGS[key]
    const given = givenValue(key, variable, sources, env, file, wrong)
    origins[key] = given?.origin ?? 'default'
    if (given === undefined) config[key] = byDefault(config as Partial<Config>, env)
    else {
      try {
        config[key] = guarded(key, parse(given.text), env)
      } catch (error) {
        wrong.push(
          `${given.origin}${given.key ? ` (${given.key})` : ''}: ${error instanceof Error ? error.message : String(error)}`,
        )
        // Goes on, so that everything wrong is said at once.
        config[key] = byDefault(config as Partial<Config>, env)
      }
    }
  }
  if (wrong.length > 0) throw new FirnError('usage', wrong.join('; '))
  refuseHome(config['home'] as string)
  const notices = file?.isReadByOthers ? [`${file.path} holds secrets and other users may read it: chmod go-r it.`] : []
  return Object.freeze({
    config: Object.freeze(config) as unknown as Config,
    origins: Object.freeze(origins) as Origins,
    notices,
  })
}

/** URLs of servers are guarded, whether they stand alone or in a list. */
function guarded(key: keyof Config, value: unknown, env: NodeJS.ProcessEnv): unknown {
  const { variable } = SETTINGS[key]
  if (key === 'vaults') return (value as string[]).map((url) => declared(url, variable, env))
  return key.endsWith('Url') ? declared(value as string, variable, env) : value
}

/** A vault that is given on the command line, as FIRN_VAULT_URL would have it. Throws `usage`. */
export function vaultFromFlag(text: string, flag: string): string {
  try {
    return declared(vaultUrl(text), flag, {})
  } catch (error) {
    throw new FirnError('usage', `${flag}: ${error instanceof Error ? error.message : error}`)
  }
}

/** Refuses a server that is reached in clear text, unless that is declared; without the declaration, which adapters do not know. */
function declared(url: string, variable: string, env: NodeJS.ProcessEnv): string {
  if (isDeclaredInsecure(url)) return withoutDeclaration(url)
  const found = exposed(url, env)
  if (found === undefined) return url
  const how = found.exposure === 'clear' ? 'in clear text' : 'by TLS that is not verified'
  throw new Error(
    `reaches ${shownHost(url, found.host)} ${how}: write ${found.instead}, or add insecure=1 to ${variable} if nobody else is on that network`,
  )
}

interface Given {
  readonly text: string
  readonly origin: string
  readonly key?: string
}

function givenValue(
  key: keyof Config,
  variable: string,
  sources: ConfigSources,
  env: NodeJS.ProcessEnv,
  file: ConfigFile | undefined,
  wrong: string[],
): Given | undefined {
  const flag = sources.flags?.[key]
  if (flag !== undefined) return { text: flag.value, origin: flag.flag }
  const text = env[variable]
  const secretFile = env[`${variable}_FILE`]
  if (secretFile && text) wrong.push(`${variable} and ${variable}_FILE are both set: unset one of them`)
  if (text !== undefined && text !== '') return { text, origin: variable }
  if (secretFile) {
    const distrust = whyPathIsNotTrusted(resolve(secretFile))
    if (distrust !== undefined) wrong.push(`${variable}_FILE cannot be trusted: ${distrust}`)
    try {
      return { text: readFileSync(secretFile, 'utf8').trim(), origin: `${variable}_FILE` }
    } catch (error) {
      wrong.push(`${variable}_FILE: ${secretFile} cannot be read (${errnoOf(error) ?? error})`)
    }
  }
  const value = file?.values[fileKey(variable)]
  if (file === undefined || value === undefined) return undefined
  const isPlain = (one: unknown) => ['string', 'number', 'boolean'].includes(typeof one)
  const isList = (key === 'vaults' || key === 'roots') && Array.isArray(value) && value.every(isPlain)
  if (isPlain(value) || isList) {
    return { text: isList ? value.join(' ') : String(value), origin: file.path, key: fileKey(variable) }
  }
  wrong.push(`${file.path} (${fileKey(variable)}): must have one value, text or a number`)
  return undefined
}

interface ConfigFile {
  readonly path: string
  readonly values: Record<string, unknown>
  /** It holds secrets, too. */
  readonly isReadByOthers: boolean
}

function readFile(asked: string | undefined, env: NodeJS.ProcessEnv, wrong: string[]): ConfigFile | undefined {
  const path =
    asked === undefined ? join(env['XDG_CONFIG_HOME'] || join(homeOf(env), '.config'), 'firn', 'config.yaml') : resolve(asked)
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    // The usual file need not be there; one that was asked for must.
    if (asked !== undefined) wrong.push(`--config: ${path} cannot be read (${errnoOf(error) ?? error})`)
    else if (errnoOf(error) !== 'ENOENT' && errnoOf(error) !== 'ENOTDIR')
      wrong.push(`${path} cannot be read (${errnoOf(error) ?? error})`)
    return undefined
  }
  // The usual place may be in the home of somebody else (`sudo -E`): of what is not there nothing is believed.
  const distrust = whyPathIsNotTrusted(path)
  if (distrust !== undefined) wrong.push(`${path} cannot be trusted: ${distrust}`)
  let values: unknown
  try {
    // Loaded where there is a file: a tenth of a second that most commands need not wait for.
    const { parse } = createRequire(import.meta.url)('yaml') as typeof import('yaml')
    values = parse(text) ?? {}
  } catch (error) {
    wrong.push(`${path} is not YAML: ${error instanceof Error ? error.message.split('\n')[0] : error}`)
    return undefined
  }
  if (typeof values !== 'object' || values === null || Array.isArray(values)) {
    wrong.push(`${path} must hold keys and values, such as "vault_url: local:/srv/vault"`)
    return undefined
  }
  const keys = VARIABLES.map(fileKey)
  for (const key of Object.keys(values)) {
    if (!keys.includes(key)) wrong.push(`${path}: ${key} is no setting of Firn; did you mean ${nearest(key, keys)}?`)
  }
  const hasSecret = Object.entries(values).some(([key, value]) => key.endsWith('_url') && redacted(String(value)) !== value)
  return { path, values: values as Record<string, unknown>, isReadByOthers: hasSecret && (statSync(path).mode & 0o044) !== 0 }
}

const homeOf = (env: NodeJS.ProcessEnv): string => env['HOME'] || homedir()

function defaultHome(env: NodeJS.ProcessEnv): string {
  // Postgres refuses to run as root, and its own user cannot enter /root.
  if (process.getuid?.() === 0) return '/var/lib/firn'
  return join(env['XDG_DATA_HOME'] || join(homeOf(env), '.local', 'share'), 'firn')
}

function resolvedPath(text: string): string {
  if (text.includes('\0')) throw new Error('a path cannot hold a NUL')
  if (/^~/.test(text)) throw new Error(`${JSON.stringify(text)}: only a shell knows what ~ means; write the path out`)
  return resolve(text)
}

function plainName(text: string): string {
  const name = text.trim()
  if (name === '' || /[\p{Cc}/]/u.test(name) || name === '.' || name === '..') {
    throw new Error(`${JSON.stringify(text)} is no host name: it must be printable text without "/"`)
  }
  return name
}

function wholeNumber(least: number, most: number): (text: string) => number {
  return (text) => {
    const number = Number(text)
    if (!/^\s*\d+\s*$/.test(text) || number < least || number > most) {
      throw new Error(`takes a whole number from ${least} to ${most}, not ${JSON.stringify(text)}`)
    }
    return number
  }
}

function healthAddress(text: string): string {
  const address = text.trim()
  const port = /^(?:(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):)?(\d{1,5})$/.exec(address)?.[1]
  if (port === undefined || Number(port) > 65_535) {
    throw new Error(`takes a port such as 9464, or an address and a port such as 127.0.0.1:9464, not ${JSON.stringify(text)}`)
  }
  return address
}

function listOf(separator: RegExp, parse: (text: string) => string): (text: string) => string[] {
  return (text) => {
    const list = text.trim().split(separator)
    return list[0] === '' ? [] : list.map(parse)
  }
}

function yesOrNo(text: string): boolean {
  const answer = text.trim().toLowerCase()
  if (!['yes', 'no', '1', '0', 'true', 'false'].includes(answer)) throw new Error(`takes yes or no, not ${JSON.stringify(text)}`)
  return ['yes', '1', 'true'].includes(answer)
}

function oneOf<T extends string>(choices: readonly T[]): (text: string) => T {
  return (text) => {
    const choice = choices.find((one) => one === text)
    if (choice === undefined) throw new Error(`takes one of ${choices.join(', ')}, not ${JSON.stringify(text)}`)
    return choice
  }
}

/** The scheme alone (`postgres:`) means the catalog's own database. The URL may hold a password: only its scheme is said. */
function urlOf(...schemes: string[]): (text: string) => string {
  return (text) => {
    const scheme = /^([a-z][a-z0-9+.-]*):/.exec(text)?.[1]
    if (scheme === undefined || !schemes.includes(scheme)) {
      throw new Error(
        `takes a URL that begins with ${schemes.map((one) => `${one}:`).join(' or ')}${scheme ? `, not ${scheme}:` : ''}`,
      )
    }
    return text
  }
}

function databaseUrl(text: string): string {
  if (text === 'embedded:') return text
  const url = urlOf('embedded', 'postgres', 'postgresql')(text)
  if (url.startsWith('embedded:'))
    throw new Error('"embedded:" takes nothing behind the colon; FIRN_HOME says where its data lie')
  if (!URL.canParse(url)) throw new Error('is not a URL such as postgres://user@server/database')
  return url
}

/** A directory is made absolute, so that the vault has one name from everywhere. */
function vaultUrl(text: string): string {
  const local = /^local:([^?]*)(\?.*)?$/s.exec(text)
  if (local === null) return text
  const [, directory, options = ''] = local
  if (!directory) throw new Error('local: needs a directory, such as local:/srv/vault')
  return `local:${resolvedPath(directory)}${options}`
}

/** What to put before the name of a command when telling somebody what to type next: how this one was begun. */
export const typedBefore = (env: NodeJS.ProcessEnv = process.env): string => (env['npm_command'] === 'exec' ? 'npx ' : '')
