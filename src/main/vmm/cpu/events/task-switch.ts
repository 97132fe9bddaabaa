/** Hardware task switch, 16- and 32-bit. Intel SDM vol. 3, chapter 7. Does not exist in long mode. */
import { CpuFault, Vector, type CpuContext } from '../core/context'
import type { CpuState } from '../state/access'
import { packRflags, unpackRflags } from '../state/flags'
import { Seg } from '../state/layout'
import {
  SystemType, checkDataDescriptor, checkStackDescriptor, descriptorBase, descriptorLimit, isNull, markAccessed, readDescriptor,
  rplOf, selectorError, setBusy, setNullSegment, setSegment, setV86Segment, tryReadDescriptor, type Descriptor,
} from './descriptors'

/** jump and iret leave the old task not busy; call and gate nest. */
export type SwitchReason = 'jump' | 'call' | 'iret' | 'gate'

const FLAG_NT = 0x4000
const FLAG_VM = 0x2_0000
const CR0_TS = 8n
const CR0_PG = 0x8000_0000

/** Offsets within the two kinds of TSS. `gpr` and `segments` are arrays in encoding order. */
interface TaskLayout {
  readonly bytes: number
  readonly size: 2 | 4
  readonly ip: number
  readonly flags: number
  readonly gpr: number
  readonly segments: number
  readonly segmentStep: number
  readonly segmentCount: number
  readonly ldt: number
}

const TASK32: TaskLayout = {
  bytes: 104, size: 4, ip: 0x20, flags: 0x24, gpr: 0x28, segments: 0x48, segmentStep: 4, segmentCount: 6, ldt: 0x60,
}
const TASK16: TaskLayout = {
  bytes: 44, size: 2, ip: 0x0e, flags: 0x10, gpr: 0x12, segments: 0x22, segmentStep: 2, segmentCount: 4, ldt: 0x2a,
}
const CR3_AT = 0x1c
/** T bit of a 32-bit TSS: a debug trap before the task's first instruction, told by DR6.BT. */
const TRAP_AT = 0x64
const DR6_BT = 1 << 15

const layoutOf = (type: number): TaskLayout => ((type & 8) !== 0 ? TASK32 : TASK16)

/**
 * Descriptor of a task to switch to (not by IRET): in the GDT, available, present.
 * @throws CpuFault `vector` or #NP (selector)
 */
export function readTaskDescriptor(cpu: CpuContext, selector: number, vector: number, ext = 0): Descriptor {
  const error = selectorError(selector, ext)
  if ((selector & 4) !== 0) throw new CpuFault(vector, error)
  const d = readDescriptor(cpu, selector, vector, ext)
  if (d.isSegment || (d.type !== SystemType.TSS16 && d.type !== SystemType.TSS32)) throw new CpuFault(vector, error)
  if (!d.present) throw new CpuFault(Vector.NP, error)
  return d
}

/** A fault that belongs to the new task: the switch is done, `rip` is the new task's first instruction. */
export class TaskFault extends CpuFault {}

interface NewTask {
  readonly cr3: number
  readonly ip: number
  readonly flags: number
  readonly gpr: readonly number[]
  readonly segments: readonly number[]
  readonly ldt: number
  readonly traps: boolean
}

function readTask(cpu: CpuContext, base: bigint, layout: TaskLayout): NewTask {
  const word = (offset: number, size: 2 | 4): number => cpu.memory.read(BigInt.asUintN(32, base + BigInt(offset)), size, 'system')
  const { size } = layout
  const segments = [0, 0, 0, 0, 0, 0].map((_, i) => (i < layout.segmentCount ? word(layout.segments + i * layout.segmentStep, 2) : 0))
  return {
    cr3: layout === TASK32 ? word(CR3_AT, 4) : 0, ip: word(layout.ip, size), flags: word(layout.flags, size),
    gpr: Array.from({ length: 8 }, (_, i) => word(layout.gpr + i * size, size)), segments, ldt: word(layout.ldt, 2),
    traps: layout === TASK32 && (word(TRAP_AT, 2) & 1) !== 0,
  }
}

