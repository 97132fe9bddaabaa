/**
 * Fills and flushes the TLB that generated code probes (see `tlb-layout.ts`), from the page walker and the frame table; most
 * entries are filled by generated code itself (`cpu/interp/tlb-fill.ts`). An entry folds both translations into one: guest-linear to guest-physical, and guest-physical to host offset.
 */
import type { CpuState } from '../cpu/state/access'
import { FIELDS, offsetOf } from '../cpu/state/layout'
import { Frame, PAGE_SIZE, VISIBLE_MASK, WRITE_SLOW_MASK } from '../memory/frame-table'
import type { PhysicalRam } from '../memory/guest-memory'
import { LargePages, PART_SHIFT, placeOfPart } from './large-pages'
import { TLB_BYTES, TLB_ENTRIES, TLB_ENTRY_SIZE, TLB_SETS, TLB_SPACES, TLB_VIEWS, TlbEntry, TlbFlag, TlbList, TlbView } from './tlb-layout'
import { Access, type PageWalker } from './walk'
import { updateWalkKind } from './walk-kind'

/** Negative results of `translate`. */
export const Translation = {
  /** Not RAM: a register window or nothing; `gpa` says where. */
  MMIO: -1,
  /** `errorCode` for #PF; CR2 has been set. */
  FAULT: -2,
} as const

const EMPTY_LO = 1
/** `words` index from an entry to its parts. */
const READ = TlbEntry.readTag / 4
const WRITE = TlbEntry.writeTag / 4
const ADDEND = TlbEntry.addend / 4
const FLAGS = TlbEntry.flags / 4

const AT_TLB_FILLS = offsetOf('tlbFills')
const AT_FRAME_TABLE = offsetOf('frameTable')
const AT_FRAME_PAGES = offsetOf('framePages')
const AT_LARGE_PAGES = offsetOf('largePages')

interface EntryList {
  /** Words index, from a set's first entry. */
  readonly head: number
  /** From an entry. */
  readonly next: number
  readonly flag: number
}
const LOCAL: EntryList = { head: TlbList.local / 4, next: TlbEntry.nextLocal / 4, flag: TlbFlag.IN_LOCAL }
const GLOBAL: EntryList = { head: TlbList.global / 4, next: TlbEntry.nextGlobal / 4, flag: TlbFlag.IN_GLOBAL }
const BOTH = [LOCAL, GLOBAL] as const

const SUPERVISOR_SET = 0
const SUPERVISOR_AC_SET = 1
const FIRST_USER_SET = 2
/** Set of a view in a space. */
const setOf = (space: number, view: number): number =>
  view === TlbView.USER ? FIRST_USER_SET + space : view === TlbView.SUPERVISOR ? SUPERVISOR_SET : SUPERVISOR_AC_SET

