/**
 * The tables in which generated code finds decoded code by linear address (see `tlb-layout.ts`): one per mode key, for a
 * few mode keys at a time. They are to code what the software TLB is to data, and flushed with it.
 */
import { CODE_LAPSED, CODE_TLB_BYTES, CODE_TLB_ENTRIES, CODE_TLB_ENTRY_SIZE, CODE_TLB_SETS, CODE_TLB_HASH_SHIFT, CodeTlbEntry } from '../../mmu/tlb-layout'
import { LargePages } from '../../mmu/large-pages'
import type { CodePage } from '../interp/decode-cache'
import { EPOCH_STEP } from '../interp/jump-cache'
import type { CpuState } from '../state/access'
import { FIELDS, offsetOf } from '../state/layout'
import { Mode } from '../state/mode'

const EMPTY_LO = 1
const TAG_WORD = CodeTlbEntry.tag / 4
const MAP_WORD = CodeTlbEntry.map / 4
const PAGE_WORD = CodeTlbEntry.page / 4
const ENTRY_WORDS = CODE_TLB_ENTRY_SIZE / 4
const AT_MODE_KEY = offsetOf('modeKey')
const AT_SUPERVISOR_EPOCH = offsetOf('codeEpoch', 0)
const AT_USER_EPOCH = offsetOf('codeEpoch', 1)
const AT_RENEWALS = offsetOf('renewals')
const AT_RENEWED = offsetOf('renewed')
const LAST_EPOCH = 0x7fff_0000

/** What the tables need of a finished page walk. */
export interface WalkedPage {
  readonly global: boolean
  /** 12, 21, 22 or 30. */
  readonly pageShift: number
}

const slotOf = (lo: number, hi: number): number => {
  const page = (lo >>> 12) | (hi << 20)
  return (page ^ (page >>> CODE_TLB_HASH_SHIFT)) & (CODE_TLB_ENTRIES - 1)
}

/** The address space of supervisor sets, which serve all: the kernel's pages are global, and others leave with every CR3 load. */
const ANY_SPACE = -1

class LookupSet {
  modeKey = -1
  /** PCID of user code, ANY_SPACE of supervisor code. */
  space = ANY_SPACE
  /** Limit of the code segment it was filled under; -1: 4 GiB or none. */
  limit = -1
  readonly slots = new Int32Array(CODE_TLB_ENTRIES)
  count = 0
  /** 1 for those in `slots`: others are empty or lapsed. */
  readonly listed = new Uint8Array(CODE_TLB_ENTRIES)
  private lapsed = false
  /** Entries that are not global, at least. */
  private local = 0
  readonly pages = new Array<CodePage | undefined>(CODE_TLB_ENTRIES).fill(undefined)
  readonly global = new Uint8Array(CODE_TLB_ENTRIES)

  constructor(private readonly words: Int32Array, readonly base: number) {
    const first = this.word(0)
    this.empty(0)
    for (let done = ENTRY_WORDS; done < CODE_TLB_ENTRIES * ENTRY_WORDS; done *= 2) words.copyWithin(first + done, first, first + done)
  }

  word(slot: number): number {
    return (this.base >> 2) + slot * ENTRY_WORDS
  }

  empty(slot: number): void {
    const word = this.word(slot)
    this.words[word + TAG_WORD] = EMPTY_LO
    this.words[word + TAG_WORD + 1] = 0
    this.pages[slot] = undefined
    this.listed[slot] = 0
  }

  /** Empties one slot; it leaves the list too. */
  drop(slot: number): void {
    this.empty(slot)
    const at = this.slots.subarray(0, this.count).indexOf(slot)
    this.slots[at] = this.slots[--this.count]
  }

  put(slot: number, code: CodePage, global: boolean): void {
    this.pages[slot] = code
    this.global[slot] = global ? 1 : 0
    this.list(slot)
  }

  /** An entry counts from now on. */
  list(slot: number): void {
    if (this.listed[slot] === 0) this.slots[this.count++] = slot
    this.listed[slot] = 1
    if (this.global[slot] === 0) this.local++
  }

  /** Empties the set, or all but the entries of global pages and what has lapsed. */
  clear(keepGlobal: boolean): void {
    if (keepGlobal) return this.dropLocal((slot) => this.empty(slot))
    for (let i = 0; i < this.count; i++) this.empty(this.slots[i])
    this.count = this.local = 0
    if (!this.lapsed) return
    this.lapsed = false
    for (let slot = 0; slot < CODE_TLB_ENTRIES; slot++) if (this.pages[slot]) this.empty(slot)
  }

