/** What deploy/ and the docs say in two places says the same in both. */
import { readFileSync } from 'node:fs'
import { expect, test } from '@jest/globals'
import { parseAllDocuments } from 'yaml'

const text = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')

test('the SQL of the roles in docs/deployment.md is that of deploy/postgres/roles.sql', () => {
  expect(/```sql\n([\s\S]*?)```/.exec(text('docs/deployment.md'))?.[1]).toBe(text('deploy/postgres/roles.sql'))
})

test('no password stands in a command, an entrypoint or a health check of the compose file', () => {
  const arguments_ = text('docker-compose.yml')
    .split('\n')
    .filter((line) => /^\s*(command|entrypoint|test):|^\s+\[?(sh, |CMD|'?(curl|printf))/.test(line))
  expect(arguments_.length).toBeGreaterThan(10)
  // `$$` is the container's own environment, which the shell reads.
  expect(arguments_.filter((line) => /(?<!\$)\$\{?\w*(PASSWORD|SECRET|KEY)/.test(line))).toEqual([])
})

interface Container {
  readonly volumeMounts: readonly { readonly name: string }[]
  readonly args: readonly string[]
  readonly envFrom: readonly { readonly secretRef?: { readonly name: string } }[]
  readonly securityContext: object
}
interface Pod {
  readonly volumes: readonly { readonly name: string }[]
  readonly automountServiceAccountToken?: boolean
  readonly enableServiceLinks?: boolean
  readonly securityContext?: object
  readonly containers: readonly Container[]
}
interface Resource {
  readonly kind: string
  readonly spec?: { readonly template?: { spec: Pod }; readonly jobTemplate?: { spec: { template: { spec: Pod } } } }
}

test('each pod of the Kubernetes example has the secret of its own role, no token, and no right that it does not need', () => {
  const resources = parseAllDocuments(text('deploy/kubernetes/firn.yaml')).map((document) => document.toJS() as Resource)
  expect(resources.map(({ kind }) => kind)).toContain('NetworkPolicy')
  const pods = resources.flatMap(({ spec }) => spec?.template?.spec ?? spec?.jobTemplate?.spec.template.spec ?? [])
  const secrets = pods.flatMap(({ containers }) =>
    containers.map(({ args, envFrom }) => [args[0], envFrom.flatMap(({ secretRef }) => secretRef?.name ?? [])]),
  )
  expect(secrets).toEqual([
    ['migrate', ['firn-owner']],
    ['worker', ['firn-worker']],
    ['retriever', ['firn-retriever']],
    ['archive', ['firn-crawler']],
  ])
  for (const { containers, ...pod } of pods) {
    expect(pod).toMatchObject({
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
    })
    for (const { securityContext, volumeMounts } of containers) {
      expect(pod.volumes.map(({ name }) => name)).toEqual(volumeMounts.map(({ name }) => name))
      expect(securityContext).toMatchObject({
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      })
    }
  }
})
