/**
 * The images that docker-compose.yml and the Dockerfile take from registries, made on this machine: Debian by debootstrap, Node from this
 * machine, the servers from Debian, Maven Central and the Go module proxy. What is there already is kept.
 */
import { execFileSync } from 'node:child_process'
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, realpathSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fetchZip } from '../services/elasticsearch.js'
import { goProgram } from '../services/go.js'
import { installPackages, serversDirectory } from '../services/server.js'
import type { Engine } from './engine.js'

const DEBIAN = 'firn-test/debian:bookworm'
const SERVICES = 'firn-test/services:latest'
const ELASTICSEARCH = '8.19.1' // for Debian's Java 17
const VERSITYGW = 'github.com/versity/versitygw/cmd/versitygw@v1.8.0'
const CERTIFICATES = '/etc/ssl/certs/ca-certificates.crt'

/** `project`: the root of the sources. */
export function makeImages(engine: Engine, project: string, scratch: string): void {
  const has = (image: string) => engine.ask('image', 'inspect', image) !== undefined
  const node = /^ARG NODE_IMAGE=(.+)$/m.exec(readFileSync(join(project, 'Dockerfile'), 'utf8'))?.[1] as string
  const missing = [node, SERVICES].filter((image) => !has(image))
  if (missing.length > 0 && !has(DEBIAN)) makeDebian(scratch)
  if (missing.includes(node)) makeNode(engine, node, scratch)
  if (missing.includes(SERVICES)) makeServices(engine, project, scratch)
}

function makeDebian(scratch: string): void {
  installPackages(['debootstrap'])
  const root = join(scratch, 'debian')
  run('debootstrap', '--variant=minbase', 'bookworm', root)
  run('sh', '-c', `tar -C '${root}' -c . | docker import - ${DEBIAN} && rm -rf '${root}'`)
}

function makeNode(engine: Engine, image: string, scratch: string): void {
  const context = join(scratch, 'node')
  mkdirSync(context)
  copyFileSync(realpathSync(process.execPath), join(context, 'node'))
  copyFileSync(CERTIFICATES, join(context, 'ca-certificates.crt'))
  const npm = dirname(dirname(realpathSync(execFileSync('sh', ['-c', 'command -v npm'], { encoding: 'utf8' }).trim())))
  cpSync(npm, join(context, 'npm'), { recursive: true, dereference: true })
  const lines = [
    `FROM ${DEBIAN}`,
    `COPY ca-certificates.crt ${CERTIFICATES}`,
    'COPY node /usr/local/bin/node',
    'COPY npm /usr/local/lib/node_modules/npm',
    'RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm && npm --version',
    `ENV NODE_EXTRA_CA_CERTS=${CERTIFICATES}`,
  ]
  writeFileSync(join(context, 'Dockerfile'), `${lines.join('\n')}\n`)
  engine.docker('build', '-q', '-t', image, context)
}

function makeServices(engine: Engine, project: string, scratch: string): void {
  const kept = join(serversDirectory(), 'containers')
  mkdirSync(kept, { recursive: true })
  const gateway = join(kept, 'versitygw')
  if (!existsSync(gateway)) {
    execFileSync(goProgram(), ['install', VERSITYGW], {
      stdio: ['ignore', 2, 2],
      env: { ...process.env, GOBIN: kept, CGO_ENABLED: '0' },
    })
  }
  installPackages(['maven', 'unzip'])
  const zip = fetchZip(ELASTICSEARCH, kept)
  const context = join(scratch, 'services')
  cpSync(join(project, 'test/containers/services'), context, { recursive: true })
  copyFileSync(gateway, join(context, 'versitygw'))
  run('unzip', '-q', zip, '-d', context)
  run('mv', join(context, `elasticsearch-${ELASTICSEARCH}`), join(context, 'elasticsearch'))
  engine.docker('build', '-q', '--network', 'host', '-t', SERVICES, context)
}

const run = (program: string, ...args: string[]): void => void execFileSync(program, args, { stdio: ['ignore', 2, 2] })
