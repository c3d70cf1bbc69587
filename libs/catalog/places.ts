/** Hosts and vaults as numbers, made where there are none yet. */
import { cleanText } from './clean-text.js'
import type { Runs } from './database.js'

export async function hostNumber(database: Runs, name: string): Promise<number> {
  for (;;) {
    const found = await database.query<{ number: number }>('SELECT number FROM host WHERE name = $1', [cleanText(name)])
    if (found.rows[0]) return found.rows[0].number
    await database.query('INSERT INTO host (name) VALUES ($1) ON CONFLICT DO NOTHING', [cleanText(name)])
  }
}

/** Remembers the URL as the one that the vault was last written with. */
export async function vaultNumber(database: Runs, vault: { id: string; url: string }): Promise<number> {
  const values = [cleanText(vault.id), cleanText(vault.url)]
  for (;;) {
    const found = await database.query<{ number: number; url: string }>('SELECT number, url FROM vault WHERE id = $1', [
      values[0],
    ])
    const known = found.rows[0]
    if (known === undefined) await database.query('INSERT INTO vault (id, url) VALUES ($1, $2) ON CONFLICT DO NOTHING', values)
    else if (known.url === values[1]) return known.number
    else await database.query('UPDATE vault SET url = $2 WHERE id = $1', values)
  }
}
