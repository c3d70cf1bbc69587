import { createRequire } from 'node:module'
import { expect, test } from '@jest/globals'
import { runScript } from '#libs/os/test-process.js'

test('the database driver loads without an HTTP client', () => {
  const driver = createRequire(import.meta.url).resolve('pg')
  const loaded = runScript(
    { runtime: new URL('./navigator.js', import.meta.url).href },
    `runtime.provideNavigator()
     await import(${JSON.stringify(driver)})
     say({ userAgent: navigator.userAgent, clients: process.moduleLoadList.filter((name) => name.includes('undici')) })`,
  )
  expect(loaded).toEqual({ userAgent: `Node.js/${process.versions.node.split('.')[0]}`, clients: [] })
})
