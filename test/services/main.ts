/**
 * `npm run test:services`: the suites against real servers and with every tool that reads tars, ACLs and attributes. Installs what is
 * missing (as root), starts the servers on places of their own, and stops them again. Here a missing server or tool is a failure,
 * never a skip. Arguments go to Jest; FIRN_TEST_SERVERS=postgres,redis starts only those (then the others' suites fail).
 */
import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { elasticsearch, elasticsearch8 } from './elasticsearch.js'
import { localstack } from './localstack.js'
import { moto } from './moto.js'
import { postgres } from './postgres.js'
import { redis } from './redis.js'
import { installPackages, type Server, type Started, serversDirectory } from './server.js'
import { versitygw } from './versitygw.js'

const SERVERS: readonly Server[] = [postgres, redis, elasticsearch, elasticsearch8, versitygw, localstack, moto]
/** What suites import that need a server or a tool. */
const MAKE_USE_OF_THEM = ['dist/test/tools.js', 'dist/test/database.js']
const TOOLS = ['libarchive-tools', 'tar', 'python3', 'acl', 'attr']

const chosen = process.env['FIRN_TEST_SERVERS']?.split(',')
const servers = SERVERS.filter(({ name }) => chosen?.includes(name) ?? true)

installPackages([...TOOLS, ...servers.flatMap(({ packages }) => packages)])
const scratch = mkdtempSync(join(tmpdir(), 'firn-srv-'))
chmodSync(scratch, 0o711) // some servers have users of their own, who must get to their place
const started: Started[] = []
let code = 1
try {
  for (const server of servers) {
    const kept = join(serversDirectory(), server.name)
    const own = join(scratch, server.name)
    mkdirSync(kept, { recursive: true })
    mkdirSync(own)
    process.stderr.write(`starting ${server.name}\n`)
    await server.install(kept)
    started.push(await server.start(kept, own))
  }
  const env = Object.assign({}, process.env, { FIRN_TEST_SERVICES: '1' }, ...started.map((one) => one.env)) as NodeJS.ProcessEnv
  const flags = ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning', 'node_modules/jest/bin/jest.js']
  const given = process.argv.slice(2)
  // Suites that no server and no tool is anything to were run by `npm test`, and would show nothing new.
  const concerned = given.some((arg) => !arg.startsWith('-')) ? [] : ['--findRelatedTests', ...MAKE_USE_OF_THEM]
  code = spawnSync(process.execPath, [...flags, ...given, ...concerned], { stdio: 'inherit', env }).status ?? 1
} finally {
  for (const server of started.reverse()) await server.stop().catch((error) => console.error(String(error)))
  rmSync(scratch, { recursive: true, force: true })
}
process.exit(code)
