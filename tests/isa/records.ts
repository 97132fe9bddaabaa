/**
 * One test case and one result share a layout (the runner's `struct record`), so that nothing is converted on the way:
 * 0 gpr[16] u64 · 128 rflags u64 · 136 rip u64 · 144 code[128] (case) or vector u32, error u32, cr2 u64 (result)
 * · 272 fxsave image[512] · 784 data window[512].
 */
import { CpuState } from '../../src/main/vmm/cpu/state/access'
import { packRflagsLow, unpackRflagsLow } from '../../src/main/vmm/cpu/state/flags'
import { offsetOf, Seg, STATE_SIZE } from '../../src/main/vmm/cpu/state/layout'
import { updateDerivedState } from '../../src/main/vmm/cpu/state/mode'

export const RECORD_BYTES = 1296
/** Bytes of code in a record; the rest of them is INT3. */
export const CODE_ROOM = 128
/** In a result: vector, error code, CR2. */
export const RESULT_AT = 144
export const FX = 272
/** ST0 and XMM0, 16 bytes each register. */
export const FX_ST = FX + 32
export const FX_XMM = FX + 160
export const WINDOW_AT = 784
export const WINDOW_BYTES = 512

/** The same linear addresses in every engine and in the native runner. */
export const CODE_BASE = 0x1000_0000
export const CODE_BYTES = 0x2000
export const DATA_BASE = 0x1000_8000
export const DATA_BYTES = 0x1000
export const WINDOW = DATA_BASE + DATA_BYTES - WINDOW_BYTES
/** Base of GS in 64-bit mode. */
export const GS_BASE = 0x40n
export const NO_VECTOR = 0xffff_ffff
export const TIMED_OUT = 0xfe

export type CpuMode = 16 | 32 | 64
/**
 * plain: data segments without surprises. odd (16-bit mode only): SS 32-bit, DS expand-down above ODD_DS_LIMIT,
 * ES read-only up to ODD_ES_LIMIT.
 */
export type Segments = 'plain' | 'odd'
export const ODD_DS_LIMIT = 0x8e3f
const ODD_ES_LIMIT = 0x8fbf

/** Records are cut from slabs: a buffer of its own for each would be the dearest thing about a case. */
const SLAB_RECORDS = 200
let slab = new Uint8Array(0)
let slabUsed = 0

function freshBytes(): Uint8Array {
  if (slabUsed + RECORD_BYTES > slab.length) {
    slab = new Uint8Array(SLAB_RECORDS * RECORD_BYTES)
    slabUsed = 0
  }
  slabUsed += RECORD_BYTES
  return slab.subarray(slabUsed - RECORD_BYTES, slabUsed)
}

/** Typed view of one record. */
export class IsaRecord {
  readonly view: DataView
  constructor(readonly bytes: Uint8Array = freshBytes()) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, RECORD_BYTES)
  }

  gpr(n: number): bigint { return this.view.getBigUint64(n * 8, true) }
  setGpr(n: number, value: bigint): void { this.view.setBigUint64(n * 8, BigInt.asUintN(64, value), true) }
  get rflags(): bigint { return this.view.getBigUint64(128, true) }
  set rflags(value: bigint) { this.view.setBigUint64(128, value, true) }
  get rip(): bigint { return this.view.getBigUint64(136, true) }
  set rip(value: bigint) { this.view.setBigUint64(136, BigInt.asUintN(64, value), true) }
  get code(): Uint8Array { return this.bytes.subarray(144, 144 + CODE_ROOM) }
  get vector(): number { return this.view.getUint32(144, true) }
  set vector(value: number) { this.view.setUint32(144, value, true) }
  get error(): number { return this.view.getUint32(148, true) }
  set error(value: number) { this.view.setUint32(148, value, true) }
  get cr2(): bigint { return this.view.getBigUint64(152, true) }
  set cr2(value: bigint) { this.view.setBigUint64(152, value, true) }
  get fx(): Uint8Array { return this.bytes.subarray(FX, FX + 512) }
  get window(): Uint8Array { return this.bytes.subarray(WINDOW_AT, WINDOW_AT + WINDOW_BYTES) }
  xmm(n: number): Uint8Array { return this.bytes.subarray(FX_XMM + n * 16, FX_XMM + 16 + n * 16) }
  /** ST(n), 80 bits. */
  st(n: number): Uint8Array { return this.bytes.subarray(FX_ST + n * 16, FX_ST + 10 + n * 16) }
  get fcw(): number { return this.view.getUint16(FX, true) }
  set fcw(value: number) { this.view.setUint16(FX, value, true) }
  get fsw(): number { return this.view.getUint16(FX + 2, true) }
  set fsw(value: number) { this.view.setUint16(FX + 2, value, true) }
  get ftw(): number { return this.view.getUint8(FX + 4) }
  set ftw(value: number) { this.view.setUint8(FX + 4, value) }
  get mxcsr(): number { return this.view.getUint32(FX + 24, true) }
  set mxcsr(value: number) { this.view.setUint32(FX + 24, value, true) }
}

const ATTR_UNUSABLE = 0x1_0000

function setSegment(state: CpuState, seg: number, selector: number, attr: number, base: bigint, limit: number): void {
  state.set('segSelector', selector, seg)
  state.set('segAttr', attr, seg)
  state.set64('segBase', base, seg)
  state.set('segLimit', limit, seg)
}

