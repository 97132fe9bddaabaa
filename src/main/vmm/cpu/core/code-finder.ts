/** Finds the decoded code at RIP: fetch rights, code segment limits, instructions that cross a page. Runs at every exit. */
import type { IoHandler } from '../../bus/types'
import { Frame, PAGE_SIZE } from '../../memory/frame-table'
import type { PhysicalRam } from '../../memory/guest-memory'
import type { SoftTlb } from '../../mmu/soft-tlb'
import { TlbView } from '../../mmu/tlb-layout'
import { Access, type PageWalker } from '../../mmu/walk'
import { MAX_LENGTH, Scan, type InsnScanner } from '../decode/scanner'
import type { CodePage, DecodeCache } from '../interp/decode-cache'
import type { CpuState } from '../state/access'
import { Seg, offsetOf } from '../state/layout'
import { Mode } from '../state/mode'
import type { Surroundings } from '../dbt/region-pages'
import { CodeLookup } from './code-lookup'
import { CpuFault, Vector } from './context'
import type { CpuLinearMemory } from './linear'

const AT_RIP = offsetOf('rip')
const AT_BLOCK_RIP = offsetOf('blockRip')
const AT_CODE_BASE = offsetOf('codeBase')
const AT_MODE_KEY = offsetOf('modeKey')
const AT_CS_LIMIT = offsetOf('segLimit', Seg.CS)
const AT_CODE_TLB_BASE = offsetOf('codeTlbBase')
const AT_RING_TABLES = offsetOf('ringTables')

export interface CodeFinderOptions {
  readonly state: CpuState
  readonly memory: CpuLinearMemory
  readonly ram: PhysicalRam
  readonly mmio: IoHandler
  readonly walker: PageWalker
  readonly tlb: SoftTlb
  readonly cache: DecodeCache
  readonly scanner: InsnScanner
  readonly buffer: ArrayBufferLike
  /** Byte offset of the lookup tables in linear memory. */
  readonly codeTlb: number
}

export class CodeFinder {
  readonly lookup: CodeLookup
  private readonly bytes: Uint8Array
  private readonly view: DataView
  private readonly crossing = new Uint8Array(2 * MAX_LENGTH)
  /** Upper half of the address `locate` found; the lower is its result. */
  private linearHi = 0
  /** Generated code must not change to user code by itself. */
  private userShut = false

  constructor(private readonly o: CodeFinderOptions) {
    this.bytes = new Uint8Array(o.buffer)
    this.view = o.state.view
    this.lookup = new CodeLookup(o.buffer, o.codeTlb, o.state)
  }

  /**
   * Puts the lookup table of the running mode in force, and says where generated code finds that of the same mode at the other
   * side of the privilege line.
   * @param quick code may cross the line by itself
   */
  selectTable(quick: boolean): void {
    const { view } = this
    const modeKey = view.getInt32(AT_MODE_KEY, true)
    const unlimited = (modeKey & (Mode.CODE64 | Mode.FLAT)) !== 0
    const table = this.lookup.select(modeKey, unlimited ? -1 : view.getInt32(AT_CS_LIMIT, true))
    view.setInt32(AT_CODE_TLB_BASE, table, true)
    const user = (modeKey & Mode.USER) !== 0 ? 4 : 0
    if (user !== 0) this.userShut = false
    const crosses = quick && unlimited && (modeKey & (Mode.PROTECTED | Mode.V86 | Mode.SINGLE_STEP)) === Mode.PROTECTED
    view.setInt32(AT_RING_TABLES + user, crosses ? table : 0, true)
    view.setInt32(AT_RING_TABLES + 4 - user, crosses && !this.userShut ? this.lookup.tableOf(modeKey ^ Mode.USER) : 0, true)
  }

  /** The next change to user code takes the long way, which calls `selectTable`. Only while the CPU runs supervisor code. */
  shutUserSide(): void {
    this.userShut = true
    this.view.setInt32(AT_RING_TABLES + 4, 0, true)
  }

  /** Linear address of RIP in the running mode: the lower half; the upper is in `linearHi`. */
  private linearLo(): number {
    const { view } = this
    const lo = view.getUint32(AT_RIP, true) + view.getUint32(AT_CODE_BASE, true)
    if ((view.getInt32(AT_MODE_KEY, true) & Mode.LONG) === 0) this.linearHi = 0
    else this.linearHi = (view.getInt32(AT_RIP + 4, true) + view.getInt32(AT_CODE_BASE + 4, true) + (lo > 0xffff_ffff ? 1 : 0)) | 0
    return lo >>> 0
  }

