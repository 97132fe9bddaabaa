/** Far JMP and CALL: code segments, call gates, tasks. SDM vol. 2 (JMP, CALL) and vol. 3, 5.8 and 7.3. */
import { CpuFault, Vector, type CpuContext, type Privilege } from '../../core/context'
import type { Helper } from '../../emit/emitter'
import {
  Attr, SystemType, checkStackDescriptor, descriptorAddress, is64Bit, isLongMode, isNull, isProtected, isV86, markAccessed,
  readDescriptor, rplOf, selectorError, setNullSegment, setRealSegment, setSegment, setV86Segment, type Descriptor,
} from '../../events/descriptors'
import { LegacyStack, currentStackSegment, setStackPointer, stackSegmentOf } from '../../events/stack'
import { readTaskDescriptor, switchTask } from '../../events/task-switch'
import { readInnerRsp, readInnerStack } from '../../events/tss'
import { Gpr, Seg } from '../../state/layout'
import { becomes64, checkDirectTarget, checkTarget, enterCode, inNewTask, pushFlat, refuseLongAndBig } from './transfer'

type OperandBytes = 2 | 4 | 8

interface FarCall { readonly selector: number; readonly offset: bigint; readonly bytes: OperandBytes; readonly returnRip: bigint }

interface CallGate { readonly code: Descriptor; readonly offset: bigint; readonly bytes: OperandBytes; readonly parameters: number }

/** Limit check of a real-mode or virtual-8086 target. */
function checkRealTarget(cpu: CpuContext, offset: bigint): void {
  if (offset > BigInt(cpu.state.get('segLimit', Seg.CS))) throw new CpuFault(Vector.GP, 0)
}

function enterReal(cpu: CpuContext, selector: number, offset: bigint): void {
  const { state } = cpu
  if (isV86(state)) setV86Segment(state, Seg.CS, selector)
  else setRealSegment(state, Seg.CS, selector)
  state.set64('rip', offset)
}

/** Pushes CS and the return address as wide as the operand size; checks all before writing. */
function pushReturn(cpu: CpuContext, call: FarCall): () => void {
  const { state } = cpu
  const cs = state.get('segSelector', Seg.CS)
  if (is64Bit(state)) {
    const rsp = pushFlat(cpu, state.gpr(Gpr.RSP), [BigInt(cs), call.returnRip], call.bytes, 'current')
    return () => state.setGpr(Gpr.RSP, rsp)
  }
  // A 64-bit operand size does not exist outside 64-bit mode.
  const stack = new LegacyStack(cpu, currentStackSegment(state), state.lo('gpr', Gpr.RSP), call.bytes as 2 | 4, 'current')
  stack.push(cs)
  stack.push(Number(call.returnRip & 0xffff_ffffn))
  stack.check(0)
  stack.write()
  return () => setStackPointer(state, stack.pointer, (state.get('segAttr', Seg.SS) & Attr.DB) !== 0)
}

/** Reads a call gate and the code segment behind it. @throws CpuFault #GP, #NP */
function readCallGate(cpu: CpuContext, gate: Descriptor): CallGate {
  const { state, memory } = cpu
  const cpl = state.get('cpl')
  const error = selectorError(gate.selector)
  if (gate.dpl < Math.max(cpl, rplOf(gate.selector))) throw new CpuFault(Vector.GP, error)
  if (!gate.present) throw new CpuFault(Vector.NP, error)
  const target = gate.lo >>> 16
  const long = isLongMode(state)
  const wide = gate.type === SystemType.CALL32
  let offset = BigInt(((wide ? gate.hi & 0xffff_0000 : 0) | (gate.lo & 0xffff)) >>> 0)
  if (long) {
    if (descriptorAddress(state, gate.selector, 16) === undefined) throw new CpuFault(Vector.GP, error)
    if ((memory.read(gate.at + 12n, 4, 'system') & 0x1f00) !== 0) throw new CpuFault(Vector.GP, error)
    offset |= BigInt(memory.read(gate.at + 8n, 4, 'system')) << 32n
  }
  const code = readDescriptor(cpu, target)
  if (!code.isCode || code.dpl > cpl) throw new CpuFault(Vector.GP, selectorError(target))
  if (long && (!code.long || (code.attr & Attr.DB) !== 0)) throw new CpuFault(Vector.GP, selectorError(target))
  refuseLongAndBig(cpu, code)
  if (!code.present) throw new CpuFault(Vector.NP, selectorError(target))
  return { code, offset, bytes: long ? 8 : wide ? 4 : 2, parameters: gate.hi & 0x1f }
}

