/**
 * Zod, loaded as CommonJS, whose files are opened one after the other: as modules Node opens all fifty of its languages at once, and where
 * a process may have 64 open files it does not even start.
 */
import { createRequire } from 'node:module'

export const { z } = createRequire(import.meta.url)('zod') as typeof import('zod')
