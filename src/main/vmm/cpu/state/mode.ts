/** The mode key: everything that decoding a byte sequence depends on, folded into one small integer. */
import type { CpuState } from './access'
import { Seg, offsetOf } from './layout'

/** Bits of the mode key. Decoded code and translations are valid for one key only. */
export const Mode = {
  /** CS.D in legacy and compatibility mode: default operand and address size 32. */
  CODE32: 1 << 0,
  /** 64-bit mode: EFER.LMA and CS.L. */
  CODE64: 1 << 1,
  /** CR0.PE. */
  PROTECTED: 1 << 2,
  /** RFLAGS.VM. */
  V86: 1 << 3,
  /** DS, ES, SS and CS have base 0 and 4 GiB, writable where they should be, SS.B = CS.D: addresses need no check and no base. */
  FLAT: 1 << 4,
  /** CPL 3. */
  USER: 1 << 5,
  /** TF or enabled debug registers: blocks of one instruction. */
  SINGLE_STEP: 1 << 6,
  /** CR0.EM or CR0.TS set, or CR4.OSFXSR clear: x87/MMX/SSE instructions take their checks. */
  FPU_TRAP: 1 << 7,
  /** EFER.LMA: long mode active (64-bit or compatibility). */
  LONG: 1 << 8,
} as const

const ATTR_DB = 1 << 14
const ATTR_L = 1 << 13
const ATTR_UNUSABLE = 1 << 16

const AT_CR0 = offsetOf('cr0')
const AT_CR4 = offsetOf('cr4')
const AT_EFER = offsetOf('efer')
const AT_RFLAGS = offsetOf('rflags')
const AT_DR7 = offsetOf('dr', 7)
const AT_CPL = offsetOf('cpl')
const AT_ATTR = offsetOf('segAttr')
const AT_LIMIT = offsetOf('segLimit')
const AT_BASE = offsetOf('segBase')
const AT_FLAT = offsetOf('segFlat')
const AT_DATA_BASE = offsetOf('dataBase')
const AT_STACK_BASE = offsetOf('stackBase')
const AT_STACK_MASK = offsetOf('stackMask')
const AT_CODE_BASE = offsetOf('codeBase')
const AT_MODE_KEY = offsetOf('modeKey')

/** Usable, present, expand-up and writable data over 4 GiB. */
function isFlatData(view: DataView, seg: number): boolean {
  const attr = view.getInt32(AT_ATTR + seg * 4, true)
  return (attr & (ATTR_UNUSABLE | 0x9e)) === 0x92 && view.getInt32(AT_LIMIT + seg * 4, true) === -1
}

const baseIsZero = (view: DataView, seg: number): boolean => view.getInt32(AT_BASE + seg * 8, true) === 0

function hasFlatSegments(view: DataView, csAttr: number): boolean {
  if (view.getInt32(AT_LIMIT + Seg.CS * 4, true) !== -1 || !baseIsZero(view, Seg.CS)) return false
  if (((view.getInt32(AT_ATTR + Seg.SS * 4, true) ^ csAttr) & ATTR_DB) !== 0) return false
  return isFlatBase0(view, Seg.DS) && isFlatBase0(view, Seg.ES) && isFlatBase0(view, Seg.SS)
}

const isFlatBase0 = (view: DataView, seg: number): boolean => isFlatData(view, seg) && baseIsZero(view, seg)

/** Computes the key from the architectural state. */
export function computeModeKey({ view }: CpuState): number {
  let key = 0
  const cr0 = view.getInt32(AT_CR0, true)
  const rflags = view.getInt32(AT_RFLAGS, true)
  const long = (view.getInt32(AT_EFER, true) & 0x400) !== 0
  const csAttr = view.getInt32(AT_ATTR + Seg.CS * 4, true)
  if (cr0 & 1) key |= Mode.PROTECTED
  if (rflags & 0x2_0000) key |= Mode.V86
  if (long) key |= Mode.LONG
  if (long && csAttr & ATTR_L) key |= Mode.CODE64
  else if (csAttr & ATTR_DB) key |= Mode.CODE32
  if ((key & Mode.CODE64) !== 0 || hasFlatSegments(view, csAttr)) key |= Mode.FLAT
  if (view.getInt32(AT_CPL, true) === 3) key |= Mode.USER
  if (rflags & 0x100 || view.getInt32(AT_DR7, true) & 0xff) key |= Mode.SINGLE_STEP
  if (cr0 & 0xc || (view.getInt32(AT_CR4, true) & 0x200) === 0) key |= Mode.FPU_TRAP
  return key
}

function put64(view: DataView, at: number, lo: number, hi: number): void {
  view.setInt32(at, lo, true)
  view.setInt32(at + 4, hi, true)
}

/**
 * Recomputes every derived cell (mode key, stack mask and base, code base) after a change of segments,
 * control registers, EFER, RFLAGS.TF/VM, debug registers or CPL.
 * Runs at every system call, interrupt and return, so it works on the view with constant offsets and no bigint.
 */
export function updateDerivedState(state: CpuState): void {
  const { view } = state
  const key = computeModeKey(state)
  view.setInt32(AT_MODE_KEY, key, true)
  const is64 = (key & Mode.CODE64) !== 0
  const ss32 = (view.getInt32(AT_ATTR + Seg.SS * 4, true) & ATTR_DB) !== 0
  put64(view, AT_STACK_MASK, is64 || ss32 ? -1 : 0xffff, is64 ? -1 : 0)
  for (let seg = Seg.ES as number; seg <= Seg.GS; seg++) {
    view.setInt32(AT_FLAT + seg * 4, isFlatData(view, seg) ? 1 : 0, true)
    const counts = !is64 || seg >= Seg.FS
    const lo = counts ? view.getInt32(AT_BASE + seg * 8, true) : 0
    const hi = counts ? view.getInt32(AT_BASE + seg * 8 + 4, true) : 0
    put64(view, AT_DATA_BASE + seg * 8, lo, hi)
    if (seg === Seg.SS) put64(view, AT_STACK_BASE, lo, hi)
    if (seg === Seg.CS) put64(view, AT_CODE_BASE, lo, hi)
  }
}

/**
 * As `updateDerivedState` after a change of CPL, RFLAGS or SS alone, from 64-bit code to 64-bit code: system calls and most
 * interrupts. Segment bases and sizes do not count there, so only the key changes.
 * @returns false, with nothing done, where either side is other code
 */
export function updatePrivilege({ view }: CpuState): boolean {
  const old = view.getInt32(AT_MODE_KEY, true)
  if ((old & Mode.CODE64) === 0 || (view.getInt32(AT_ATTR + Seg.CS * 4, true) & ATTR_L) === 0) return false
  const user = view.getInt32(AT_CPL, true) === 3 ? Mode.USER : 0
  const single = (view.getInt32(AT_RFLAGS, true) & 0x100) !== 0 || (view.getInt32(AT_DR7, true) & 0xff) !== 0 ? Mode.SINGLE_STEP : 0
  view.setInt32(AT_MODE_KEY, (old & ~(Mode.USER | Mode.SINGLE_STEP)) | user | single, true)
  return true
}
