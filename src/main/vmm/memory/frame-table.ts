/**
 * The frame table: the only way from a guest-physical page to bytes. One u32 a page in the machine's linear memory:
 * the host offset of the frame (page aligned) in the upper 20 bits, flags in the lower 12.
 */

export const PAGE_SIZE = 4096
export const PAGE_SHIFT = 12

/** Frame flags. A write needs the slow path while any of READ_ONLY_MASK is set. */
export const Frame = {
  /** The page is RAM (or ROM) and has a frame here. Without it the page is MMIO or nothing. */
  PRESENT: 1 << 0,
  /** Contents are on disk still (lazy snapshot loading): fault in before use. */
  ABSENT: 1 << 1,
  /** Shared with a clone or a snapshot in the making: copy before writing. */
  SHARED: 1 << 2,
  ROM: 1 << 3,
  /** Decoded or translated code lives in the page: writes must invalidate. */
  CODE: 1 << 4,
  /** Written since the flag was last cleared (snapshots, migration). */
  DIRTY: 1 << 5,
  /** Never written since power-on: all zero. */
  ZERO: 1 << 6,
  /** Registers lie over the page: the processor sees them, and not the RAM that devices still reach. */
  COVERED: 1 << 7,
} as const

/** What the processor reaches as memory: an entry of which these are PRESENT alone. */
export const VISIBLE_MASK = Frame.PRESENT | Frame.COVERED

/** Before such a page is read or written, the host has work to do: see `PhysicalRam`. */
export const READ_SLOW_MASK = Frame.ABSENT

/** With any of these a page gets no write tag in a TLB. */
export const WRITE_SLOW_MASK = Frame.ABSENT | Frame.SHARED | Frame.ROM | Frame.CODE
/** Nothing the machine wrote stands in the page, or it is on disk still. */
const UNTOUCHED_MASK = Frame.ZERO | Frame.ABSENT
const OFFSET_MASK = 0xffff_f000
const TWO32 = 2 ** 32

export interface FrameTableLayout {
  /** Byte offset of the table itself in linear memory. */
  readonly tableBase: number
  /** Byte offset of the first guest frame, page aligned. */
  readonly framesBase: number
  readonly ramBytes: number
}

export class FrameTable {
  private readonly entries: Uint32Array
  readonly pageCount: number
  /** Page with COVERED, -1 none. */
  private covered = -1
  /** Pages that became dirty, where somebody wants to know. */
  private written: number[] | undefined
  /** Pages without UNTOUCHED_MASK: heartbeats ask, and a look at each of a large machine would drive out what the caches hold. */
  private touched = 0

  constructor(buffer: ArrayBufferLike, readonly layout: FrameTableLayout) {
    this.pageCount = layout.ramBytes / PAGE_SIZE
    this.entries = new Uint32Array(buffer, layout.tableBase, this.pageCount)
    for (let page = 0; page < this.pageCount; page++) {
      this.entries[page] = (layout.framesBase + page * PAGE_SIZE) | Frame.PRESENT | Frame.ZERO
    }
  }

  /** Entry of a page number; 0 where there is no RAM. */
  entry(page: number): number {
    return page < this.pageCount ? this.entries[page] : 0
  }

  /** Host offset of a byte whose page is RAM and here; -1 where there is no RAM, or work to be done first. */
  plainHost(gpa: number): number {
    const page = gpa >>> PAGE_SHIFT
    // The table ends below 4 GiB.
    if (gpa >= TWO32 || page >= this.pageCount) return -1
    const entry = this.entries[page]
    return (entry & (Frame.PRESENT | Frame.ABSENT)) === Frame.PRESENT ? ((entry & OFFSET_MASK) >>> 0) + (gpa & 0xfff) : -1
  }

  /** Host offset of a page's frame. Only valid where the entry has PRESENT. */
  hostOffset(page: number): number {
    return (this.entries[page] & OFFSET_MASK) >>> 0
  }

  /** All that changes UNTOUCHED_MASK goes through here: generated code changes no entry. */
  private put(page: number, entry: number): void {
    const isTouched = (entry & UNTOUCHED_MASK) === 0
    if (isTouched !== ((this.entries[page] & UNTOUCHED_MASK) === 0)) this.touched += isTouched ? 1 : -1
    this.entries[page] = entry
  }

  setFlags(page: number, flags: number): void {
    this.put(page, this.entries[page] | flags)
  }

  clearFlags(page: number, flags: number): void {
    this.put(page, this.entries[page] & ~flags)
  }

  /** Replaces all flags of a page. */
  resetFlags(page: number, flags: number): void {
    this.put(page, (this.entries[page] & OFFSET_MASK) | flags)
  }

  /**
   * Puts registers over the RAM at an address, and takes them from where they lay. No TLB may hold those pages: the caller
   * empties it. @param gpa guest-physical, page aligned, RAM or not; undefined: nowhere
   */
  cover(gpa: number | undefined): void {
    if (this.covered >= 0) this.clearFlags(this.covered, Frame.COVERED)
    const page = gpa === undefined ? -1 : gpa / PAGE_SIZE
    this.covered = page < this.pageCount ? page : -1
    if (this.covered >= 0) this.setFlags(page, Frame.COVERED)
  }

  /** Clears flags on every page. */
  clearAll(flags: number): void {
    for (let page = 0; page < this.pageCount; page++) this.put(page, this.entries[page] & ~flags)
  }

  /** Notes a write: the page is dirty and no longer known to be zero. */
  markWritten(page: number): void {
    const entry = this.entries[page]
    if ((entry & Frame.DIRTY) === 0) this.written?.push(page)
    this.put(page, (entry | Frame.DIRTY) & ~Frame.ZERO)
  }

  /**
   * Pages written since the last call; from the first call on they are noted. No TLB may hold write tags from before: the
   * caller drops them all.
   */
  takeWritten(): readonly number[] {
    const written = this.written ?? []
    if (!this.written) this.clearAll(Frame.DIRTY)
    for (const page of written) this.entries[page] &= ~Frame.DIRTY
    this.written = []
    return written
  }

  /** Pages that were ever written and are not on disk still, in bytes: what the machine really needs of the host. */
  touchedBytes(): number {
    return this.touched * PAGE_SIZE
  }
}
