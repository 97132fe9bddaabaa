/** Descriptor table registers and the instructions that ask about descriptors. SDM vol. 2: LGDT, LLDT, LTR, LAR, LSL, VERR, VERW. */
import { isCanonical } from '../../../mmu/segment'
import { CpuFault, Vector, type CpuContext } from '../../core/context'
import type { Helper } from '../../emit/emitter'
import {
  SystemType, descriptorBase, descriptorLimit, isLongMode, isNull, longBase, readDescriptor, rplOf, selectorError, setBusy,
  setNullSegment, tryReadDescriptor, type Descriptor,
} from '../../events/descriptors'
import { setSystemSegment } from '../../events/task-switch'
import { Seg } from '../../state/layout'

/** LGDT (0) and LIDT (1). */
export const loadTableHelper: Helper = {
  name: 'loadTable', args: ['i32', 'i32', 'i64'], faults: true,
  run({ state }: CpuContext, which: number, limit: number, base: bigint): void {
    if (isLongMode(state) && !isCanonical(base)) throw new CpuFault(Vector.GP, 0)
    state.set64(which === 0 ? 'gdtrBase' : 'idtrBase', base)
    state.set(which === 0 ? 'gdtrLimit' : 'idtrLimit', limit & 0xffff)
  },
}

/** Base of a system descriptor. @throws CpuFault */
function systemBase(cpu: CpuContext, d: Descriptor): bigint {
  if (!isLongMode(cpu.state)) return BigInt(descriptorBase(d))
  const base = longBase(cpu, d)
  if (!isCanonical(base)) throw new CpuFault(Vector.GP, selectorError(d.selector))
  return base
}

/** LDT and TSS descriptors live in the GDT. @throws CpuFault #GP, #NP */
function readSystem(cpu: CpuContext, selector: number, types: readonly number[]): Descriptor {
  if ((selector & 4) !== 0) throw new CpuFault(Vector.GP, selectorError(selector))
  const d = readDescriptor(cpu, selector)
  if (d.isSegment || !types.includes(d.type)) throw new CpuFault(Vector.GP, selectorError(selector))
  if (!d.present) throw new CpuFault(Vector.NP, selectorError(selector))
  return d
}

export const loadLdtHelper: Helper = {
  name: 'loadLdt', args: ['i32'], faults: true,
  run(cpu: CpuContext, selector: number): void {
    if (isNull(selector)) return setNullSegment(cpu.state, Seg.LDTR, selector)
    const d = readSystem(cpu, selector, [SystemType.LDT])
    setSystemSegment(cpu.state, Seg.LDTR, selector, d, systemBase(cpu, d))
  },
}

export const loadTaskRegisterHelper: Helper = {
  name: 'loadTaskRegister', args: ['i32'], faults: true,
  run(cpu: CpuContext, selector: number): void {
    const types = isLongMode(cpu.state) ? [SystemType.TSS32] : [SystemType.TSS16, SystemType.TSS32]
    const d = readSystem(cpu, selector, types)
    const base = systemBase(cpu, d)
    setBusy(cpu, d, true)
    setSystemSegment(cpu.state, Seg.TR, selector, { ...d, attr: d.attr | 2 }, base)
  },
}

/** Descriptor the program may ask about; undefined where the instruction clears ZF. */
function visible(cpu: CpuContext, selector: number): Descriptor | undefined {
  if (isNull(selector)) return undefined
  const d = tryReadDescriptor(cpu, selector)
  if (!d) return undefined
  if (d.conforming) return d
  return d.dpl >= Math.max(cpu.state.get('cpl'), rplOf(selector)) ? d : undefined
}

const LAR_TYPES = [SystemType.TSS16, SystemType.LDT, SystemType.TSS16_BUSY, SystemType.CALL16, SystemType.TASK, SystemType.TSS32,
  SystemType.TSS32_BUSY, SystemType.CALL32] as readonly number[]
const LAR_TYPES_LONG = [SystemType.LDT, SystemType.TSS32, SystemType.TSS32_BUSY, SystemType.CALL32] as readonly number[]
const LSL_TYPES = [SystemType.TSS16, SystemType.LDT, SystemType.TSS16_BUSY, SystemType.TSS32, SystemType.TSS32_BUSY] as readonly number[]
const LSL_TYPES_LONG = [SystemType.LDT, SystemType.TSS32, SystemType.TSS32_BUSY] as readonly number[]

/** Bit 32 of the results of LAR and LSL: the value is valid, ZF is set. */
const VALID = 1n << 32n
const LAR_MASK = 0x00f0_ff00

export const accessRightsHelper: Helper = {
  name: 'accessRights', args: ['i32'], returns: 'i64', faults: true,
  run(cpu: CpuContext, selector: number): bigint {
    const d = visible(cpu, selector)
    const types = isLongMode(cpu.state) ? LAR_TYPES_LONG : LAR_TYPES
    if (!d || (!d.isSegment && !types.includes(d.type))) return 0n
    return VALID | BigInt(d.hi & LAR_MASK)
  },
}

export const segmentLimitHelper: Helper = {
  name: 'segmentLimit', args: ['i32'], returns: 'i64', faults: true,
  run(cpu: CpuContext, selector: number): bigint {
    const d = visible(cpu, selector)
    const types = isLongMode(cpu.state) ? LSL_TYPES_LONG : LSL_TYPES
    if (!d || (!d.isSegment && !types.includes(d.type))) return 0n
    return VALID | BigInt(descriptorLimit(d))
  },
}

/** VERR (0) and VERW (1): 1 where the segment could be read or written. */
export const verifyHelper: Helper = {
  name: 'verifySegment', args: ['i32', 'i32'], returns: 'i32', faults: true,
  run(cpu: CpuContext, selector: number, write: number): number {
    const d = visible(cpu, selector)
    if (!d?.isSegment) return 0
    const flag = (d.type & 2) !== 0
    const allowed = write !== 0 ? !d.isCode && flag : !d.isCode || flag
    return allowed ? 1 : 0
  },
}

export const tableHelpers: readonly Helper[] = [
  loadTableHelper, loadLdtHelper, loadTaskRegisterHelper, accessRightsHelper, segmentLimitHelper, verifyHelper,
]
