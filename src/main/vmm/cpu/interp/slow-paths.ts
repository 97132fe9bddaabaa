/** What generated code calls when the fast path does not do: TLB misses, MMIO, page-crossing and checked accesses. */
import type { IoHandler } from '../../bus/types'
import { PAGE_SIZE } from '../../memory/frame-table'
import { CpuFault, Vector } from '../core/context'
import { Slow } from '../core/exits'
import type { CpuLinearMemory } from '../core/linear'
import type { CpuState } from '../state/access'
import { offsetOf, Seg } from '../state/layout'
import { Mode } from '../state/mode'
import { Translation } from '../../mmu/soft-tlb'

const AT_FAULT_VECTOR = offsetOf('faultVector')
const AT_FAULT_ERROR = offsetOf('faultError')
const AT_FAULT_HAS_ERROR = offsetOf('faultHasError')

/** Writes a fault where generated code and the run loop find it. */
export function notePendingFault(state: CpuState, fault: CpuFault): void {
  state.set('faultVector', fault.vector)
  state.set('faultError', fault.errorCode ?? 0)
  state.set('faultHasError', fault.errorCode === undefined ? 0 : 1)
}

export interface SegmentChecker {
  /** Linear address of seg:ea after limit and right checks. Throws CpuFault. */
  (segment: number, ea: bigint, bytes: number, write: boolean): bigint
}

export interface SlowImports {
  /** `access`: bytes | Seg index << 8. */
  load(cpu: number, lo: number, hi: number, access: number, slot: number): number
  store(cpu: number, lo: number, hi: number, access: number, slot: number): number
  probe(cpu: number, lo: number, hi: number, access: number, slot: number): number
  segment(cpu: number, segment: number, lo: number, hi: number, access: number): number
  unit(cpu: number, unit: number): number
  crossing(cpu: number, rec: number): number
  /** A block's entry count ran out. */
  hot(cpu: number, rec: number): number
  /** A jump back was taken often: the head it leads to. */
  loop(cpu: number, head: number): number
  /** `store` and `probe` of translated code. */
  tstore(cpu: number, lo: number, hi: number, access: number, slot: number): number
  tprobe(cpu: number, lo: number, hi: number, access: number, slot: number): number
}

export interface SlowPathOptions {
  readonly state: CpuState
  readonly memory: CpuLinearMemory
  readonly mmio: IoHandler
  readonly checkSegment: SegmentChecker
  /** Throws CpuFault where the unit (UNIT_CODE) is not available. */
  readonly checkUnit: (unit: number) => void
  /** 0: the second page is as decoded, 1: fault pending, 2: it changed. Does not throw. */
  readonly checkCrossing: (rec: number) => number
  readonly onHot: (rec: number) => void
  readonly onHotLoop: (head: number) => void
  /** True where bytes of a frame were decoded as code: the page number, and offset and length within it. */
  readonly holdsCode: (page: number, offset: number, length: number) => boolean
  /** Errors that are not the guest's: kept, and rethrown when the run loop is back. */
  readonly onError: (error: unknown) => void
}

/** What generated code is given of `SlowPaths`. */
export function createSlowPaths(options: SlowPathOptions): SlowImports {
  const paths = new SlowPaths(options)
  return {
    load: (_cpu, lo, hi, access, slot) => paths.load(lo, hi, access, slot),
    store: (_cpu, lo, hi, access, slot) => paths.store(lo, hi, access, slot, false),
    probe: (_cpu, lo, hi, access, slot) => paths.probe(lo, hi, access, slot, false),
    tstore: (_cpu, lo, hi, access, slot) => paths.store(lo, hi, access, slot, true),
    tprobe: (_cpu, lo, hi, access, slot) => paths.probe(lo, hi, access, slot, true),
    loop: (_cpu, head) => {
      options.onHotLoop(head)
      return 0
    },
    hot: (_cpu, rec) => {
      options.onHot(rec)
      return 0
    },
    segment: (_cpu, segment, lo, hi, access) => paths.segment(segment, lo, hi, access),
    unit: (_cpu, unit) => paths.unit(unit),
    crossing: (_cpu, rec) => options.checkCrossing(rec),
  }
}

class SlowPaths {
  private readonly state: CpuState
  private readonly memory: CpuLinearMemory
  private readonly scratch: DataView
  private readonly scratchAt: number
  private readonly bytes: Uint8Array
  private readonly whole: DataView

  constructor(private readonly options: SlowPathOptions) {
    this.state = options.state
    this.memory = options.memory
    const { buffer } = this.state.view
    this.scratchAt = this.state.base + offsetOf('scratch')
    this.scratch = new DataView(buffer, this.scratchAt, 64)
    this.bytes = new Uint8Array(buffer)
    this.whole = new DataView(buffer)
  }

