/** Packed decimals of FBLD and FBSTP: eighteen digits, sign in bit 79. SDM vol. 1, 4.7. */
import { fromInteger, kindOf, toInteger, zero, type Float80, type FpStatus, type Rounding, Fx } from './float80'
import { x87Helper } from './helper'

const DIGITS = 18
const LIMIT = 10n ** BigInt(DIGITS)
export const DECIMAL_INDEFINITE = { bits: 0xc000_0000_0000_0000n, high: 0xffff } as const

/** Digits above nine are undefined; they count with their value. */
function fromDecimal(low: bigint, high: number): Float80 {
  const packed = (BigInt(high & 0xff) << 64n) | low
  let value = 0n
  for (let i = DIGITS - 1; i >= 0; i--) value = value * 10n + ((packed >> BigInt(4 * i)) & 15n)
  const magnitude = value === 0n ? zero(0) : fromInteger(value)
  return { ...magnitude, sign: (high & 0x8000) !== 0 ? 1 : 0 }
}

/** Bits 0–63 and 64–79. Values that do not fit give the indefinite and IE. */
export function toDecimal(v: Float80, mode: Rounding, status: FpStatus): { bits: bigint; high: number } {
  const scratch = { flags: 0, roundedUp: false }
  const value = kindOf(v) === 'zero' ? 0n : toInteger(v, 64, mode, scratch)
  const magnitude = value === undefined ? LIMIT : value < 0n ? -value : value
  if (magnitude >= LIMIT) {
    status.flags |= Fx.IE
    return DECIMAL_INDEFINITE
  }
  status.flags |= scratch.flags
  status.roundedUp = scratch.roundedUp
  const packed = BigInt(`0x${magnitude.toString(10)}`)
  return { bits: packed & 0xffff_ffff_ffff_ffffn, high: Number(packed >> 64n) | (v.sign << 15) }
}

/** FBLD. Arguments: bits 0–63, bits 64–79. */
export const loadDecimalHelper = x87Helper('x87LoadDecimal', ['i64', 'i32'], (unit, low: bigint, high: number) => unit.push(fromDecimal(low, high)))
