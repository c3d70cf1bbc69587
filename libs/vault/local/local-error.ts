/** What the file system says, in the words of the Vault port: translated once, here, and decided on the code, never on the text. */
import { errnoOf, FirnError, isFirnError } from '#libs/errors/errors.js'

/** `what`: the beginning of the sentence, for example `The vault local:/srv/vault cannot take a.tar`. */
export function localError(error: unknown, what: string): unknown {
  const errno = errnoOf(error)
  // Errors that are said already, and an abort, are for the caller as they are.
  if (errno === undefined || isFirnError(error)) return error
  switch (errno) {
    case 'ENOSPC':
      return new FirnError('vault-full', `${what}: no space is left on its disk. Make room or choose another vault.`, {
        cause: error,
      })
    case 'EDQUOT':
      return new FirnError('vault-full', `${what}: the disk quota is used up. Make room or choose another vault.`, {
        cause: error,
      })
    case 'EACCES':
    case 'EPERM':
      return new FirnError('vault-refused', `${what}: no permission (${pathOf(error)}).`, { cause: error })
    case 'EROFS':
      return new FirnError('vault-refused', `${what}: its file system is mounted read-only.`, { cause: error })
    case 'ENOTDIR':
    case 'EISDIR':
    case 'ELOOP':
    case 'ENAMETOOLONG':
      return new FirnError('vault-refused', `${what}: the path cannot be used (${errno}, ${pathOf(error)}).`, { cause: error })
    case 'EFBIG':
      return new FirnError('vault-refused', `${what}: its file system does not hold files of that size.`, { cause: error })
    case 'ENOENT':
      return new FirnError('vault-missing', `${what}: it is not there.`, { cause: error })
    case 'EEXIST':
      return new FirnError('vault-exists', `${what}: there is an object of that name already.`, { cause: error })
    default:
      return new FirnError('vault-failed', `${what}: ${(error as Error).message}.`, { cause: error })
  }
}

const pathOf = (error: unknown): string => (error as NodeJS.ErrnoException).path ?? 'path unknown'