  /** Linear address of RIP, as halves. */
  linearRip(): readonly [lo: number, hi: number] {
    const lo = this.linearLo()
    return [lo, this.linearHi >>> 0]
  }

  /** The page of decoded code at RIP and the offset in it, if it was entered in the running mode. Changes nothing. */
  known(): { readonly code: CodePage; readonly offset: number } | undefined {
    const lo = this.linearLo()
    const code = this.lookup.find(lo, this.linearHi)
    return code && { code, offset: lo & 0xfff }
  }

  /** Code around the block that runs; undefined where code segments do not begin at 0. */
  surroundings(): Surroundings | undefined {
    const { view } = this
    const modeKey = view.getInt32(AT_MODE_KEY, true)
    if ((modeKey & (Mode.CODE64 | Mode.FLAT)) === 0) return undefined
    const lo = view.getUint32(AT_BLOCK_RIP, true) & ~0xfff
    const hi = view.getInt32(AT_BLOCK_RIP + 4, true)
    return {
      linearPage: lo,
      at: (delta) => {
        const sum = (lo >>> 0) + delta * PAGE_SIZE
        const carry = Math.floor(sum / 2 ** 32)
        return this.lookup.find(sum | 0, (modeKey & Mode.LONG) === 0 ? 0 : hi + carry)
      },
    }
  }

  /** Guest-physical address an instruction fetch reads. Throws CpuFault. */
  private fetchGpa(lo: number, hi: number): number {
    const { memory, walker, state } = this.o
    if (!memory.isCanonical(hi)) throw new CpuFault(Vector.GP, 0)
    const user = memory.currentView() === TlbView.USER ? Access.USER : 0
    if (!walker.walk(lo, hi, Access.FETCH | user)) {
      state.setLoHi('cr2', lo, hi)
      throw new CpuFault(Vector.PF, walker.errorCode)
    }
    return walker.gpaPage + (lo & 0xfff)
  }

  /** Record for the current RIP, decoding if needed. `single`: a block of one instruction. Throws CpuFault. */
  resolve(single: boolean): number {
    const { view } = this
    const running = view.getInt32(AT_MODE_KEY, true)
    const modeKey = single ? running | Mode.SINGLE_STEP : running
    const ripLo = view.getUint32(AT_RIP, true)
    if ((modeKey & Mode.CODE64) === 0 && (view.getInt32(AT_RIP + 4, true) !== 0 || ripLo > view.getUint32(AT_CS_LIMIT, true))) {
      throw new CpuFault(Vector.GP, 0)
    }
    const lo = this.linearLo()
    const hi = this.linearHi
    view.setInt32(AT_BLOCK_RIP, ripLo, true)
    view.setInt32(AT_BLOCK_RIP + 4, view.getInt32(AT_RIP + 4, true), true)
    const code = modeKey === running ? this.lookup.find(lo, hi) : undefined
    if (!code) return this.walkAndDecode(lo, hi, modeKey)
    const known = this.o.cache.recordAt(code, lo & 0xfff)
    if (known !== 0) return known
    // The page is in the lookup, so its mapping, rights and limit were looked at.
    const host = this.o.ram.hostForRead(code.page * PAGE_SIZE)
    return host < 0 ? this.walkAndDecode(lo, hi, modeKey) : this.decodeAt(lo, hi, code, host + (lo & 0xfff), (modeKey & Mode.CODE64) === 0)
  }

  private walkAndDecode(lo: number, hi: number, modeKey: number): number {
    const { cache, ram, walker } = this.o
    const gpa = this.fetchGpa(lo, hi)
    const partial = this.limitInPage(this.view.getUint32(AT_RIP, true))
    const key = partial ? modeKey | Mode.SINGLE_STEP : modeKey
    const checked = (modeKey & Mode.CODE64) === 0
    const host = ram.hostForRead(gpa)
    if (host < 0) return this.resolveOutsideRam(gpa, key, checked)
    if (partial) this.checkLength(this.bytes, host)
    const offset = gpa % PAGE_SIZE
    const code = cache.page((gpa - offset) / PAGE_SIZE, key)
    code.linearPage = (lo & ~0xfff) >>> 0
    if (key === this.view.getInt32(AT_MODE_KEY, true)) this.lookup.enter(lo, hi, code, walker)
    const known = cache.recordAt(code, offset)
    return known !== 0 ? known : this.decodeAt(lo, hi, code, host, checked)
  }

