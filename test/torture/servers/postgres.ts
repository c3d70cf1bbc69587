/**
 * The catalog's Postgres crashes, is away for longer than a lease, has no connection left, ends sessions, and makes victims of
 * transactions, while workers archive. The queue is in it too.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { Case } from '../case.js'
import { type Crew, until, withCrew } from '../crew.js'
import { type Random, randomFrom } from '../random.js'
import { inTheMiddle, type Middle } from './in-the-middle.js'

/** Longer than a lease, which lasts 60 s. */
const AWAY_MS = 65_000

/** So long are there no connections for anybody. */
const FULL_MS = 15_000

const CRASHES = 3

function postgresCase(
  what: string,
  strike: (crew: Crew, random: Random) => Promise<void>,
  more: Omit<Middle, 'strike'> = {},
): Case {
  const name = `servers/postgres-${what}`
  return {
    name,
    waits: true,
    run: (context) =>
      withCrew(context, (crew) =>
        inTheMiddle(crew, name, { ...more, strike: () => strike(crew, randomFrom(context.seed, `${name} strikes`)) }),
      ),
  }
}

/** It answers: a server that crashed recovers first. */
const isBack = ({ place }: Crew) =>
  until('the database to be back', 60, () =>
    place.sql.query('SELECT 1').then(
      () => true,
      () => false,
    ),
  )

async function crash(crew: Crew, random: Random): Promise<void> {
  for (let crashes = 0; crashes < CRASHES; crashes++) {
    await crew.place.database.crash()
    await isBack(crew)
    crew.context.count('crashes of the database', 1)
    await sleep(random.below(1_000))
  }
}

async function stayAway(crew: Crew): Promise<void> {
  await crew.place.database.stop()
  await sleep(AWAY_MS)
  await crew.place.database.start()
  await isBack(crew)
}

/** Another takes every connection that there is; those that Firn has it loses, and gets none. */
async function eatConnections(crew: Crew): Promise<void> {
  const { place, context } = crew
  const eaters: pg.Client[] = []
  const end = Date.now() + FULL_MS
  try {
    for (let refused = 0; Date.now() < end; ) {
      const client = new pg.Client({ connectionString: place.databaseUrl, application_name: 'eater' })
      client.on('error', () => {})
      try {
        await client.connect()
        eaters.push(client)
      } catch {
        // All are taken: from those that have one already, one after the other.
        refused++
        if (refused === 1) await endSessions(eaters[0] as pg.Client, 100)
        else await sleep(50)
      }
    }
    context.count('connections taken away', eaters.length)
  } finally {
    await Promise.all(eaters.map((client) => client.end()))
  }
}

const OF_FIRN = `datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
  AND application_name NOT IN ('eater', 'torture') AND application_name NOT LIKE 'firn presence%'`

/** Ends so many percent of Firn's sessions. */
async function endSessions(by: Pick<pg.Client, 'query'>, percent: number): Promise<number> {
  const { rowCount } = await by.query(
    `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE ${OF_FIRN} AND random() * 100 < $1`,
    [percent],
  )
  return rowCount ?? 0
}

/** Every now and then some of Firn's sessions are ended, whatever they are doing. */
async function terminate(crew: Crew, random: Random): Promise<void> {
  const { place, context } = crew
  for (let times = 0; times < 15; times++) {
    context.count('sessions of the database ended', await endSessions(place.sql, 30))
    await sleep(100 + random.below(300))
  }
}

const TABLES = ['bundle', 'file', '"set"', 'problem', 'worker']

/** Of a hundred statements that write into the catalog so many are called the victim of a deadlock, or of another transaction. */
const VICTIMS_PERCENT = 7

async function makeVictims({ place, context }: Crew): Promise<void> {
  const { sql } = place
  await sql.query('CREATE SEQUENCE torture_victims')
  await sql.query(
    `CREATE FUNCTION torture_victim() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
       IF random() * 100 < ${VICTIMS_PERCENT} THEN
         PERFORM nextval('torture_victims');
         IF random() < 0.5 THEN RAISE EXCEPTION 'could not serialize access (torture)' USING ERRCODE = '40001';
         ELSE RAISE EXCEPTION 'deadlock detected (torture)' USING ERRCODE = '40P01'; END IF;
       END IF;
       RETURN NULL; END $$`,
  )
  for (const table of TABLES) {
    await sql.query(
      `CREATE TRIGGER torture_victim AFTER INSERT OR UPDATE ON ${table} FOR EACH STATEMENT EXECUTE FUNCTION torture_victim()`,
    )
  }
  await sleep(8_000)
  for (const table of TABLES) await sql.query(`DROP TRIGGER torture_victim ON ${table}`)
  const { rows } = await sql.query<{ n: string }>(`SELECT last_value AS n FROM torture_victims`)
  context.count('statements made victims', Number(rows[0]?.n))
}

export const POSTGRES: readonly Case[] = [
  postgresCase('crashes', crash),
  postgresCase('away', stayAway),
  postgresCase('full', eatConnections),
  postgresCase('sessions-ended', terminate, { bundles: 200 }),
  postgresCase('victims', makeVictims, { bundles: 200 }),
]
