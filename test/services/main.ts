/**
 * `npm run test:services`: the suites against real servers and with every tool that reads tars, ACLs and attributes. Installs what is
 * missing (as root), starts the servers on places of their own, and stops them again; one that is there already is taken where its
 * variable names it (FIRN_TEST_REDIS_URL=redis://...). Here a missing server or tool is a failure, never a skip. Arguments go to Jest;
 * FIRN_TEST_SERVERS=postgres,redis starts only those (then the others' suites fail).
 */
import { spawnSync } from 'node:child_process'
import { SERVERS, startServers } from './start.js'

/** What suites import that need a server or a tool. */
const MAKE_USE_OF_THEM = ['dist/test/tools.js', 'dist/test/database.js']
const TOOLS = ['libarchive-tools', 'tar', 'python3', 'acl', 'attr']

const chosen = process.env['FIRN_TEST_SERVERS']?.split(',')
const servers = await startServers(
  SERVERS.filter(({ name }) => chosen?.includes(name) ?? true),
  TOOLS,
)
let code = 1
try {
  const env = { ...process.env, FIRN_TEST_SERVICES: '1', ...servers.env }
  const flags = ['--experimental-vm-modules', '--disable-warning=ExperimentalWarning', 'node_modules/jest/bin/jest.js']
  const given = process.argv.slice(2)
  // Suites that no server and no tool is anything to were run by `npm test`, and would show nothing new.
  const concerned = given.some((arg) => !arg.startsWith('-')) ? [] : ['--findRelatedTests', ...MAKE_USE_OF_THEM]
  code = spawnSync(process.execPath, [...flags, ...given, ...concerned], { stdio: 'inherit', env }).status ?? 1
} finally {
  await servers.stop()
}
process.exit(code)
