/** What far jumps, calls, returns and IRET share: checks of the target code segment and the commit of a transfer. */
import { isCanonical } from '../../../mmu/segment'
import { CpuFault, Vector, type CpuContext, type Privilege } from '../../core/context'
import {
  Attr, checkStackDescriptor, descriptorLimit, isLongMode, isNull, markAccessed, readDescriptor, rplOf, selectorError, setNullSegment,
  setSegment, type Descriptor,
} from '../../events/descriptors'
import { TaskFault } from '../../events/task-switch'
import { deliverEvent } from '../../events/deliver'
import { Gpr, Seg } from '../../state/layout'

/** L and D together are reserved in long mode. */
export function refuseLongAndBig(cpu: CpuContext, d: Descriptor): void {
  const both = Attr.L | Attr.DB
  if (isLongMode(cpu.state) && (d.attr & both) === both) throw new CpuFault(Vector.GP, selectorError(d.selector))
}

export const becomes64 = (cpu: CpuContext, code: Descriptor): boolean => isLongMode(cpu.state) && code.long

/** Instruction pointer against the limit, or its canonical form in 64-bit code. @throws CpuFault #GP(0) */
export function checkTarget(cpu: CpuContext, code: Descriptor, rip: bigint): void {
  const good = becomes64(cpu, code) ? isCanonical(rip) : rip <= BigInt(descriptorLimit(code))
  if (!good) throw new CpuFault(Vector.GP, 0)
}

/** Direct far JMP or CALL to a code segment: privilege does not change. @throws CpuFault #GP, #NP */
export function checkDirectTarget(cpu: CpuContext, d: Descriptor): void {
  const cpl = cpu.state.get('cpl')
  const error = selectorError(d.selector)
  const allowed = d.conforming ? d.dpl <= cpl : rplOf(d.selector) <= cpl && d.dpl === cpl
  if (!d.isCode || !allowed) throw new CpuFault(Vector.GP, error)
  refuseLongAndBig(cpu, d)
  if (!d.present) throw new CpuFault(Vector.NP, error)
}

/** Code segment of a far return or IRET. @throws CpuFault #GP, #NP */
export function readReturnCode(cpu: CpuContext, selector: number): Descriptor {
  const d = readDescriptor(cpu, selector)
  const error = selectorError(selector)
  const rpl = rplOf(selector)
  if (rpl < cpu.state.get('cpl')) throw new CpuFault(Vector.GP, error)
  const allowed = d.conforming ? d.dpl <= rpl : d.dpl === rpl
  if (!d.isCode || !allowed) throw new CpuFault(Vector.GP, error)
  refuseLongAndBig(cpu, d)
  if (!d.present) throw new CpuFault(Vector.NP, error)
  return d
}

/** Loads CS and RIP: the commit point. */
export function enterCode(cpu: CpuContext, code: Descriptor, privilege: number, rip: bigint): void {
  const { state } = cpu
  markAccessed(cpu, code)
  setSegment(state, Seg.CS, (code.selector & 0xfffc) | privilege, code)
  state.set('cpl', privilege)
  state.set64('rip', rip)
}

/** Stack segment a return to an outer ring loads; undefined for a null selector, which 64-bit code may have. @throws CpuFault */
export function readReturnStack(cpu: CpuContext, selector: number, code: Descriptor): Descriptor | undefined {
  const rpl = rplOf(code.selector)
  if (isNull(selector)) {
    if (!becomes64(cpu, code) || rpl === 3 || rplOf(selector) !== rpl) throw new CpuFault(Vector.GP, 0)
    return undefined
  }
  const d = readDescriptor(cpu, selector)
  checkStackDescriptor(d, selector, rpl, Vector.GP)
  return d
}

/** The caller has marked the descriptor accessed before its commit point. */
export function loadReturnStack(cpu: CpuContext, selector: number, d: Descriptor | undefined, privilege: number): void {
  if (!d) return setNullSegment(cpu.state, Seg.SS, selector, privilege)
  setSegment(cpu.state, Seg.SS, selector, d)
}

/** RSP as a return loads it: as wide as the new stack. */
export function setReturnPointer(cpu: CpuContext, rsp: bigint, code: Descriptor, ss: Descriptor | undefined): void {
  const { state } = cpu
  if (becomes64(cpu, code)) return state.setGpr(Gpr.RSP, rsp)
  if (ss && (ss.attr & Attr.DB) !== 0) return state.setGpr(Gpr.RSP, rsp & 0xffff_ffffn)
  state.setGpr(Gpr.RSP, (state.gpr(Gpr.RSP) & ~0xffffn) | (rsp & 0xffffn))
}

/** After a return to an outer ring, data segments it may not use become null. SDM vol. 3, 5.8.6. */
export function dropInnerSegments(cpu: CpuContext): void {
  const { state } = cpu
  const cpl = state.get('cpl')
  for (const seg of [Seg.ES, Seg.DS, Seg.FS, Seg.GS]) {
    const attr = state.get('segAttr', seg)
    if ((attr & Attr.UNUSABLE) !== 0) continue
    const conforming = (attr & 0x1c) === 0x1c
    // FS and GS bases outlive the segment in 64-bit mode, where they are MSRs of their own.
    if (conforming || ((attr >> 5) & 3) >= cpl) continue
    const base = state.get64('segBase', seg)
    setNullSegment(state, seg, 0)
    if (isLongMode(state) && seg >= Seg.FS) state.set64('segBase', base, seg)
  }
}

/** Pushes values (last one lowest) of `size` bytes at a flat 64-bit stack; returns the new pointer. @throws CpuFault #SS, #PF */
export function pushFlat(cpu: CpuContext, rsp: bigint, values: readonly bigint[], size: number, privilege: Privilege): bigint {
  const start = BigInt.asUintN(64, rsp - BigInt(values.length * size))
  if (!isCanonical(start)) throw new CpuFault(Vector.SS, 0)
  cpu.memory.probe(start, values.length * size, true, privilege)
  values.forEach((value, i) => {
    const at = BigInt.asUintN(64, rsp - BigInt((i + 1) * size))
    if (size === 8) cpu.memory.write64(at, BigInt.asUintN(64, value), privilege)
    else cpu.memory.write(at, size as 2 | 4, Number(BigInt.asUintN(size * 8, value)), privilege)
  })
  return start
}

/** Runs a task switch from an instruction: faults that belong to the new task are delivered in it. @throws CpuFault, TripleFault */
export function inNewTask(cpu: CpuContext, transfer: () => void): void {
  try {
    transfer()
  } catch (error) {
    if (!(error instanceof TaskFault)) throw error
    deliverEvent(cpu, error.vector, 'fault', error.errorCode)
  }
}
