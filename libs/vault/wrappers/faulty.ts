/** A vault that fails when told to: the partner of tests that show what happens then. */
import type { Upload, Vault } from '../vault.js'
import type { VaultOperation } from './counted.js'
import { traitsOf } from './traits.js'

export interface Fault {
  /** Which operation fails; any where it is left out. */
  readonly operation?: VaultOperation
  /** The how-manieth of these operations, from 1. Each fault counts for itself. */
  readonly at: number
  readonly error: unknown
  /** The operation happens, and only its answer is lost: what the caller cannot tell from a failure. */
  readonly answerLost?: boolean
}

/** Nobody can end an upload whose beginning was not answered: kept, so that Node does not complain of a file that was forgotten. */
const begun: Upload[] = []

/** Each fault strikes once. A read fails before its first chunk, or with `answerLost` after its last; so does a list. */
export function faulty(vault: Vault, script: readonly Fault[]): Vault {
  const seen = script.map(() => 0)

  /** The fault that this operation meets, if any. Every fault that matches counts it. */
  function faultOf(operation: VaultOperation): Fault | undefined {
    let met: Fault | undefined
    for (const [i, fault] of script.entries()) {
      if (fault.operation !== undefined && fault.operation !== operation) continue
      seen[i] = (seen[i] ?? 0) + 1
      if (seen[i] === fault.at) met ??= fault
    }
    return met
  }

  async function step<T>(operation: VaultOperation, call: () => Promise<T>): Promise<T> {
    const fault = faultOf(operation)
    if (fault && !fault.answerLost) throw fault.error
    const answer = await call()
    if (fault) throw fault.error
    return answer
  }

  async function* stream<T>(operation: VaultOperation, call: () => AsyncIterable<T>): AsyncGenerator<T> {
    const fault = faultOf(operation)
    if (fault && !fault.answerLost) throw fault.error
    yield* call()
    if (fault) throw fault.error
  }

  const faultyUpload = (upload: Upload): Upload => ({
    write: (chunk) => step('write', () => upload.write(chunk)),
    seal: () => step('seal', () => upload.seal()),
    complete: () => step('complete', () => upload.complete()),
    abort: () => step('abort', () => upload.abort()),
    ...(upload.checksum && { checksum: upload.checksum }),
  })

  return {
    ...traitsOf(vault),
    prepare: (options) => step('prepare', () => vault.prepare(options)),
    upload: (key, options) =>
      step('upload', async () => {
        const upload = await vault.upload(key, options)
        begun.push(upload)
        return faultyUpload(upload)
      }),
    put: (key, bytes, options) => step('put', () => vault.put(key, bytes, options)),
    stat: (key, options) => step('stat', () => vault.stat(key, options)),
    verify: (key, expected, options) => step('verify', () => vault.verify(key, expected, options)),
    list: (prefix, options) => stream('list', () => vault.list(prefix, options)),
    read: (key, range, options) => stream('read', () => vault.read(key, range, options)),
    thaw: (key, request, options) => step('thaw', () => vault.thaw(key, request, options)),
    quote: (request) => vault.quote(request),
    thawStates: (keys, options) => step('thawStates', () => vault.thawStates(keys, options)),
    sweep: (isDead, options) => step('sweep', () => vault.sweep(isDead, options)),
    close: () => vault.close(),
  }
}
