/**
 * Fills and flushes the TLB that generated code probes (see `tlb-layout.ts`), from the page walker and the frame table.
 * An entry folds both translations into one: guest-linear to guest-physical, and guest-physical to host offset.
 */
import type { CpuState } from '../cpu/state/access'
import { Frame, PAGE_SIZE, WRITE_SLOW_MASK } from '../memory/frame-table'
import type { PhysicalRam } from '../memory/guest-memory'
import { TLB_BYTES, TLB_ENTRIES, TLB_ENTRY_SIZE, TLB_SPACES, TLB_VIEWS, TlbEntry, TlbView } from './tlb-layout'
import { LargePages } from './large-pages'
import { Access, type PageWalker } from './walk'

/** Negative results of `translate`. */
export const Translation = {
  /** Not RAM: a register window or nothing; `gpa` says where. */
  MMIO: -1,
  /** `errorCode` for #PF; CR2 has been set. */
  FAULT: -2,
} as const

/** One set of entries for each view of each space. */
const SETS = TLB_SPACES * TLB_VIEWS
const EMPTY_LO = 1
const FLAG_USED = 1
const FLAG_GLOBAL = 2
/** Byte offset of the entry's bookkeeping word, unused by generated code. */
const FLAGS_AT = 20

export class SoftTlb {
  private readonly words: Int32Array
  /** Slots in use, per set. */
  private readonly used: Int32Array[] = []
  private readonly usedCount = new Int32Array(SETS)
  /** PCID each space belongs to, -1 none; and which was used last, the latest first. */
  private readonly pcids = new Int32Array(TLB_SPACES).fill(-1)
  private readonly recent = Array.from({ length: TLB_SPACES }, (_, i) => i)
  /** First set of the space in force. */
  private first = 0
  /** INVLPG inside one of these empties everything. */
  private readonly large = new LargePages()
  misses = 0
  /** Pages generated code must not reach without a slow path: linear address in halves, view. Undefined: there are none. */
  withhold: ((lo: number, hi: number, view: number) => boolean) | undefined
  /** Valid after `translate`. */
  gpa = 0
  errorCode = 0

  constructor(
    buffer: ArrayBufferLike,
    private readonly base: number,
    private readonly walker: PageWalker,
    private readonly ram: PhysicalRam,
    private readonly state: CpuState,
  ) {
    this.words = new Int32Array(buffer)
    for (let set = 0; set < SETS; set++) {
      this.used.push(new Int32Array(TLB_ENTRIES))
      for (let slot = 0; slot < TLB_ENTRIES; slot++) this.emptySlot(this.wordOf(set, slot))
    }
  }

  /** Address of a view's entries in the space in force. */
  viewBase(view: number): number {
    return this.base + (this.first + view) * TLB_BYTES
  }

  private wordOf(set: number, slot: number): number {
    return (this.base + set * TLB_BYTES + slot * TLB_ENTRY_SIZE) >> 2
  }

  /**
   * A load of CR3: the entries of the PCID come into force, all but global ones emptied unless they are to be kept.
   * Afterwards `viewBase` has changed.
   */
  enterSpace(pcid: number, keep: boolean): void {
    let space = this.pcids.indexOf(pcid)
    const known = space >= 0
    if (!known) {
      space = this.recent[TLB_SPACES - 1]
      this.pcids[space] = pcid
    }
    if (this.recent[0] !== space) {
      this.recent.splice(this.recent.indexOf(space), 1)
      this.recent.unshift(space)
    }
    this.first = space * TLB_VIEWS
    if (known && keep) return
    for (let set = this.first; set < this.first + TLB_VIEWS; set++) this.flushSet(set, true)
  }

  private emptySlot(word: number): void {
    const { words } = this
    words[word + TlbEntry.readTag / 4] = EMPTY_LO
    words[word + TlbEntry.readTag / 4 + 1] = 0
    words[word + TlbEntry.writeTag / 4] = EMPTY_LO
    words[word + TlbEntry.writeTag / 4 + 1] = 0
    words[word + FLAGS_AT / 4] = 0
  }

  /** Empties every view of every space, or all but entries of global pages. */
  flush(keepGlobal: boolean): void {
    for (let set = 0; set < SETS; set++) this.flushSet(set, keepGlobal)
    if (!keepGlobal) this.large.clear()
  }

  /** Empties one view of every space. */
  flushView(view: number): void {
    for (let set = view; set < SETS; set += TLB_VIEWS) this.flushSet(set, false)
  }

  private flushSet(set: number, keepGlobal: boolean): void {
    const list = this.used[set]
    const count = this.usedCount[set]
    let kept = 0
    for (let i = 0; i < count; i++) {
      const slot = list[i]
      const word = this.wordOf(set, slot)
      if (keepGlobal && (this.words[word + FLAGS_AT / 4] & FLAG_GLOBAL) !== 0) list[kept++] = slot
      else this.emptySlot(word)
    }
    this.usedCount[set] = kept
  }

