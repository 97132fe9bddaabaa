/**
 * Delivery through an interrupt gate to flat ring 0 code, where nothing can fault and nothing is debugged: what nearly every
 * page fault, timer tick and INT n of a running system is. Tables and stacks are read through entries the TLB has already, so
 * an attempt that ends early has changed nothing. SDM vol. 3, 6.12 and 6.14.
 */
import type { SoftTlb } from '../../mmu/soft-tlb'
import { CR4_SMAP } from '../../mmu/paging-bits'
import { TlbView } from '../../mmu/tlb-layout'
import { Vector } from '../core/context'
import type { CpuState } from '../state/access'
import { packRflagsLow } from '../state/flags'
import { Gpr, Seg, offsetOf } from '../state/layout'
import { Mode } from '../state/mode'
import { Attr, SystemType, putSegment } from './descriptors'
import type { EventKind } from './event'
import { CLEARED, CODE32_ATTR, CODE64_ATTR, DATA_ATTR, FLAG_AC, FLAG_RF, FLAT_CODE32, FLAT_CODE64, FLAT_DATA, IGNORED, KIND } from './flat-gate'

const AT_MODE_KEY = offsetOf('modeKey')
const AT_CPL = offsetOf('cpl')
const AT_RFLAGS = offsetOf('rflags')
const AT_RIP = offsetOf('rip')
const AT_RSP = offsetOf('gpr', Gpr.RSP)
const AT_CS = offsetOf('segSelector', Seg.CS)
const AT_SS = offsetOf('segSelector', Seg.SS)
const AT_IDTR_BASE = offsetOf('idtrBase')
const AT_IDTR_LIMIT = offsetOf('idtrLimit')
const AT_GDTR_BASE = offsetOf('gdtrBase')
const AT_GDTR_LIMIT = offsetOf('gdtrLimit')
const AT_TR_BASE = offsetOf('segBase', Seg.TR)
const AT_TR_LIMIT = offsetOf('segLimit', Seg.TR)
const AT_TR_ATTR = offsetOf('segAttr', Seg.TR)
const AT_CR4 = offsetOf('cr4')
const AT_RING0_TABLE = offsetOf('ringTables', 0)
const AT_CODE_TLB_BASE = offsetOf('codeTlbBase')
const AT_TLB_BASE = offsetOf('tlbBase')
const AT_VIEW_BASES = offsetOf('viewBases')
const AT_INT_SHADOW = offsetOf('intShadow')

/** What is delivered; one object serves every event. */
interface QuickEvent {
  vector: number
  /** INT n: the gate's privilege counts. */
  software: boolean
  /** RF is set in the image of RFLAGS: faults, SDM vol. 3, 18.3.1.1. */
  fault: boolean
  hasErrorCode: boolean
  errorCode: number
  returnLo: number
  returnHi: number
}

export class QuickDelivery {
  private readonly memory: DataView
  private readonly view: DataView
  private readonly event: QuickEvent = { vector: 0, software: false, fault: false, hasErrorCode: false, errorCode: 0, returnLo: 0, returnHi: 0 }
  /** What `findStack` found: the new stack pointer before the frame, and SS. */
  private stackLo = 0
  private stackHi = 0
  private stackSelector = 0

  constructor(buffer: ArrayBufferLike, private readonly state: CpuState, private readonly tlb: SoftTlb) {
    this.memory = new DataView(buffer)
    this.view = state.view
  }

  /** An exception or interrupt, RIP being where to come back to. False: nothing was done, it takes the long way. */
  deliver(vector: number, kind: EventKind, errorCode?: number): boolean {
    // #DB changes DR7 too, and other kinds are rare.
    if ((kind !== 'fault' && kind !== 'interrupt') || vector === Vector.DB) return false
    const { event, view } = this
    event.vector = vector
    event.software = false
    event.fault = kind === 'fault'
    event.hasErrorCode = errorCode !== undefined
    event.errorCode = errorCode ?? 0
    event.returnLo = view.getInt32(AT_RIP, true)
    event.returnHi = view.getInt32(AT_RIP + 4, true)
    return this.attempt(event)
  }

