/** What a person has to do, and what he may type for it: Firn and its peers, job by job. */
import type { Tree } from './trees.js'

export interface Place {
  readonly tree: Tree
  /** Where the tree lies. */
  readonly directory: string
  /** For what is made; below it `vault` is Firn's. */
  readonly out: string
  /** FIRN_HOME. */
  readonly home: string
}

/** One way to do a job, for `bash -c`. */
export interface Contender {
  readonly name: string
  readonly command: string
  /** What has to be done before each round, and is not measured. */
  readonly before?: string
  /** The tool that must be there. */
  readonly tool?: string
}

export interface Job {
  readonly name: string
  readonly what: string
  /** Once, for all its contenders, and not measured. */
  readonly before?: (place: Place) => string
  /** The first is what the others are compared with. */
  readonly contenders: (place: Place) => readonly Contender[]
}

const program = (path: string): string => `node ${new URL(`../${path}`, import.meta.url).pathname}`
const archiveFiles = `${program('apps/crawler/main.js')} -r`
const findAndRetrieve = program('apps/finder/main.js')
const firn = program('apps/firn.js')

/** An existing FIRN_HOME: the database was made by an earlier run, and knows nothing of the tree. */
const newHome = ({ out, home }: Place): string =>
  `rm -rf ${out} ${home} && mkdir -p ${out}/one && touch ${out}/one/file && ${archiveFiles} ${out}/one`
const emptied = ({ out }: Place): string => `rm -rf ${out} && mkdir -p ${out}`

const tarOf = (directory: string): string => `-C / ${directory.slice(1)}`
/** A look at every file, as a program has to take it that wants to know what changed. */
const find = (directory: string): string => `find ${directory} -type f -printf '%s %T@ %p\\n'`

const restic = (out: string, command: string): string => `RESTIC_PASSWORD=bench restic -q -r ${out}/restic ${command}`
const resticBackup = (out: string, directory: string): string => `${restic(out, 'init')} && ${restic(out, `backup ${directory}`)}`

const ARCHIVE: Job = {
  name: 'archive',
  what: 'archived',
  contenders(place) {
    const { tree, directory, out } = place
    const large = tree.name === 'L' || tree.name === 'M'
    const before = emptied(place)
    return [
      large
        ? {
            name: 'tar cf out.tar; sha256sum out.tar',
            command: `tar cf ${out}/out.tar ${tarOf(directory)} && sha256sum ${out}/out.tar`,
            before,
          }
        : { name: 'tar cf - | sha256sum', command: `tar cf - ${tarOf(directory)} | sha256sum`, before },
      { name: 'firn archive-files', command: `${archiveFiles} ${directory}`, before: newHome(place) },
      { name: 'restic backup, new repository', tool: 'restic', command: resticBackup(out, directory), before },
      {
        name: 'borg create, no compression, no encryption',
        tool: 'borg',
        command: `borg init -e none ${out}/borg && borg create -C none ${out}/borg::a ${directory}`,
        before,
      },
      { name: 'rclone copy', tool: 'rclone', command: `rclone -q copy ${directory} ${out}/rclone`, before },
      { name: 'cp -a', command: `cp -a ${directory} ${out}/cp`, before },
    ]
  },
}

const AGAIN: Job = {
  name: 'again',
  what: 'archived again, nothing changed',
  before: (place) =>
    `${newHome(place)} && ${archiveFiles} ${place.directory} && ${ifThere('restic', resticBackup(place.out, place.directory))}`,
  contenders: ({ directory, out }) => [
    { name: 'find -type f -printf', command: find(directory) },
    { name: 'firn archive-files', command: `${archiveFiles} ${directory}` },
    { name: 'restic backup', tool: 'restic', command: restic(out, `backup ${directory}`) },
  ],
}

const CRAWL: Job = {
  name: 'crawl',
  what: 'crawled, and nothing else',
  before: newHome,
  contenders: ({ directory }) => [
    { name: 'find -type f -printf', command: find(directory) },
    { name: 'firn archive-files --dry-run', command: `${archiveFiles} --dry-run --quiet ${directory}` },
    { name: 'fast-glob, every entry with its lstat', command: `${program('bench/fast-glob.js')} ${directory}` },
  ],
}

const RESTORE: Job = {
  name: 'restore',
  what: 'restored',
  before: (place) => {
    const { directory, out } = place
    const others = [`tar cf ${out}/out.tar ${tarOf(directory)}`, ifThere('restic', resticBackup(out, directory))]
    return [newHome(place), `${archiveFiles} ${directory}`, ...others].join(' && ')
  },
  contenders({ tree, directory, out }) {
    // Not removed where it has many files: ext4 spares inodes that were just freed, and looks for others one by one.
    const aside = tree.files > 20_000 ? `! [ -e ${out}/back ] || mv ${out}/back ${out}/back-$RANDOM-$$` : `rm -rf ${out}/back`
    const before = `{ ${aside}; } && mkdir ${out}/back`
    return [
      { name: 'tar xf', command: `tar xf ${out}/out.tar -C ${out}/back`, before },
      { name: 'firn find-and-retrieve', command: `${findAndRetrieve} --path ${directory} --to ${out}/back`, before },
      { name: 'restic restore', tool: 'restic', command: restic(out, `restore latest --target ${out}/back`), before },
    ]
  },
}

/** In B it has 5,746 bytes. */
const ONE_FILE = 'd7/dir-7/file-195.dat'

const ONE: Job = {
  name: 'one',
  what: `${ONE_FILE} brought back out of one archive`,
  before: (place) => {
    const { directory, out } = place
    const others = [`tar cf ${out}/out.tar ${tarOf(directory)}`, ifThere('restic', resticBackup(out, directory))]
    const whole = '--files-per-bundle 1000000 --bundle-size 10GB'
    return [newHome(place), `${archiveFiles} ${whole} ${directory}`, ...others].join(' && ')
  },
  contenders({ directory, out }) {
    const before = `rm -rf ${out}/back && mkdir ${out}/back`
    const path = `${directory}/${ONE_FILE}`
    return [
      { name: 'tar xf, that file', command: `tar xf ${out}/out.tar -C ${out}/back ${path.slice(1)}`, before },
      { name: 'firn find-and-retrieve', command: `${findAndRetrieve} --path ${path} --to ${out}/back`, before },
      {
        name: 'restic restore',
        tool: 'restic',
        command: restic(out, `restore latest --include ${path} --target ${out}/back`),
        before,
      },
    ]
  },
}

const START: Job = {
  name: 'start',
  what: 'begun',
  before: (place) => `${newHome(place)} && ${archiveFiles} ${place.directory}`,
  contenders: ({ home }) => [
    { name: 'node, with nothing to do', command: "node -e ''" },
    { name: 'archive-files --help', command: `${archiveFiles} --help` },
    { name: 'find-and-retrieve -l of one name', command: `${findAndRetrieve} -s 'file 4711' -l || [ $? = 4 ]` },
    {
      name: 'firn status, in a new FIRN_HOME',
      command: `FIRN_HOME=${home}-new ${firn} status`,
      before: `rm -rf ${home}-new`,
    },
  ],
}

export const JOBS: readonly Job[] = [ARCHIVE, AGAIN, CRAWL, RESTORE, ONE, START]

const ifThere = (tool: string, command: string): string => `if command -v ${tool} >/dev/null; then ${command}; fi`
