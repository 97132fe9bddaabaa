/** Segment descriptors: reading, checking and loading them. Intel SDM vol. 3, 3.4 and 5.6 ff. */
import { CpuFault, Vector, type CpuContext } from '../core/context'
import type { CpuState } from '../state/access'
import { Seg, offsetOf } from '../state/layout'

/** Bits of `segAttr`. */
export const Attr = { S: 0x10, P: 0x80, L: 0x2000, DB: 0x4000, G: 0x8000, UNUSABLE: 0x1_0000 } as const

/** System descriptor types (S = 0), SDM vol. 3, table 3-2. */
export const SystemType = {
  TSS16: 1, LDT: 2, TSS16_BUSY: 3, CALL16: 4, TASK: 5, INT16: 6, TRAP16: 7, TSS32: 9, TSS32_BUSY: 11, CALL32: 12, INT32: 14, TRAP32: 15,
} as const

export interface Descriptor {
  readonly selector: number
  /** Linear address of the descriptor. */
  readonly at: bigint
  readonly lo: number
  readonly hi: number
  /** As `segAttr`. */
  readonly attr: number
  readonly type: number
  readonly dpl: number
  readonly present: boolean
  /** Code or data segment (S = 1). */
  readonly isSegment: boolean
  readonly isCode: boolean
  /** Code that runs at the caller's privilege. */
  readonly conforming: boolean
  readonly long: boolean
}

export const isNull = (selector: number): boolean => (selector & 0xfffc) === 0
export const rplOf = (selector: number): number => selector & 3
/** Error code naming a selector. `ext`: the event came from outside the program. */
export const selectorError = (selector: number, ext = 0): number => (selector & 0xfffc) | ext

const EFER_LMA = 0x400
const CR0_PE = 1

const RFLAGS_VM = 0x2_0000
const AT_SELECTOR = offsetOf('segSelector')
const AT_BASE = offsetOf('segBase')
const AT_LIMIT = offsetOf('segLimit')
const AT_ATTR = offsetOf('segAttr')
const AT_GDTR_BASE = offsetOf('gdtrBase')
const AT_GDTR_LIMIT = offsetOf('gdtrLimit')
const AT_EFER = offsetOf('efer')
const AT_CS_ATTR = offsetOf('segAttr', Seg.CS)
const AT_RFLAGS = offsetOf('rflags')
const AT_CR0 = offsetOf('cr0')

export const isLongMode = ({ view }: CpuState): boolean => (view.getInt32(AT_EFER, true) & EFER_LMA) !== 0
export const is64Bit = (state: CpuState): boolean => isLongMode(state) && (state.view.getInt32(AT_CS_ATTR, true) & Attr.L) !== 0
export const isV86 = ({ view }: CpuState): boolean => (view.getInt32(AT_RFLAGS, true) & RFLAGS_VM) !== 0
export const isProtected = ({ view }: CpuState): boolean => (view.getInt32(AT_CR0, true) & CR0_PE) !== 0
/** Protected mode proper: segment registers hold selectors. */
export const usesSelectors = (state: CpuState): boolean => isProtected(state) && !isV86(state)

/** Linear address of a selector's descriptor, or undefined where it is outside its table. */
export function descriptorAddress(state: CpuState, selector: number, bytes = 8): bigint | undefined {
  const last = (selector & 0xfff8) + bytes - 1
  if ((selector & 4) === 0) {
    return last > state.get('gdtrLimit') ? undefined : wrapLinear(state, state.get64('gdtrBase') + BigInt(selector & 0xfff8))
  }
  if ((state.get('segAttr', Seg.LDTR) & Attr.UNUSABLE) !== 0 || last > state.get('segLimit', Seg.LDTR)) return undefined
  return wrapLinear(state, state.get64('segBase', Seg.LDTR) + BigInt(selector & 0xfff8))
}

/** Linear addresses have 32 bits outside long mode. */
export function wrapLinear(state: CpuState, linear: bigint): bigint {
  return BigInt.asUintN(isLongMode(state) ? 64 : 32, linear)
}

class TableDescriptor implements Descriptor {
  readonly attr: number
  readonly type: number
  readonly dpl: number
  readonly present: boolean
  readonly isSegment: boolean
  readonly isCode: boolean
  readonly conforming: boolean
  readonly long: boolean

  constructor(readonly selector: number, private readonly atLo: number, private readonly atHi: number, readonly lo: number, readonly hi: number) {
    const attr = (hi >>> 8) & 0xf0ff
    this.attr = attr
    this.type = attr & 15
    this.dpl = (attr >> 5) & 3
    this.present = (attr & Attr.P) !== 0
    this.isSegment = (attr & Attr.S) !== 0
    this.isCode = this.isSegment && (attr & 8) !== 0
    this.conforming = this.isCode && (attr & 4) !== 0
    this.long = (attr & Attr.L) !== 0
  }

