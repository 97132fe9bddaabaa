/** A small ACPI Machine Language emitter: what our DSDT needs, no more. ACPI 6.4, chapter 20. */

export type Aml = readonly number[]

const NAMED = { scope: 0x10, name: 0x08, buffer: 0x11, package: 0x12, method: 0x14, device: [0x5b, 0x82], notify: 0x86, ret: 0xa4 } as const

/** PkgLength: counts itself. 20.2.4. */
function withLength(body: Aml): number[] {
  const n = body.length
  if (n + 1 < 0x40) return [n + 1, ...body]
  if (n + 2 < 0x1000) return [0x40 | ((n + 2) & 15), (n + 2) >> 4, ...body]
  const total = n + 3
  return [0x80 | (total & 15), (total >> 4) & 0xff, total >> 12, ...body]
}

const ascii = (text: string): number[] => [...text].map((c) => c.charCodeAt(0))
const segment = (name: string): number[] => ascii(name.padEnd(4, '_'))

/** A name: `\_SB`, `PCI0`, `\_SB.PCI0`. */
export function path(name: string): number[] {
  const root = name.startsWith('\\') ? [0x5c] : []
  const parts = name.replace('\\', '').split('.').filter((p) => p !== '')
  if (parts.length === 1) return [...root, ...segment(parts[0])]
  if (parts.length === 2) return [...root, 0x2e, ...parts.flatMap(segment)]
  return [...root, 0x2f, parts.length, ...parts.flatMap(segment)]
}

export function integer(value: number): number[] {
  if (value === 0) return [0]
  if (value === 1) return [1]
  if (value < 0x100) return [0x0a, value]
  if (value < 0x10000) return [0x0b, value & 0xff, value >> 8]
  return [0x0c, value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24]
}

export const string = (text: string): number[] => [0x0d, ...ascii(text), 0]
export const pkg = (...items: Aml[]): number[] => [NAMED.package, ...withLength([items.length, ...items.flat()])]
export const buffer = (bytes: Aml): number[] => [NAMED.buffer, ...withLength([...integer(bytes.length), ...bytes])]
export const name = (id: string, value: Aml): number[] => [NAMED.name, ...path(id), ...value]
export const scope = (id: string, ...body: Aml[]): number[] => [NAMED.scope, ...withLength([...path(id), ...body.flat()])]
export const device = (id: string, ...body: Aml[]): number[] => [...NAMED.device, ...withLength([...path(id), ...body.flat()])]

/** A method without arguments. */
export const method = (id: string, ...body: Aml[]): number[] => [NAMED.method, ...withLength([...path(id), 0, ...body.flat()])]
export const notify = (id: string, value: number): number[] => [NAMED.notify, ...path(id), ...integer(value)]

/** Compressed EISA id such as `PNP0A08`. */
export function eisaId(id: string): number[] {
  const letter = (i: number): number => id.charCodeAt(i) - 0x40
  const vendor = (letter(0) << 10) | (letter(1) << 5) | letter(2)
  const product = parseInt(id.slice(3), 16)
  return [0x0c, vendor >> 8, vendor & 0xff, product >> 8, product & 0xff]
}

// ── resource descriptors, 6.4 ───────────────────────────────────────────────────────────────────────────────────

const u16 = (v: number): number[] => [v & 0xff, (v >> 8) & 0xff]
const u32 = (v: number): number[] => [...u16(v & 0xffff), ...u16(v >>> 16)]

export const irqNoFlags = (irq: number): number[] => [0x22, ...u16(1 << irq)]
export const ioPorts = (base: number, length: number): number[] => [0x47, 1, ...u16(base), ...u16(base), 1, length]

/** Address space descriptors of a bridge: what it passes on. */
export const wordBusRange = (first: number, last: number): number[] =>
  [0x88, ...u16(13), 2, 0x0c, 0, ...u16(0), ...u16(first), ...u16(last), ...u16(0), ...u16(last - first + 1)]
export const wordIoRange = (first: number, last: number): number[] =>
  [0x88, ...u16(13), 1, 0x0c, 3, ...u16(0), ...u16(first), ...u16(last), ...u16(0), ...u16(last - first + 1)]
export const dwordMemoryRange = (first: number, last: number): number[] =>
  [0x87, ...u16(23), 0, 0x0c, 1, ...u32(0), ...u32(first), ...u32(last), ...u32(0), ...u32(last - first + 1)]

export const resources = (...descriptors: Aml[]): number[] => buffer([...descriptors.flat(), 0x79, 0])
