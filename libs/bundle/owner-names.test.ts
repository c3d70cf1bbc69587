import { execFileSync } from 'node:child_process'
import { expect, test } from '@jest/globals'
import { describeWith } from '../../test/tools.js'
import { openOwnerNames } from './owner-names.js'

test('a number without a name has none', () => {
  const names = openOwnerNames()
  expect([names.user(2 ** 32 - 2), names.group(2 ** 32 - 2)]).toEqual(['', ''])
})

describeWith(['id'], 'owners', () => {
  test('have the names that the machine has for them', () => {
    const id = (...args: string[]) => execFileSync('id', args, { encoding: 'utf8' }).trim()
    const names = openOwnerNames()
    expect(names.user(Number(id('-u', 'nobody')))).toBe('nobody')
    expect(names.group(Number(id('-g', 'nobody')))).toBe(id('-gn', 'nobody'))
  })
})
