/**
 * Pages of code with loops that ran a good deal, but are no regions: a loop that turns some thousand times in a boot is over before its
 * region would be there. Regions of them are made for the next machine when nobody waits, from the page as it was.
 *
 * Layout, little-endian: u32 count, then for each page: u16 mode key, u32 linear page, u16 numbers of warm heads, of hot ones and of
 * jumps, u16 page offset of each head, u16 page offset and u32 target of each jump, and the page's bytes.
 */
import { VmmError } from '../../errors'
import { PAGE_SIZE } from '../../memory/frame-table'
import type { Decode, DecodedInsn } from '../decode/types'
import type { CodePage, DecodeCache } from '../interp/decode-cache'
import { Mode } from '../state/mode'
import { CodeWindow, inPage, pageOf, type NearPage } from './code-window'
import { MAX_PAGES } from './region-flow'
import type { ModuleDraft, Translator } from './translator'

export interface LoopPage {
  readonly modeKey: number
  /** Low 32 bits of the linear address at which it was last found. */
  readonly linearPage: number
  readonly bytes: Uint8Array
  /** As `NearPage` has them. */
  readonly warm: readonly number[]
  readonly went: readonly number[]
  /** Page offsets at which blocks begin that may be heads of such loops. */
  readonly hot: readonly number[]
}

/** Entries of a head from which on its loop is worth a region, and of blocks worth to be in one, as shares of what makes a block hot. */
const HOT = 1 / 2
const WARM = 1 / 32
const HEADER = 12
/** Pages still there at the end for each that was dropped before. */
const ONES_HERE = 4

export interface LoopPageOptions {
  readonly cache: DecodeCache
  readonly hotAfter: number
  /** Whether what stands in a slot is no region and was translated in this run, so was hot in it. */
  readonly isHotBlock: (slot: number) => boolean
}

/** @returns undefined where no block of it runs often */
export function loopPageOf({ cache, hotAfter, isHotBlock }: LoopPageOptions, code: CodePage, bytes: () => Uint8Array): LoopPage | undefined {
  const often = cache.warmHeads(code, hotAfter * HOT)
  if (often.length === 0) return undefined
  const hot = often.filter((offset) => {
    const block = cache.blockAt(cache.recordAt(code, offset))
    return block !== undefined && (cache.isUntranslated(block) || isHotBlock(cache.slotAt(block)))
  })
  return { modeKey: code.modeKey, linearPage: code.linearPage, bytes: bytes(), warm: cache.warmHeads(code, hotAfter * WARM), went: cache.wentFrom(code), hot }
}

export function encodeLoopPages(pages: readonly LoopPage[]): Uint8Array {
  const out = new Uint8Array(4 + pages.reduce((sum, { warm, hot, went }) => sum + HEADER + 2 * (warm.length + hot.length) + 3 * went.length + PAGE_SIZE, 0))
  const view = new DataView(out.buffer)
  let at = 0
  const u16 = (value: number): void => { view.setUint16((at += 2) - 2, value, true) }
  const u32 = (value: number): void => { view.setUint32((at += 4) - 4, value, true) }
  u32(pages.length)
  for (const { modeKey, linearPage, bytes, warm, went, hot } of pages) {
    u16(modeKey)
    u32(linearPage)
    u16(warm.length)
    u16(hot.length)
    u16(went.length / 2)
    warm.forEach(u16)
    hot.forEach(u16)
    went.forEach((value, i) => (i % 2 === 0 ? u16 : u32)(value))
    out.set(bytes, (at += PAGE_SIZE) - PAGE_SIZE)
  }
  return out
}

/** @param bytes as `encodeLoopPages` made them; empty: there are none. @throws VmmError `bad-state` where they end early */
export function decodeLoopPages(bytes: Uint8Array): LoopPage[] {
  if (bytes.length === 0) return []
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  let at = 0
  const take = (length: number): number => {
    if (at + length > bytes.length) throw new VmmError('bad-state', `pages of loops end at byte ${bytes.length}, ${length} more are needed at ${at}`)
    return (at += length) - length
  }
  const u16 = (): number => view.getUint16(take(2), true)
  const u32 = (): number => view.getUint32(take(4), true)
  const offsets = (length: number): number[] => Array.from({ length }, () => inPage(u16()))
  return Array.from({ length: u32() }, () => {
    const [modeKey, linearPage, warm, hot, jumps] = [u16(), u32(), u16(), u16(), u16()]
    const heads = { warm: offsets(warm), hot: offsets(hot) }
    const went = Array.from({ length: jumps }, () => [inPage(u16()), u32() | 0]).flat()
    const from = take(PAGE_SIZE)
    return { modeKey, linearPage, ...heads, went, bytes: bytes.subarray(from, from + PAGE_SIZE) }
  })
}

/** Where the pages stand in a translator's memory: behind its first page. */
export const LOOP_PAGES_AT = PAGE_SIZE

interface Jumps {
  /** Offsets that its warm blocks jump back to; negative ones are in pages before it. */
  readonly back: ReadonlySet<number>
  /** How many jumps and calls lead to a page, by its distance. */
  readonly pages: ReadonlyMap<number, number>
}
interface Mapped { readonly page: LoopPage; readonly host: number; readonly jumps: Jumps }

