/** Delivery in protected mode: interrupt, trap and task gates, inner stacks, virtual-8086 mode. SDM vol. 3, 6.12 and 21.3. */
import { CpuFault, Vector, type CpuContext, type Privilege } from '../core/context'
import { packRflags } from '../state/flags'
import { Gpr, Seg } from '../state/layout'
import {
  Attr, SystemType, checkStackDescriptor, descriptorLimit, isNull, isV86, markAccessed, readDescriptor, selectorError, setNullSegment,
  setSegment, wrapLinear, type Descriptor,
} from './descriptors'
import { extOf, type PendingEvent } from './event'
import { LegacyStack, currentStackSegment, setStackPointer, stackSegmentOf } from './stack'
import { readTaskDescriptor, switchTask } from './task-switch'
import { readInnerStack } from './tss'

/** TF, NT, RF and VM. */
const CLEARED_TRAP = 0x3_4100
const FLAG_IF = 0x200
const FLAG_RF = 0x1_0000
const FLAG_IOPL = 0x3000

interface Gate { readonly selector: number; readonly offset: number; readonly type: number; readonly size: 2 | 4 }

function readGate(cpu: CpuContext, event: PendingEvent, ext: number): Gate {
  const { state } = cpu
  const code = event.vector * 8 + 2 + ext
  if (event.vector * 8 + 7 > state.get('idtrLimit')) throw new CpuFault(Vector.GP, code)
  const at = wrapLinear(state, state.get64('idtrBase') + BigInt(event.vector * 8))
  const lo = cpu.memory.read(at, 4, 'system')
  const hi = cpu.memory.read(at + 4n, 4, 'system')
  const type = (hi >>> 8) & 0x1f
  const known = type === SystemType.TASK || (type & 0x16) === SystemType.INT16
  if (!known) throw new CpuFault(Vector.GP, code)
  if (event.kind === 'software' && ((hi >>> 13) & 3) < state.get('cpl')) throw new CpuFault(Vector.GP, code)
  if ((hi & 0x8000) === 0) throw new CpuFault(Vector.NP, code)
  const wide = (type & 8) !== 0
  return { selector: lo >>> 16, offset: ((wide ? hi & 0xffff_0000 : 0) | (lo & 0xffff)) >>> 0, type, size: wide ? 4 : 2 }
}

/** Through a task gate: the handler is a task; its stack gets the error code. */
function deliverTask(cpu: CpuContext, event: PendingEvent, selector: number, ext: number): void {
  const { state } = cpu
  if (isNull(selector)) throw new CpuFault(Vector.GP, ext)
  const task = readTaskDescriptor(cpu, selector, Vector.GP, ext)
  switchTask(cpu, task, 'gate', event.returnRip, ext)
  if (event.errorCode === undefined) return
  const size = task.type === SystemType.TSS32 ? 4 : 2
  const stack = new LegacyStack(cpu, currentStackSegment(state), state.lo('gpr', Gpr.RSP), size, 'current')
  stack.push(event.errorCode)
  stack.check(ext)
  stack.write()
  setStackPointer(state, stack.pointer, (state.get('segAttr', Seg.SS) & Attr.DB) !== 0)
}

function pushReturn(cpu: CpuContext, event: PendingEvent, stack: LegacyStack): void {
  const { state } = cpu
  stack.push(Number(packRflags(state)) | (event.kind === 'fault' ? FLAG_RF : 0))
  stack.push(state.get('segSelector', Seg.CS))
  stack.push(Number(event.returnRip & 0xffff_ffffn))
  if (event.errorCode !== undefined) stack.push(event.errorCode)
}

function enterHandler(cpu: CpuContext, gate: Gate, code: Descriptor, privilege: number): void {
  const { state } = cpu
  markAccessed(cpu, code)
  setSegment(state, Seg.CS, (gate.selector & 0xfffc) | privilege, code)
  state.set('cpl', privilege)
  const isInterrupt = (gate.type & 1) === 0
  state.setLoHi('rflags', state.lo('rflags') & ~(isInterrupt ? CLEARED_TRAP | FLAG_IF : CLEARED_TRAP), 0)
  state.setLoHi('rip', gate.offset, 0)
}

function deliverSameLevel(cpu: CpuContext, event: PendingEvent, gate: Gate, code: Descriptor, ext: number): void {
  const { state } = cpu
  const stack = new LegacyStack(cpu, currentStackSegment(state), state.lo('gpr', Gpr.RSP), gate.size, 'current')
  pushReturn(cpu, event, stack)
  stack.check(ext)
  stack.write()
  setStackPointer(state, stack.pointer, (state.get('segAttr', Seg.SS) & Attr.DB) !== 0)
  enterHandler(cpu, gate, code, state.get('cpl'))
}

function deliverInner(cpu: CpuContext, event: PendingEvent, gate: Gate, code: Descriptor, ext: number): void {
  const { state } = cpu
  const privilege = code.dpl
  const inner = readInnerStack(cpu, privilege, ext)
  if (isNull(inner.ss)) throw new CpuFault(Vector.TS, ext)
  const ss = readDescriptor(cpu, inner.ss, Vector.TS, ext)
  checkStackDescriptor(ss, inner.ss, privilege, Vector.TS, ext)
  const rights: Privilege = privilege === 3 ? 'user' : 'system'
  const stack = new LegacyStack(cpu, stackSegmentOf(ss), inner.esp, gate.size, rights)
  const fromV86 = isV86(state)
  if (fromV86) for (const seg of [Seg.GS, Seg.FS, Seg.DS, Seg.ES]) stack.push(state.get('segSelector', seg))
  stack.push(state.get('segSelector', Seg.SS))
  stack.push(state.lo('gpr', Gpr.RSP))
  pushReturn(cpu, event, stack)
  stack.check(selectorError(inner.ss, ext))
  stack.write()
  markAccessed(cpu, ss)
  setSegment(state, Seg.SS, inner.ss, ss)
  setStackPointer(state, stack.pointer, (ss.attr & Attr.DB) !== 0)
  if (fromV86) for (const seg of [Seg.GS, Seg.FS, Seg.DS, Seg.ES]) setNullSegment(state, seg, 0)
  enterHandler(cpu, gate, code, privilege)
}

/** INT n in virtual-8086 mode needs IOPL 3; INT3 and INTO do not ask. @throws CpuFault #GP(0) */
export function requireIoplForInt(cpu: CpuContext): void {
  const { state } = cpu
  if (isV86(state) && (state.lo('rflags') & FLAG_IOPL) !== FLAG_IOPL) throw new CpuFault(Vector.GP, 0)
}

export function deliverProtected(cpu: CpuContext, event: PendingEvent): void {
  const { state } = cpu
  const ext = extOf(event)
  const gate = readGate(cpu, event, ext)
  if (gate.type === SystemType.TASK) return deliverTask(cpu, event, gate.selector, ext)
  const code = readDescriptor(cpu, gate.selector, Vector.GP, ext)
  const error = selectorError(gate.selector, ext)
  const cpl = state.get('cpl')
  if (!code.isCode || code.dpl > cpl) throw new CpuFault(Vector.GP, error)
  if (!code.present) throw new CpuFault(Vector.NP, error)
  if (gate.offset > descriptorLimit(code)) throw new CpuFault(Vector.GP, ext)
  const inner = !code.conforming && code.dpl < cpl
  if (isV86(state) && (!inner || code.dpl !== 0)) throw new CpuFault(Vector.GP, error)
  if (inner) deliverInner(cpu, event, gate, code, ext)
  else deliverSameLevel(cpu, event, gate, code, ext)
}
