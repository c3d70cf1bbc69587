/** Why the embedded server cannot run on a machine, in a sentence each. */
import { FirnError } from '#libs/errors/errors.js'

/** As in containers that are run under a bare number. */
export const nameless = (): FirnError =>
  new FirnError(
    'usage',
    `The embedded database cannot be made: user ${process.getuid?.()} has no name in /etc/passwd, and Postgres insists on one. ` +
      'Add a line for it, run as another user, or set FIRN_DATABASE_URL.',
  )

/** The program is there, but the kernel does not find its loader. */
export const wrongLibrary = (): FirnError =>
  new FirnError(
    'usage',
    'The embedded database cannot run here: its programs need the GNU C library (not musl, as on Alpine). Set FIRN_DATABASE_URL to a Postgres server.',
  )

export const mayNotSwitchUser = (): FirnError =>
  new FirnError(
    'usage',
    'The embedded database cannot run here: Postgres refuses to run as root, and this root may not switch to another user. ' +
      'Run as an ordinary user, or set FIRN_DATABASE_URL.',
  )
