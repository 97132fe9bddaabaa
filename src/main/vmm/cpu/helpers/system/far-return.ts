/** Far RET and IRET. SDM vol. 2 (RET, IRET) and vol. 3, 5.8.6, 6.12, 21.3. */
import { CpuFault, Vector, type CpuContext } from '../../core/context'
import type { Helper } from '../../emit/emitter'
import {
  is64Bit, isLongMode, isProtected, isV86, markAccessed, rplOf, setRealSegment, setV86Segment, type Descriptor,
} from '../../events/descriptors'
import { StackReader } from '../../events/stack'
import { returnFromTask } from '../../events/task-switch'
import { Flag, packRflags, packRflagsLow, unpackRflags, unpackRflagsLow } from '../../state/flags'
import { Gpr, Seg, offsetOf } from '../../state/layout'
import {
  checkTarget, dropInnerSegments, enterCode, inNewTask, loadReturnStack, readReturnCode, readReturnStack, setReturnPointer,
} from './transfer'
import { hasVme, setVirtualFlags } from './virtual-interrupts'

const ALWAYS = Flag.CF | Flag.PF | Flag.AF | Flag.ZF | Flag.SF | Flag.TF | Flag.DF | Flag.OF | Flag.NT
/** Upper half of EFLAGS that a 32- or 64-bit IRET loads at any privilege. */
const UPPER = Flag.RF | Flag.AC | Flag.ID

type Bytes = 2 | 4 | 8

function changeable(cpl: number, iopl: number, bytes: Bytes): bigint {
  let mask: bigint = ALWAYS
  if (bytes !== 2) mask |= UPPER
  if (cpl <= iopl) mask |= Flag.IF
  if (cpl === 0) mask |= Flag.IOPL
  if (cpl === 0 && bytes !== 2) mask |= Flag.VIF | Flag.VIP
  return mask
}

function setFlags(cpu: CpuContext, value: bigint, mask: bigint): void {
  const old = packRflags(cpu.state)
  unpackRflags(cpu.state, (old & ~mask) | (value & mask))
}

function checkRealTarget(cpu: CpuContext, rip: bigint): void {
  if (rip > BigInt(cpu.state.get('segLimit', Seg.CS))) throw new CpuFault(Vector.GP, 0)
}

function enterReal(cpu: CpuContext, selector: number, rip: bigint): void {
  if (isV86(cpu.state)) setV86Segment(cpu.state, Seg.CS, selector)
  else setRealSegment(cpu.state, Seg.CS, selector)
  cpu.state.set64('rip', rip)
}

const selectorOf = (value: bigint): number => Number(value & 0xffffn)

/** Values of the outer stack and the commit of a return to it. */
function returnOuter(cpu: CpuContext, code: Descriptor, rip: bigint, rsp: bigint, ssSelector: number): void {
  const privilege = rplOf(code.selector)
  const ss = readReturnStack(cpu, ssSelector, code)
  checkTarget(cpu, code, rip)
  if (ss) markAccessed(cpu, ss)
  const outer = privilege !== cpu.state.get('cpl')
  enterCode(cpu, code, privilege, rip)
  loadReturnStack(cpu, ssSelector, ss, privilege)
  setReturnPointer(cpu, rsp, code, ss)
  if (outer) dropInnerSegments(cpu)
}

function farReturn(cpu: CpuContext, bytes: Bytes, extra: number): void {
  const { state } = cpu
  const stack = new StackReader(cpu, bytes)
  const rip = stack.pop()
  const selector = selectorOf(stack.pop())
  if (!isProtected(state) || isV86(state)) {
    checkRealTarget(cpu, rip)
    stack.skip(extra)
    stack.commit()
    return enterReal(cpu, selector, rip)
  }
  const code = readReturnCode(cpu, selector)
  stack.skip(extra)
  if (rplOf(selector) === state.get('cpl')) {
    checkTarget(cpu, code, rip)
    stack.commit()
    return enterCode(cpu, code, state.get('cpl'), rip)
  }
  const rsp = stack.pop()
  const ss = selectorOf(stack.pop())
  returnOuter(cpu, code, rip, rsp + BigInt(extra), ss)
}

/** Real mode, and virtual-8086 mode with IOPL 3 or its extensions. */
function iretReal(cpu: CpuContext, bytes: Bytes): void {
  const { state } = cpu
  const v86 = isV86(state)
  const virtual = v86 && (state.lo('rflags') & 0x3000) !== 0x3000
  if (virtual && (bytes !== 2 || !hasVme(state))) throw new CpuFault(Vector.GP, 0)
  const stack = new StackReader(cpu, bytes)
  const rip = stack.pop()
  const selector = selectorOf(stack.pop())
  const flags = stack.pop()
  checkRealTarget(cpu, rip)
  if (virtual) setVirtualFlags(state, Number(flags))
  stack.commit()
  enterReal(cpu, selector, rip)
  if (!virtual) setFlags(cpu, flags, changeable(v86 ? 3 : 0, 3, bytes) & ~(Flag.VIF | Flag.VIP))
}

