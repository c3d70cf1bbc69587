/** `firn doctor`: is everything there that Firn needs, here and now? */
import { statfs } from 'node:fs/promises'
import { knownNote } from '#libs/archive/own-vault.js'
import { EXIT, errnoOf, isFirnError } from '#libs/errors/errors.js'
import { libcNotice } from '#libs/os/libc.js'
import { exposed, shownHost } from '#libs/runtime/clear-text.js'
import { type CommandSpec, type CommonFlags, commonOptions } from '#libs/runtime/command.js'
import { openRuntime } from '#libs/runtime/runtime.js'
import { formatBytes, plural } from '#libs/runtime/terminal/sizes.js'

export const doctorCommand: CommandSpec<CommonFlags> = {
  name: 'firn doctor',
  define: (command) =>
    commonOptions(command).description('Looks whether database, queue, index and vault are there and can be used.'),
  run: async (context) => {
    const { config, reporter, signal } = context
    const notices: string[] = []
    await using runtime = openRuntime({ ...context, onNotice: (text) => notices.push(text) })
    let failed = 0
    const look = async (what: string, at: () => Promise<string> | string) => {
      const outcome = await Promise.resolve()
        .then(at)
        .then(
          (text) => ({ ok: true, text }),
          (error: unknown) => ({ ok: false, text: error instanceof Error ? error.message : String(error) }),
        )
      if (!outcome.ok) failed++
      await reporter.result(`${outcome.ok ? 'ok    ' : 'FAILED'}  ${what}: ${outcome.text}`)
      await reporter.message('status', { check: what, ok: outcome.ok, detail: outcome.text })
    }
    await look('node', () => `${process.version} on ${process.platform} ${process.arch}`)
    await look('system calls', () => libcNotice() ?? 'times in nanoseconds, xattrs, holes and locks are available')
    await look('home', async () => {
      const found = await statfs(config.home).catch((error: unknown) => {
        if (errnoOf(error) !== 'ENOENT') throw error
      })
      if (!found) return `${config.home} is not there yet; the first command that needs it makes it`
      return `${config.home}, ${formatBytes(found.bavail * found.bsize)} free`
    })
    await look('connections', () => {
      const urls = { database: config.databaseUrl, queue: config.queueUrl, index: config.searchUrl, vault: config.vaultUrl }
      const open = Object.entries(urls).flatMap(([what, url]) => {
        const found = exposed(url)
        if (found === undefined) return []
        return `${what} ${shownHost(url, found.host)} ${found.exposure === 'clear' ? 'in clear text' : 'by TLS that is not verified'}`
      })
      return open.length === 0 ? 'on this machine, or by verified TLS' : `declared insecure: ${open.join(', ')}`
    })
    await look('catalog', async () => {
      const totals = await (await runtime.catalog()).totals()
      return `${runtime.embedded ? 'embedded' : 'a database of its own'}, ${plural(totals.files, 'file')} in ${plural(totals.bundles, 'bundle')}, ${formatBytes(totals.databaseBytes)}`
    })
    await look('queue', async () => {
      const waiting = await (await runtime.queue()).pending('store-bundle')
      return [`${plural(waiting, 'bundle')} waiting`, ...notices.splice(0)].join('; ')
    })
    await look('search index', async () => {
      await runtime.index()
      const waiting = (await (await runtime.catalog()).unindexedBundles(1_000)).length
      return waiting === 0 ? 'up to date' : `${plural(waiting, 'bundle')} not indexed yet`
    })
    await look('vault', async () => {
      const vault = await runtime.vaults.open(config.vaultUrl)
      const isKnown = (await knownNote(await runtime.catalog(), vault, { signal })) !== undefined
      try {
        await vault.prepare({ signal, make: false })
      } catch (error) {
        if (isKnown || !isFirnError(error, 'vault-away')) throw error
        return `${vault.id} is not there yet; the first archive makes it`
      }
      return `${vault.id} can be written`
    })
    const exitCode = failed === 0 ? EXIT.done : EXIT.failed
    await reporter.message('summary', { failed, exit_code: exitCode })
    return exitCode
  },
}
