/** What each error ends a command with: the table that `--help` and the documents repeat. */
import { readFileSync } from 'node:fs'
import { createContext, runInContext } from 'node:vm'
import { describe, expect, test } from '@jest/globals'
import { type ErrorCode, EXIT, errnoOf, exitCodeOf, FirnError, isFirnError, Postpone } from './errors.js'

describe('exit codes', () => {
  const table: Record<ErrorCode, number> = {
    usage: 2,
    'vault-refused': 2,
    'vault-away': 75,
    'vault-full': 1,
    'vault-failed': 75,
    'vault-missing': 1,
    'vault-exists': 1,
    'vault-frozen': 1,
    damaged: 1,
    database: 1,
    'database-full': 1,
    'database-newer': 2,
    'search-away': 75,
    'lease-lost': 1,
    'target-refused': 2,
    'target-failed': 1,
    'nothing-matched': 4,
    'no-consent': 5,
    'try-again': 75,
    failed: 1,
  }

  test.each(Object.entries(table) as [ErrorCode, number][])('%s ends a command with %i', (code, exit) => {
    expect(exitCodeOf(new FirnError(code, 'A sentence.'))).toBe(exit)
  })

  test.each([new Error('x'), new Postpone(5), undefined, null, 'text', { code: 'usage' }, systemError()])(
    'what Firn did not foresee ends a command with 1: %p',
    (thrown) => {
      expect(exitCodeOf(thrown)).toBe(1)
    },
  )

  test('are those of the contract', () => {
    expect(EXIT).toEqual({ done: 0, failed: 1, usage: 2, incomplete: 3, nothingMatched: 4, noConsent: 5, tryAgain: 75 })
  })
})

describe('an error of Firn', () => {
  test('carries its code, its sentence and its cause', () => {
    const cause = systemError()
    const error = new FirnError('damaged', 'The manifest ends too early.', { cause })
    expect(error).toBeInstanceOf(Error)
    expect(error).toMatchObject({ name: 'FirnError', code: 'damaged', message: 'The manifest ends too early.', cause })
    expect(String(error)).toBe('FirnError: The manifest ends too early.')
  })

  test('is known by any of the codes asked for, and without any by being one', () => {
    const error = new FirnError('damaged', 'x')
    expect(isFirnError(error)).toBe(true)
    expect(isFirnError(error, 'database', 'damaged')).toBe(true)
    expect(isFirnError(error, 'database')).toBe(false)
    for (const other of [new Error('x'), { name: 'FirnError', code: 'damaged' }, undefined])
      expect(isFirnError(other)).toBe(false)
  })
})

describe('the code of a system error', () => {
  test('is told, also of an error of another realm', () => {
    expect(errnoOf(systemError())).toBe('ENOENT')
    const foreign = runInContext(`Object.assign(new Error('x'), { code: 'EACCES' })`, createContext())
    expect(errnoOf(foreign)).toBe('EACCES')
  })

  test.each([
    new FirnError('failed', 'x'),
    Object.assign(new Error('a code of Node'), { code: 'ERR_INVALID_ARG_TYPE' }),
    Object.assign(new Error('a number'), { code: 2 }),
    Object.assign(new Error('a state of Postgres'), { code: '23505' }),
    new Error('no code'),
    'ENOENT',
    null,
    undefined,
  ])('is not told of %p', (thrown) => {
    expect(errnoOf(thrown)).toBeUndefined()
  })
})

test('to come back later says when, in milliseconds', () => {
  expect(new Postpone(1_500)).toMatchObject({ name: 'Postpone', afterMs: 1_500, message: 'come back in 1500 ms' })
  expect(exitCodeOf(new Postpone(1))).toBe(EXIT.failed)
})

function systemError(): unknown {
  try {
    return readFileSync(new URL('./is/not/there', import.meta.url))
  } catch (error) {
    return error
  }
}
