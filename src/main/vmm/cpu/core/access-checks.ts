/**
 * Data breakpoints and alignment checks (SDM vol. 3, 18.2.4 and 6.15, #AC): what accesses are held to while they are armed.
 *
 * They cost nothing while they are not. Armed, the TLB gives no tags to what they must see — pages with a watched address,
 * or every page of the user view — so that generated code takes its slow path there, and the checks stand in the slow paths.
 */
import { SoftTlb } from '../../mmu/soft-tlb'
import { TlbView } from '../../mmu/tlb-layout'
import { notePendingFault, type SlowImports } from '../interp/slow-paths'
import type { CpuState } from '../state/access'
import { offsetOf } from '../state/layout'
import { CpuFault, Vector } from './context'
import { Slow } from './exits'

const AT_CR0 = offsetOf('cr0')
const AT_RFLAGS = offsetOf('rflags')
const AT_CPL = offsetOf('cpl')
const AT_DR7 = offsetOf('dr', 7)

const CR0_AM = 1 << 18
const RFLAGS_AC = 1 << 18
const EFER_LMA = 0x400
/** R/W field of DR7: 1 writes, 3 reads and writes; 0 execution and 2 ports are looked at elsewhere. */
const WATCH_WRITES = 1
const WATCH_ALL = 3
/** By LEN field. */
const LENGTHS = [1, 2, 8, 4]

interface Watch {
  readonly bit: number
  readonly lo: number
  readonly hi: number
  readonly length: number
  readonly readsToo: boolean
}

export class AccessChecks {
  private watches: readonly Watch[] = []
  /** Debug registers `watches` was made from. */
  private armedDr7 = 0n
  private armedDr: readonly bigint[] = [0n, 0n, 0n, 0n]
  private aligned = false

  constructor(private readonly state: CpuState, private readonly tlb: SoftTlb) {}

  get armed(): boolean {
    return this.aligned || this.watches.length > 0
  }

  /** Follows CPL, CR0.AM, RFLAGS.AC and the debug registers: part of every change of mode. */
  update(): void {
    const { view } = this.state
    const aligned = (view.getInt32(AT_RFLAGS, true) & RFLAGS_AC) !== 0 && view.getInt32(AT_CPL, true) === 3 && (view.getInt32(AT_CR0, true) & CR0_AM) !== 0
    if (aligned !== this.aligned) {
      this.aligned = aligned
      this.tlb.flushView(TlbView.USER)
      this.setFilter()
    }
    if ((view.getInt32(AT_DR7, true) & 0xff) !== 0 || this.watches.length > 0) this.updateWatches()
  }

  private updateWatches(): void {
    const { state } = this
    const dr7 = state.get64('dr', 7)
    const dr = [0, 1, 2, 3].map((i) => state.get64('dr', i))
    if (dr7 === this.armedDr7 && dr.every((value, i) => value === this.armedDr[i])) return
    this.armedDr7 = dr7
    this.armedDr = dr
    this.watches = [0, 1, 2, 3].flatMap((i) => this.watchOf(i, Number(dr7), dr[i]))
    this.tlb.flush(false)
    this.setFilter()
  }

  private watchOf(index: number, dr7: number, address: bigint): Watch[] {
    const kind = (dr7 >>> (16 + index * 4)) & 3
    if (((dr7 >>> (index * 2)) & 3) === 0 || (kind !== WATCH_WRITES && kind !== WATCH_ALL)) return []
    const length = LENGTHS[(dr7 >>> (18 + index * 4)) & 3]
    const lo = Number(address & 0xffff_ffffn)
    return [{ bit: 1 << index, lo: (lo - (lo & (length - 1))) >>> 0, hi: Number(address >> 32n), length, readsToo: kind === WATCH_ALL }]
  }

  private setFilter(): void {
    this.tlb.withhold = this.armed ? (lo, hi, view) => (this.aligned && view === TlbView.USER) || this.watchesPage(lo, hi) : undefined
  }

  /** Linear addresses have 32 bits outside long mode: the upper halves of debug registers do not count there. */
  private upper(hi: number): number {
    return (this.state.lo('efer') & EFER_LMA) === 0 ? 0 : hi >>> 0
  }

  private watchesPage(lo: number, hi: number): boolean {
    return this.watches.some((w) => ((w.lo ^ lo) & ~0xfff) === 0 && this.upper(w.hi) === this.upper(hi))
  }

  /**
   * Before an access of the running program. 16 bytes need no alignment of this kind: SSE has its own.
   * @throws CpuFault #AC(0)
   */
  requireAligned(lo: number, bytes: number): void {
    if (this.aligned && bytes <= 8 && (lo & (bytes - 1)) !== 0) throw new CpuFault(Vector.AC, 0)
  }

  /** After an access was made: a #DB trap follows the instruction. */
  note(lo: number, hi: number, bytes: number, write: boolean): void {
    let hits = 0
    for (const w of this.watches) {
      if (!write && !w.readsToo) continue
      const distance = (this.upper(w.hi) - this.upper(hi)) * 2 ** 32 + w.lo - (lo >>> 0)
      if (distance < bytes && distance + w.length > 0) hits |= w.bit
    }
    if (hits !== 0) this.state.set('pendingDebug', this.state.get('pendingDebug') | hits)
  }

  /** The slow paths of generated code with these checks around them. */
  around(slow: SlowImports): SlowImports {
    type Access = (cpu: number, lo: number, hi: number, access: number, slot: number) => number
    const checked = (path: Access, write: boolean): Access => (cpu, lo, hi, access, slot) => {
      if (!this.armed) return path(cpu, lo, hi, access, slot)
      const bytes = access & 0xff
      try {
        this.requireAligned(lo, bytes)
      } catch (error) {
        if (!(error instanceof CpuFault)) throw error
        notePendingFault(this.state, error)
        return Slow.FAULT
      }
      const status = path(cpu, lo, hi, access, slot)
      if (status === Slow.OK) this.note(lo, hi, bytes, write)
      return status
    }
    return {
      ...slow, load: checked(slow.load, false), store: checked(slow.store, true), probe: checked(slow.probe, false),
      tstore: checked(slow.tstore, true), tprobe: checked(slow.tprobe, false),
    }
  }
}