  get at(): bigint {
    return (BigInt(this.atHi) << 32n) | BigInt(this.atLo)
  }
}

export function makeDescriptor(selector: number, at: bigint, lo: number, hi: number): Descriptor {
  return new TableDescriptor(selector, Number(at & 0xffff_ffffn), Number(at >> 32n), lo, hi)
}

/** The last cell of `scratch` is the buffer of descriptor reads: callers keep their values in the others. */
const SCRATCH_SLOT = 7
const AT_SCRATCH = offsetOf('scratch', SCRATCH_SLOT)

/** Reads a descriptor; undefined where the selector is outside its table. */
export function tryReadDescriptor(cpu: CpuContext, selector: number): Descriptor | undefined {
  const { state, memory } = cpu
  if (memory.readSystem32) return readInWords(cpu, selector, memory.readSystem32.bind(memory))
  const at = descriptorAddress(state, selector)
  if (at === undefined) return undefined
  memory.readBytes(at, state.bytes.subarray(AT_SCRATCH, AT_SCRATCH + 8), 'system')
  const { view } = state
  return makeDescriptor(selector, at, view.getUint32(AT_SCRATCH, true), view.getUint32(AT_SCRATCH + 4, true))
}

/** The same without bigint: 32-bit kernels load segments at every system call. */
function readInWords({ state }: CpuContext, selector: number, read: (lo: number, hi: number) => number): Descriptor | undefined {
  const { view } = state
  const offset = selector & 0xfff8
  const local = (selector & 4) !== 0
  if (local && (view.getInt32(AT_ATTR + Seg.LDTR * 4, true) & Attr.UNUSABLE) !== 0) return undefined
  const limit = local ? view.getUint32(AT_LIMIT + Seg.LDTR * 4, true) : view.getUint32(AT_GDTR_LIMIT, true)
  if (offset + 7 > limit) return undefined
  const base = local ? AT_BASE + Seg.LDTR * 8 : AT_GDTR_BASE
  const sum = view.getUint32(base, true) + offset
  const lo = sum >>> 0
  const hi = isLongMode(state) ? (view.getUint32(base + 4, true) + (sum > 0xffff_ffff ? 1 : 0)) >>> 0 : 0
  const second = lo + 4
  return new TableDescriptor(selector, lo, hi, read(lo, hi), read(second >>> 0, second > 0xffff_ffff ? (hi + 1) >>> 0 : hi))
}

/** @throws CpuFault `vector` (selector) where the selector is null or outside its table (null: error code `ext` alone) */
export function readDescriptor(cpu: CpuContext, selector: number, vector: number = Vector.GP, ext = 0): Descriptor {
  if (isNull(selector)) throw new CpuFault(vector, ext)
  const found = tryReadDescriptor(cpu, selector)
  if (!found) throw new CpuFault(vector, selectorError(selector, ext))
  return found
}

export const descriptorBase = ({ lo, hi }: Descriptor): number => ((hi & 0xff00_0000) | ((hi & 0xff) << 16) | (lo >>> 16)) >>> 0

export function descriptorLimit({ lo, hi, attr }: Descriptor): number {
  const raw = (hi & 0xf_0000) | (lo & 0xffff)
  return (attr & Attr.G) !== 0 ? ((raw << 12) | 0xfff) >>> 0 : raw
}

/** 64-bit base of a system descriptor in long mode: it takes 16 bytes. @throws CpuFault #GP/#TS/… where the table is too short */
export function longBase(cpu: CpuContext, d: Descriptor, vector: number = Vector.GP, ext = 0): bigint {
  if (descriptorAddress(cpu.state, d.selector, 16) === undefined) throw new CpuFault(vector, selectorError(d.selector, ext))
  const top = cpu.memory.read(d.at + 8n, 4, 'system')
  if ((cpu.memory.read(d.at + 12n, 4, 'system') & 0x1f00) !== 0) throw new CpuFault(vector, selectorError(d.selector, ext))
  return (BigInt(top) << 32n) | BigInt(descriptorBase(d))
}

/** Marks the descriptor accessed in its table, if it is not. */
export function markAccessed(cpu: CpuContext, d: Descriptor): void {
  if ((d.type & 1) === 0) cpu.memory.write(d.at + 5n, 1, ((d.hi >>> 8) & 0xff) | 1, 'system')
}

/** Sets or clears the busy bit of a TSS descriptor. */
export function setBusy(cpu: CpuContext, d: Descriptor, busy: boolean): void {
  const byte = (d.hi >>> 8) & 0xff
  cpu.memory.write(d.at + 5n, 1, busy ? byte | 2 : byte & ~2, 'system')
}


