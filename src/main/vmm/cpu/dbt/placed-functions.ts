/** Translated functions by the slots of the table they stand in: what each was made of, and how many hold its place. */
import { PAGE_SIZE } from '../../memory/frame-table'
import type { CodePage, DecodeCache } from '../interp/decode-cache'
import type { FunctionTable } from './function-table'
import type { PackedFunction } from './packed-function'
import { TranslationIndex, type Known } from './translation-pack'
import type { TranslatedFunction } from './translator'

/** Bytes of functions kept to be shown, and to be put together with others. */
const MAX_BODY_BYTES = 24e6

/** True where a function was made from the code at an offset from its head's page. */
const covers = ({ ranges }: TranslatedFunction, at: number): boolean =>
  ranges.some(({ page, offset, bytes }) => page * PAGE_SIZE + offset <= at && at < page * PAGE_SIZE + offset + bytes.length)

/** Gives what is kept by slot its new slots. */
function move<T>(map: Map<number, T>, moved: ReadonlyMap<number, number>): void {
  const entries = [...map]
  map.clear()
  for (const [slot, value] of entries) map.set(moved.get(slot) ?? slot, value)
}

/** Bytes of code a function was made from. */
export const codeBytesOf = ({ ranges }: TranslatedFunction): number => ranges.reduce((sum, { bytes }) => sum + bytes.length, 0)

export class PlacedFunctions {
  /** Those that hold a slot, where they are several: heads, and one more where a function was set aside. */
  private readonly holders = new Map<number, number>()
  /** Functions of which the code is known; new ones up to MAX_BODY_BYTES. */
  private readonly known = new Map<number, PackedFunction>()
  private knownBytes = 0
  private readonly regions = new Map<number, PackedFunction>()
  /** Functions whose decoded code was dropped for want of room: they take their place again once it is decoded anew. */
  private readonly aside = new Map<number, PackedFunction>()
  private asideByCode = new TranslationIndex()

  /** @param memory the machine's linear memory */
  constructor(private readonly table: FunctionTable, private readonly cache: DecodeCache, private readonly memory: Uint8Array) {}

  /** Undefined where so much is translated that not all is known. */
  at(slot: number): PackedFunction | undefined {
    return this.known.get(slot)
  }

  /** A new function. @param holders heads it stands in */
  add(fn: PackedFunction, slot: number, holders: number): void {
    if (holders > 1) this.holders.set(slot, holders)
    if (this.knownBytes < MAX_BODY_BYTES) {
      this.known.set(slot, fn)
      this.knownBytes += fn.body.length
    }
    if (fn.kind === 'region') this.regions.set(slot, fn)
  }

  /** A function whose place nobody can take from it. */
  addForEver(fn: PackedFunction, slot: number): void {
    this.known.set(slot, fn)
    if (fn.kind === 'region') this.regions.set(slot, fn)
  }

  /** Bytes of code a region was made from; 0 where there is none in the slot. */
  regionSize(slot: number): number {
    const region = this.regions.get(slot)
    return region ? codeBytesOf(region) : 0
  }

  /** Which of the slots has a region with the code at a page offset. */
  private regionAt(slots: readonly number[], offset: number): number | undefined {
    return slots.find((slot) => {
      const region = this.regions.get(slot)
      return region !== undefined && covers(region, offset)
    })
  }

  /** One more holds a function's place. */
  hold(slot: number): void {
    if (this.table.has(slot)) this.holders.set(slot, (this.holders.get(slot) ?? 1) + 1)
  }

  /** One holds them no more. A function that nobody holds is gone. */
  drop(slots: readonly number[]): void {
    for (const slot of slots) {
      if (!this.table.has(slot)) continue
      const holders = this.holders.get(slot) ?? 1
      if (holders > 1) {
        this.holders.set(slot, holders - 1)
        continue
      }
      this.holders.delete(slot)
      this.table.release(slot)
      this.regions.delete(slot)
      this.knownBytes -= this.known.get(slot)?.body.length ?? 0
      this.known.delete(slot)
    }
  }

  /** Keeps every known function for the time when its code is decoded again. */
  setAside(): void {
    for (const [slot, fn] of this.known) {
      if (!this.table.has(slot) || this.aside.has(slot)) continue
      this.hold(slot)
      this.aside.set(slot, fn)
      this.asideByCode.add(fn, slot)
    }
  }

  forgetAside(): void {
    const slots = [...this.aside.keys()]
    this.aside.clear()
    this.asideByCode = new TranslationIndex()
    this.drop(slots)
  }

  /** Among those set aside, see `TranslationIndex.find`. */
  findAside(modeKey: number, pageOffset: number, host: number, shape: () => string): Known | undefined {
    return this.asideByCode.find(modeKey, pageOffset, this.memory, host, shape)
  }

  /**
   * Tier that runs the code at a place of a page. A loop within a region counts to the region, though it may have a
   * translation of its own for those who enter it elsewhere.
   */
  tierOf(code: CodePage, offset: number): 0 | 1 | 2 {
    if (this.regionAt(code.translated, offset) !== undefined) return 2
    const block = this.cache.blockAt(this.cache.recordAt(code, offset))
    return block && code.translated.includes(this.cache.slotAt(block)) ? 1 : 0
  }

  /** The function that runs the code at a place of a page; undefined where tier 0 runs it, or so much is translated that not all is kept. */
  translationAt(code: CodePage, offset: number): PackedFunction | undefined {
    const { cache } = this
    const region = this.regionAt(code.translated, offset)
    const block = cache.blockAt(cache.recordAt(code, offset))
    const slot = region ?? (block && cache.slotAt(block))
    return slot === undefined ? undefined : this.at(slot)
  }

  /** They have new slots. */
  move(moved: ReadonlyMap<number, number>): void {
    for (const map of [this.holders, this.known, this.regions, this.aside]) move<unknown>(map, moved)
    this.asideByCode.move(moved)
  }
}
