/**
 * The emulator is kept honest: the same questions go to it and to servers that others wrote, and every answer that is not the same is
 * written down here. The addresses carry the credentials: `http://key:secret@127.0.0.1:port`.
 */
import { randomBytes } from 'node:crypto'
import { expect, test } from '@jest/globals'
import { startCloud } from '../cloud/cloud.js'
import { PROBES, probe } from '../cloud/probes.js'
import '../cloud/test-client.js'
import { describeWithServer } from '../tools.js'

const OTHERWISE: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  FIRN_TEST_VERSITYGW_URL: {
    'a part with a checksum that the upload did not name': 'taken',
    'the class GLACIER in HEAD, and GET of it': 'STANDARD, 200',
    'a thaw, asked twice, and HEAD in between': '501 NotImplemented',
    'a thaw of an object that needs none': '501 NotImplemented',
    'RestoreStatus in a listing, while a thaw is asked for': 'not said',
  },
  FIRN_TEST_LOCALSTACK_URL: {
    'a wrong secret': '200',
    'an unknown access key': '200',
    'a clock off by 20 minutes': '200',
    'Complete once more, after it was done': '404 NoSuchUpload',
    'a part with a checksum that the upload did not name': 'taken',
    'a thaw, asked twice, and HEAD in between': '202, ongoing-request="false", expiry-date="...", 200', // ready at once
    'RestoreStatus in a listing, while a thaw is asked for': 'not said',
  },
}

const answers = PROBES.map(({ question, answer }) => [question, answer] as const)
const withoutDates = (text: string) => text.replace(/expiry-date="[^"]+"/, 'expiry-date="..."')
const newBucket = () => `probes-${randomBytes(6).toString('hex')}`

test('the emulator answers every question as it is written down', async () => {
  const { url, region, credentials, stop } = await startCloud()
  try {
    const given = await probe({ endpoint: url, region, credentials, bucket: newBucket() })
    expect(Object.fromEntries(given)).toEqual(Object.fromEntries(answers))
  } finally {
    await stop()
  }
})

for (const [variable, otherwise] of Object.entries(OTHERWISE)) {
  describeWithServer(variable, `the answers of ${variable}`, (address) => {
    test('differ from the emulator’s only where that is written down', async () => {
      const { origin, username, password } = new URL(address)
      const credentials = {
        accessKeyId: decodeURIComponent(username) || 'test',
        secretAccessKey: decodeURIComponent(password) || 'test',
      }
      const given = await probe({ endpoint: origin, region: 'us-east-1', credentials, bucket: newBucket() })
      const seen = [...given].map(([question, answer]) => [question, withoutDates(answer)])
      expect(Object.fromEntries(seen)).toEqual({ ...Object.fromEntries(answers), ...otherwise })
    })
  })
}