function saveTask(cpu: CpuContext, returnRip: bigint, clearNt: boolean): void {
  const { state, memory } = cpu
  const base = state.get64('segBase', Seg.TR)
  const layout = layoutOf(state.get('segAttr', Seg.TR))
  const put = (offset: number, value: number, size: 2 | 4): void => {
    memory.write(BigInt.asUintN(32, base + BigInt(offset)), size, size === 2 ? value & 0xffff : value >>> 0, 'system')
  }
  const flags = Number(packRflags(state) & 0xffff_ffffn)
  put(layout.ip, Number(returnRip & 0xffff_ffffn), layout.size)
  put(layout.flags, clearNt ? flags & ~FLAG_NT : flags, layout.size)
  for (let i = 0; i < 8; i++) put(layout.gpr + i * layout.size, state.lo('gpr', i), layout.size)
  for (let i = 0; i < layout.segmentCount; i++) put(layout.segments + i * layout.segmentStep, state.get('segSelector', i), 2)
}

/** Everything that can fault before the switch is committed. */
function checkBefore(cpu: CpuContext, task: Descriptor, reason: SwitchReason, ext: number): void {
  const { state, memory } = cpu
  const layout = layoutOf(task.type)
  const code = selectorError(task.selector, ext)
  if (descriptorLimit(task) < layout.bytes - 1) throw new CpuFault(Vector.TS, code)
  const old = layoutOf(state.get('segAttr', Seg.TR))
  memory.probe(state.get64('segBase', Seg.TR), old.bytes, true, 'system')
  memory.probe(BigInt(descriptorBase(task)), layout.bytes, true, 'system')
  memory.probe(task.at, 8, reason !== 'iret', 'system')
}

/**
 * Switches to another task.
 * @param returnRip where the old task will go on
 * @throws CpuFault #TS, #NP, #PF before the commit point with nothing changed; TaskFault after it, for segments of the new task
 */
export function switchTask(cpu: CpuContext, task: Descriptor, reason: SwitchReason, returnRip: bigint, ext = 0): void {
  const { state, memory } = cpu
  checkBefore(cpu, task, reason, ext)
  const base = BigInt(descriptorBase(task))
  const layout = layoutOf(task.type)
  const incoming = readTask(cpu, base, layout)
  const oldSelector = state.get('segSelector', Seg.TR)
  saveTask(cpu, returnRip, reason === 'iret')
  const nests = reason === 'call' || reason === 'gate'
  if (!nests) {
    const old = tryReadDescriptor(cpu, oldSelector)
    if (old) setBusy(cpu, old, false)
  }
  if (reason !== 'iret') setBusy(cpu, task, true)
  if (nests) memory.write(base, 2, oldSelector, 'system')
  loadTask(cpu, task, incoming, nests, layout)
}

function loadTask(cpu: CpuContext, task: Descriptor, incoming: NewTask, nests: boolean, layout: TaskLayout): void {
  const { state } = cpu
  state.set('segSelector', task.selector, Seg.TR)
  state.setLoHi('segBase', descriptorBase(task), 0, Seg.TR)
  state.set('segLimit', descriptorLimit(task), Seg.TR)
  state.set('segAttr', task.attr | 2, Seg.TR)
  state.set64('cr0', state.get64('cr0') | CR0_TS)
  if (layout === TASK32 && (state.lo('cr0') & CR0_PG) !== 0) {
    state.setLoHi('cr3', incoming.cr3, 0)
    cpu.flushTlb(true)
  }
  state.setLoHi('rip', incoming.ip, 0)
  const flags = (layout === TASK32 ? incoming.flags : incoming.flags & 0xffff) | (nests ? FLAG_NT : 0)
  unpackRflags(state, BigInt(flags >>> 0))
  for (let i = 0; i < 8; i++) state.setLoHi('gpr', layout === TASK32 ? incoming.gpr[i] : incoming.gpr[i] | 0xffff_0000, 0, i)
  if (incoming.traps) {
    state.set('pendingDebug', DR6_BT)
    cpu.requestExit?.()
  }
  // Local breakpoints belong to the task.
  state.setLoHi('dr', state.lo('dr', 7) & ~0x155, 0, 7)
  try {
    loadTaskSegments(cpu, incoming, (flags & FLAG_VM) !== 0)
  } catch (error) {
    if (error instanceof CpuFault) throw new TaskFault(error.vector, error.errorCode)
    throw error
  } finally {
    cpu.modeChanged()
  }
}

