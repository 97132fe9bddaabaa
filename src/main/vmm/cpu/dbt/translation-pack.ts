/**
 * Translations as bytes, to be kept from one run to the next. What a pack holds is used only where the guest's code is the
 * same byte for byte, so a pack may be shared by all machines; its version must be that of the translator.
 *
 * Layout, little-endian: u32 count, then for each function: u8 kind, u16 mode key, u16 number of entries with u16
 * page offset each, u16 length and UTF-8 of the shape, u16 number of ranges with i32 page, u16 offset, u16 length and bytes each, u16
 * number of constants with i32 page and u16 offset each, u32 length and bytes of the body, u16 length and bytes of its branch hints.
 */
import { VmmError } from '../../errors'
import { PAGE_SIZE } from '../../memory/frame-table'
import { CONSTANT_BYTES } from './own-constants'
import type { TranslatedFunction } from './translator'

const KINDS = ['block', 'region'] as const

/** What is kept of earlier runs. */
export interface KeptTranslations {
  readonly pack: Uint8Array
  readonly compiled?: CompiledPack
}

/** The module of all functions of a pack in their order, and what the engine made of it. */
export interface CompiledPack {
  readonly wasm: Uint8Array
  readonly machineCode: Uint8Array
}

const sizeOf = ({ shape, entries, ranges, constants, body, hints }: TranslatedFunction): number =>
  17 + 6 * constants.length + 2 * entries.length + shape.length + body.length + hints.length + ranges.reduce((sum, { bytes }) => sum + 8 + bytes.length, 0)

export function encodePack(functions: readonly TranslatedFunction[]): Uint8Array {
  const out = new Uint8Array(4 + functions.reduce((sum, fn) => sum + sizeOf(fn), 0))
  const view = new DataView(out.buffer)
  let at = 0
  const u16 = (value: number): void => { view.setUint16((at += 2) - 2, value, true) }
  const u32 = (value: number): void => { view.setUint32((at += 4) - 4, value, true) }
  const raw = (bytes: Uint8Array): void => { out.set(bytes, (at += bytes.length) - bytes.length) }
  u32(functions.length)
  for (const { kind, modeKey, entries, shape, ranges, constants, body, hints } of functions) {
    out[at++] = KINDS.indexOf(kind)
    u16(modeKey)
    u16(entries.length)
    entries.forEach(u16)
    u16(shape.length)
    for (let i = 0; i < shape.length; i++) out[at++] = shape.charCodeAt(i)
    u16(ranges.length)
    for (const { page, offset, bytes } of ranges) {
      u32(page)
      u16(offset)
      u16(bytes.length)
      raw(bytes)
    }
    u16(constants.length)
    for (const { page, offset } of constants) {
      u32(page)
      u16(offset)
    }
    u32(body.length)
    raw(body)
    u16(hints.length)
    raw(hints)
  }
  return out
}

class PackReader {
  private at = 0
  private readonly view: DataView

  constructor(private readonly bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  }

  private take(length: number): number {
    if (this.at + length > this.bytes.length) throw new VmmError('bad-state', `translation pack ends at byte ${this.bytes.length}, ${length} more are needed at ${this.at}`)
    this.at += length
    return this.at - length
  }

  u8(): number { return this.view.getUint8(this.take(1)) }
  u16(): number { return this.view.getUint16(this.take(2), true) }
  u32(): number { return this.view.getUint32(this.take(4), true) }

  raw(length: number): Uint8Array {
    const at = this.take(length)
    return this.bytes.subarray(at, at + length)
  }

  text(length: number): string {
    return String.fromCharCode(...this.raw(length))
  }

