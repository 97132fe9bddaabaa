/**
 * Virtual-8086 mode extensions and protected-mode virtual interrupts: VIF stands for IF where IOPL forbids it.
 * SDM vol. 3, 21.3 and 21.4; vol. 2, CLI, STI, PUSHF, POPF, INT n, IRET.
 */
import { CpuFault, Vector, type CpuContext } from '../../core/context'
import type { Helper } from '../../emit/emitter'
import { isV86, setV86Segment, wrapLinear } from '../../events/descriptors'
import { LegacyStack, currentStackSegment, setStackPointer } from '../../events/stack'
import { Flag, packRflagsLow, unpackRflagsLow } from '../../state/flags'
import type { CpuState } from '../../state/access'
import { Gpr, Seg } from '../../state/layout'

const CR4_VME = 1
const CR4_PVI = 2
const IF = Number(Flag.IF)
const TF = Number(Flag.TF)
const RF = Number(Flag.RF)
const IOPL = Number(Flag.IOPL)
const VIF = Number(Flag.VIF)
const VIP = Number(Flag.VIP)

const gp = (): never => { throw new CpuFault(Vector.GP, 0) }

/** In virtual-8086 mode with the extensions on. */
export const hasVme = (state: CpuState): boolean => isV86(state) && (state.lo('cr4') & CR4_VME) !== 0
const hasIopl3 = (state: CpuState): boolean => (state.lo('rflags') & IOPL) === IOPL

/** CLI and STI where IOPL is below CPL. */
export const virtualInterruptFlagHelper: Helper = {
  name: 'virtualInterruptFlag', args: ['i32'], faults: true,
  /** @param on 1: STI, which a pending virtual interrupt (VIP) turns into a fault for the monitor */
  run({ state }: CpuContext, on: number): void {
    const virtual = isV86(state) ? hasVme(state) : state.get('cpl') === 3 && (state.lo('cr4') & CR4_PVI) !== 0
    const rflags = state.lo('rflags')
    if (!virtual || (on !== 0 && (rflags & VIP) !== 0)) gp()
    state.setLoHi('rflags', on !== 0 ? rflags | VIF : rflags & ~VIF, 0)
  },
}

/** FLAGS as a 16-bit PUSHF and a redirected interrupt show them below IOPL 3: IF is VIF, IOPL is 3. */
export function virtualFlags(state: CpuState): number {
  const flags = packRflagsLow(state)
  return (flags & 0xffff & ~IF) | ((flags & VIF) !== 0 ? IF : 0) | IOPL
}

/** FLAGS from a 16-bit POPF or IRET below IOPL 3: IF goes to VIF. @throws CpuFault #GP(0) for what the monitor must see */
export function setVirtualFlags(state: CpuState, value: number): void {
  const old = packRflagsLow(state)
  if ((value & TF) !== 0 || ((value & IF) !== 0 && (old & VIP) !== 0)) gp()
  const kept = old & (0xffff_0000 | IF | IOPL) & ~(RF | VIF)
  unpackRflagsLow(state, kept | (value & 0xffff & ~(IF | IOPL)) | ((value & IF) !== 0 ? VIF : 0))
}

/** Bit of a vector in the interrupt redirection map: the 32 bytes before the I/O permission map. Beyond the limit it counts as set. */
function goesToMonitor({ state, memory }: CpuContext, vector: number): boolean {
  const limit = state.get('segLimit', Seg.TR)
  if ((state.get('segAttr', Seg.TR) & 8) === 0 || limit < 0x67) return true
  const base = state.get64('segBase', Seg.TR)
  const at = memory.read(wrapLinear(state, base + 0x66n), 2, 'system') - 32 + (vector >> 3)
  if (at < 0 || at > limit) return true
  return (memory.read(wrapLinear(state, base + BigInt(at)), 1, 'system') & (1 << (vector & 7))) !== 0
}

/**
 * INT n of an 8086 program, by its own vector table (methods 5 and 6 of table 21-2).
 * @returns false where it is not redirected; nothing was done then
 */
export function redirectInterrupt(cpu: CpuContext, vector: number, returnRip: bigint): boolean {
  const { state } = cpu
  if (!hasVme(state) || goesToMonitor(cpu, vector)) return false
  const own = hasIopl3(state)
  const entry = cpu.memory.read(BigInt(vector * 4), 4)
  const stack = new LegacyStack(cpu, currentStackSegment(state), state.lo('gpr', Gpr.RSP), 2, 'current')
  stack.push(own ? packRflagsLow(state) & 0xffff : virtualFlags(state))
  stack.push(state.get('segSelector', Seg.CS))
  stack.push(Number(returnRip & 0xffffn))
  stack.check(0)
  stack.write()
  setStackPointer(state, stack.pointer, false)
  state.setLoHi('rflags', state.lo('rflags') & ~(TF | RF | (own ? IF : VIF)), 0)
  setV86Segment(state, Seg.CS, entry >>> 16)
  state.setLoHi('rip', entry & 0xffff, 0)
  cpu.modeChanged()
  return true
}

export const virtualInterruptHelpers: readonly Helper[] = [virtualInterruptFlagHelper]
