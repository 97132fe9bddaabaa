/**
 * Delivery in long mode: 16-byte gates, stacks from the TSS, 64-bit frames. SDM vol. 3, 6.14.
 * Runs for every timer tick and page fault, so it works on 32-bit halves and one block write.
 */
import { CpuFault, Vector, type CpuContext } from '../core/context'
import type { CpuState } from '../state/access'
import { packRflagsLow } from '../state/flags'
import { Gpr, Seg, offsetOf } from '../state/layout'
import {
  SystemType, descriptorAddress, isNull, makeDescriptor, markAccessed, selectorError, setNullSegment, setSegment, Attr, type Descriptor,
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

/** Bytes of the `scratch` cells, used as the buffer of block reads and writes. */
function scratchBytes(state: CpuState, length: number): Uint8Array {
  const at = offsetOf('scratch')
  return state.bytes.subarray(at, at + length)
}

interface Gate { readonly selector: number; readonly offsetLo: number; readonly offsetHi: number; readonly ist: number; readonly type: number }

function readGate(cpu: CpuContext, event: PendingEvent, ext: number): Gate {
  const { state } = cpu
  const code = event.vector * 8 + 2 + ext
  if (event.vector * 16 + 15 > state.get('idtrLimit')) throw new CpuFault(Vector.GP, code)
  cpu.memory.readBytes(state.get64('idtrBase') + BigInt(event.vector * 16), scratchBytes(state, 16), 'system')
  const lo = state.lo('scratch')
  const hi = state.hi('scratch')
  const type = (hi >>> 8) & 0x1f
  if (type !== SystemType.INT32 && type !== SystemType.TRAP32) throw new CpuFault(Vector.GP, code)
  if (event.kind === 'software' && ((hi >>> 13) & 3) < state.get('cpl')) throw new CpuFault(Vector.GP, code)
  if ((hi & 0x8000) === 0) throw new CpuFault(Vector.NP, code)
  return {
    selector: lo >>> 16, offsetLo: ((hi & 0xffff_0000) | (lo & 0xffff)) >>> 0, offsetHi: state.lo('scratch', 1), ist: hi & 7, type,
  }
}

function readHandlerSegment(cpu: CpuContext, selector: number, ext: number): Descriptor {
  const { state } = cpu
  if (isNull(selector)) throw new CpuFault(Vector.GP, ext)
  const code = selectorError(selector, ext)
  const at = descriptorAddress(state, selector)
  if (at === undefined) throw new CpuFault(Vector.GP, code)
  cpu.memory.readBytes(at, scratchBytes(state, 8), 'system')
  const d = makeDescriptor(selector, at, state.lo('scratch'), state.hi('scratch'))
  if (!d.isCode || d.dpl > state.get('cpl') || (d.attr & (Attr.L | Attr.DB)) !== Attr.L) throw new CpuFault(Vector.GP, code)
  if (!d.present) throw new CpuFault(Vector.NP, code)
  return d
}

/** RSP the handler starts with, in `scratch[0]`. */
function pickStack(cpu: CpuContext, ist: number, privilege: number, changes: boolean, ext: number): void {
  const { state } = cpu
  if (ist === 0 && !changes) {
    return state.setLoHi('scratch', state.lo('gpr', Gpr.RSP), state.hi('gpr', Gpr.RSP))
  }
  const offset = ist !== 0 ? 0x24 + (ist - 1) * 8 : 4 + privilege * 8
  if (offset + 7 > state.get('segLimit', Seg.TR)) throw new CpuFault(Vector.TS, selectorError(state.get('segSelector', Seg.TR), ext))
  cpu.memory.readBytes(state.get64('segBase', Seg.TR) + BigInt(offset), scratchBytes(state, 8), 'system')
  if (!canonicalHi(state.hi('scratch'))) throw new CpuFault(Vector.SS, ext)
}

/** Writes SS, RSP, RFLAGS, CS, RIP and the error code below the aligned stack pointer and leaves the new RSP in `scratch[7]`. */
function pushFrame(cpu: CpuContext, event: PendingEvent, privilege: number): void {
  const { state } = cpu
  const count = event.errorCode === undefined ? 5 : 6
  const lo = (state.lo('scratch') & ~0xf) >>> 0
  const hi = state.hi('scratch')
  const newLo = (lo - count * 8) >>> 0
  const newHi = lo < count * 8 ? (hi - 1) >>> 0 : hi
  let i = 0
  if (event.errorCode !== undefined) state.setLoHi('scratch', event.errorCode, 0, i++)
  state.set64('scratch', event.returnRip, i++)
  state.setLoHi('scratch', state.get('segSelector', Seg.CS), 0, i++)
  const flags = packRflagsLow(state) | (event.kind === 'fault' ? FLAG_RF : 0)
  state.setLoHi('scratch', flags, 0, i++)
  state.setLoHi('scratch', state.lo('gpr', Gpr.RSP), state.hi('gpr', Gpr.RSP), i++)
  state.setLoHi('scratch', state.get('segSelector', Seg.SS), 0, i)
  const linear = (BigInt(newHi) << 32n) | BigInt(newLo)
  if (!canonicalHi(newHi)) throw new CpuFault(Vector.SS, extOf(event))
  cpu.memory.writeBytes(linear, scratchBytes(state, count * 8), privilege === 3 ? 'user' : 'system')
  state.setLoHi('scratch', newLo, newHi, 7)
}

export function deliverLong(cpu: CpuContext, event: PendingEvent): void {
  const { state } = cpu
  const ext = extOf(event)
  const gate = readGate(cpu, event, ext)
  const code = readHandlerSegment(cpu, gate.selector, ext)
  const cpl = state.get('cpl')
  const privilege = code.conforming ? cpl : code.dpl
  if (!canonicalHi(gate.offsetHi)) throw new CpuFault(Vector.GP, ext)
  pickStack(cpu, gate.ist, privilege, privilege !== cpl, ext)
  pushFrame(cpu, event, privilege)
  markAccessed(cpu, code)
  state.setLoHi('gpr', state.lo('scratch', 7), state.hi('scratch', 7), Gpr.RSP)
  setSegment(state, Seg.CS, (gate.selector & 0xfffc) | privilege, code)
  if (privilege !== cpl) setNullSegment(state, Seg.SS, privilege, privilege)
  state.set('cpl', privilege)
  const cleared = gate.type === SystemType.INT32 ? CLEARED_TRAP | FLAG_IF : CLEARED_TRAP
  state.setLoHi('rflags', state.lo('rflags') & ~cleared, 0)
  state.setLoHi('rip', gate.offsetLo, gate.offsetHi)
}