/** From ring 0 back into virtual-8086 mode. */
function returnToV86(cpu: CpuContext, stack: StackReader, rip: bigint, cs: number, flags: bigint): void {
  const { state } = cpu
  const esp = stack.pop()
  const [ss, es, ds, fs, gs] = [stack.pop(), stack.pop(), stack.pop(), stack.pop(), stack.pop()].map(selectorOf)
  unpackRflags(state, flags)
  const loads: readonly [number, number][] = [[Seg.CS, cs], [Seg.SS, ss], [Seg.ES, es], [Seg.DS, ds], [Seg.FS, fs], [Seg.GS, gs]]
  for (const [seg, selector] of loads) setV86Segment(state, seg, selector)
  state.set('cpl', 3)
  state.setGpr(Gpr.RSP, esp & 0xffff_ffffn)
  state.set64('rip', rip & 0xffffn)
}

function iretProtected(cpu: CpuContext, bytes: Bytes): void {
  const { state } = cpu
  const long = isLongMode(state)
  if ((state.lo('rflags') & Number(Flag.NT)) !== 0) {
    if (long) throw new CpuFault(Vector.GP, 0)
    return inNewTask(cpu, () => returnFromTask(cpu, state.get64('nextRip')))
  }
  const cpl = state.get('cpl')
  const iopl = (state.lo('rflags') >> 12) & 3
  const stack = new StackReader(cpu, bytes)
  const rip = stack.pop()
  const selector = selectorOf(stack.pop())
  const flags = stack.pop()
  if (!long && bytes === 4 && cpl === 0 && (flags & Flag.VM) !== 0n) return returnToV86(cpu, stack, rip, selector, flags)
  const code = readReturnCode(cpu, selector)
  const mask = changeable(cpl, iopl, bytes)
  if (rplOf(selector) === cpl && !is64Bit(state)) {
    checkTarget(cpu, code, rip)
    stack.commit()
    enterCode(cpu, code, cpl, rip)
    return setFlags(cpu, flags, mask)
  }
  const rsp = stack.pop()
  const ss = selectorOf(stack.pop())
  returnOuter(cpu, code, rip, rsp, ss)
  setFlags(cpu, flags, mask)
}

const FRAME_BYTES = 40
const AT_SCRATCH = offsetOf('scratch')
const AT_CPL = offsetOf('cpl')
const AT_RFLAGS = offsetOf('rflags')

const ALWAYS_LOW = Number(ALWAYS | UPPER)
const IF_LOW = Number(Flag.IF)
const RING0_LOW = Number(Flag.IOPL | Flag.VIF | Flag.VIP)

/** As `changeable` for 64-bit frames. */
function changeableLow(cpl: number, iopl: number): number {
  return ALWAYS_LOW | (cpl <= iopl ? IF_LOW : 0) | (cpl === 0 ? RING0_LOW : 0)
}

/** IRETQ: one block read of the five values. */
function iret64(cpu: CpuContext): void {
  const { state } = cpu
  if ((state.lo('rflags') & Number(Flag.NT)) !== 0) throw new CpuFault(Vector.GP, 0)
  const { view } = state
  cpu.memory.readBytes(state.gpr(Gpr.RSP), state.bytes.subarray(AT_SCRATCH, AT_SCRATCH + FRAME_BYTES))
  const mask = changeableLow(view.getInt32(AT_CPL, true), (view.getInt32(AT_RFLAGS, true) >> 12) & 3)
  const rip = view.getBigUint64(AT_SCRATCH, true)
  const selector = view.getUint16(AT_SCRATCH + 8, true)
  const flags = view.getInt32(AT_SCRATCH + 16, true)
  const rsp = view.getBigUint64(AT_SCRATCH + 24, true)
  const ss = view.getUint16(AT_SCRATCH + 32, true)
  returnOuter(cpu, readReturnCode(cpu, selector), rip, rsp, ss)
  unpackRflagsLow(state, (packRflagsLow(state) & ~mask) | (flags & mask))
}

const bytesOf = (bits: number): Bytes => (bits === 64 ? 8 : bits === 16 ? 2 : 4)

export const farReturnHelper: Helper = {
  name: 'farReturn', args: ['i32', 'i32'], faults: true,
  run(cpu: CpuContext, bits: number, extra: number): void {
    farReturn(cpu, bytesOf(bits), extra & 0xffff)
    cpu.modeChanged()
  },
}

export const iretHelper: Helper = {
  name: 'iret', args: ['i32'], faults: true,
  run(cpu: CpuContext, bits: number): void {
    const { state } = cpu
    const from64 = isProtected(state) && !isV86(state) && bits === 64 && is64Bit(state)
    if (from64) iret64(cpu)
    else if (!isProtected(state) || isV86(state)) iretReal(cpu, bytesOf(bits))
    else iretProtected(cpu, bytesOf(bits))
    state.set('nmiBlocked', 0)
    // Data segments of an inner ring may be dropped on the way out: their bases do not count in 64-bit code.
    if (from64 && cpu.privilegeChanged) cpu.privilegeChanged()
    else cpu.modeChanged()
  },
}

export const farReturnHelpers: readonly Helper[] = [farReturnHelper, iretHelper]