/** Writes every part of a segment register; base below 4 GiB. Part of each system call and interrupt: no lookup by name. */
export function putSegment({ view }: CpuState, seg: number, selector: number, base: number, limit: number, attr: number): void {
  view.setInt32(AT_SELECTOR + seg * 4, selector, true)
  view.setInt32(AT_BASE + seg * 8, base, true)
  view.setInt32(AT_BASE + seg * 8 + 4, 0, true)
  view.setInt32(AT_LIMIT + seg * 4, limit, true)
  view.setInt32(AT_ATTR + seg * 4, attr, true)
}

/** Loads a segment register's hidden part from a checked code or data descriptor. */
export function setSegment(state: CpuState, seg: number, selector: number, d: Descriptor): void {
  putSegment(state, seg, selector, descriptorBase(d), descriptorLimit(d), d.attr | 1)
}

/** Loads a null selector. `dpl` is kept for SS, whose privilege is the CPL. */
export function setNullSegment(state: CpuState, seg: number, selector: number, dpl = 0): void {
  // The base goes too, for FS and GS in 64-bit mode as well: CPUID says so (NullSelectorClearsBase).
  putSegment(state, seg, selector, 0, 0, Attr.UNUSABLE | (dpl << 5))
}

const REAL_MODE_DATA = 0x93

/** Real-mode load: base from the selector, limit and rights as they are, unless a null selector had taken them away. */
export function setRealSegment(state: CpuState, seg: number, selector: number): void {
  state.set('segSelector', selector, seg)
  state.setLoHi('segBase', selector << 4, 0, seg)
  if ((state.get('segAttr', seg) & Attr.UNUSABLE) === 0) return
  state.set('segAttr', REAL_MODE_DATA, seg)
  state.set('segLimit', 0xffff, seg)
}

/** Virtual-8086 load: base from the selector, 64 KiB, DPL 3 read-write data. */
export function setV86Segment(state: CpuState, seg: number, selector: number): void {
  setRealSegment(state, seg, selector)
  state.set('segLimit', 0xffff, seg)
  state.set('segAttr', 0xf3, seg)
}

const isWritableData = (d: Descriptor): boolean => d.isSegment && !d.isCode && (d.type & 2) !== 0
const isReadable = (d: Descriptor): boolean => d.isSegment && (!d.isCode || (d.type & 2) !== 0)

/**
 * Checks for a stack segment at privilege `cpl`. SDM vol. 2, MOV; for stack switches `vector` is #TS.
 * @throws CpuFault `vector` for rights, #SS for not present
 */
export function checkStackDescriptor(d: Descriptor, selector: number, cpl: number, vector: number, ext = 0): void {
  if (rplOf(selector) !== cpl || !isWritableData(d) || d.dpl !== cpl) throw new CpuFault(vector, selectorError(selector, ext))
  if (!d.present) throw new CpuFault(Vector.SS, selectorError(selector, ext))
}

/** Checks for ES, DS, FS, GS. @throws CpuFault `vector` for rights, #NP for not present */
export function checkDataDescriptor(d: Descriptor, selector: number, cpl: number, vector: number = Vector.GP): void {
  const private_ = !d.conforming && (rplOf(selector) > d.dpl || cpl > d.dpl)
  if (!isReadable(d) || private_) throw new CpuFault(vector, selectorError(selector))
  if (!d.present) throw new CpuFault(Vector.NP, selectorError(selector))
}

/** MOV, POP and LxS to ES, SS, DS, FS, GS with every check; the caller calls `modeChanged`. @throws CpuFault */
export function loadSegment(cpu: CpuContext, seg: number, selector: number): void {
  const { state } = cpu
  if (!isProtected(state)) return setRealSegment(state, seg, selector)
  if (isV86(state)) return setV86Segment(state, seg, selector)
  const cpl = state.get('cpl')
  if (seg === Seg.SS) return loadStackSegment(cpu, selector, cpl)
  if (isNull(selector)) return setNullSegment(state, seg, selector)
  const d = readDescriptor(cpu, selector)
  checkDataDescriptor(d, selector, cpl)
  markAccessed(cpu, d)
  setSegment(state, seg, selector, d)
}

function loadStackSegment(cpu: CpuContext, selector: number, cpl: number): void {
  const { state } = cpu
  if (isNull(selector)) {
    if (!is64Bit(state) || cpl === 3 || rplOf(selector) !== cpl) throw new CpuFault(Vector.GP, 0)
    return setNullSegment(state, Seg.SS, selector, cpl)
  }
  const d = readDescriptor(cpu, selector)
  checkStackDescriptor(d, selector, cpl, Vector.GP)
  markAccessed(cpu, d)
  setSegment(state, Seg.SS, selector, d)
}
