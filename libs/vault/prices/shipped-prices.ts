/** Where the price list lies that comes with Firn: beside this file's source, `dist/` apart. */
import { fileURLToPath } from 'node:url'

export const SHIPPED_PRICES = fileURLToPath(new URL('../../../../libs/vault/prices/aws.json', import.meta.url))
