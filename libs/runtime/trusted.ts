/** Whether the files and directories of the configuration can be trusted, in words. */
import { errnoOf } from '#libs/errors/errors.js'
import { rawFromText } from '#libs/os/raw.js'
import { followTrusted, NotTrusted } from '#libs/os/trusted-path.js'

/** The reason as the rest of a sentence; undefined for what can be trusted, is not there, or cannot be looked at: that is said when it is opened. */
export function whyPathIsNotTrusted(path: string): string | undefined {
  try {
    followTrusted(rawFromText(path))
    return undefined
  } catch (error) {
    if (error instanceof NotTrusted) return error.message
    if (errnoOf(error) !== undefined) return undefined
    throw error
  }
}