/** The process a user-mode instruction of this mode runs in, as the native runner sets it up. */
function loadEnvironment(state: CpuState, mode: CpuMode, segments: Segments): void {
  const base = mode === 16 ? BigInt(CODE_BASE) : 0n
  const limit = mode === 16 ? 0xffff : 0xffff_ffff
  const code = { 64: [0x33, 0xa0fb], 32: [0x23, 0xc0fb], 16: [0x07, 0x00fb] }[mode] as [number, number]
  const [dataSelector, dataAttr] = mode === 16 ? [0x0f, 0x00f3] : [0x2b, 0xc0f3]
  setSegment(state, Seg.CS, code[0], code[1], base, limit)
  for (const seg of [Seg.ES, Seg.SS, Seg.DS]) setSegment(state, seg, dataSelector, dataAttr, base, limit)
  if (segments === 'odd') {
    setSegment(state, Seg.SS, 0x17, 0x40f3, base, 0xffff)
    setSegment(state, Seg.DS, 0x1f, 0x00f7, base, ODD_DS_LIMIT)
    setSegment(state, Seg.ES, 0x27, 0x00f1, base, ODD_ES_LIMIT)
  }
  setSegment(state, Seg.FS, 0, ATTR_UNUSABLE, 0n, 0)
  if (mode === 32) setSegment(state, Seg.GS, 0x2b, 0xc0f3, 0n, 0xffff_ffff)
  else setSegment(state, Seg.GS, 0, ATTR_UNUSABLE, mode === 64 ? GS_BASE : 0n, 0)
  setSegment(state, Seg.LDTR, 0, ATTR_UNUSABLE, 0n, 0)
  // A TSS without an I/O bitmap.
  setSegment(state, Seg.TR, 0x40, 0x008b, 0n, 0x67)
  state.set64('cr0', 0x8005_0033n)
  state.set64('cr4', 0x6f8n)
  state.set64('efer', 0xd01n)
  state.set('cpl', 3)
}

/** Constants and engine cells a fresh state block must hold. */
export function initState(state: CpuState): void {
  state.set64('mask16', 0xffffn)
  state.set64('mask32', 0xffff_ffffn)
  state.set64('mask64', 0xffff_ffff_ffff_ffffn)
  state.set('faultVector', -1)
  state.set64('xcr0', 7n)
  state.set64('dr', 0x400n, 7)
}

const GPR_BYTES = 16 * 8
const XMM_BYTES = 16 * 16
const AT_GPR = offsetOf('gpr')
const AT_RIP = offsetOf('rip')
const AT_XMM = offsetOf('xmm')
const AT_FPR = offsetOf('fpr')
const AT_JUMPS = offsetOf('jumps')
const AT_SCRATCH = offsetOf('scratch')
const AT_WALK_KIND = offsetOf('walkKind')

/** What a vCPU block holds before a case's registers: all but the jump cache and, from `walkKind` on, what the MMU keeps there. */
export interface FreshBlock { readonly head: Uint8Array; readonly tail: Uint8Array }

function copy(from: Uint8Array, at: number, bytes: number, to: Uint8Array, target: number): void {
  to.set(from.subarray(at, at + bytes), target)
}

/**
 * Makes a vCPU block that of a case: the environment, then the case's registers. Memory is the engine's own matter.
 * @param fresh a block as `environmentBlock` makes it, for the case's mode and segments
 */
export function loadState(state: CpuState, fresh: FreshBlock, { bytes, view, fsw, fcw, ftw, mxcsr }: IsaRecord): void {
  state.bytes.set(fresh.head)
  state.bytes.set(fresh.tail, AT_SCRATCH)
  copy(bytes, 0, GPR_BYTES, state.bytes, AT_GPR)
  unpackRflagsLow(state, view.getUint32(128, true))
  copy(bytes, 136, 8, state.bytes, AT_RIP)
  copy(bytes, FX_XMM, XMM_BYTES, state.bytes, AT_XMM)
  const top = (fsw >> 11) & 7
  for (let n = 0; n < 8; n++) copy(bytes, FX_ST + n * 16, 10, state.bytes, AT_FPR + ((top + n) & 7) * 16)
  state.set('fcw', fcw)
  state.set('fsw', fsw)
  state.set('ftw', ftw)
  state.set('mxcsr', mxcsr)
  updateDerivedState(state)
}

/** The environment of a mode, for `loadState` to begin with. */
export function environmentBlock(mode: CpuMode, segments: Segments, more: (state: CpuState) => void): FreshBlock {
  const state = new CpuState(new ArrayBuffer(STATE_SIZE), 0)
  initState(state)
  loadEnvironment(state, mode, segments)
  more(state)
  return { head: state.bytes.subarray(0, AT_JUMPS), tail: state.bytes.subarray(AT_SCRATCH, AT_WALK_KIND) }
}

/** Reads a vCPU block back into a result. */
export function storeState(state: CpuState, record: IsaRecord): void {
  const { bytes, view } = record
  copy(state.bytes, AT_GPR, GPR_BYTES, bytes, 0)
  view.setUint32(128, packRflagsLow(state), true)
  copy(state.bytes, AT_RIP, 8, bytes, 136)
  copy(state.bytes, AT_XMM, XMM_BYTES, bytes, FX_XMM)
  record.fcw = state.get('fcw')
  record.fsw = state.get('fsw')
  record.ftw = state.get('ftw')
  record.mxcsr = state.get('mxcsr')
  const top = (record.fsw >> 11) & 7
  for (let n = 0; n < 8; n++) copy(state.bytes, AT_FPR + ((top + n) & 7) * 16, 10, bytes, FX_ST + n * 16)
}