  function(): TranslatedFunction {
    const kind = KINDS[this.u8()] as (typeof KINDS)[number] | undefined
    if (!kind) throw new VmmError('bad-state', `translation pack: unknown kind at byte ${this.at - 1}`)
    const modeKey = this.u16()
    const entries = Array.from({ length: this.u16() }, () => this.u16())
    const shape = this.text(this.u16())
    const ranges = Array.from({ length: this.u16() }, () => {
      const page = this.u32() | 0
      const offset = this.u16()
      const bytes = this.raw(this.u16())
      if (bytes.length === 0 || offset + bytes.length > PAGE_SIZE) throw new VmmError('bad-state', `translation pack: a range leaves its page at byte ${this.at}`)
      return { page, offset, bytes }
    })
    const constants = Array.from({ length: this.u16() }, () => {
      const place = { page: this.u32() | 0, offset: this.u16() }
      if (place.offset > PAGE_SIZE - CONSTANT_BYTES) throw new VmmError('bad-state', `translation pack: a constant leaves its page at byte ${this.at}`)
      return place
    })
    if (entries.length === 0 || entries.some((offset) => offset >= PAGE_SIZE) || ranges.length === 0) throw new VmmError('bad-state', `translation pack: a function without code at byte ${this.at}`)
    return { kind, modeKey, pageOffset: entries[0], entries, shape, ranges, constants, body: this.raw(this.u32()), hints: this.raw(this.u16()) }
  }
}

/** @throws VmmError `bad-state` where the bytes are no pack; bodies and hints are not looked into */
export function decodePack(bytes: Uint8Array): readonly TranslatedFunction[] {
  const reader = new PackReader(bytes)
  return Array.from({ length: reader.u32() }, () => reader.function())
}

const keyOf = (modeKey: number, pageOffset: number): number => modeKey * PAGE_SIZE + pageOffset

const sameBytes = (a: Uint8Array, memory: Uint8Array, at: number): boolean => {
  for (let i = 0; i < a.length; i++) if (a[i] !== memory[at + i]) return false
  return true
}

/** True where the function was made from one page, and its code stands in the page at `host`. Runs for every block that is decoded. */
function standsAt({ ranges }: TranslatedFunction, memory: Uint8Array, host: number): boolean {
  for (const { page, offset, bytes } of ranges) if (page !== 0 || !sameBytes(bytes, memory, host + offset)) return false
  return true
}

/** Translations by the code they were made from. */
export class TranslationIndex {
  private readonly byPlace = new Map<number, { readonly fn: TranslatedFunction; readonly slot: number }[]>()

  add(fn: TranslatedFunction, slot: number): void {
    for (const offset of fn.entries) {
      const key = keyOf(fn.modeKey, offset)
      const list = this.byPlace.get(key)
      if (list) list.push({ fn, slot })
      else this.byPlace.set(key, [{ fn, slot }])
    }
  }

  /** Gives functions their new slots. */
  move(moved: ReadonlyMap<number, number>): void {
    for (const [key, list] of this.byPlace) this.byPlace.set(key, list.map(({ fn, slot }) => ({ fn, slot: moved.get(slot) ?? slot })))
  }

  /** True where the same code is known at that place, translated as the same kind. */
  has(fn: TranslatedFunction): boolean {
    return this.byPlace.get(keyOf(fn.modeKey, fn.pageOffset))?.some(({ fn: known }) => known.kind === fn.kind && known.pageOffset === fn.pageOffset && known.shape === fn.shape &&
      known.ranges.length === fn.ranges.length && known.ranges.every(({ page, offset, bytes }, i) =>
        page === fn.ranges[i].page && offset === fn.ranges[i].offset && bytes.length === fn.ranges[i].bytes.length && sameBytes(bytes, fn.ranges[i].bytes, 0))) ?? false
  }

  /** Regions with code of further pages, among them the one at a place. Whether it is the code that is there now is not looked at. */
  acrossPages(modeKey: number, pageOffset: number): readonly { readonly fn: TranslatedFunction; readonly slot: number }[] {
    return (this.byPlace.get(keyOf(modeKey, pageOffset)) ?? []).filter(({ fn }) => fn.ranges.some(({ page }) => page !== 0))
  }

  /**
   * The best translation of the code at a place, made from its page alone: regions before blocks.
   * @param memory linear memory @param host byte offset of the page in it
   * @param shape of the block that begins there, asked for only where something fits
   */
  find(modeKey: number, pageOffset: number, memory: Uint8Array, host: number, shape: () => string): { readonly fn: TranslatedFunction; readonly slot: number } | undefined {
    let block: { readonly fn: TranslatedFunction; readonly slot: number } | undefined
    for (const known of this.byPlace.get(keyOf(modeKey, pageOffset)) ?? []) {
      const { fn } = known
      if (block && fn.kind === 'block') continue
      if (!standsAt(fn, memory, host) || (fn.kind === 'block' && fn.shape !== shape())) continue
      if (fn.kind === 'region') return known
      block = known
    }
    return block
  }
}