  /** INT n, likewise. */
  deliverSoftware(vector: number, returnRip: bigint): boolean {
    const { event } = this
    if (vector === Vector.DB) return false
    event.vector = vector
    event.software = true
    event.fault = event.hasErrorCode = false
    event.returnLo = Number(returnRip & 0xffff_ffffn)
    event.returnHi = Number(returnRip >> 32n)
    return this.attempt(event)
  }

  private attempt(event: QuickEvent): boolean {
    const { view } = this
    if (view.getInt32(AT_RING0_TABLE, true) === 0) return false
    const kind = view.getInt32(AT_MODE_KEY, true) & KIND
    if (kind === (Mode.CODE64 | Mode.FLAT | Mode.LONG)) return this.deliver64(event)
    return kind === (Mode.CODE32 | Mode.FLAT) && this.deliver32(event)
  }

  /** Host offset of bytes of a system structure within one page, or -1. */
  private host(baseAt: number, offset: number, bytes: number): number {
    const { view } = this
    const lo = view.getUint32(baseAt, true) + offset
    const hi = view.getInt32(baseAt + 4, true)
    if (lo > 0xffff_ffff || (lo & 0xfff) + bytes > 0x1000) return -1
    return this.tlb.probe(lo, hi, false, TlbView.SUPERVISOR)
  }

  /** A flat descriptor of ring 0 in the GDT? */
  private isFlat(selector: number, upper: number): boolean {
    const index = selector & 0xfff8
    if ((selector & 7) !== 0 || index === 0 || index + 7 > this.view.getUint32(AT_GDTR_LIMIT, true)) return false
    const at = this.host(AT_GDTR_BASE, index, 8)
    return at >= 0 && this.memory.getUint32(at, true) === 0xffff && (this.memory.getInt32(at + 4, true) & ~IGNORED) === upper
  }

  /** Host offset of the interrupt gate, or -1. @param size bytes of a gate */
  private gate(event: QuickEvent, size: 8 | 16): number {
    const offset = event.vector * size
    if (offset + size - 1 > this.view.getUint32(AT_IDTR_LIMIT, true)) return -1
    const at = this.host(AT_IDTR_BASE, offset, size)
    if (at < 0) return -1
    const type = this.memory.getUint16(at + 4, true)
    if ((type & 0x9f00) !== (0x8000 | (SystemType.INT32 << 8))) return -1
    const allowed = !event.software || ((type >> 13) & 3) >= this.view.getInt32(AT_CPL, true)
    return allowed ? at : -1
  }

  private deliver64(event: QuickEvent): boolean {
    const { memory, view } = this
    const gate = this.gate(event, 16)
    if (gate < 0 || (memory.getUint8(gate + 4) & 7) !== 0) return false
    const offsetHi = memory.getInt32(gate + 8, true)
    const top = offsetHi >> 15
    const selector = memory.getUint16(gate + 2, true)
    if ((top !== 0 && top !== -1) || !this.isFlat(selector, FLAT_CODE64) || !this.findStack64()) return false
    const cells = event.hasErrorCode ? 6 : 5
    const lo = ((this.stackLo & ~0xf) >>> 0) - cells * 8
    if (lo < 0 || (lo & 0xfff) + cells * 8 > 0x1000) return false
    let at = this.tlb.probe(lo, this.stackHi, true, TlbView.SUPERVISOR)
    if (at < 0) return false
    if (event.hasErrorCode) at = this.put64(at, event.errorCode, 0)
    at = this.put64(at, event.returnLo, event.returnHi)
    at = this.put64(at, view.getInt32(AT_CS, true), 0)
    at = this.put64(at, packRflagsLow(this.state) | (event.fault ? FLAG_RF : 0), 0)
    at = this.put64(at, view.getInt32(AT_RSP, true), view.getInt32(AT_RSP + 4, true))
    this.put64(at, view.getInt32(AT_SS, true), 0)
    if (view.getInt32(AT_CPL, true) !== 0) putSegment(this.state, Seg.SS, 0, 0, 0, Attr.UNUSABLE)
    view.setInt32(AT_RSP, lo, true)
    view.setInt32(AT_RSP + 4, this.stackHi, true)
    view.setInt32(AT_RIP + 4, offsetHi, true)
    this.enter(gate, selector, CODE64_ATTR)
    return true
  }

  private put64(at: number, lo: number, hi: number): number {
    this.memory.setInt32(at, lo, true)
    this.memory.setInt32(at + 4, hi, true)
    return at + 8
  }