  /** @param host where the code stands in linear memory */
  private decodeAt(lo: number, hi: number, code: CodePage, host: number, checked: boolean): number {
    const offset = lo & 0xfff
    this.protectCode(code.page, host - offset)
    const record = this.o.cache.decodeBlock(code, host - offset, offset, this.bytes, checked)
    return record === 'crosses' ? this.resolveCrossing(lo, hi, code, host, checked) : record
  }

  /**
   * Does the code segment end within the page that holds this offset? Such pages are run one instruction at a time and
   * never entered in the lookup, so that every instruction is held to the limit; all other code need not look at it.
   * @param rip offset within the code segment
   */
  private limitInPage(rip: number): boolean {
    const { state } = this.o
    if ((this.view.getInt32(AT_MODE_KEY, true) & (Mode.CODE64 | Mode.FLAT)) !== 0) return false
    const last = rip + PAGE_SIZE - 1 - ((rip + state.lo('codeBase')) & (PAGE_SIZE - 1))
    return last > state.get('segLimit', Seg.CS)
  }

  /** The whole instruction must lie within the code segment. SDM vol. 3, 5.3. @throws CpuFault #GP(0) */
  private checkLength(code: Uint8Array, at: number): void {
    const { state, scanner } = this.o
    const room = state.get('segLimit', Seg.CS) - state.lo('rip') + 1
    if (room >= MAX_LENGTH) return
    if (scanner.scan(code, at, room, state.get('modeKey')) === Scan.TRUNCATED) throw new CpuFault(Vector.GP, 0)
  }

  /** From now on writes to the frame are noticed. */
  private protectCode(page: number, host: number): void {
    const { frames } = this.o.ram
    if ((frames.entry(page) & Frame.CODE) !== 0) return
    frames.setFlags(page, Frame.CODE)
    this.o.tlb.dropWriteTags(host)
  }

  /** An instruction that runs over its page's end: cached with a guard that the second page is still the same. */
  private resolveCrossing(lo: number, hi: number, code: CodePage, host: number, checked: boolean): number {
    const { crossing } = this
    const { ram, cache, state } = this.o
    const offset = lo & 0xfff
    const first = PAGE_SIZE - offset
    const page2 = this.secondPage(lo, hi)
    crossing.set(this.bytes.subarray(host, host + first))
    const host2 = ram.hostForRead(page2 * PAGE_SIZE)
    if (host2 < 0) crossing.fill(0xff, first)
    else crossing.set(this.bytes.subarray(host2, host2 + MAX_LENGTH), first)
    const limited = this.limitInPage(state.lo('rip') + first)
    if (limited) this.checkLength(crossing, 0)
    if (host2 < 0 || limited) return cache.decodeOnce(crossing, first + MAX_LENGTH, code.modeKey, checked)
    this.protectCode(page2, host2)
    return cache.decodeCrossing(code, offset, crossing, page2, checked)
  }

  /** Page number of the code behind the page that holds linear `lo`. Throws CpuFault. */
  private secondPage(lo: number, hi: number): number {
    const next = ((lo & ~0xfff) >>> 0) + PAGE_SIZE
    const long = (this.o.state.get('modeKey') & Mode.LONG) !== 0
    const nextHi = long && next > 0xffff_ffff ? (hi + 1) >>> 0 : hi
    return this.lookup.find(next >>> 0, nextHi)?.page ?? this.fetchGpa(next >>> 0, nextHi) / PAGE_SIZE
  }

  /** Is the instruction behind this guard still the one that was decoded? Throws CpuFault where its second page is gone. */
  crossingHolds(guard: number): boolean {
    const { state, cache } = this.o
    // A guard is always the head of its block.
    state.setLoHi('rip', state.lo('blockRip'), state.hi('blockRip'))
    const lo = this.linearLo()
    const limited = this.limitInPage(state.lo('rip') + PAGE_SIZE - (lo & (PAGE_SIZE - 1)))
    if (this.secondPage(lo, this.linearHi) === cache.secondPage(guard) && !limited) return true
    cache.dropCrossing(guard)
    return false
  }

  /** Code outside RAM: fetched from the bus byte by byte, decoded for this once. */
  private resolveOutsideRam(gpa: number, modeKey: number, checked: boolean): number {
    for (let i = 0; i < MAX_LENGTH; i++) this.crossing[i] = this.o.mmio.read(gpa + i, 1)
    return this.o.cache.decodeOnce(this.crossing, MAX_LENGTH, modeKey, checked)
  }
}