  /** Entries of pages that are not global lapse. */
  lapse(): void {
    this.dropLocal((slot) => {
      const word = this.word(slot) + TAG_WORD
      if ((this.words[word] | this.words[word + 1]) === 0) return this.empty(slot)
      this.words[word] |= CODE_LAPSED
      this.listed[slot] = 0
      this.lapsed = true
    })
  }

  private dropLocal(drop: (slot: number) => void): void {
    if (this.local === 0) return
    this.local = 0
    let kept = 0
    for (let i = 0; i < this.count; i++) {
      const slot = this.slots[i]
      if (this.global[slot] !== 0) this.slots[kept++] = slot
      else drop(slot)
    }
    this.count = kept
  }

  holds(slot: number, lo: number, hi: number): boolean {
    const word = this.word(slot) + TAG_WORD
    return this.words[word] === ((lo & ~0xfff) | 0) && this.words[word + 1] === (hi | 0)
  }
}

export class CodeLookup {
  private readonly words: Int32Array
  /** Made as they are needed, up to CODE_TLB_SETS. */
  private readonly sets: LookupSet[] = []
  private current: LookupSet
  private next = 0
  /** PCID in force, and the user epoch of each PCID whose jumps are still good. */
  private space = 0
  private readonly epochs = new Map<number, number>()
  private lastEpoch = 0
  /** Since the last epoch, entries were displaced by others; global ones too. */
  private forgotten = false
  private globalForgotten = false
  /** The jump cache may have entries for supervisor pages that are not global: they leave with those of the tables. */
  private localJumps = false
  /** INVLPG inside one of these empties everything. */
  private readonly large = new LargePages()

  /** @param base byte offset of the tables in linear memory: CODE_TLB_SETS × CODE_TLB_BYTES */
  constructor(buffer: ArrayBufferLike, private readonly base: number, private readonly state: CpuState) {
    this.words = new Int32Array(buffer)
    this.newEpoch(false)
    this.current = this.addSet()
  }

  private addSet(): LookupSet {
    const set = new LookupSet(this.words, this.base + this.sets.length * CODE_TLB_BYTES)
    this.sets.push(set)
    return set
  }

  /**
   * Makes the table of a mode the current one.
   * @param limit of the code segment: what was entered under a larger one must not be found under a smaller one
   * @returns its address in linear memory
   */
  select(modeKey: number, limit: number): number {
    const set = this.current = this.setFor(modeKey)
    if (set.limit !== limit) {
      set.limit = limit
      this.empty(set)
    }
    return set.base
  }

  /** Address of the table of a mode, beside the one in force; 0 where the mode was last used with a code segment limit. */
  tableOf(modeKey: number): number {
    const set = this.setFor(modeKey)
    return set.limit === -1 ? set.base : 0
  }

  /** Takes note of the entries that generated code has renewed. */
  private noteRenewed(): void {
    const { view } = this.state
    const count = view.getInt32(AT_RENEWALS, true)
    if (count === 0) return
    view.setInt32(AT_RENEWALS, 0, true)
    for (let i = 0; i < count; i++) {
      const at = view.getInt32(AT_RENEWED + 4 * i, true) - this.base
      this.sets[Math.floor(at / CODE_TLB_BYTES)].list((at % CODE_TLB_BYTES) / CODE_TLB_ENTRY_SIZE)
    }
  }

  /** The table in force: generated code changes it with the privilege. */
  private set(): LookupSet {
    this.current = this.setFor(this.state.view.getInt32(AT_MODE_KEY, true))
    return this.current
  }

  private spaceOf(modeKey: number): number {
    return (modeKey & Mode.USER) !== 0 ? this.space : ANY_SPACE
  }

  private setFor(modeKey: number): LookupSet {
    this.noteRenewed()
    const space = this.spaceOf(modeKey)
    const { current } = this
    if (current.modeKey === modeKey && current.space === space) return current
    for (const set of this.sets) if (set.modeKey === modeKey && set.space === space) return set
    const set = this.sets.length < CODE_TLB_SETS ? this.addSet() : this.replaced()
    set.modeKey = modeKey
    set.space = space
    set.limit = -1
    this.empty(set)
    return set
  }

  /** The set whose turn it is to serve another mode. */
  private replaced(): LookupSet {
    if (this.sets[this.next] === this.current) this.next = (this.next + 1) % CODE_TLB_SETS
    const set = this.sets[this.next]
    this.next = (this.next + 1) % CODE_TLB_SETS
    return set
  }

  private empty(set: LookupSet): void {
    const held = set.count > 0
    set.clear(false)
    if (held) this.noteForgotten(true)
  }

  /** An entry goes whose translation still holds: jumps to its page may be kept, and INVLPG cannot tell any more. */
  private noteForgotten(global: boolean): void {
    this.forgotten = true
    this.globalForgotten ||= global
  }

