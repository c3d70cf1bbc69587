/** URLs for screens and logs. What is not known to be harmless is hidden rather than shown. */

/** Options whose values may be shown. Those that hold URLs are taken apart in turn. */
const SHOWN = new Set('class connect_timeout db family host insecure lock name port prices region sslmode thaw'.split(' '))
const URLS = new Set(['endpoint', 'manifests'])

/** A place that has a path with an `@` in it, and never user-info there. */
const PATHS = /^(?:local|s3|glacier):/

/**
 * Without user-info and fragment, and without the values of options that are not known to be harmless. A password may hold the characters
 * that end it for a parser (`redis://u:a?b@host`): then everything up to the last `@` is hidden.
 */
export function redacted(url: string): string {
  const [, scheme = '', rest = ''] = /^([a-z][a-z0-9+.-]*:(?:\/\/)?)(.*)$/is.exec(url) ?? []
  if (scheme === '') return /[@=:?#]/.test(url) ? '***' : url
  const authority = scheme.endsWith('//') ? (/^[^/?#]*/.exec(rest)?.[0] ?? '') : ''
  const isWhole = authority.includes('@') || !scheme.endsWith('//') || (PATHS.test(scheme) && !authority.includes(':'))
  const at = (isWhole ? authority : rest).lastIndexOf('@')
  return `${scheme}${at < 0 ? '' : '***@'}${withoutSecrets(rest.slice(at + 1))}`
}

function withoutSecrets(rest: string): string {
  const [, place = '', query] = /^([^?#]*)(?:\?([^#]*))?/.exec(rest) ?? []
  const fragment = rest.includes('#') ? '#***' : ''
  if (query === undefined) return place + fragment
  return `${place}?${query.split('&').map(withoutSecret).join('&')}${fragment}`
}

function withoutSecret(option: string): string {
  const [, name = option, value] = /^([^=]*)=(.*)$/s.exec(option) ?? []
  if (value === undefined || value === '') return SHOWN.has(name) || URLS.has(name) || value === '' ? option : '***'
  if (SHOWN.has(name)) return option
  if (!URLS.has(name)) return `${name}=***`
  try {
    const plain = decodeURIComponent(value)
    const shown = redacted(plain)
    return `${name}=${shown === plain ? value : plain === value ? shown : encodeURIComponent(shown)}`
  } catch {
    return `${name}=***`
  }
}
