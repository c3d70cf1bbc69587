/**
 * How the embedded server is set up. Given on the command line at each start, so that a newer Firn brings newer settings to an old home.
 */
export function serverSettings(socketDirectory: string, durable: boolean): string[] {
  const settings: Record<string, string | number> = {
    // Reached only through a socket in a directory of mode 0700: no port, no password.
    listen_addresses: '',
    port: 5432,
    unix_socket_directories: quoteList(socketDirectory),
    unix_socket_permissions: '0700',
    cluster_name: 'firn',
    // Several commands at once, each with a pool of as many as it has workers, and some.
    max_connections: 300,

    // One machine shared with what is archived: modest memory, and no compiler for queries that take milliseconds.
    shared_buffers: '128MB',
    work_mem: '8MB',
    maintenance_work_mem: '128MB',
    jit: 'off',
    // Its files are in the kernel's cache for the most part: three more processes to read them only make way for each other.
    io_method: 'sync',

    // Nobody replicates an embedded database. Few, large checkpoints: file rows come in by the hundred thousand.
    wal_level: 'minimal',
    max_wal_senders: 0,
    wal_buffers: '16MB',
    max_wal_size: '2GB',
    checkpoint_timeout: '15min',
    // Commands are short: at the usual minute nobody would ever clean up, or count for the planner, behind those of seconds.
    autovacuum_naptime: '5s',

    timezone: 'UTC',
    log_timezone: 'UTC',
    log_checkpoints: 'off',
    // Statements carry the paths of users' files, and would fill the log.
    log_min_error_statement: 'panic',

    // What is reported archived must survive a power cut. Only tests do without.
    fsync: durable ? 'on' : 'off',
    synchronous_commit: 'on',
    full_page_writes: durable ? 'on' : 'off',
  }
  return Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
}

const quoteList = (path: string): string => `"${path.replaceAll('"', '""')}"`