const isCallGate = (cpu: CpuContext, { type }: Descriptor): boolean =>
  type === SystemType.CALL32 || (type === SystemType.CALL16 && !isLongMode(cpu.state))

/** TSS a JMP or CALL leads to, directly or through a task gate. @throws CpuFault */
function taskBehind(cpu: CpuContext, d: Descriptor): Descriptor {
  const error = selectorError(d.selector)
  const isTask = d.type === SystemType.TSS16 || d.type === SystemType.TSS32 || d.type === SystemType.TASK
  if (isLongMode(cpu.state) || !isTask) throw new CpuFault(Vector.GP, error)
  if (d.dpl < Math.max(cpu.state.get('cpl'), rplOf(d.selector))) throw new CpuFault(Vector.GP, error)
  if (d.type !== SystemType.TASK) return readTaskDescriptor(cpu, d.selector, Vector.GP)
  if (!d.present) throw new CpuFault(Vector.NP, error)
  const selector = d.lo >>> 16
  if (isNull(selector)) throw new CpuFault(Vector.GP, 0)
  return readTaskDescriptor(cpu, selector, Vector.GP)
}

function farJump(cpu: CpuContext, { selector, offset, returnRip }: FarCall): void {
  const { state } = cpu
  if (!isProtected(state) || isV86(state)) {
    checkRealTarget(cpu, offset)
    return enterReal(cpu, selector, offset)
  }
  const d = readDescriptor(cpu, selector)
  const cpl = state.get('cpl')
  if (d.isSegment) {
    checkDirectTarget(cpu, d)
    const rip = becomes64(cpu, d) ? offset : offset & 0xffff_ffffn
    checkTarget(cpu, d, rip)
    return enterCode(cpu, d, cpl, rip)
  }
  if (!isCallGate(cpu, d)) return inNewTask(cpu, () => switchTask(cpu, taskBehind(cpu, d), 'jump', returnRip))
  const { code, offset: entry } = readCallGate(cpu, d)
  if (!code.conforming && code.dpl !== cpl) throw new CpuFault(Vector.GP, selectorError(code.selector))
  checkTarget(cpu, code, entry)
  enterCode(cpu, code, cpl, entry)
}

function farCall(cpu: CpuContext, call: FarCall): void {
  const { state } = cpu
  const { selector, offset } = call
  if (!isProtected(state) || isV86(state)) {
    checkRealTarget(cpu, offset)
    pushReturn(cpu, call)()
    return enterReal(cpu, selector, offset)
  }
  const d = readDescriptor(cpu, selector)
  if (!d.isSegment) return callSystem(cpu, d, call)
  checkDirectTarget(cpu, d)
  const rip = becomes64(cpu, d) ? offset : offset & 0xffff_ffffn
  checkTarget(cpu, d, rip)
  pushReturn(cpu, call)()
  enterCode(cpu, d, state.get('cpl'), rip)
}

function callSystem(cpu: CpuContext, d: Descriptor, call: FarCall): void {
  if (!isCallGate(cpu, d)) return inNewTask(cpu, () => switchTask(cpu, taskBehind(cpu, d), 'call', call.returnRip))
  const gate = readCallGate(cpu, d)
  checkTarget(cpu, gate.code, gate.offset)
  const cpl = cpu.state.get('cpl')
  if (gate.code.conforming || gate.code.dpl === cpl) return callSameLevel(cpu, gate, call)
  if (gate.bytes === 8) return callInner64(cpu, gate, call)
  callInner(cpu, gate, call)
}

