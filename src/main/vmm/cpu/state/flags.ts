/** RFLAGS: bit positions, and packing of the lazy arithmetic flags (see `ccResult`, `ccCarry` in the layout). */
import type { CpuState } from './access'
import { offsetOf } from './layout'

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

const AT_RESULT = offsetOf('ccResult')
const AT_CARRY = offsetOf('ccCarry')
const AT_RFLAGS = offsetOf('rflags')
const ARITH_LOW = Number(ARITH_FLAGS)
const DEFINED_LOW = Number(RFLAGS_DEFINED)

function evenParity(byte: number): boolean {
  let b = byte ^ (byte >> 4)
  b ^= b >> 2
  b ^= b >> 1
  return (b & 1) === 0
}

/** RFLAGS as the architecture shows it, low half (nothing is defined above): without bigint, for system calls and interrupts. */
export function packRflagsLow({ view }: CpuState): number {
  const resultLo = view.getInt32(AT_RESULT, true)
  const resultHi = view.getInt32(AT_RESULT + 4, true)
  const carryLo = view.getInt32(AT_CARRY, true)
  const carryHi = view.getInt32(AT_CARRY + 4, true)
  const cf = carryHi >>> 31
  const of = cf ^ ((carryHi >>> 30) & 1)
  const af = (carryLo >>> 3) & 1
  const zf = (resultLo | resultHi) === 0 ? 1 : 0
  const sf = (resultHi >>> 31) ^ (carryLo & 1)
  const pf = evenParity((resultLo ^ (carryLo >>> Number(CC_CARRY_PF_SHIFT))) & 0xff) ? 1 : 0
  return (view.getInt32(AT_RFLAGS, true) | 2 | cf | (pf << 2) | (af << 4) | (zf << 6) | (sf << 7) | (of << 11)) >>> 0
}

/** Sets every flag from the low half of an architectural RFLAGS value (undefined bits are dropped). */
export function unpackRflagsLow({ view }: CpuState, value: number): void {
  view.setInt32(AT_RFLAGS, (value & DEFINED_LOW & ~ARITH_LOW) | 2, true)
  view.setInt32(AT_RFLAGS + 4, 0, true)
  const zf = (value >>> 6) & 1
  const sf = (value >>> 7) & 1
  const pf = (value >>> 2) & 1
  const cf = value & 1
  const of = (value >>> 11) & 1
  const af = (value >>> 4) & 1
  // ccResult is 0 or 1: its byte has even parity for 0, odd for 1; the delta byte and bit 0 of ccCarry repair PF and SF.
  view.setInt32(AT_RESULT, zf ^ 1, true)
  view.setInt32(AT_RESULT + 4, 0, true)
  view.setInt32(AT_CARRY, sf | (af << 3) | ((zf ^ pf) << Number(CC_CARRY_PF_SHIFT)), true)
  view.setInt32(AT_CARRY + 4, (cf << 31) | ((cf ^ of) << 30), true)
}

/** RFLAGS as the architecture shows it. */
export function packRflags(state: CpuState): bigint {
  return BigInt(packRflagsLow(state))
}

/** Sets every flag from an architectural RFLAGS value (undefined bits are dropped). */
export function unpackRflags(state: CpuState, value: bigint): void {
  unpackRflagsLow(state, Number(value & 0xffff_ffffn))
}
