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
import { CONSTANT, FUNCTION_HEAD, isKind, kindByte, PackedFunction, RANGE_HEAD } from './packed-function'
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
    out[at++] = kindByte(kind, body.length)
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

/** Goes over the function at `begin`. @returns where it ends @throws VmmError `bad-state` where it is none, or goes on behind the pack's end */
function endOf(bytes: Uint8Array, begin: number): number {
  const u16 = (at: number): number => bytes[at] | (bytes[at + 1] << 8)
  let at = begin + FUNCTION_HEAD
  const refuse = (what: string): never => {
    throw new VmmError('bad-state', at > bytes.length ? `translation pack ends at byte ${bytes.length}, within a function` : `translation pack: ${what} at byte ${at}`)
  }
  const entries = u16(begin + 3)
  for (let left = entries; left > 0; left--, at += 2) if (u16(at) >= PAGE_SIZE) refuse('an entry leaves its page')
  at += 2 + u16(at)
  const ranges = u16(at)
  at += 2
  if (entries === 0 || ranges === 0) refuse('a function without code')
  for (let left = ranges; left > 0; left--) {
    const length = u16(at + 6)
    if (length === 0 || u16(at + 4) + length > PAGE_SIZE) refuse('a range leaves its page')
    at += RANGE_HEAD + length
  }
  const constants = u16(at)
  at += 2
  for (let left = constants; left > 0; left--, at += CONSTANT) if (u16(at + 4) > PAGE_SIZE - CONSTANT_BYTES) refuse('a constant leaves its page')
  const body = (u16(at) | (u16(at + 2) << 16)) >>> 0
  if (!isKind(bytes[begin], body)) refuse('a function of unknown kind ends')
  at += 4 + body
  at += 2 + u16(at)
  return at > bytes.length ? refuse('it ends') : at
}

/** @returns the functions, and where the last one ends @throws VmmError `bad-state` */
function readFunctions(bytes: Uint8Array): { functions: readonly PackedFunction[]; end: number } {
  if (bytes.length < 4) throw new VmmError('bad-state', `translation pack ends at byte ${bytes.length}, within its count`)
  const functions: PackedFunction[] = []
  let end = 4
  for (let left = new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true); left > 0; left--) {
    functions.push(new PackedFunction(bytes, end))
    end = endOf(bytes, end)
  }
  return { functions, end }
}

/** @throws VmmError `bad-state` where the bytes are no pack; bodies and hints are not looked into. @returns functions that stay in `bytes` */
export const decodePack = (bytes: Uint8Array): readonly PackedFunction[] => readFunctions(bytes).functions

/** The pages with loops behind a pack's functions. @throws VmmError `bad-state` where the bytes are no pack */
export const loopsOfPack = (bytes: Uint8Array): readonly LoopPage[] => decodeLoopPages(bytes.subarray(readFunctions(bytes).end))

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
    const { modeKey, entryCount } = fn
    for (let i = 0; i < entryCount; i++) {
      const number = this.functions.push(fn) - 1
      this.slots.push(slot)
      this.next.push(-1)
      this.append(keyOf(modeKey, fn.entryAt(i)), number)
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
