/** Every error that Firn throws on purpose: a code for programs, a sentence for people, and the exit code it ends a command with. */

/** The exit codes of every command; the same table stands in `--help`. */
export const EXIT = {
  done: 0,
  failed: 1,
  usage: 2,
  incomplete: 3,
  nothingMatched: 4,
  noConsent: 5,
  tryAgain: 75,
} as const

export type ExitCode = (typeof EXIT)[keyof typeof EXIT]

const EXIT_OF = {
  /** The command line, the configuration or the environment is wrong; nothing was begun. */
  usage: EXIT.usage,
  /** A vault refuses to be written: no permission, owned by another catalog. */
  'vault-refused': EXIT.usage,
  /** What is at the vault's place is not the vault: its disk is not mounted, or it is gone. */
  'vault-away': EXIT.tryAgain,
  /** A vault has no room left. The run stops. */
  'vault-full': EXIT.failed,
  /** A vault failed in a way that may pass: retry, and in the end tell the caller to come back. */
  'vault-failed': EXIT.tryAgain,
  /** An object is not in the vault. */
  'vault-missing': EXIT.failed,
  /** An object is there already under a name that must be new. */
  'vault-exists': EXIT.failed,
  /** An object is cold: it must be thawed before it can be read. */
  'vault-frozen': EXIT.failed,
  /** Bytes are not what their hash or their format says. */
  damaged: EXIT.failed,
  /** The database cannot be had or refuses. */
  database: EXIT.failed,
  /** The database has no room left, and whoever stands on it ends: nothing would be recorded. */
  'database-full': EXIT.failed,
  /** The database was made by a newer Firn. */
  'database-newer': EXIT.usage,
  /** The search index does not answer, or is not there. It is a cache: finding goes on without it, and what waits for it comes later. */
  'search-away': EXIT.tryAgain,
  /** The lease was lost to another attempt: this one must change nothing any more. */
  'lease-lost': EXIT.failed,
  /** A restore target cannot be trusted or written. */
  'target-refused': EXIT.usage,
  /** A restore target takes nothing more: it is full, or its device fails. The retrieval stops, and the same command goes on with it. */
  'target-failed': EXIT.failed,
  'nothing-matched': EXIT.nothingMatched,
  'no-consent': EXIT.noConsent,
  'try-again': EXIT.tryAgain,
  /** Anything else that Firn foresaw. */
  failed: EXIT.failed,
} as const satisfies Record<string, ExitCode>

export type ErrorCode = keyof typeof EXIT_OF

/** `message` is one sentence: what is wrong and what to do. */
export class FirnError extends Error {
  readonly code: ErrorCode

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options)
    this.name = 'FirnError'
    this.code = code
  }
}

export const isFirnError = (error: unknown, ...codes: ErrorCode[]): error is FirnError =>
  error instanceof FirnError && (codes.length === 0 || codes.includes(error.code))

/** The exit code that an error ends a command with. */
export const exitCodeOf = (error: unknown): ExitCode => (error instanceof FirnError ? EXIT_OF[error.code] : EXIT.failed)

/** The code of a Node system error (`ENOENT` ...), or undefined. */
export function errnoOf(error: unknown): string | undefined {
  // Asked by shape: in a test sandbox the file system's errors are of another realm, and `instanceof Error` says no.
  const code = typeof error === 'object' && error !== null ? (error as NodeJS.ErrnoException).code : undefined
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : undefined
}

/** Not yet, and no failure: whoever runs the step shall come back later. Uses up no attempt. */
export class Postpone extends Error {
  readonly afterMs: number

  constructor(afterMs: number) {
    super(`come back in ${afterMs} ms`)
    this.name = 'Postpone'
    this.afterMs = afterMs
  }
}
