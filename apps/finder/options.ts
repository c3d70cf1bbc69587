/** The command line of `find-and-retrieve`, and what it means. */
import { type Command, Option } from 'commander'
import type { FindRequest } from '#libs/archive/find.js'
import type { Selection } from '#libs/catalog/catalog.js'
import { FirnError } from '#libs/errors/errors.js'
import { absolutePath, typedPaths } from '#libs/runtime/typed-paths.js'
import { parseQuery } from '#libs/search/query.js'
import type { ThawTier } from '#libs/vault/vault.js'

export interface FindFlags {
  readonly search?: string
  readonly archiveid?: string[]
  readonly path?: string[]
  readonly set?: string[]
  readonly all?: boolean
  readonly asOf?: string
  readonly gone?: boolean
  readonly allVersions?: boolean
  readonly dryRun?: boolean
  readonly list?: boolean
  readonly host?: string
  readonly to?: string
  readonly overwrite?: boolean
  readonly wholeBundles?: boolean
  readonly setuid?: boolean
  readonly tier: ThawTier
  readonly days: string
  readonly maxCost?: string
  readonly yes?: boolean
  readonly json?: boolean
  readonly quiet?: boolean
  readonly progress: boolean
  readonly detach?: boolean
  readonly debug?: boolean
  readonly config?: string
}

/** Of an option that may be given several times. */
const collect = (value: string, before: string[] | undefined) => [...(before ?? []), value]

export function findOptions(command: Command): Command {
  return command
    .description('Finds archived files, and brings them back whole: thawed, verified, placed.')
    .option('-s, --search <query>', 'words in any case, ANDed; "quoted phrase"; -word excluded; over path, tags, description')
    .option('-a, --archiveid <id>', "a bundle id or the vault's own archive id (repeatable)", collect)
    .option('--path <path>', 'everything at or below it (repeatable)', collect)
    .option('--set <id>', 'only what that set archived (repeatable)', collect)
    .option('--all', 'everything')
    .option(
      '--as-of <time>',
      'the tree as it was then, such as 2026-11-21 or 2026-11-21T12:00Z: of each path the newest version archived not later, unless it was gone',
    )
    .option('--gone', 'with --as-of: also what was gone by then')
    .option('--all-versions', 'every version, restored below a directory for each set')
    .option('-r, --dry-run', 'CSV, one line per archive that would be needed: vault,archive_id; nothing is requested')
    .option('-l, --list', 'the matching files; nothing is requested')
    .option('--host <name>', "only that host's files")
    .option('--to <dir>', 'where files are restored (default: $FIRN_RESTORE_DIR)')
    .option('--overwrite', 'replace what exists')
    .option('--whole-bundles', 'every file of each bundle that holds a match')
    .option('--setuid', 'keep setuid and setgid')
    .addOption(new Option('--tier <tier>', 'how fast to thaw').choices(['expedited', 'standard', 'bulk']).default('standard'))
    .option('--days <n>', 'how many days a thawed copy stays readable', '7')
    .option('--max-cost <usd>', 'refuse a retrieval that costs more (exit 5)')
    .option('--yes', 'agree to the price without being asked')
    .option('--json', 'NDJSON messages on stdout')
    .option('--quiet', 'print only problems and errors')
    .option('--no-progress', 'no progress line')
    .option('--detach', 'return at once; `firn retriever` completes it')
    .option('-d, --debug', 'debug log on stderr')
    .option('--config <file>', 'configuration file (default: $XDG_CONFIG_HOME/firn/config.yaml)')
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

export function requestFrom(flags: FindFlags): FindRequest {
  const { search, archiveid: archiveIds = [], path: paths = [], set: setIds = [] } = flags
  const selects = search !== undefined || archiveIds.length + paths.length + setIds.length > 0
  if (!selects && !flags.all) {
    throw new FirnError('usage', 'nothing is selected: give --search, --archiveid, --path or --set, or --all for everything')
  }
  if (search !== undefined) parseQuery(search) // says now what is wrong with it
  for (const id of setIds) {
    if (!UUID.test(id))
      throw new FirnError('usage', `--set takes the id of a set (firn status lists them), not ${JSON.stringify(id)}`)
  }
  const selection: Selection = {
    ...(archiveIds.length > 0 && { archiveIds }),
    ...(paths.length > 0 && { paths: typedPaths(paths).map(absolutePath) }),
    ...(setIds.length > 0 && { setIds: setIds.map((id) => id.toLowerCase()) }),
    ...(flags.host !== undefined && { host: flags.host }),
    ...(flags.asOf !== undefined && { asOf: timeFrom(flags.asOf) }),
    ...((flags.gone || (flags.list && flags.asOf === undefined)) && { gone: true }),
    ...(flags.allVersions && { allVersions: true }),
  }
  return { selection, ...(search !== undefined && { query: search }) }
}

/** A day means its end: `--as-of 2026-11-21` includes what was archived on that day (local time). */
function timeFrom(text: string): Date {
  const [, year, month, day, rest] = /^(\d{4})-(\d{2})-(\d{2})(.*)$/s.exec(text) ?? []
  // JavaScript takes the 30th of February for the 2nd of March.
  const isDay =
    year === undefined ||
    new Date(Date.UTC(Number(year), Number(month) - 1, Number(day))).toISOString().startsWith(text.slice(0, 10))
  const time = rest === '' ? new Date(Number(year), Number(month) - 1, Number(day), 23, 59, 59, 999) : new Date(text)
  if (Number.isNaN(time.getTime()) || !isDay) {
    throw new FirnError('usage', `--as-of takes a time such as 2026-11-21 or 2026-11-21T12:00Z, not ${JSON.stringify(text)}`)
  }
  return time
}

export function daysFrom(text: string): number {
  const days = Number(text)
  if (!Number.isInteger(days) || days < 1 || days > 3650) {
    throw new FirnError('usage', `--days takes a whole number from 1 to 3650, not ${JSON.stringify(text)}`)
  }
  return days
}

export function maxCostFrom(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const usd = Number(text)
  if (text.trim() === '' || !Number.isFinite(usd) || usd < 0) {
    throw new FirnError('usage', `--max-cost takes an amount in US dollars, not ${JSON.stringify(text)}`)
  }
  return usd
}
