/** Operands where x87 results go wrong first: carries, ties, cancellation, limits of range, in every pairing. */
import type { Random } from './random'

export interface Register { readonly top: number; readonly sig: bigint }

const INTEGER_BIT = 1n << 63n
const BIAS = 0x3fff
/** Exponents beside which a narrower format, an integer or the register itself ends. */
const LIMITS = [1, 2, 0x7ffd, 0x7ffe, BIAS - 1074, BIAS - 1023, BIAS - 1022, BIAS + 1022, BIAS + 1023, BIAS - 150, BIAS - 126, BIAS + 127, BIAS + 14,
  BIAS + 15, BIAS + 30, BIAS + 31, BIAS + 62, BIAS + 63, BIAS + 64, BIAS - 1, BIAS - 2]

/** Runs of ones and zeros, few bits, and halves of what double, single and 24-bit precision cut off, give or take one. */
function significand(random: Random): bigint {
  const at = BigInt(random.below(64))
  const cut = random.pick([1n, 11n, 40n])
  switch (random.below(7)) {
    case 0: return INTEGER_BIT | ((1n << at) - 1n)
    case 1: return INTEGER_BIT | BigInt.asUintN(64, -(1n << at))
    case 2: return INTEGER_BIT | (1n << at)
    case 3: return INTEGER_BIT | (((random.u64() >> cut) << cut) + (1n << (cut - 1n)) + BigInt(random.below(3) - 1)) & (INTEGER_BIT - 1n)
    case 4: return INTEGER_BIT | (random.u64() & ~0x7ffn)
    case 5: return INTEGER_BIT | (BigInt(random.u32()) << 31n)
    default: return INTEGER_BIT | random.u64()
  }
}

function exponent(random: Random): number {
  if (random.chance(15)) return Math.min(0x7ffe, Math.max(1, random.pick(LIMITS) + random.below(3) - 1))
  return BIAS + random.below(150) - 75
}

const SPECIAL: readonly Register[] = [
  { top: 0x7fff, sig: INTEGER_BIT }, { top: 0x7fff, sig: 3n << 62n }, { top: 0x7fff, sig: INTEGER_BIT | 1n }, { top: 0, sig: 1n },
  { top: 0, sig: INTEGER_BIT }, { top: 5, sig: 1n }, { top: 0x7fff, sig: 0n },
]

export function denseOperand(random: Random): Register {
  const sign = random.chance(50) ? 0x8000 : 0
  if (random.chance(6)) return { top: sign, sig: 0n }
  if (random.chance(3)) {
    const special = random.pick(SPECIAL)
    return { ...special, top: special.top | sign }
  }
  return { top: sign | exponent(random), sig: significand(random) }
}

/** A second operand: mostly near the first, so that sums cancel, carry and tie. */
export function denseOther(random: Random, { top, sig }: Register): Register {
  const sign = random.chance(50) ? 0x8000 : 0
  const distance = random.below(140) - 70
  const normal = (top & 0x7fff) > 80 && (top & 0x7fff) < 0x7f00
  switch (random.below(5)) {
    case 0: return { top: sign | (top & 0x7fff), sig: (sig ^ BigInt(random.below(4))) | (sig & INTEGER_BIT) }
    case 1: return normal ? { top: sign | ((top & 0x7fff) + random.below(3) - 1), sig: significand(random) } : denseOperand(random)
    case 2: return normal ? { top: sign | ((top & 0x7fff) + distance), sig: significand(random) } : denseOperand(random)
    default: return denseOperand(random)
  }
}

/** Bits of a single or double near what a register holds; often exactly representable values, sometimes anything. */
export function narrow(random: Random, { top, sig }: Register, width: 32 | 64): bigint {
  const [fraction, maxExp] = width === 64 ? [52, 0x7ff] : [23, 0xff]
  if (random.chance(5)) return width === 64 ? random.u64() : BigInt(random.u32())
  const scaled = (top & 0x7fff) === 0 ? 0 : Math.min(maxExp, Math.max(0, (top & 0x7fff) - BIAS + (maxExp >> 1)))
  const kept = scaled === 0 && sig === 0n ? 0n : (sig >> BigInt(63 - fraction)) & ((1n << BigInt(fraction)) - 1n)
  return (BigInt(top >> 15) << BigInt(width - 1)) | (BigInt(scaled) << BigInt(fraction)) | kept
}

/** All exceptions masked mostly; every precision and rounding. */
export function denseControl(random: Random): number {
  const control = 0x7f | (random.pick([0, 2, 3, 3, 3, 1]) << 8) | (random.chance(50) ? 0 : random.below(4) << 10)
  return random.chance(5) ? control & ~(1 << random.below(6)) : control
}