export class SoftTlb {
  private readonly words: Int32Array
  /** PCID each space belongs to, -1 none; and when it was last entered. */
  private readonly pcids = new Int32Array(TLB_SPACES).fill(-1)
  private readonly entered = new Float64Array(TLB_SPACES)
  private entries = 0
  /** The space in force. */
  private space = 0
  /** INVLPG inside one of these empties everything. */
  private readonly large = new LargePages()
  /** The user sets of other spaces may hold global pages too. */
  private globalElsewhere = false
  private missed = 0
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
    this.emptyAll()
  }

  /** An entry of zeros would be the page at 0. */
  private emptyAll(): void {
    const { words } = this
    const first = this.wordOf(0, 0)
    this.emptyEntry(first)
    // A machine waits for this: entries are doubled until a set is full, and the set is copied.
    for (let done = TLB_ENTRY_SIZE / 4; done < TLB_ENTRIES * TLB_ENTRY_SIZE / 4; done *= 2) words.copyWithin(first + done, first, first + done)
    for (let set = 1; set < TLB_SETS; set++) words.copyWithin(this.wordOf(set, 0), first, first + TLB_ENTRIES * TLB_ENTRY_SIZE / 4)
  }

  /** Translations that were not found, here and by generated code. */
  get misses(): number {
    return this.missed + this.state.view.getUint32(AT_TLB_FILLS, true)
  }

  /** Address of a view's entries in the space in force. */
  viewBase(view: number): number {
    return this.base + setOf(this.space, view) * TLB_BYTES
  }

  private wordOf(set: number, slot: number): number {
    return (this.base + set * TLB_BYTES + slot * TLB_ENTRY_SIZE) >> 2
  }

  /**
   * A load of CR3: the entries of the PCID come into force, all but global ones emptied unless they are to be kept.
   * Afterwards `viewBase` has changed.
   */
  enterSpace(pcid: number, keep: boolean): void {
    const { pcids, entered } = this
    let space = -1
    let oldest = 0
    for (let i = 0; i < TLB_SPACES; i++) {
      if (pcids[i] === pcid) space = i
      if (entered[i] < entered[oldest]) oldest = i
    }
    const known = space >= 0
    if (!known) {
      space = oldest
      pcids[space] = pcid
    }
    entered[space] = ++this.entries
    // What the supervisor's sets hold of programs and other local pages belongs to the space that is left.
    if (!keep || this.space !== space) {
      this.flushList(SUPERVISOR_SET, LOCAL)
      this.flushList(SUPERVISOR_AC_SET, LOCAL)
    }
    this.space = space
    if (!known || !keep) this.flushList(FIRST_USER_SET + space, LOCAL)
  }

  private emptyEntry(word: number): void {
    const { words } = this
    words[word + READ] = EMPTY_LO
    words[word + READ + 1] = 0
    words[word + WRITE] = EMPTY_LO
    words[word + WRITE + 1] = 0
  }

  /** Tells the page walk of generated code which paging is in force, and where RAM is: a reset clears the state block. */
  modeChanged(): void {
    const { view } = this.state
    view.setInt32(AT_FRAME_TABLE, this.ram.frames.layout.tableBase, true)
    view.setInt32(AT_FRAME_PAGES, this.ram.frames.pageCount, true)
    updateWalkKind(this.state, this.withhold !== undefined)
  }

  /** Empties every view of every space, or all but entries of global pages. */
  flush(keepGlobal: boolean): void {
    for (let set = 0; set < TLB_SETS; set++) this.flushSet(set, keepGlobal)
    if (keepGlobal) return
    this.globalElsewhere = false
    if (this.large.isEmpty) return
    this.large.clear()
    this.state.bytes.fill(0, AT_LARGE_PAGES, AT_LARGE_PAGES + 8 * FIELDS.largePages.count)
  }

  /** Empties one view of every space. */
  flushView(view: number): void {
    const count = view === TlbView.USER ? TLB_SPACES : 1
    for (let space = 0; space < count; space++) this.flushSet(setOf(space, view), false)
  }

  private flushSet(set: number, keepGlobal: boolean): void {
    this.flushList(set, LOCAL)
    if (!keepGlobal) this.flushList(set, GLOBAL)
  }

  /** Empties a list, and its entries; of those in the local one that hold a global page by now only the former. */
  private flushList(set: number, list: EntryList): void {
    const { words } = this
    const head = this.wordOf(set, 0) + list.head
    const kept = list === LOCAL ? TlbFlag.GLOBAL : 0
    for (let at = words[head]; at !== 0;) {
      const word = at >> 2
      const flags = words[word + FLAGS]
      words[word + FLAGS] = flags & ~list.flag
      if ((flags & kept) === 0) this.emptyEntry(word)
      at = words[word + list.next]
    }
    words[head] = 0
  }

  /** Drops one linear page: in the space in force as INVLPG does, or in every space. */
  invalidatePage(lo: number, hi: number, everySpace = false): void {
    if (this.large.covers(lo, hi)) return this.flush(false)
    const slot = (lo >>> 12) & (TLB_ENTRIES - 1)
    if (everySpace || this.globalElsewhere) {
      for (let set = 0; set < TLB_SETS; set++) this.emptyEntry(this.wordOf(set, slot))
      return
    }
    // The entries stay in their lists; empty ones are harmless there.
    for (let view = 0; view < TLB_VIEWS; view++) this.emptyEntry(this.wordOf(setOf(this.space, view), slot))
  }

  /** Calls `use` with the word index of every entry in use; it may be called twice with one. */
  private eachEntry(use: (word: number) => void): void {
    const { words } = this
    for (let set = 0; set < TLB_SETS; set++) {
      for (const list of BOTH) {
        for (let at = words[this.wordOf(set, 0) + list.head]; at !== 0; at = words[(at >> 2) + list.next]) use(at >> 2)
      }
    }
  }

  /** Takes write permission from every entry of a frame: it now holds code, or is shared. No frame given: from all. */
  dropWriteTags(hostPage?: number): void {
    const { words } = this
    this.eachEntry((word) => {
      const tag = words[word + WRITE]
      if (tag === EMPTY_LO || (hostPage !== undefined && ((tag + words[word + ADDEND]) | 0) !== (hostPage | 0))) return
      words[word + WRITE] = EMPTY_LO
      words[word + WRITE + 1] = 0
    })
  }

  /** Host offsets of the frames with an entry: what the guest used last. */
  cachedFrames(): number[] {
    const { words } = this
    const frames = new Set<number>()
    this.eachEntry((word) => {
      const tag = words[word + READ]
      if (tag !== EMPTY_LO) frames.add((tag + words[word + ADDEND]) >>> 0)
    })
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
    this.missed++
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
    if ((entry & VISIBLE_MASK) !== Frame.PRESENT) return Translation.MMIO
    if (write && (entry & Frame.ROM) !== 0) return Translation.MMIO
    if (write && (entry & WRITE_SLOW_MASK) === 0) this.ram.frames.markWritten(page)
    if (!this.withhold?.(lo, hi, view)) this.fill(lo, hi, view, page)
    return this.ram.frames.hostOffset(page) + (lo & 0xfff)
  }

  private fill(lo: number, hi: number, view: number, page: number): void {
    const { walker, words } = this
    const word = this.slotWord(view, lo)
    const pageLo = (lo & ~0xfff) | 0
    const entry = this.ram.frames.entry(page)
    const writable = walker.writable && (entry & WRITE_SLOW_MASK) === 0 && (entry & Frame.DIRTY) !== 0
    words[word + READ] = pageLo
    words[word + READ + 1] = hi | 0
    words[word + WRITE] = writable ? pageLo : EMPTY_LO
    words[word + WRITE + 1] = writable ? hi | 0 : 0
    words[word + ADDEND] = (this.ram.frames.hostOffset(page) - pageLo) | 0
    this.enlist(word, setOf(this.space, view), walker.global)
    if (walker.global && view === TlbView.USER) this.globalElsewhere = true
    if (walker.pageShift > 12) this.noteLarge(lo, hi)
  }

  private enlist(word: number, set: number, global: boolean): void {
    const { words } = this
    const list = global ? GLOBAL : LOCAL
    const flags = words[word + FLAGS]
    words[word + FLAGS] = (flags & ~TlbFlag.GLOBAL) | list.flag | (global ? TlbFlag.GLOBAL : 0)
    if ((flags & list.flag) !== 0) return
    const head = this.wordOf(set, 0) + list.head
    words[word + list.next] = words[head]
    words[head] = word << 2
  }

  /** Generated code fills entries of a large page only where its 2 MiB were noted here. */
  private noteLarge(lo: number, hi: number): void {
    this.large.note(lo, hi, this.walker.pageShift)
    const at = AT_LARGE_PAGES + 8 * placeOfPart(lo, hi)
    this.state.view.setInt32(at, (hi << (32 - PART_SHIFT)) | (lo >>> PART_SHIFT), true)
    this.state.view.setInt32(at + 4, (hi >>> PART_SHIFT) | 0x8000_0000, true)
  }
}