  /** The page of code at a linear address in the current mode, if it was entered and not flushed since. */
  find(lo: number, hi: number): CodePage | undefined {
    const slot = slotOf(lo, hi)
    const set = this.set()
    return set.holds(slot, lo, hi) ? set.pages[slot] : undefined
  }

  /** Enters the page of the current mode that a walk has just found. */
  enter(lo: number, hi: number, code: CodePage, walked: WalkedPage): void {
    const set = this.set()
    const slot = slotOf(lo, hi)
    const word = set.word(slot)
    if (set.listed[slot] !== 0 && !set.holds(slot, lo, hi)) this.noteForgotten(set.global[slot] !== 0)
    set.put(slot, code, walked.global)
    this.words[word + TAG_WORD] = lo & ~0xfff
    this.words[word + TAG_WORD + 1] = hi | 0
    this.words[word + MAP_WORD] = code.map
    this.words[word + PAGE_WORD] = walked.pageShift === 12 ? code.page : 0
    if (!walked.global && set.space === ANY_SPACE) this.localJumps = true
    if (walked.pageShift > 12) this.large.note(lo, hi, walked.pageShift)
  }

  /**
   * A load of CR3. Entries of user code are kept by PCID, until that is entered without `keep`, when they lapse; those of supervisor
   * code stay where they are global.
   */
  enterSpace(pcid: number, keep: boolean): void {
    this.noteRenewed()
    for (const set of this.sets) {
      if (set.space === ANY_SPACE) set.clear(true)
      else if (set.space === pcid && !keep) set.lapse()
    }
    this.space = pcid
    this.dropLocalJumps()
    const known = keep ? this.epochs.get(pcid) : undefined
    if (known === undefined) this.epochs.set(pcid, this.freshEpoch())
    this.state.view.setInt32(AT_USER_EPOCH, this.epochs.get(pcid) ?? 0, true)
  }

  /** For when the tables have no local page of supervisor code any more. */
  private dropLocalJumps(): void {
    if (!this.localJumps) return
    this.localJumps = false
    this.state.view.setInt32(AT_SUPERVISOR_EPOCH, this.freshEpoch(), true)
  }

  /** Code or its mapping may have changed: what the jump cache knows is not good any more. */
  newEpoch(keepGlobal: boolean): void {
    const { view } = this.state
    this.epochs.clear()
    if (!keepGlobal) this.globalForgotten = false
    this.forgotten = this.globalForgotten
    if (!keepGlobal || this.localJumps) view.setInt32(AT_SUPERVISOR_EPOCH, this.freshEpoch(), true)
    const user = this.freshEpoch()
    this.epochs.set(this.space, user)
    view.setInt32(AT_USER_EPOCH, user, true)
  }

  /** One that no entry of the jump cache has. */
  private freshEpoch(): number {
    this.lastEpoch += EPOCH_STEP
    if (this.lastEpoch > LAST_EPOCH) this.forgetJumps()
    return this.lastEpoch
  }

  /** Before numbers begin anew, or an old entry could look fresh. */
  private forgetJumps(): void {
    const { state } = this
    state.bytes.fill(0, offsetOf('jumps'), offsetOf('jumps') + FIELDS.jumps.count * 16)
    this.epochs.clear()
    state.view.setInt32(AT_SUPERVISOR_EPOCH, EPOCH_STEP, true)
    this.epochs.set(this.space, 2 * EPOCH_STEP)
    state.view.setInt32(AT_USER_EPOCH, 2 * EPOCH_STEP, true)
    this.lastEpoch = 3 * EPOCH_STEP
  }

  /** Empties every table, or all but entries of global pages. */
  flush(keepGlobal: boolean): void {
    this.noteRenewed()
    this.newEpoch(keepGlobal)
    for (const set of this.sets) set.clear(keepGlobal)
    this.localJumps = false
    if (!keepGlobal) this.large.clear()
  }

  /** Empties every table and forgets which modes they are for. */
  reset(): void {
    this.flush(false)
    for (const set of this.sets) set.modeKey = -1
  }

  /** Drops one linear page in every mode. */
  invalidatePage(lo: number, hi: number): void {
    if (this.large.covers(lo, hi)) return this.flush(false)
    this.noteRenewed()
    const slot = slotOf(lo, hi)
    let held = this.forgotten
    let keepGlobal = !this.globalForgotten
    for (const set of this.sets) {
      if (!set.holds(slot, lo, hi)) continue
      held = true
      if (set.global[slot] !== 0) keepGlobal = false
      set.drop(slot)
    }
    if (held) this.newEpoch(keepGlobal)
  }
}
