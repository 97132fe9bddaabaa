/** XML as a tree of elements without namespaces. Document types and so entities of one's own are refused. */
import { XMLParser, XMLValidator } from 'fast-xml-parser'

export class XmlError extends Error {}

const ATTRIBUTES = ':@'
const TEXT = '#text'
const MAX_DEPTH = 64

const NAMED: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }

function decode(text: string): string {
  return text.replace(/&(?:#x([0-9a-f]{1,6})|#(\d{1,7})|([a-z]+));/gi, (whole, hex: string | undefined, decimal: string | undefined, name: string | undefined) => {
    if (name !== undefined) return NAMED[name] ?? whole
    const point = hex === undefined ? Number(decimal) : Number.parseInt(hex, 16)
    return point > 0x10ffff || (point >= 0xd800 && point < 0xe000) ? '\uFFFD' : String.fromCodePoint(point)
  })
}

export class XmlElement {
  constructor(readonly name: string, private readonly attributes: ReadonlyMap<string, string>, readonly children: readonly XmlElement[], readonly text: string) {}

  /** '' where there is no such attribute. */
  attribute(name: string): string {
    return this.attributes.get(name) ?? ''
  }

  all(name: string): XmlElement[] {
    return this.children.filter((child) => child.name === name)
  }

  first(name: string): XmlElement | undefined {
    return this.children.find((child) => child.name === name)
  }

  /** Text of the first child of that name, '' where there is none. */
  textOf(name: string): string {
    return this.first(name)?.text ?? ''
  }
}

type Node = Readonly<Record<string, unknown>>

function toElement(name: string, node: Node): XmlElement {
  const children: XmlElement[] = []
  let text = ''
  for (const child of node[name] as readonly Node[]) {
    const [key] = Object.keys(child).filter((candidate) => candidate !== ATTRIBUTES)
    if (key === TEXT) text += String(child[TEXT])
    else if (key !== undefined && !key.startsWith('?')) children.push(toElement(key, child))
  }
  const attributes = Object.entries((node[ATTRIBUTES] ?? {}) as Readonly<Record<string, unknown>>).map(([key, value]) => [key, decode(String(value))] as const)
  return new XmlElement(name, new Map(attributes), children, decode(text).trim())
}

/** The root element. @throws XmlError saying where and why the text is no XML we take */
export function parseXml(text: string): XmlElement {
  if (/<!(?:DOCTYPE|ENTITY)/i.test(text)) throw new XmlError('it has a document type, which is not allowed')
  const valid = XMLValidator.validate(text)
  if (valid !== true) throw new XmlError(`it is not well-formed XML: ${valid.err.msg} (line ${valid.err.line})`)
  const parser = new XMLParser({
    preserveOrder: true, removeNSPrefix: true, ignoreAttributes: false, attributeNamePrefix: '', parseTagValue: false, parseAttributeValue: false, processEntities: false,
    trimValues: false, ignoreDeclaration: true, ignorePiTags: true, maxNestedTags: MAX_DEPTH,
  })
  let nodes: readonly Node[]
  try {
    nodes = parser.parse(text) as readonly Node[]
  } catch (error) {
    throw new XmlError(`it cannot be read: ${error instanceof Error ? error.message : String(error)}`)
  }
  const root = nodes.find((node) => Object.keys(node).some((key) => key !== ATTRIBUTES && key !== TEXT))
  const name = root && Object.keys(root).find((key) => key !== ATTRIBUTES)
  if (!root || name === undefined) throw new XmlError('it has no element')
  return toElement(name, root)
}

/** As content of an element or attribute. What XML cannot hold at all is left out. */
export function escapeXml(text: string): string {
  // eslint-disable-next-line no-control-regex -- control characters are what is looked for
  return text.replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\uFFFE\uFFFF]/g, '').replace(/[&<>"]/g, (char) => `&${{ '&': 'amp', '<': 'lt', '>': 'gt', '"': 'quot' }[char] ?? ''};`)
}
