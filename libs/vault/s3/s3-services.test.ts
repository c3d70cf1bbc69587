/** The vault suite on servers that others wrote. What each lacks is told to the suite, which names what it leaves out. */
import { CreateBucketCommand } from '@aws-sdk/client-s3'
import { beforeAll } from '@jest/globals'
import { describeWithServer } from '../../../test/tools.js'
import { describeVault, type VaultFacts } from '../vault-suite.js'
import { parseVaultUrl } from '../vault-url.js'
import { FIRST_PART } from './part-sizes.js'
import { openS3Client } from './s3-client.js'
import { s3Place } from './s3-url.js'
import { newPrefix, openVaultAt } from './scratch-s3.js'

interface Tried {
  readonly variable: string
  readonly name: string
  /** Of the vault's URL. */
  readonly options: string
  readonly facts: VaultFacts
}

const hot: VaultFacts = { uploadsShowFrom: FIRST_PART, lacks: ['damage'] }
/** A thaw is over as soon as it is asked for, and its copy stays. */
const atOnce: VaultFacts = { thawMs: 0, uploadsShowFrom: FIRST_PART, lacks: ['damage', 'clock'] }

const TRIED: readonly Tried[] = [
  { variable: 'FIRN_TEST_VERSITYGW_URL', name: 'versitygw', options: '', facts: hot },
  {
    variable: 'FIRN_TEST_VERSITYGW_URL',
    name: 'versitygw',
    options: '&checksum=md5',
    facts: { ...hot, lacks: ['damage', 'sha256'] },
  },
  { variable: 'FIRN_TEST_LOCALSTACK_URL', name: 'LocalStack', options: '&class=DEEP_ARCHIVE', facts: atOnce },
  { variable: 'FIRN_TEST_MOTO_URL', name: 'moto', options: '&class=GLACIER', facts: atOnce },
]

/** moto answers 500, which may pass, where it means that an upload is gone: with the usual pauses that is half a minute each time. */
const PAUSE_MS = 5

for (const { variable, name, options, facts } of TRIED) {
  describeWithServer(variable, `on ${name}`, (address) => {
    const { username, password, origin } = new URL(address)
    const credentials = { accessKeyId: username, secretAccessKey: password }
    const bucket = `firn-${newPrefix()}`
    const newUrl = () => `s3://${bucket}/${newPrefix()}?endpoint=${origin}${options}`

    beforeAll(async () => {
      const client = openS3Client(s3Place(parseVaultUrl(newUrl())), { credentials, stallMs: 60_000 })
      await client.send(new CreateBucketCommand({ Bucket: bucket }))
      client.destroy()
    })

    describeVault(
      `s3://${options}`,
      async () => {
        const url = newUrl()
        const open = () => openVaultAt(url, { credentials, pauseMs: PAUSE_MS })
        const vault = await open()
        return {
          vault,
          reopen: open,
          damage: async () => {},
          pass: () => {},
          done: () => vault.close(),
        }
      },
      facts,
    )
  })
}
