/** Text as Postgres takes it: without NUL, and without halves of surrogate pairs, which are no UTF-8. */

export const cleanText = (text: string): string => text.replace(/\0/g, '').replace(LONE_SURROGATE, '\ufffd')

/** JSON whose texts are clean, for a jsonb column. */
export const cleanJson = (value: unknown): string =>
  JSON.stringify(value, (_key, inner: unknown) => (typeof inner === 'string' ? cleanText(inner) : inner))

const LONE_SURROGATE = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g
