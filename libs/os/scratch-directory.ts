/** A directory of a test's own, gone afterwards. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from '@jest/globals'

/** Call it at the top of a test file. */
export function scratchDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), 'firn-'))
  afterAll(() => rmSync(path, { recursive: true, force: true }))
  return path
}
