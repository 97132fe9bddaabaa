/**
 * RCPPS and RSQRTPS. The manual allows any result within 1.5 * 2^-12 of the true one, and makers use different tables; ours
 * is the correctly rounded quotient. Neither raises exceptions nor looks at MXCSR: denormals count as zero, tiny results are zero.
 */
import { toNumberBits } from './number-bits'

const SIGN = 0x8000_0000n
const INFINITY = 0x7f80_0000n
const SMALLEST_NORMAL = 0x0080_0000n
const QUIET = 0x0040_0000n
const INDEFINITE = 0xffc0_0000n

function special(bits: bigint): bigint | undefined {
  const magnitude = bits & ~SIGN
  if (magnitude > INFINITY) return bits | QUIET
  if (magnitude < SMALLEST_NORMAL) return INFINITY | (bits & SIGN)
  return undefined
}

export function reciprocal(bits: bigint): bigint {
  const known = special(bits)
  if (known !== undefined) return known
  const result = toNumberBits.toBits(1 / toNumberBits.toNumber(bits))
  return (result & ~SIGN) < SMALLEST_NORMAL ? bits & SIGN : result
}

export function reciprocalRoot(bits: bigint): bigint {
  const known = special(bits)
  if (known !== undefined) return known
  if ((bits & SIGN) !== 0n) return INDEFINITE
  return toNumberBits.toBits(1 / Math.sqrt(toNumberBits.toNumber(bits)))
}
