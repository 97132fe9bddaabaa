/**
 * Translations as bytes, to be kept from one run to the next. What a pack holds is used only where the guest's code is the
 * same byte for byte, so a pack may be shared by all machines; its version must be that of the translator.
 *
 * Layout, little-endian: u32 count, then each function as `packed-function.ts` has it, then pages with loops that wait for their regions
 * (`loop-pages.ts`), where there are some.
 */
import { VmmError } from '../../errors'
import { PAGE_SIZE } from '../../memory/frame-table'
import { decodeLoopPages, encodeLoopPages, type LoopPage } from './loop-pages'
import { CONSTANT_BYTES } from './own-constants'
import { KINDS, PackedFunction } from './packed-function'
import type { TranslatedFunction } from './translator'

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

export function encodePack(functions: readonly TranslatedFunction[], loops: readonly LoopPage[] = []): Uint8Array {
  const pages = loops.length > 0 ? encodeLoopPages(loops) : undefined
  const out = new Uint8Array(4 + functions.reduce((sum, fn) => sum + sizeOf(fn), 0) + (pages?.length ?? 0))
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
  if (pages) raw(pages)
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

  /** What is behind. */
  rest(): Uint8Array { return this.bytes.subarray(this.at) }

  /** Goes over a function, which is to be read later. */
  function(): PackedFunction {
    const { at } = this
    if (this.u8() >= KINDS.length) throw new VmmError('bad-state', `translation pack: unknown kind at byte ${at}`)
    this.take(2)
    const entries = this.u16()
    for (let i = 0; i < entries; i++) if (this.u16() >= PAGE_SIZE) throw new VmmError('bad-state', `translation pack: an entry leaves its page at byte ${this.at}`)
    this.take(this.u16())
    const ranges = this.u16()
    for (let i = 0; i < ranges; i++) this.range()
    if (entries === 0 || ranges === 0) throw new VmmError('bad-state', `translation pack: a function without code at byte ${this.at}`)
    for (let left = this.u16(); left > 0; left--) {
      this.take(4)
      if (this.u16() > PAGE_SIZE - CONSTANT_BYTES) throw new VmmError('bad-state', `translation pack: a constant leaves its page at byte ${this.at}`)
    }
    this.take(this.u32())
    this.take(this.u16())
    return new PackedFunction(this.bytes, at)
  }

  private range(): void {
    this.take(4)
    const offset = this.u16()
    const length = this.u16()
    this.take(length)
    if (length === 0 || offset + length > PAGE_SIZE) throw new VmmError('bad-state', `translation pack: a range leaves its page at byte ${this.at}`)
  }
}

/** @throws VmmError `bad-state` where the bytes are no pack; bodies and hints are not looked into. @returns functions that stay in `bytes` */
export function decodePack(bytes: Uint8Array): readonly PackedFunction[] {
  const reader = new PackReader(bytes)
  return Array.from({ length: reader.u32() }, () => reader.function())
}

/** The pages with loops behind a pack's functions. @throws VmmError `bad-state` where the bytes are no pack */
export function loopsOfPack(bytes: Uint8Array): readonly LoopPage[] {
  const reader = new PackReader(bytes)
  for (let left = reader.u32(); left > 0; left--) reader.function()
  return decodeLoopPages(reader.rest())
}

/** The same functions, in as little memory as they can have. */
export function packed(functions: readonly TranslatedFunction[]): readonly PackedFunction[] {
  const isPacked = (fn: TranslatedFunction): fn is PackedFunction => fn instanceof PackedFunction
  return functions.every(isPacked) ? functions : decodePack(encodePack(functions))
}

const keyOf = (modeKey: number, pageOffset: number): number => modeKey * PAGE_SIZE + pageOffset

/** A translation, and its slot in the table. */
export interface Known { readonly fn: PackedFunction; readonly slot: number }

/** Translations by the code they were made from. Several that begin at one place follow one another in lists, in the order they came. */
export class TranslationIndex {
  private readonly functions: PackedFunction[] = []
  private readonly slots: number[] = []
  /** Number of the next one of the same place, -1: none; of the first one by place. */
  private readonly next: number[] = []
  private readonly first = new Map<number, number>()

  add(fn: PackedFunction, slot: number): void {
    for (const offset of fn.entries) {
      const number = this.functions.push(fn) - 1
      this.slots.push(slot)
      this.next.push(-1)
      this.append(keyOf(fn.modeKey, offset), number)
    }
  }

  private append(key: number, number: number): void {
    let last = this.first.get(key)
    if (last === undefined) {
      this.first.set(key, number)
      return
    }
    while (this.next[last] >= 0) last = this.next[last]
    this.next[last] = number
  }

  private firstAt(modeKey: number, pageOffset: number): number {
    return this.first.get(keyOf(modeKey, pageOffset)) ?? -1
  }

  private known(number: number): Known {
    return { fn: this.functions[number], slot: this.slots[number] }
  }

  /** Gives functions their new slots. */
  move(moved: ReadonlyMap<number, number>): void {
    this.slots.forEach((slot, i) => (this.slots[i] = moved.get(slot) ?? slot))
  }

  /** True where the same code is known at that place, translated as the same kind. */
  has(fn: PackedFunction): boolean {
    for (let i = this.firstAt(fn.modeKey, fn.pageOffset); i >= 0; i = this.next[i]) if (this.functions[i].isOfSameCode(fn)) return true
    return false
  }

  /** Regions with code of further pages, among them the one at a place. Whether it is the code that is there now is not looked at. */
  acrossPages(modeKey: number, pageOffset: number): readonly Known[] {
    const found: Known[] = []
    for (let i = this.firstAt(modeKey, pageOffset); i >= 0; i = this.next[i]) if (this.functions[i].ranges.some(({ page }) => page !== 0)) found.push(this.known(i))
    return found
  }

  /**
   * The best translation of the code at a place, made from its page alone: regions before blocks.
   * @param memory linear memory @param host byte offset of the page in it
   * @param shape of the block that begins there, asked for only where something fits
   */
  find(modeKey: number, pageOffset: number, memory: Uint8Array, host: number, shape: () => string): Known | undefined {
    let block = -1
    for (let i = this.firstAt(modeKey, pageOffset); i >= 0; i = this.next[i]) {
      const fn = this.functions[i]
      const isBlock = fn.kind === 'block'
      if (block >= 0 && isBlock) continue
      if (!fn.standsAt(memory, host) || (isBlock && !fn.hasShape(shape()))) continue
      if (!isBlock) return this.known(i)
      block = i
    }
    return block < 0 ? undefined : this.known(block)
  }
}
