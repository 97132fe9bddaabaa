/**
 * Delivery in long mode: 16-byte gates, stacks from the TSS, 64-bit frames. SDM vol. 3, 6.14.
 * Runs for every timer tick and page fault, so it works on 32-bit halves and one block write.
 */
import { CpuFault, Vector, type CpuContext } from '../core/context'
import type { CpuState } from '../state/access'
import { packRflagsLow } from '../state/flags'
import { Gpr, Seg, offsetOf } from '../state/layout'
import {
  SystemType, isNull, markAccessed, selectorError, tryReadDescriptor, setNullSegment, setSegment, Attr, type Descriptor,
} from './descriptors'
import { extOf, type PendingEvent } from './event'

/** TF, NT, RF and VM; IF too through an interrupt gate. */
const CLEARED_TRAP = 0x3_4100
const FLAG_IF = 0x200
const FLAG_RF = 0x1_0000

const canonicalHi = (hi: number): boolean => {
  const top = (hi << 0) >> 15
  return top === 0 || top === -1
}

const AT_SCRATCH = offsetOf('scratch')
const AT_RSP = offsetOf('gpr', Gpr.RSP)
const AT_CS = offsetOf('segSelector', Seg.CS)
const AT_SS = offsetOf('segSelector', Seg.SS)
const AT_CPL = offsetOf('cpl')
const AT_RFLAGS = offsetOf('rflags')
const AT_RIP = offsetOf('rip')
const AT_IDTR_BASE = offsetOf('idtrBase')
const AT_TR_BASE = offsetOf('segBase', Seg.TR)

/** Bytes of the `scratch` cells, used as the buffer of block reads and writes. */
const scratchBytes = (state: CpuState, length: number): Uint8Array => state.bytes.subarray(AT_SCRATCH, AT_SCRATCH + length)
const scratchLo = ({ view }: CpuState, cell: number): number => view.getUint32(AT_SCRATCH + cell * 8, true)
const scratchHi = ({ view }: CpuState, cell: number): number => view.getUint32(AT_SCRATCH + cell * 8 + 4, true)

function setScratch({ view }: CpuState, cell: number, lo: number, hi: number): void {
  view.setInt32(AT_SCRATCH + cell * 8, lo, true)
  view.setInt32(AT_SCRATCH + cell * 8 + 4, hi, true)
}

/** Reads a system structure, `offset` bytes behind the base in the field at `baseAt`, into the first scratch cells. */
function readToScratch(cpu: CpuContext, baseAt: number, offset: number, length: 8 | 16): void {
  const { state, memory } = cpu
  const { view } = state
  if (!memory.readSystem32) return memory.readBytes(view.getBigUint64(baseAt, true) + BigInt(offset), scratchBytes(state, length), 'system')
  for (let i = 0; i < length; i += 4) {
    const lo = view.getUint32(baseAt, true) + offset + i
    const hi = (view.getUint32(baseAt + 4, true) + (lo > 0xffff_ffff ? 1 : 0)) >>> 0
    view.setInt32(AT_SCRATCH + i, memory.readSystem32(lo >>> 0, hi), true)
  }
}

interface Gate {
  readonly selector: number
  readonly offsetLo: number
  readonly offsetHi: number
  readonly ist: number
  readonly type: number
}

function readGate(cpu: CpuContext, event: PendingEvent, ext: number): Gate {
  const { state } = cpu
  const code = event.vector * 8 + 2 + ext
  if (event.vector * 16 + 15 > state.get('idtrLimit')) throw new CpuFault(Vector.GP, code)
  readToScratch(cpu, AT_IDTR_BASE, event.vector * 16, 16)
  const lo = scratchLo(state, 0)
  const hi = scratchHi(state, 0)
  const type = (hi >>> 8) & 0x1f
  if (type !== SystemType.INT32 && type !== SystemType.TRAP32) throw new CpuFault(Vector.GP, code)
  if (event.kind === 'software' && ((hi >>> 13) & 3) < state.view.getUint32(AT_CPL, true)) throw new CpuFault(Vector.GP, code)
  if ((hi & 0x8000) === 0) throw new CpuFault(Vector.NP, code)
  return {
    selector: lo >>> 16, offsetLo: ((hi & 0xffff_0000) | (lo & 0xffff)) >>> 0, offsetHi: scratchLo(state, 1), ist: hi & 7, type,
  }
}