  /** Drops one linear page in every view of every space. */
  invalidatePage(lo: number, hi: number): void {
    if (this.large.covers(lo, hi)) return this.flush(false)
    const slot = (lo >>> 12) & (TLB_ENTRIES - 1)
    for (let set = 0; set < SETS; set++) {
      const word = this.wordOf(set, slot)
      // The slot stays in the used list; an empty entry there is harmless.
      const flags = this.words[word + FLAGS_AT / 4]
      this.emptySlot(word)
      this.words[word + FLAGS_AT / 4] = flags & FLAG_USED
    }
  }

  /** Takes write permission from every entry of a frame: it now holds code, or is shared. No frame given: from all. */
  dropWriteTags(hostPage?: number): void {
    for (let set = 0; set < SETS; set++) {
      const list = this.used[set]
      for (let i = 0; i < this.usedCount[set]; i++) {
        const word = this.wordOf(set, list[i])
        const tag = this.words[word + TlbEntry.writeTag / 4]
        if (tag !== EMPTY_LO && (hostPage === undefined || ((tag + this.words[word + TlbEntry.addend / 4]) | 0) === (hostPage | 0))) {
          this.words[word + TlbEntry.writeTag / 4] = EMPTY_LO
          this.words[word + TlbEntry.writeTag / 4 + 1] = 0
        }
      }
    }
  }

  /** Host offsets of the frames with an entry: what the guest used last. */
  cachedFrames(): number[] {
    const frames = new Set<number>()
    for (let set = 0; set < SETS; set++) {
      for (let i = 0; i < this.usedCount[set]; i++) {
        const word = this.wordOf(set, this.used[set][i])
        const tag = this.words[word + TlbEntry.readTag / 4]
        if (tag !== EMPTY_LO) frames.add((tag + this.words[word + TlbEntry.addend / 4]) >>> 0)
      }
    }
    return [...frames]
  }

  private slotWord(view: number, lo: number): number {
    return (this.viewBase(view) + (((lo >>> 12) & (TLB_ENTRIES - 1)) * TLB_ENTRY_SIZE)) >> 2
  }

  /** Host offset if the entry for a page serves the access, else -1. The access must not cross the page. */
  probe(lo: number, hi: number, write: boolean, view: number): number {
    const word = this.slotWord(view, lo)
    const tag = word + (write ? TlbEntry.writeTag : TlbEntry.readTag) / 4
    if (this.words[tag] !== ((lo & ~0xfff) | 0) || this.words[tag + 1] !== (hi | 0)) return -1
    return (lo + this.words[word + TlbEntry.addend / 4]) >>> 0
  }

  /**
   * Host offset of a linear address for an access that stays within its page, filling the entry; or a Translation code.
   * Code pages and clean pages get no write tag: `host` is then valid for this one write, which the caller must make
   * through `PhysicalRam` so that code is dropped and the page is marked.
   */
  translate(lo: number, hi: number, write: boolean, view: number): number {
    const cached = this.probe(lo, hi, write, view)
    if (cached >= 0) {
      this.gpa = -1
      return cached
    }
    this.misses++
    const { walker } = this
    const access = (write ? Access.WRITE : 0) | (view === TlbView.USER ? Access.USER : 0) |
      (view === TlbView.SUPERVISOR_AC ? Access.SMAP_OVERRIDE : 0)
    if (!walker.walk(lo, hi, access)) {
      this.errorCode = walker.errorCode
      this.state.setLoHi('cr2', lo, hi)
      return Translation.FAULT
    }
    this.gpa = walker.gpaPage + (lo & 0xfff)
    const page = walker.gpaPage / PAGE_SIZE
    const entry = this.ram.presentEntry(page)
    if ((entry & Frame.PRESENT) === 0) return Translation.MMIO
    if (write && (entry & Frame.ROM) !== 0) return Translation.MMIO
    if (write && (entry & WRITE_SLOW_MASK) === 0) this.ram.frames.markWritten(page)
    if (!this.withhold?.(lo, hi, view)) this.fill(lo, hi, view, page)
    return this.ram.frames.hostOffset(page) + (lo & 0xfff)
  }

  private fill(lo: number, hi: number, view: number, page: number): void {
    const { walker, words } = this
    const word = this.slotWord(view, lo)
    const slot = (lo >>> 12) & (TLB_ENTRIES - 1)
    if ((words[word + FLAGS_AT / 4] & FLAG_USED) === 0) this.used[this.first + view][this.usedCount[this.first + view]++] = slot
    const pageLo = (lo & ~0xfff) | 0
    const entry = this.ram.frames.entry(page)
    const writable = walker.writable && (entry & WRITE_SLOW_MASK) === 0 && (entry & Frame.DIRTY) !== 0
    words[word + TlbEntry.readTag / 4] = pageLo
    words[word + TlbEntry.readTag / 4 + 1] = hi | 0
    words[word + TlbEntry.writeTag / 4] = writable ? pageLo : EMPTY_LO
    words[word + TlbEntry.writeTag / 4 + 1] = writable ? hi | 0 : 0
    words[word + TlbEntry.addend / 4] = (this.ram.frames.hostOffset(page) - pageLo) | 0
    words[word + FLAGS_AT / 4] = FLAG_USED | (walker.global ? FLAG_GLOBAL : 0)
    if (walker.pageShift > 12) this.large.note(lo, hi, walker.pageShift)
  }
}