  // A TLB miss or #PF within one page of RAM, which nearly all slow accesses are: no exception, no closure.

  load(lo: number, hi: number, access: number, slot: number): number {
    const bytes = access & 0xff
    const host = this.memory.hostOf(lo, hi, bytes, false)
    if (host === Translation.MMIO) return this.loadAcross(lo, hi, bytes, slot) ? Slow.OK : this.longLoad(lo, hi, access, slot)
    if (host === Translation.FAULT) return this.pendingPageFault()
    this.copy(host, this.scratchAt + slot * 8, bytes)
    return Slow.OK
  }

  store(lo: number, hi: number, access: number, slot: number, translated: boolean): number {
    const bytes = access & 0xff
    const host = this.memory.hostOf(lo, hi, bytes, true)
    if (host === Translation.MMIO) {
      if (translated && this.writesCode(lo, hi, bytes)) return Slow.AGAIN
      return this.storeAcross(lo, hi, bytes, slot) ? Slow.OK : this.longStore(lo, hi, access, slot)
    }
    if (host === Translation.FAULT) return this.pendingPageFault()
    if (translated && this.holdsCodeAt(this.memory.codeGpa, bytes)) return Slow.AGAIN
    this.memory.prepareWrite(bytes)
    this.copy(this.scratchAt + slot * 8, host, bytes)
    return Slow.OK
  }

  /** The value to be changed, with all faults of the store that follows. */
  probe(lo: number, hi: number, access: number, slot: number, translated: boolean): number {
    const bytes = access & 0xff
    const host = this.memory.hostOf(lo, hi, bytes, true)
    if (host === Translation.MMIO) return translated && this.writesCode(lo, hi, bytes) ? Slow.AGAIN : this.longProbe(lo, hi, access, slot)
    if (host === Translation.FAULT) return this.pendingPageFault()
    if (translated && this.holdsCodeAt(this.memory.codeGpa, bytes)) return Slow.AGAIN
    this.copy(host, this.scratchAt + slot * 8, bytes)
    return Slow.OK
  }