/** How a block ends that begins at an offset; undefined where it is cut at the page's end. */
function lastOf({ bytes, modeKey }: LoopPage, start: number, decode: Decode): { readonly insn: DecodedInsn; readonly offset: number } | undefined {
  for (let offset = start; offset < PAGE_SIZE;) {
    const result = decode(bytes, offset, PAGE_SIZE - offset, modeKey)
    if (!result.ok) return undefined
    if (result.insn.row.ends && result.insn.row.ends !== 'changed') return { insn: result.insn, offset }
    offset += result.insn.length
  }
  return undefined
}

function jumpsOf(page: LoopPage, decode: Decode): Jumps {
  const back = new Set<number>()
  const pages = new Map<number, number>()
  const count = (offset: number): void => void pages.set(pageOf(offset), (pages.get(pageOf(offset)) ?? 0) + 1)
  for (const start of page.warm) {
    const last = lastOf(page, start, decode)
    const rel = last?.insn.operands.find((operand) => operand.kind === 'rel')
    if (!last || rel?.kind !== 'rel') continue
    const target = last.offset + last.insn.length + Number(rel.displacement)
    count(target)
    if (last.insn.row.mnemonic !== 'CALL' && target <= last.offset) back.add(target)
  }
  for (let i = 1; i < page.went.length; i += 2) count((page.went[i] - page.linearPage) | 0)
  return { back, pages }
}

/** Makes regions of the loops in some pages. */
export class LoopTranslator {
  private readonly mapped: readonly Mapped[]
  private readonly byPlace = new Map<string, Mapped>()

  /** @param translator has room for the pages at `LOOP_PAGES_AT` */
  constructor(private readonly translator: Translator, pages: readonly LoopPage[]) {
    this.mapped = pages.map((page, i) => ({ page, host: LOOP_PAGES_AT + i * PAGE_SIZE, jumps: jumpsOf(page, translator.decode) }))
    for (const mapped of this.mapped) {
      translator.memory.set(mapped.page.bytes, mapped.host)
      this.byPlace.set(this.placeOf(mapped.page, 0), mapped)
    }
  }

  private placeOf({ modeKey, linearPage }: LoopPage, delta: number): string {
    return `${modeKey}:${(linearPage + delta * PAGE_SIZE) >>> 0}`
  }

  /** The page so many further. Of programs several may be at one place: only supervisor pages are taken together. */
  private near({ page }: Mapped, delta: number): Mapped | undefined {
    return (page.modeKey & Mode.USER) === 0 ? this.byPlace.get(this.placeOf(page, delta)) : undefined
  }

  /** Adds regions to a draft while `hasRoom`. */
  translate(draft: ModuleDraft, hasRoom: () => boolean): void {
    for (const mapped of this.mapped) {
      const { page, host, jumps } = mapped
      const back = new Set([...jumps.back, ...[...this.near(mapped, 1)?.jumps.back ?? []].map((offset) => offset + PAGE_SIZE)])
      const made = new Set<number>()
      for (const pageOffset of page.hot) {
        if (!hasRoom()) return
        if (!back.has(pageOffset) || made.has(pageOffset)) continue
        const block = { head: 0, modeKey: page.modeKey, host, pageOffset, records: [] }
        const region = draft.addRegion(block, new CodeWindow(this.translator.memory, { linearPage: page.linearPage, pages: this.window(mapped) }), 'loop')
        for (const entry of region?.entries ?? []) made.add(entry)
      }
    }
  }

  /** The page and those its code jumps to, most frequent first. */
  private window(mapped: Mapped): NearPage[] {
    const further = [1, ...[...mapped.jumps.pages].sort(([, a], [, b]) => b - a).map(([delta]) => delta)]
    const pages = [nearPage(mapped, 0)]
    for (const delta of new Set(further)) {
      const found = delta === 0 || pages.length > MAX_PAGES ? undefined : this.near(mapped, delta)
      if (found) pages.push(nearPage(found, delta))
    }
    return pages
  }
}

const nearPage = ({ page: { warm, went }, host }: Mapped, delta: number): NearPage => ({ delta, host, warm, went })

/** Keeps pages until a pack is made: those that were dropped meanwhile, each once. */
export class LoopPages {
  private readonly left = new Map<string, LoopPage>()

  constructor(private readonly options: LoopPageOptions, private readonly max: number) {}

  /** A page's blocks are about to go. */
  leaving(code: CodePage, bytes: () => Uint8Array): void {
    const page = this.left.size < this.max ? loopPageOf(this.options, code, bytes) : undefined
    if (page && page.hot.length > 0) this.left.set(`${page.modeKey}:${page.linearPage}`, page)
  }

  /** @param bytesOf a page that is decoded now */
  all(bytesOf: (code: CodePage) => Uint8Array): LoopPage[] {
    const now = this.options.cache.codePages.map((code) => loopPageOf(this.options, code, () => bytesOf(code))).filter((page) => page !== undefined)
    return [...this.left.values(), ...now.slice(0, ONES_HERE * this.max)]
  }
}
