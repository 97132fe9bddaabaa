/** RFLAGS: bit positions, and packing of the lazy arithmetic flags (see `ccResult`, `ccCarry` in the layout). */
import type { CpuState } from './access'

/** Intel SDM vol. 1, 3.4.3. */
export const Flag = {
  CF: 1n << 0n, PF: 1n << 2n, AF: 1n << 4n, ZF: 1n << 6n, SF: 1n << 7n, TF: 1n << 8n, IF: 1n << 9n,
  DF: 1n << 10n, OF: 1n << 11n, IOPL: 3n << 12n, NT: 1n << 14n, RF: 1n << 16n, VM: 1n << 17n,
  AC: 1n << 18n, VIF: 1n << 19n, VIP: 1n << 20n, ID: 1n << 21n,
} as const

/** CF PF AF ZF SF OF. */
export const ARITH_FLAGS = 0x8d5n
/** Bits that exist at all; the rest read as 0, bit 1 as 1. */
export const RFLAGS_DEFINED = 0x3f7fd5n

export const CC_CARRY_CF = 1n << 63n
export const CC_CARRY_OF = 1n << 62n
export const CC_CARRY_AF = 1n << 3n
export const CC_CARRY_SF_INVERT = 1n
export const CC_CARRY_PF_SHIFT = 8n

function evenParity(byte: number): boolean {
  let b = byte ^ (byte >> 4)
  b ^= b >> 2
  b ^= b >> 1
  return (b & 1) === 0
}

/** RFLAGS as the architecture shows it. */
export function packRflags(state: CpuState): bigint {
  const result = state.get64('ccResult')
  const carry = state.get64('ccCarry')
  const cf = carry >> 63n
  const of = cf ^ ((carry >> 62n) & 1n)
  const af = (carry >> 3n) & 1n
  const zf = result === 0n ? 1n : 0n
  const sf = (result >> 63n) ^ (carry & 1n)
  const pf = evenParity(Number((result ^ (carry >> CC_CARRY_PF_SHIFT)) & 0xffn)) ? 1n : 0n
  return state.get64('rflags') | 2n | cf | (pf << 2n) | (af << 4n) | (zf << 6n) | (sf << 7n) | (of << 11n)
}

/** Sets every flag from an architectural RFLAGS value (undefined bits are dropped). */
export function unpackRflags(state: CpuState, value: bigint): void {
  state.set64('rflags', (value & RFLAGS_DEFINED & ~ARITH_FLAGS) | 2n)
  const zf = (value & Flag.ZF) !== 0n
  const sf = (value & Flag.SF) !== 0n
  const pf = (value & Flag.PF) !== 0n
  // ccResult is 0 or 1: its byte has even parity for 0, odd for 1; the delta byte and bit 0 of ccCarry repair PF and SF.
  const result = zf ? 0n : 1n
  const parityDelta = zf === pf ? 0n : 1n
  let carry = (sf ? CC_CARRY_SF_INVERT : 0n) | (parityDelta << CC_CARRY_PF_SHIFT)
  const cf = (value & Flag.CF) !== 0n
  const of = (value & Flag.OF) !== 0n
  if (cf) carry |= CC_CARRY_CF
  if (cf !== of) carry |= CC_CARRY_OF
  if ((value & Flag.AF) !== 0n) carry |= CC_CARRY_AF
  state.set64('ccResult', result)
  state.set64('ccCarry', carry)
}
