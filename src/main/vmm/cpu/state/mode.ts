/** The mode key: everything that decoding a byte sequence depends on, folded into one small integer. */
import type { CpuState } from './access'
import { Seg } from './layout'

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
  /** DS, ES, SS and CS are flat, writable where they should be: no limit or access check needed. */
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

function isFlatData(state: CpuState, seg: number): boolean {
  const attr = state.get('segAttr', seg)
  if ((attr & ATTR_UNUSABLE) !== 0 || (attr & 0x80) === 0) return false
  const writable = (attr & 0x1a) === 0x12 && (attr & 4) === 0
  return writable && state.get('segLimit', seg) === 0xffff_ffff
}

/** Computes the key from the architectural state. */
export function computeModeKey(state: CpuState): number {
  let key = 0
  const cr0 = state.lo('cr0')
  const rflags = state.lo('rflags')
  const long = (state.lo('efer') & 0x400) !== 0
  const csAttr = state.get('segAttr', Seg.CS)
  if (cr0 & 1) key |= Mode.PROTECTED
  if (rflags & 0x2_0000) key |= Mode.V86
  if (long) key |= Mode.LONG
  if (long && csAttr & ATTR_L) key |= Mode.CODE64
  else if (csAttr & ATTR_DB) key |= Mode.CODE32
  const flat = (key & Mode.CODE64) !== 0 ||
    (isFlatData(state, Seg.DS) && isFlatData(state, Seg.ES) && isFlatData(state, Seg.SS) &&
      state.get('segLimit', Seg.CS) === 0xffff_ffff)
  if (flat) key |= Mode.FLAT
  if (state.get('cpl') === 3) key |= Mode.USER
  if (rflags & 0x100 || state.lo('dr', 7) & 0xff) key |= Mode.SINGLE_STEP
  if (cr0 & 0xc || (state.lo('cr4') & 0x200) === 0) key |= Mode.FPU_TRAP
  return key
}

/**
 * Recomputes every derived cell (mode key, stack mask and base, code base) after a change of segments,
 * control registers, EFER, RFLAGS.TF/VM, debug registers or CPL.
 */
export function updateDerivedState(state: CpuState): void {
  const key = computeModeKey(state)
  state.set('modeKey', key)
  for (let seg = Seg.ES as number; seg <= Seg.GS; seg++) state.set('segFlat', isFlatData(state, seg) ? 1 : 0, seg)
  const is64 = (key & Mode.CODE64) !== 0
  const ss32 = (state.get('segAttr', Seg.SS) & ATTR_DB) !== 0
  state.set64('stackMask', is64 ? 0xffff_ffff_ffff_ffffn : ss32 ? 0xffff_ffffn : 0xffffn)
  for (let seg = Seg.ES as number; seg <= Seg.GS; seg++) {
    state.set64('dataBase', is64 && seg < Seg.FS ? 0n : state.get64('segBase', seg), seg)
  }
  state.set64('stackBase', is64 ? 0n : state.get64('segBase', Seg.SS))
  state.set64('codeBase', is64 ? 0n : state.get64('segBase', Seg.CS))
}
