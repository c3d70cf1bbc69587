/** As much XML as S3 speaks: elements and text, no attributes but the name space of the answer. */

export interface Element {
  readonly name: string
  readonly text: string
  readonly children: readonly Element[]
}

export type Content = string | number | boolean | undefined | readonly Node[]
export type Node = readonly [name: string, content: Content]

const NAMESPACE = 'http://s3.amazonaws.com/doc/2006-03-01/'

/** A whole answer. Elements whose content is undefined are left out. */
export const document = (name: string, content: readonly Node[]): string =>
  `<?xml version="1.0" encoding="UTF-8"?>\n<${name} xmlns="${NAMESPACE}">${content.map(write).join('')}</${name}>`

export const errorDocument = (content: readonly Node[]): string =>
  `<?xml version="1.0" encoding="UTF-8"?>\n<Error>${content.map(write).join('')}</Error>`

function write([name, content]: Node): string {
  if (content === undefined) return ''
  const inner = Array.isArray(content) ? content.map(write).join('') : escapeText(String(content))
  return `<${name}>${inner}</${name}>`
}

const escapeText = (text: string): string =>
  text.replace(/[&<>"\r\n]|[^\x20-\uffff\t]/g, (char) => {
    const name = { '&': 'amp', '<': 'lt', '>': 'gt', '"': 'quot' }[char]
    return name ? `&${name};` : `&#${char.charCodeAt(0)};`
  })

/** undefined for what is not well formed. */
export function parseXml(text: string): Element | undefined {
  type Open = { name: string; text: string; children: Element[] }
  const root: Open = { name: '', text: '', children: [] }
  const open: Open[] = [root]
  for (const match of text.matchAll(/<\?[^>]*\?>|<!--[\s\S]*?-->|<(\/?)([\w:.-]+)[^>]*?(\/?)>|([^<]+)|</g)) {
    const [whole, closing, name, empty, characters] = match
    const inside = open.at(-1)!
    if (whole === '<') return undefined
    if (characters !== undefined) inside.text += unescapeText(characters)
    else if (name === undefined) continue
    else if (closing) {
      if (open.length < 2 || inside.name !== name) return undefined
      open.pop()
    } else {
      const element: Open = { name, text: '', children: [] }
      inside.children.push(element)
      if (!empty) open.push(element)
    }
  }
  return open.length === 1 && root.children.length === 1 ? root.children[0] : undefined
}

export const child = (element: Element | undefined, name: string): Element | undefined =>
  element?.children.find((one) => one.name === name)

export const childText = (element: Element | undefined, name: string): string | undefined => child(element, name)?.text.trim()

const NAMED: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }

const unescapeText = (text: string): string =>
  text.replace(/&(#x[0-9a-f]+|#[0-9]+|\w+);/gi, (whole, entity: string) => {
    if (!entity.startsWith('#')) return NAMED[entity] ?? whole
    const code = entity[1]!.toLowerCase() === 'x' ? Number.parseInt(entity.slice(2), 16) : Number(entity.slice(1))
    return String.fromCodePoint(code)
  })