function readHandlerSegment(cpu: CpuContext, selector: number, ext: number): Descriptor {
  const { state } = cpu
  if (isNull(selector)) throw new CpuFault(Vector.GP, ext)
  const code = selectorError(selector, ext)
  const d = tryReadDescriptor(cpu, selector)
  if (!d) throw new CpuFault(Vector.GP, code)
  if (!d.isCode || d.dpl > state.get('cpl') || (d.attr & (Attr.L | Attr.DB)) !== Attr.L) throw new CpuFault(Vector.GP, code)
  if (!d.present) throw new CpuFault(Vector.NP, code)
  return d
}

/** RSP the handler starts with, in `scratch[0]`. */
function pickStack(cpu: CpuContext, ist: number, privilege: number, changes: boolean, ext: number): void {
  const { state } = cpu
  if (ist === 0 && !changes) {
    return setScratch(state, 0, state.view.getInt32(AT_RSP, true), state.view.getInt32(AT_RSP + 4, true))
  }
  const offset = ist !== 0 ? 0x24 + (ist - 1) * 8 : 4 + privilege * 8
  if (offset + 7 > state.get('segLimit', Seg.TR)) throw new CpuFault(Vector.TS, selectorError(state.get('segSelector', Seg.TR), ext))
  readToScratch(cpu, AT_TR_BASE, offset, 8)
  if (!canonicalHi(scratchHi(state, 0))) throw new CpuFault(Vector.SS, ext)
}

/** Writes SS, RSP, RFLAGS, CS, RIP and the error code below the aligned stack pointer and leaves the new RSP in `scratch[7]`. */
function pushFrame(cpu: CpuContext, event: PendingEvent, privilege: number): void {
  const { state } = cpu
  const count = event.errorCode === undefined ? 5 : 6
  const { view } = state
  const lo = (scratchLo(state, 0) & ~0xf) >>> 0
  const hi = scratchHi(state, 0)
  const newLo = (lo - count * 8) >>> 0
  const newHi = lo < count * 8 ? (hi - 1) >>> 0 : hi
  if (!canonicalHi(newHi)) throw new CpuFault(Vector.SS, extOf(event))
  let cell = 0
  if (event.errorCode !== undefined) setScratch(state, cell++, event.errorCode, 0)
  view.setBigUint64(AT_SCRATCH + cell++ * 8, event.returnRip, true)
  setScratch(state, cell++, view.getInt32(AT_CS, true), 0)
  setScratch(state, cell++, packRflagsLow(state) | (event.kind === 'fault' ? FLAG_RF : 0), 0)
  setScratch(state, cell++, view.getInt32(AT_RSP, true), view.getInt32(AT_RSP + 4, true))
  setScratch(state, cell, view.getInt32(AT_SS, true), 0)
  const linear = (BigInt(newHi) << 32n) | BigInt(newLo)
  cpu.memory.writeBytes(linear, scratchBytes(state, count * 8), privilege === 3 ? 'user' : 'system')
  setScratch(state, 7, newLo, newHi)
}

export function deliverLong(cpu: CpuContext, event: PendingEvent): void {
  const { state } = cpu
  const ext = extOf(event)
  const gate = readGate(cpu, event, ext)
  const code = readHandlerSegment(cpu, gate.selector, ext)
  const { view } = state
  const cpl = view.getInt32(AT_CPL, true)
  const privilege = code.conforming ? cpl : code.dpl
  if (!canonicalHi(gate.offsetHi)) throw new CpuFault(Vector.GP, ext)
  pickStack(cpu, gate.ist, privilege, privilege !== cpl, ext)
  pushFrame(cpu, event, privilege)
  markAccessed(cpu, code)
  view.setInt32(AT_RSP, scratchLo(state, 7), true)
  view.setInt32(AT_RSP + 4, scratchHi(state, 7), true)
  setSegment(state, Seg.CS, (gate.selector & 0xfffc) | privilege, code)
  if (privilege !== cpl) setNullSegment(state, Seg.SS, privilege, privilege)
  view.setInt32(AT_CPL, privilege, true)
  const cleared = gate.type === SystemType.INT32 ? CLEARED_TRAP | FLAG_IF : CLEARED_TRAP
  view.setInt32(AT_RFLAGS, view.getInt32(AT_RFLAGS, true) & ~cleared, true)
  view.setInt32(AT_RIP, gate.offsetLo, true)
  view.setInt32(AT_RIP + 4, gate.offsetHi, true)
}