function callSameLevel(cpu: CpuContext, gate: CallGate, call: FarCall): void {
  const { state } = cpu
  if (gate.bytes === 8) {
    const values = [BigInt(state.get('segSelector', Seg.CS)), call.returnRip]
    state.setGpr(Gpr.RSP, pushFlat(cpu, state.gpr(Gpr.RSP), values, 8, 'current'))
  } else pushReturn(cpu, { ...call, bytes: gate.bytes })()
  enterCode(cpu, gate.code, state.get('cpl'), gate.offset)
}

/** To an inner ring of 64-bit code: stack from the TSS, SS null, no parameters. */
function callInner64(cpu: CpuContext, gate: CallGate, call: FarCall): void {
  const { state } = cpu
  const privilege = gate.code.dpl
  const values = [
    BigInt(state.get('segSelector', Seg.SS)), state.gpr(Gpr.RSP), BigInt(state.get('segSelector', Seg.CS)), call.returnRip,
  ]
  const rsp = pushFlat(cpu, readInnerRsp(cpu, privilege), values, 8, 'system')
  state.setGpr(Gpr.RSP, rsp)
  setNullSegment(state, Seg.SS, privilege, privilege)
  enterCode(cpu, gate.code, privilege, gate.offset)
}

/** Parameters of the outer stack, in the order they are pushed again: highest address first. */
function readParameters(cpu: CpuContext, count: number, size: 2 | 4): number[] {
  const { state } = cpu
  const mask = (state.get('segAttr', Seg.SS) & Attr.DB) !== 0 ? 0xffff_ffff : 0xffff
  const top = state.lo('gpr', Gpr.RSP)
  return Array.from({ length: count }, (_, i) => {
    const offset = ((top + (count - 1 - i) * size) & mask) >>> 0
    return cpu.memory.read(BigInt.asUintN(32, state.get64('segBase', Seg.SS) + BigInt(offset)), size)
  })
}

function callInner(cpu: CpuContext, gate: CallGate, call: FarCall): void {
  const { state } = cpu
  const privilege = gate.code.dpl
  const size = gate.bytes as 2 | 4
  const inner = readInnerStack(cpu, privilege, 0)
  if (isNull(inner.ss)) throw new CpuFault(Vector.TS, 0)
  const ss = readDescriptor(cpu, inner.ss, Vector.TS)
  checkStackDescriptor(ss, inner.ss, privilege, Vector.TS)
  const rights: Privilege = 'system'
  const stack = new LegacyStack(cpu, stackSegmentOf(ss), inner.esp, size, rights)
  stack.push(state.get('segSelector', Seg.SS))
  stack.push(state.lo('gpr', Gpr.RSP))
  for (const value of readParameters(cpu, gate.parameters, size)) stack.push(value)
  stack.push(state.get('segSelector', Seg.CS))
  stack.push(Number(call.returnRip & 0xffff_ffffn))
  stack.check(selectorError(inner.ss))
  stack.write()
  markAccessed(cpu, ss)
  setSegment(state, Seg.SS, inner.ss, ss)
  setStackPointer(state, stack.pointer, (ss.attr & Attr.DB) !== 0)
  enterCode(cpu, gate.code, privilege, gate.offset)
}

const bytesOf = (bits: number): OperandBytes => (bits === 64 ? 8 : bits === 16 ? 2 : 4)

export const farJumpHelper: Helper = {
  name: 'farJump', args: ['i32', 'i64', 'i32', 'i64'], faults: true,
  run(cpu: CpuContext, selector: number, offset: bigint, bits: number, returnRip: bigint): void {
    farJump(cpu, { selector: selector & 0xffff, offset, bytes: bytesOf(bits), returnRip })
    cpu.modeChanged()
  },
}

export const farCallHelper: Helper = {
  name: 'farCall', args: ['i32', 'i64', 'i32', 'i64'], faults: true,
  run(cpu: CpuContext, selector: number, offset: bigint, bits: number, returnRip: bigint): void {
    farCall(cpu, { selector: selector & 0xffff, offset, bytes: bytesOf(bits), returnRip })
    cpu.modeChanged()
  },
}

export const farHelpers: readonly Helper[] = [farJumpHelper, farCallHelper]