/** From here on faults belong to the new task: every selector is in place, with nothing behind it until it is checked. */
function loadTaskSegments(cpu: CpuContext, incoming: NewTask, v86: boolean): void {
  const { state } = cpu
  for (let seg = Seg.ES as number; seg <= Seg.GS; seg++) setNullSegment(state, seg, incoming.segments[seg])
  setNullSegment(state, Seg.LDTR, incoming.ldt)
  state.set('cpl', v86 ? 3 : rplOf(incoming.segments[Seg.CS]))
  loadTaskLdt(cpu, incoming.ldt)
  if (v86) {
    for (let seg = Seg.ES as number; seg <= Seg.GS; seg++) setV86Segment(state, seg, incoming.segments[seg])
    return
  }
  loadTaskCode(cpu, incoming.segments[Seg.CS])
  loadTaskStack(cpu, incoming.segments[Seg.SS])
  for (const seg of [Seg.ES, Seg.DS, Seg.FS, Seg.GS]) loadTaskData(cpu, seg, incoming.segments[seg])
  if (BigInt(state.get('segLimit', Seg.CS)) < state.get64('rip')) throw new CpuFault(Vector.GP, 0)
}

function loadTaskLdt(cpu: CpuContext, selector: number): void {
  if (isNull(selector)) return
  const d = (selector & 4) !== 0 ? undefined : tryReadDescriptor(cpu, selector)
  if (!d || d.isSegment || d.type !== SystemType.LDT || !d.present) throw new CpuFault(Vector.TS, selectorError(selector))
  setSystemSegment(cpu.state, Seg.LDTR, selector, d)
}

/** LDTR and TR outside long mode. */
export function setSystemSegment(state: CpuState, seg: number, selector: number, d: Descriptor, base = BigInt(descriptorBase(d))): void {
  state.set('segSelector', selector, seg)
  state.set64('segBase', base, seg)
  state.set('segLimit', descriptorLimit(d), seg)
  state.set('segAttr', d.attr, seg)
}

function loadTaskCode(cpu: CpuContext, selector: number): void {
  const d = readDescriptor(cpu, selector, Vector.TS)
  const rpl = rplOf(selector)
  const fits = d.isCode && (d.conforming ? d.dpl <= rpl : d.dpl === rpl)
  if (!fits) throw new CpuFault(Vector.TS, selectorError(selector))
  if (!d.present) throw new CpuFault(Vector.NP, selectorError(selector))
  markAccessed(cpu, d)
  setSegment(cpu.state, Seg.CS, selector, d)
}

function loadTaskStack(cpu: CpuContext, selector: number): void {
  const d = readDescriptor(cpu, selector, Vector.TS)
  checkStackDescriptor(d, selector, cpu.state.get('cpl'), Vector.TS)
  markAccessed(cpu, d)
  setSegment(cpu.state, Seg.SS, selector, d)
}

function loadTaskData(cpu: CpuContext, seg: number, selector: number): void {
  if (isNull(selector)) return
  const d = readDescriptor(cpu, selector, Vector.TS)
  checkDataDescriptor(d, selector, cpu.state.get('cpl'), Vector.TS)
  markAccessed(cpu, d)
  setSegment(cpu.state, seg, selector, d)
}

/** IRET with NT: back to the task the current one was nested in. @throws CpuFault */
export function returnFromTask(cpu: CpuContext, returnRip: bigint): void {
  const { state, memory } = cpu
  const selector = memory.read(state.get64('segBase', Seg.TR), 2, 'system')
  const error = selectorError(selector)
  if (isNull(selector) || (selector & 4) !== 0) throw new CpuFault(Vector.TS, error)
  const d = readDescriptor(cpu, selector, Vector.TS)
  if (d.isSegment || (d.type !== SystemType.TSS16_BUSY && d.type !== SystemType.TSS32_BUSY)) throw new CpuFault(Vector.TS, error)
  if (!d.present) throw new CpuFault(Vector.NP, error)
  switchTask(cpu, d, 'iret', returnRip)
}