  private findStack64(): boolean {
    const { view } = this
    const cpl = view.getInt32(AT_CPL, true)
    if (cpl === 0) {
      this.stackLo = view.getInt32(AT_RSP, true)
      this.stackHi = view.getInt32(AT_RSP + 4, true)
      return true
    }
    if (cpl !== 3 || view.getUint32(AT_TR_LIMIT, true) < 11) return false
    const at = this.host(AT_TR_BASE, 4, 8)
    if (at < 0) return false
    this.stackLo = this.memory.getInt32(at, true)
    this.stackHi = this.memory.getInt32(at + 4, true)
    return true
  }

  private deliver32(event: QuickEvent): boolean {
    const { memory, view } = this
    const gate = this.gate(event, 8)
    if (gate < 0) return false
    const selector = memory.getUint16(gate + 2, true)
    if (!this.isFlat(selector, FLAT_CODE32) || !this.findStack32()) return false
    const outer = view.getInt32(AT_CPL, true) !== 0
    const bytes = (outer ? 20 : 12) + (event.hasErrorCode ? 4 : 0)
    const lo = (this.stackLo >>> 0) - bytes
    if (lo < 0 || (lo & 0xfff) + bytes > 0x1000) return false
    let at = this.tlb.probe(lo, 0, true, TlbView.SUPERVISOR)
    if (at < 0) return false
    if (event.hasErrorCode) at = this.put32(at, event.errorCode)
    at = this.put32(at, event.returnLo)
    at = this.put32(at, view.getInt32(AT_CS, true))
    at = this.put32(at, packRflagsLow(this.state) | (event.fault ? FLAG_RF : 0))
    if (outer) {
      at = this.put32(at, view.getInt32(AT_RSP, true))
      this.put32(at, view.getInt32(AT_SS, true))
      putSegment(this.state, Seg.SS, this.stackSelector, 0, 0xffff_ffff, DATA_ATTR)
    }
    view.setInt32(AT_RSP, lo, true)
    view.setInt32(AT_RSP + 4, 0, true)
    view.setInt32(AT_RIP + 4, 0, true)
    this.enter(gate, selector, CODE32_ATTR)
    return true
  }

  private put32(at: number, value: number): number {
    this.memory.setInt32(at, value, true)
    return at + 4
  }

  private findStack32(): boolean {
    const { view, memory } = this
    const cpl = view.getInt32(AT_CPL, true)
    if (cpl === 0) {
      this.stackLo = view.getInt32(AT_RSP, true)
      return true
    }
    const is32 = (view.getInt32(AT_TR_ATTR, true) & 0x1001f) === SystemType.TSS32_BUSY
    if (cpl !== 3 || !is32 || view.getUint32(AT_TR_LIMIT, true) < 9) return false
    const at = this.host(AT_TR_BASE, 4, 6)
    if (at < 0) return false
    this.stackLo = memory.getInt32(at, true)
    this.stackSelector = memory.getUint16(at + 4, true)
    return this.isFlat(this.stackSelector, FLAT_DATA)
  }

  /** CS, the lower half of RIP, RFLAGS, and what follows from the privilege. */
  private enter(gate: number, selector: number, attr: number): void {
    const { memory, view } = this
    putSegment(this.state, Seg.CS, selector, 0, 0xffff_ffff, attr)
    view.setInt32(AT_RIP, (memory.getUint16(gate + 6, true) << 16) | memory.getUint16(gate, true), true)
    const flags = view.getInt32(AT_RFLAGS, true) & ~CLEARED
    view.setInt32(AT_RFLAGS, flags, true)
    view.setInt32(AT_INT_SHADOW, 0, true)
    view.setInt32(AT_CPL, 0, true)
    view.setInt32(AT_MODE_KEY, view.getInt32(AT_MODE_KEY, true) & ~Mode.USER, true)
    view.setInt32(AT_CODE_TLB_BASE, view.getInt32(AT_RING0_TABLE, true), true)
    const lifted = (flags & FLAG_AC) !== 0 && (view.getInt32(AT_CR4, true) & CR4_SMAP) !== 0
    const current = lifted ? TlbView.SUPERVISOR_AC : TlbView.SUPERVISOR
    view.setInt32(AT_TLB_BASE, view.getInt32(AT_VIEW_BASES + current * 4, true), true)
  }
}
