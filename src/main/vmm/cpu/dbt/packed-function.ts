/**
 * A translated function as the bytes it has in a pack. A machine of much code has some ten thousand of them: as objects of their own,
 * with arrays and views for their parts, they took three times the memory of what they say.
 *
 * Layout, little-endian: u8 kind (bit 7: it has no body yet), u16 mode key, u16 number of entries with u16 page offset each, u16 length and UTF-8 of the shape, u16
 * number of ranges with i32 page, u16 offset, u16 length and bytes each, u16 number of constants with i32 page and u16 offset each, u32
 * length and bytes of the body, u16 length and bytes of its branch hints.
 */
import type { CodeRange, ConstantPlace } from './own-constants'
import type { TranslatedFunction } from './translator'

const KINDS = ['block', 'region'] as const
const WAITS = 0x80

/** Bytes before the entries, of a range before its bytes, and of a constant. */
export const FUNCTION_HEAD = 5
export const RANGE_HEAD = 8
export const CONSTANT = 6

/** First byte of a function whose body has that many bytes. */
export const kindByte = (kind: TranslatedFunction['kind'], body: number): number => KINDS.indexOf(kind) | (body === 0 ? WAITS : 0)

/** True where a function's first byte goes with its body. */
export const isKind = (byte: number, body: number): boolean => (byte & ~WAITS) < KINDS.length && ((byte & WAITS) !== 0) === (body === 0)

function sameBytes(a: Uint8Array, from: number, length: number, b: Uint8Array, at: number): boolean {
  for (let i = 0; i < length; i++) if (a[from + i] !== b[at + i]) return false
  return true
}

export class PackedFunction implements TranslatedFunction {
  /** @param pack a whole pack @param at where the function begins in it: whoever makes this has looked that all of it is there */
  constructor(private readonly pack: Uint8Array, private readonly at: number) {}

  private u16(at: number): number {
    return this.pack[at] | (this.pack[at + 1] << 8)
  }

  private i32(at: number): number {
    return this.u16(at) | (this.u16(at + 2) << 16)
  }

  get kind(): TranslatedFunction['kind'] {
    return KINDS[this.pack[this.at] & ~WAITS]
  }

  /** False for a block that waits for its translation. */
  get isTranslated(): boolean {
    return (this.pack[this.at] & WAITS) === 0
  }

  get modeKey(): number {
    return this.u16(this.at + 1)
  }

  get pageOffset(): number {
    return this.entryAt(0)
  }

  get entryCount(): number {
    return this.u16(this.at + 3)
  }

  entryAt(i: number): number {
    return this.u16(this.at + FUNCTION_HEAD + 2 * i)
  }

  get entries(): readonly number[] {
    return Array.from({ length: this.entryCount }, (_, i) => this.entryAt(i))
  }

  private get shapeAt(): number {
    return this.at + FUNCTION_HEAD + 2 * this.entryCount
  }

  get shape(): string {
    const { shapeAt } = this
    return String.fromCharCode(...this.pack.subarray(shapeAt + 2, shapeAt + 2 + this.u16(shapeAt)))
  }

  /** The same as comparing `shape`, without making it. */
  hasShape(shape: string): boolean {
    const { shapeAt } = this
    if (this.u16(shapeAt) !== shape.length) return false
    for (let i = 0; i < shape.length; i++) if (this.pack[shapeAt + 2 + i] !== shape.charCodeAt(i)) return false
    return true
  }

  private get rangesAt(): number {
    const { shapeAt } = this
    return shapeAt + 2 + this.u16(shapeAt)
  }

  get ranges(): readonly CodeRange[] {
    let at = this.rangesAt + 2
    return Array.from({ length: this.u16(at - 2) }, () => {
      const begin = at
      at += RANGE_HEAD + this.u16(begin + 6)
      return { page: this.i32(begin), offset: this.u16(begin + 4), bytes: this.pack.subarray(begin + RANGE_HEAD, at) }
    })
  }

  /** True where it was made from one page, and its code stands in the page at `host` of linear memory. Runs for every block that is decoded. */
  standsAt(memory: Uint8Array, host: number): boolean {
    const { rangesAt, pack } = this
    let at = rangesAt + 2
    for (let left = this.u16(rangesAt); left > 0; left--) {
      const length = this.u16(at + 6)
      if (this.i32(at) !== 0 || !sameBytes(pack, at + RANGE_HEAD, length, memory, host + this.u16(at + 4))) return false
      at += RANGE_HEAD + length
    }
    return true
  }

  private get constantsAt(): number {
    const { rangesAt } = this
    let at = rangesAt + 2
    for (let left = this.u16(rangesAt); left > 0; left--) at += RANGE_HEAD + this.u16(at + 6)
    return at
  }

  get constants(): readonly ConstantPlace[] {
    const at = this.constantsAt
    return Array.from({ length: this.u16(at) }, (_, i) => ({ page: this.i32(at + 2 + i * CONSTANT), offset: this.u16(at + 6 + i * CONSTANT) }))
  }

  private get bodyAt(): number {
    const at = this.constantsAt
    return at + 2 + CONSTANT * this.u16(at)
  }

  get body(): Uint8Array {
    const { bodyAt } = this
    return this.pack.subarray(bodyAt + 4, bodyAt + 4 + this.i32(bodyAt))
  }

  get hints(): Uint8Array {
    const { bodyAt } = this
    const at = bodyAt + 4 + this.i32(bodyAt)
    return this.pack.subarray(at + 2, at + 2 + this.u16(at))
  }

  /** True where both are the same kind of translation of the same code, with the same head. */
  isOfSameCode(other: PackedFunction): boolean {
    if (this.kind !== other.kind || this.modeKey !== other.modeKey || this.pageOffset !== other.pageOffset) return false
    const { shapeAt } = this
    const from = other.shapeAt
    const length = this.constantsAt - shapeAt
    return length === other.constantsAt - from && sameBytes(this.pack, shapeAt, length, other.pack, from)
  }
}
