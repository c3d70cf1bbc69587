/** A vault that says what it was asked: how the tests and `bench` know that one file costs one small read, and no manifest two requests. */
import type { Upload, Vault } from '../vault.js'
import { traitsOf, type VaultTraits } from './traits.js'

export type VaultOperation = Exclude<keyof Vault, keyof VaultTraits | 'quote' | 'close'> | keyof Upload

export interface VaultCount {
  readonly operation: VaultOperation
  /** True once for each operation; false for the chunks of a read that follow. */
  readonly begins: boolean
  readonly bytesRead: number
  readonly bytesWritten: number
}

/** `onCount` is called before each operation, and after each chunk that was read. `verify` counts as no bytes: they are read by the vault itself. */
export function counted(vault: Vault, onCount: (count: VaultCount) => void): Vault {
  const begin = (operation: VaultOperation, bytesWritten = 0) => onCount({ operation, begins: true, bytesRead: 0, bytesWritten })

  return {
    ...traitsOf(vault),
    prepare(options) {
      begin('prepare')
      return vault.prepare(options)
    },
    async upload(key, options) {
      begin('upload')
      const upload = await vault.upload(key, options)
      return {
        write(chunk) {
          begin('write', chunk.length)
          return upload.write(chunk)
        },
        seal() {
          begin('seal')
          return upload.seal()
        },
        complete() {
          begin('complete')
          return upload.complete()
        },
        abort() {
          begin('abort')
          return upload.abort()
        },
        ...(upload.checksum && { checksum: upload.checksum }),
      }
    },
    put(key, bytes, options) {
      begin('put', bytes.length)
      return vault.put(key, bytes, options)
    },
    stat(key, options) {
      begin('stat')
      return vault.stat(key, options)
    },
    verify(key, expected, options) {
      begin('verify')
      return vault.verify(key, expected, options)
    },
    list(prefix, options) {
      begin('list')
      return vault.list(prefix, options)
    },
    async *read(key, range, options) {
      begin('read')
      for await (const chunk of vault.read(key, range, options)) {
        onCount({ operation: 'read', begins: false, bytesRead: chunk.length, bytesWritten: 0 })
        yield chunk
      }
    },
    thaw(key, request, options) {
      begin('thaw')
      return vault.thaw(key, request, options)
    },
    quote: (request) => vault.quote(request),
    thawStates(keys, options) {
      begin('thawStates')
      return vault.thawStates(keys, options)
    },
    sweep(isDead, options) {
      begin('sweep')
      return vault.sweep(isDead, options)
    },
    close: () => vault.close(),
  }
}