  segment(segment: number, lo: number, hi: number, access: number): number {
    return this.guarded(() => {
      const ea = (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
      const linear = this.options.checkSegment(segment, ea, access & 0xff, (access & 0x100) !== 0)
      this.scratch.setBigUint64(7 * 8, BigInt.asUintN(64, linear), true)
    })
  }

  unit(unit: number): number {
    return this.guarded(() => this.options.checkUnit(unit))
  }

  /**
   * Bytes of an access that lie in its first page. 0 where it does not go on in a second one, or goes over the end of a 4 GiB part of
   * the address space, where more is to be looked at.
   */
  private inFirstPage(lo: number, bytes: number): number {
    const first = PAGE_SIZE - (lo & 0xfff)
    return first < bytes && (lo >>> 0) + bytes <= 2 ** 32 ? first : 0
  }

  // An unpacking kernel stores over the end of every page it fills. False: nothing was done, for a page is no RAM or gives a fault.

  private loadAcross(lo: number, hi: number, bytes: number, slot: number): boolean {
    const { memory, scratchAt } = this
    const first = this.inFirstPage(lo, bytes)
    const host = first > 0 ? memory.hostOf(lo, hi, first, false) : -1
    const next = host >= 0 ? memory.hostOf(lo + first, hi, bytes - first, false) : -1
    if (next < 0) return false
    this.copyBytes(host, scratchAt + slot * 8, first)
    this.copyBytes(next, scratchAt + slot * 8 + first, bytes - first)
    return true
  }

  private storeAcross(lo: number, hi: number, bytes: number, slot: number): boolean {
    const { memory, scratchAt } = this
    const first = this.inFirstPage(lo, bytes)
    const host = first > 0 ? memory.hostOf(lo, hi, first, true) : -1
    const next = host >= 0 ? memory.hostOf(lo + first, hi, bytes - first, true) : -1
    if (next < 0) return false
    // Both are there. Pages are prepared one by one, each found last.
    memory.hostOf(lo, hi, first, true)
    memory.prepareWrite(first)
    memory.hostOf(lo + first, hi, bytes - first, true)
    memory.prepareWrite(bytes - first)
    this.copyBytes(scratchAt + slot * 8, host, first)
    this.copyBytes(scratchAt + slot * 8 + first, next, bytes - first)
    return true
  }

  private copyBytes(from: number, to: number, length: number): void {
    for (let i = 0; i < length; i++) this.bytes[to + i] = this.bytes[from + i]
  }

  private longLoad(lo: number, hi: number, access: number, slot: number): number {
    return this.guarded(() => {
      this.checkWrap(lo, hi, access)
      this.readInto(lo, hi, access & 0xff, slot)
    }, access >> 8)
  }

  private longStore(lo: number, hi: number, access: number, slot: number): number {
    return this.guarded(() => {
      this.checkWrap(lo, hi, access)
      this.writeFrom(lo, hi, access & 0xff, slot)
    }, access >> 8)
  }

  private longProbe(lo: number, hi: number, access: number, slot: number): number {
    return this.guarded(() => {
      this.checkWrap(lo, hi, access)
      this.memory.probeAt(lo, hi, access & 0xff, true, this.memory.currentView())
      this.readInto(lo, hi, access & 0xff, slot)
    }, access >> 8)
  }

  /** 1, 2, 4, 8 or 16 bytes within linear memory. */
  private copy(from: number, to: number, length: number): void {
    const { bytes, whole } = this
    if (length === 1) bytes[to] = bytes[from]
    else if (length === 2) whole.setUint16(to, whole.getUint16(from, true), true)
    else for (let i = 0; i < length; i += 4) whole.setInt32(to + i, whole.getInt32(from + i, true), true)
  }

  private pendingPageFault(): number {
    const { view } = this.state
    view.setInt32(AT_FAULT_VECTOR, Vector.PF, true)
    view.setInt32(AT_FAULT_ERROR, this.memory.faultCode, true)
    view.setInt32(AT_FAULT_HAS_ERROR, 1, true)
    return Slow.FAULT
  }

  /** Runs an access; a fault becomes a status, anything else stops the machine. */
  private guarded(access: () => void, segment: number = Seg.DS): number {
    try {
      access()
      return Slow.OK
    } catch (error) {
      // Linear accesses raise #GP only for non-canonical and wrapping addresses, which are #SS on the stack.
      const onStack = segment === Seg.SS && error instanceof CpuFault && error.vector === Vector.GP
      if (onStack) notePendingFault(this.state, new CpuFault(Vector.SS, 0))
      else if (error instanceof CpuFault) notePendingFault(this.state, error)
      else this.options.onError(error)
      return Slow.FAULT
    }
  }

  /**
   * An access over the end of a flat 4 GiB segment, the one limit violation that fast paths do not check; in 64-bit mode
   * one that runs out of the lower canonical half.
   */
  private checkWrap(lo: number, hi: number, access: number): void {
    if ((lo >>> 0) + (access & 0xff) <= 2 ** 32) return
    const is64 = (this.state.get('modeKey') & Mode.CODE64) !== 0
    if (is64 ? (hi | 0) === 0x7fff : this.state.get64('segBase', access >> 8) === 0n) throw new CpuFault(Vector.GP, 0)
  }

  private readInto(lo: number, hi: number, bytes: number, slot: number): void {
    const { memory, scratch } = this
    const view = memory.currentView()
    const at = slot * 8
    if (bytes <= 2) scratch.setUint32(at, memory.readAt(lo, hi, bytes as 1 | 2, view), true)
    else {
      for (let i = 0; i < bytes; i += 4) {
        const address = (lo >>> 0) + i
        scratch.setUint32(at + i, memory.readAt(address >>> 0, address > 0xffff_ffff ? hi + 1 : hi, 4, view), true)
      }
    }
  }

  private writeFrom(lo: number, hi: number, bytes: number, slot: number): void {
    const { memory, scratch } = this
    const view = memory.currentView()
    const at = slot * 8
    if (bytes > 4) memory.probeAt(lo, hi, bytes, true, view)
    if (bytes === 1) return memory.writeAt(lo, hi, 1, scratch.getUint8(at), view)
    if (bytes === 2) return memory.writeAt(lo, hi, 2, scratch.getUint16(at, true), view)
    for (let i = 0; i < bytes; i += 4) {
      const address = (lo >>> 0) + i
      memory.writeAt(address >>> 0, address > 0xffff_ffff ? hi + 1 : hi, 4, scratch.getUint32(at + i, true), view)
    }
  }

  private holdsCodeAt(gpa: number, length: number): boolean {
    return gpa >= 0 && this.options.holdsCode(Math.floor(gpa / PAGE_SIZE), gpa % PAGE_SIZE, length)
  }

  /**
   * A store into code may change the running block, so translated code must not make it: tier 0 makes it instead, and sees
   * at its next record that its page was dropped. Both pages of a crossing access count.
   */
  private writesCode(lo: number, hi: number, bytes: number): boolean {
    const { memory, options } = this
    const inFirst = Math.min(bytes, PAGE_SIZE - (lo & 0xfff))
    return memory.writesTo(lo, hi, inFirst, options.holdsCode) ||
      (inFirst < bytes && memory.writesTo(((lo >>> 0) + inFirst) >>> 0, hi, bytes - inFirst, options.holdsCode))
  }
}
