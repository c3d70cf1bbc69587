/**
 * Secrets: each place that holds one (URLs, the environment, a file of configuration, a file of its own) is given a canary. Afterwards
 * no canary stands in any output at any level, in help, in job payloads or any other table, in tars and manifests, in logs and other
 * files, or, while commands run, in the arguments of any process.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import type pg from 'pg'
import type { Cloud } from '../cloud/cloud.js'
import type { CommandName } from '../firn.js'
import type { Case, CaseContext } from './case.js'
import { fail } from './check-invariants.js'
import { openPlace } from './place.js'
import { plantTree } from './plant.js'
import { randomFrom } from './random.js'

/** As text, as a URL has it, and in base64: a header of HTTP is one, too. */
function shapesOf(canary: string): string[] {
  return [
    canary,
    encodeURIComponent(canary),
    Buffer.from(canary).toString('base64').replace(/=+$/, ''),
    Buffer.from(canary).toString('hex'),
  ]
}

async function secrets(context: CaseContext): Promise<void> {
  const random = randomFrom(context.seed, 'secrets')
  const canaries = new Map<string, string>()
  const canary = (what: string): string => {
    const made = `canary${random.bytes(8).toString('hex')}`
    canaries.set(what, made)
    return made
  }
  const place = await openPlace('s3')
  const { at, sql, databaseUrl } = place
  const cloud = place.cloud as Cloud
  const faults: string[] = []
  const find = (where: string, text: string) => {
    for (const [what, value] of canaries)
      for (const shape of shapesOf(value)) if (text.includes(shape)) faults.push(`${what} stands in ${where}`)
  }
  let argumentsSeen = 0
  /** Of every process of the machine: a child of a command may have it, too. */
  const lookAtArguments = () => {
    for (const pid of readdirSync('/proc')) {
      if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue
      try {
        find(`the arguments of process ${pid}`, readFileSync(`/proc/${pid}/cmdline`, 'latin1'))
        argumentsSeen++
      } catch {
        // gone
      }
    }
  }
  try {
    const { accessKeyId, secretAccessKey, sessionToken } = cloud.session(86_400)
    canaries.set('the secret key of the cloud', secretAccessKey)
    canaries.set('the session token', sessionToken)
    const password = canary('the password of the database')
    await sql.query(`CREATE ROLE canary_user LOGIN SUPERUSER PASSWORD '${password}'`)
    const database = new URL(databaseUrl)
    database.username = 'canary_user'
    database.password = password
    const good = {
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
      AWS_SESSION_TOKEN: sessionToken,
      FIRN_DATABASE_URL: database.href,
      FIRN_QUEUE_URL: database.href,
      FIRN_SEARCH_URL: database.href,
      FIRN_LOG_LEVEL: 'trace',
      SOMETHING_ELSE: canary('a variable of somebody else'),
    }
    const withPassword = (what: string, url: string) => url.replace('SECRET', canary(what))
    const file = at.path('config.yaml')
    writeFileSync(
      file,
      [
        `database_url: ${withPassword('the password in the file', 'postgres://user:SECRET@127.0.0.1:1/none')}`,
        `queue_url: ${withPassword('the password of Redis in the file', 'redis://:SECRET@127.0.0.1:1')}`,
        `search_url: ${withPassword('the password of Elasticsearch in the file', 'http://elastic:SECRET@127.0.0.1:1')}`,
      ].join('\n'),
      { mode: 0o600 },
    )
    const secretFile = at.path('secret-url')
    writeFileSync(secretFile, withPassword('the password in a file of its own', 'postgres://user:SECRET@127.0.0.1:1/none'), {
      mode: 0o600,
    })

    const run = async (name: CommandName, args: readonly string[], env: NodeJS.ProcessEnv, ends?: number) => {
      const running = at.start(name, args, env)
      const looking = setInterval(lookAtArguments, 50)
      const stop = ends === undefined ? undefined : setTimeout(() => running.kill('SIGTERM'), ends)
      const ran = await running.ended
      clearInterval(looking)
      clearTimeout(stop)
      find(`what \`${name} ${args.join(' ')}\` prints`, `${ran.stdout}\n${ran.stderr}`)
      context.count('outputs searched for secrets', 1)
      return ran
    }

    plantTree(at.path('planted'), random)
    await run('firn', ['migrate', '-d'], good)
    const archived = await run('archive-files', ['-r', '-d', '--workers', '2', '-s', 'a description', 'planted'], good)
    if (archived.code !== 0 && archived.code !== 3)
      throw new Error(`archiving ended with ${archived.code}: ${archived.stderr.slice(-2_000)}`)
    await run('archive-files', ['-r', '--detach', '--force', '-d', 'planted'], good)
    await lookAtTables(sql, find, context)
    await run('firn', ['worker', '-d'], good, 6_000)
    await run('find-and-retrieve', ['--all', '-l', '--json', '-d'], good)
    await run('find-and-retrieve', ['--all', '--to', at.path('back'), '--yes', '-d'], good)
    for (const args of [['config'], ['config', '--origin'], ['config', '--json'], ['status'], ['doctor', '-d'], ['check', '-d']])
      await run('firn', args, good)
    for (const args of [['--help'], ['config', '--help'], ['worker', '--help'], ['rebuild-catalog', '--help']])
      await run('firn', args, good)
    await run('archive-files', ['--help'], good)
    await run('find-and-retrieve', ['--help'], good)

    // What goes wrong says why, and not with what.
    for (const command of [['config'], ['status'], ['doctor', '-d'], ['migrate', '-d']])
      await run('firn', [...command, '--config', file], {})
    await run('archive-files', ['-r', '-d', '--config', file, 'planted'], {})
    await run('firn', ['config', '--origin'], { FIRN_DATABASE_URL_FILE: secretFile })
    await run('firn', ['status', '-d'], { FIRN_DATABASE_URL_FILE: secretFile })
    const wrong: readonly NodeJS.ProcessEnv[] = [
      { FIRN_DATABASE_URL: withPassword('a password in a URL with a bad port', 'postgres://user:SECRET@127.0.0.1:port/x') },
      { FIRN_DATABASE_URL: withPassword('a password in a URL of another kind', 'mysql://user:SECRET@127.0.0.1/x') },
      { FIRN_DATABASE_URL: withPassword('a password in what is no URL', 'user:SECRET@nowhere') },
      {
        FIRN_DATABASE_URL: withPassword(
          'a password in the query',
          `${databaseUrl}${databaseUrl.includes('?') ? '&' : '?'}password=SECRET`,
        ),
      },
      { FIRN_QUEUE_URL: withPassword('the password of a Redis that is away', 'redis://user:SECRET@127.0.0.1:1/0') },
      { FIRN_SEARCH_URL: withPassword('the password of an Elasticsearch that is away', 'http://elastic:SECRET@127.0.0.1:1') },
      { FIRN_SEARCH_URL: withPassword('the password in a search URL of another kind', 'ftp://elastic:SECRET@127.0.0.1:1') },
      { FIRN_VAULT_URL: withPassword('a secret in a vault URL', 's3://key:SECRET@cold/x') },
      { FIRN_VAULT_URL: withPassword('a secret in an endpoint', 's3://cold?endpoint=http%3A%2F%2Fkey%3ASECRET%40127.0.0.1%3A1') },
      { FIRN_VAULT_URL: withPassword('a secret in an option', 's3://cold?secret=SECRET') },
    ]
    for (const env of wrong) {
      await run('firn', ['config'], env)
      await run('firn', ['doctor', '-d'], { ...good, ...env })
    }
    for (const env of wrong.slice(4))
      await run('archive-files', ['-r', '-d', '--workers', '1', 'planted'], { ...good, ...env }, 8_000)

    for (const { key } of cloud.s3.objects('cold')) {
      const bytes = await cloud.s3.read('cold', key)
      find(`the object ${key}`, (key.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('latin1'))
      context.count('objects searched for secrets', 1)
    }
    // Logs of the database, journals, whatever lies about; but not the database's own pages, which hold the role's password hashed.
    for (const found of readdirSync(at.directory, { recursive: true, withFileTypes: true })) {
      const path = join(found.parentPath, found.name)
      if (!found.isFile() || path === file || path === secretFile || /\/(base|global|pg_wal|pg_xact)\//.test(path)) continue
      if (['planted', 'back'].some((name) => path.startsWith(at.path(name, '/')))) continue // the user's own
      find(path, readFileSync(path, 'latin1'))
      context.count('files searched for secrets', 1)
    }
    context.count('arguments of processes searched for secrets', argumentsSeen)
    fail('I8', [...new Set(faults)])
  } finally {
    await place.close()
  }
}

/** The jobs that wait are among them. */
async function lookAtTables(sql: pg.Pool, find: (where: string, text: string) => void, { count }: CaseContext): Promise<void> {
  const { rows } = await sql.query<{ name: string }>(
    `SELECT format('%I.%I', table_schema, table_name) AS name FROM information_schema.tables
     WHERE table_schema NOT IN ('pg_catalog', 'information_schema') AND table_type = 'BASE TABLE'`,
  )
  if (rows.length < 10) throw new Error('the tables of the catalog are not where they are looked for')
  for (const { name } of rows) {
    const all = await sql.query<{ row: string }>(`SELECT t::text AS row FROM ${name} t`)
    find(`the table ${name}`, all.rows.map(({ row }) => row).join('\n'))
    count('tables searched for secrets', 1)
  }
}

export const SECRETS: readonly Case[] = [{ name: 'secrets', run: secrets }]
