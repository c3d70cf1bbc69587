import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from '@jest/globals'
import { scratchDatabase } from '../../../test/database.js'
import { openPool } from './pool.js'

test('a server that ends the connection in the middle of a transaction fails it, and not the process', async () => {
  const { url, drop } = await scratchDatabase()
  const pool = openPool(url, 2)
  try {
    const cut = pool.transaction(async (client) => {
      const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
      await pool.texts('SELECT pg_terminate_backend($1)', [rows[0]?.pid])
      await sleep(50) // the news comes while no statement runs
      await client.query('SELECT 1')
    })
    await expect(cut).rejects.toMatchObject({ code: 'database' })
    expect(await pool.texts('SELECT 1')).toEqual([['1']])
  } finally {
    await pool.close()
    await drop()
  }
})
