/** What the service says when it says no: one sentence each, and whether another try may help. */
import { afterEach, beforeEach, expect, test } from '@jest/globals'
import { MINUTE_MS } from '../../../test/cloud/clock.js'
import type { Vault } from '../vault.js'
import { glacierError } from './glacier-error.js'
import type { GlacierVaultOptions } from './glacier-vault.js'
import { type ScratchGlacier, scratchGlacier } from './scratch-glacier.js'

let at: ScratchGlacier
const opened: Vault[] = []
beforeEach(async () => {
  at = await scratchGlacier()
})
afterEach(async () => {
  for (const vault of opened.splice(0)) await vault.close()
  await at.done()
})

const open = (options: Partial<GlacierVaultOptions> = {}) => {
  const vault = at.open(options)
  opened.push(vault)
  return vault
}
const refused = (sentence: RegExp) => ({ code: 'vault-refused', message: expect.stringMatching(sentence) })

test('an account that the service is closed to is told so, and what to use', async () => {
  at.cloud.glacier.closeToNewCustomers()
  await expect(at.vault.prepare()).rejects.toMatchObject(
    refused(/closed to new customers since 2025-12-15; use s3:\/\/\.\.\.\?class=DEEP_ARCHIVE/),
  )
})

test('a vault that is not there is named, once something is sent to it', async () => {
  await at.companion.prepare()
  await expect(at.vault.upload('a.tar')).rejects.toMatchObject(
    refused(/no such vault here\. Are its name, region and account right/),
  )
})

test('wrong keys and a wrong secret', async () => {
  const { credentials } = at.cloud
  await expect(open({ credentials: { ...credentials, accessKeyId: 'AKIANOBODY' } }).prepare()).rejects.toMatchObject(
    refused(/does not know these AWS credentials/),
  )
  const wrong = open({ credentials: { ...credentials, secretAccessKey: 'not-the-secret' } }).prepare()
  await expect(wrong).rejects.toMatchObject(refused(/refuses the signature/))
  await expect(wrong).rejects.not.toMatchObject({ message: expect.stringMatching(/not-the-secret/) })
})

test('a clock that is off by 20 minutes does no harm: the service says what time it is', async () => {
  at.cloud.clock.skew(20 * MINUTE_MS)
  const vault = open()
  await vault.prepare()
  await vault.put('manifest', Buffer.from('x'))
  const upload = await vault.upload('a.tar')
  await upload.write(Buffer.from('an archive'))
  await upload.complete()
  expect(await vault.stat('a.tar')).toMatchObject({ bytes: 10 })
})

test('no permission', async () => {
  at.cloud.faults.add({ kind: 'access-denied' })
  await expect(at.vault.prepare()).rejects.toMatchObject(refused(/do not allow it/))
})

test('a service that asks for fewer requests, or cannot be reached, may answer later', async () => {
  at.cloud.faults.add({ kind: 'slow-down', percent: 100 })
  await expect(at.vault.prepare()).rejects.toMatchObject({
    code: 'vault-failed',
    message: expect.stringMatching(/fewer requests/),
  })
  await expect(open({ endpoint: 'http://127.0.0.1:1' }).prepare()).rejects.toMatchObject({
    code: 'vault-failed',
    message: expect.stringMatching(/does not answer/),
  })
})

test('a connection that breaks in whatever way may hold next time, and its endpoint may be wrong', () => {
  const error = Object.assign(new Error('write EPROTO'), { code: 'EPROTO' })
  expect(glacierError(error, 'The vault')).toMatchObject({
    code: 'vault-failed',
    message: expect.stringMatching(/does not answer .*endpoint right/),
  })
})

test.each([
  ['PolicyEnforcedException', 400, 'vault-refused', /data retrieval policy/],
  ['InsufficientCapacityException', 503, 'try-again', /--tier standard/],
  ['ExpiredTokenException', 400, 'vault-refused', /expired/],
  ['CredentialsProviderError', undefined, 'vault-refused', /no AWS credentials were found/],
  ['LimitExceededException', 400, 'vault-refused', /limit of the account/],
  ['SomethingNew', 400, 'vault-refused', /refuses the request \(SomethingNew/],
  ['SomethingElse', 502, 'vault-failed', /failed \(502/],
])('%s with %p is %s', (name, httpStatusCode, code, sentence) => {
  const error = Object.assign(new Error('As it says.'), { name, $metadata: { httpStatusCode } })
  expect(glacierError(error, 'The vault')).toMatchObject({ code, message: expect.stringMatching(sentence) })
})
