/**
 * Double extended precision in exact arithmetic: values are sign × significand × 2^exponent with a bigint significand,
 * rounded once at the end. SDM vol. 1, 4.2, 4.8 and chapter 8.
 */

/** Status word exception bits. */
export const Fx = { IE: 1, DE: 2, ZE: 4, OE: 8, UE: 16, PE: 32, SF: 64 } as const

/** As it lies in a register: explicit integer bit in `sig`, 15-bit biased exponent. */
export interface Float80 { readonly sign: 0 | 1; readonly exp: number; readonly sig: bigint }

export type FloatKind = 'zero' | 'finite' | 'infinity' | 'quiet' | 'signalling' | 'unsupported'

/** Finite value sign × m × 2^e, m > 0, not normalised. `sticky`: something nonzero lies below m. */
export interface Exact { readonly sign: 0 | 1; readonly m: bigint; readonly e: number; readonly sticky?: boolean }

export type Rounding = 0 | 1 | 2 | 3

/** Where an operation leaves its exceptions, and whether it rounded up (C1). */
export interface FpStatus { flags: number; roundedUp: boolean }

export const BIAS = 16383
const MAX_EXP = 0x7fff
const INTEGER_BIT = 1n << 63n
const QUIET_BIT = 1n << 62n

export const DEFAULT_NAN: Float80 = { sign: 1, exp: MAX_EXP, sig: 0xc000_0000_0000_0000n }
export const infinity = (sign: 0 | 1): Float80 => ({ sign, exp: MAX_EXP, sig: INTEGER_BIT })
export const zero = (sign: 0 | 1): Float80 => ({ sign, exp: 0, sig: 0n })

export function kindOf(v: Float80): FloatKind {
  if (v.exp === MAX_EXP) {
    if ((v.sig & INTEGER_BIT) === 0n) return 'unsupported'
    if (v.sig === INTEGER_BIT) return 'infinity'
    return (v.sig & QUIET_BIT) !== 0n ? 'quiet' : 'signalling'
  }
  if (v.exp !== 0 && (v.sig & INTEGER_BIT) === 0n) return 'unsupported'
  return v.sig === 0n ? 'zero' : 'finite'
}

export const isNaN80 = (v: Float80): boolean => kindOf(v) === 'quiet' || kindOf(v) === 'signalling'
export const isDenormal = (v: Float80): boolean => v.exp === 0 && v.sig !== 0n
export const quieten = (v: Float80): Float80 => ({ ...v, sig: v.sig | QUIET_BIT })

/** The value of a finite, nonzero number. */
export const exactOf = (v: Float80): Exact => ({ sign: v.sign, m: v.sig, e: (v.exp === 0 ? 1 : v.exp) - BIAS - 63 })

export const bitLength = (m: bigint): number => m.toString(16).length * 4 - Math.clz32(parseInt(m.toString(16)[0], 16)) + 28

/** A format to round to: bits of significand and range of the biased exponent. */
export interface Format { readonly precision: number; readonly bias: number; readonly maxExp: number }
export const EXTENDED: Format = { precision: 64, bias: BIAS, maxExp: MAX_EXP }
export const SINGLE: Format = { precision: 24, bias: 127, maxExp: 0xff }
export const DOUBLE: Format = { precision: 53, bias: 1023, maxExp: 0x7ff }

/** Should a discarded part move the kept one away from zero? `half` is -1, 0, 1: below, at, above one half. */
function roundsUp(mode: Rounding, sign: 0 | 1, odd: boolean, half: -1 | 0 | 1): boolean {
  switch (mode) {
    case 0: return half > 0 || (half === 0 && odd)
    case 1: return sign === 1
    case 2: return sign === 0
    default: return false
  }
}

/** m shifted right by `by` bits and rounded; tells whether anything was lost and whether it went up. */
export function roundShift(
  m: bigint, by: number, sticky: boolean, mode: Rounding, sign: 0 | 1,
): { m: bigint; inexact: boolean; up: boolean } {
  if (by <= 0) {
    const kept = m << BigInt(-by)
    if (!sticky) return { m: kept, inexact: false, up: false }
    const up = roundsUp(mode, sign, (kept & 1n) === 1n, -1)
    return { m: up ? kept + 1n : kept, inexact: true, up }
  }
  const shift = BigInt(by)
  const kept = m >> shift
  const lost = m - (kept << shift)
  if (lost === 0n && !sticky) return { m: kept, inexact: false, up: false }
  const middle = 1n << (shift - 1n)
  const half = lost > middle || (lost === middle && sticky) ? 1 : lost === middle ? 0 : -1
  const up = roundsUp(mode, sign, (kept & 1n) === 1n, half)
  return { m: up ? kept + 1n : kept, inexact: true, up }
}

/** Rounded significand with exactly `precision` bits (fewer when denormal) and biased exponent. */
export interface Packed { readonly sign: 0 | 1; readonly exp: number; readonly sig: bigint }

function overflow(sign: 0 | 1, format: Format, mode: Rounding, status: FpStatus): Packed {
  status.flags |= Fx.OE | Fx.PE
  const toInfinity = mode === 0 || (mode === 1 && sign === 1) || (mode === 2 && sign === 0)
  status.roundedUp = toInfinity
  if (toInfinity) return { sign, exp: format.maxExp, sig: 1n << BigInt(format.precision - 1) }
  return { sign, exp: format.maxExp - 1, sig: (1n << BigInt(format.precision)) - 1n }
}

/** Rounds an exact value to a format, with gradual underflow (the masked response). */
export function roundTo(v: Exact, format: Format, mode: Rounding, status: FpStatus): Packed {
  const { sign } = v
  const length = bitLength(v.m)
  const top = v.e + length - 1 + format.bias
  const tiny = top <= 0
  const by = length - format.precision + (tiny ? 1 - top : 0)
  const r = roundShift(v.m, by, v.sticky ?? false, mode, sign)
  if (r.inexact) status.flags |= Fx.PE | (tiny ? Fx.UE : 0)
  status.roundedUp = r.up
  let sig = r.m
  let exp = tiny ? 1 : top
  if (sig >> BigInt(format.precision) !== 0n) {
    sig >>= 1n
    exp++
  }
  if (exp >= format.maxExp) return overflow(sign, format, mode, status)
  if (sig >> BigInt(format.precision - 1) === 0n) exp = 0
  return { sign, exp, sig }
}

/** What an unmasked overflow or underflow moves the exponent by, so that a handler can see the value. SDM vol. 1, 4.9.1.4. */
const WRAP = 24576

/** Brings a value that would over- or underflow into range where that exception is not masked. */
function adjustUnmasked(v: Exact, precision: number, mode: Rounding, status: FpStatus, unmasked: number): Exact {
  if ((unmasked & (Fx.OE | Fx.UE)) === 0) return v
  const probe = { flags: 0, roundedUp: false }
  const packed = roundTo(v, { ...EXTENDED, precision }, mode, probe)
  if ((unmasked & Fx.OE) !== 0 && (probe.flags & Fx.OE) !== 0) {
    status.flags |= Fx.OE
    return { ...v, e: v.e - WRAP }
  }
  const tiny = v.e + bitLength(v.m) - 1 + BIAS <= 0
  if ((unmasked & Fx.UE) === 0 || !tiny || (packed.exp !== 0 && (probe.flags & Fx.UE) === 0)) return v
  status.flags |= Fx.UE
  return { ...v, e: v.e + WRAP }
}

/**
 * To a register, with the precision the control word asks for (the exponent keeps its full range).
 * @param unmasked exceptions that are not masked
 */
export function toFloat80(v: Exact, precision: number, mode: Rounding, status: FpStatus, unmasked = 0): Float80 {
  const packed = roundTo(adjustUnmasked(v, precision, mode, status, unmasked), { ...EXTENDED, precision }, mode, status)
  const sig = packed.sig << BigInt(64 - precision)
  return { sign: packed.sign, exp: packed.exp, sig }
}

// ── conversions of the memory formats ───────────────────────────────────────────────────────────────────────────

function fromIeee(sign: 0 | 1, exp: number, fraction: bigint, format: Format): Float80 {
  const bits = format.precision - 1
  const shift = BigInt(63 - bits)
  if (exp === format.maxExp) return { sign, exp: MAX_EXP, sig: INTEGER_BIT | (fraction << shift) }
  if (exp !== 0) return { sign, exp: exp - format.bias + BIAS, sig: INTEGER_BIT | (fraction << shift) }
  if (fraction === 0n) return zero(sign)
  const status = { flags: 0, roundedUp: false }
  return toFloat80({ sign, m: fraction, e: 1 - format.bias - bits }, 64, 0, status)
}

export function fromSingle(bits: number): Float80 {
  return fromIeee((bits >>> 31) as 0 | 1, (bits >>> 23) & 0xff, BigInt(bits & 0x7f_ffff), SINGLE)
}

export function fromDouble(bits: bigint): Float80 {
  return fromIeee(Number((bits >> 63n) & 1n) as 0 | 1, Number((bits >> 52n) & 0x7ffn), bits & 0xf_ffff_ffff_ffffn, DOUBLE)
}

export function fromInteger(value: bigint): Float80 {
  if (value === 0n) return zero(0)
  const sign = value < 0n ? 1 : 0
  return toFloat80({ sign, m: value < 0n ? -value : value, e: 0 }, 64, 0, { flags: 0, roundedUp: false })
}

/** Bits of a single or double; NaNs keep their payload's upper part, made quiet. */
export function toIeee(v: Float80, format: Format, mode: Rounding, status: FpStatus): bigint {
  const width = format === SINGLE ? 32 : 64
  const bits = format.precision - 1
  const assemble = (sign: number, exp: number, fraction: bigint): bigint =>
    (BigInt(sign) << BigInt(width - 1)) | (BigInt(exp) << BigInt(bits)) | (fraction & ((1n << BigInt(bits)) - 1n))
  const kind = kindOf(v)
  if (kind === 'signalling' || kind === 'unsupported') status.flags |= Fx.IE
  switch (kind) {
    case 'zero': return assemble(v.sign, 0, 0n)
    case 'infinity': return assemble(v.sign, format.maxExp, 0n)
    case 'unsupported': return assemble(1, format.maxExp, 1n << BigInt(bits - 1))
    case 'finite': {
      const packed = roundTo(exactOf(v), format, mode, status)
      return assemble(packed.sign, packed.exp, packed.sig)
    }
    default: return assemble(v.sign, format.maxExp, (v.sig | QUIET_BIT) >> BigInt(63 - bits))
  }
}

/** Rounded to an integer; undefined (and IE) where it does not fit in `bits` bits. */
export function toInteger(v: Float80, bits: number, mode: Rounding, status: FpStatus): bigint | undefined {
  const kind = kindOf(v)
  if (kind === 'zero') return 0n
  if (kind !== 'finite') {
    status.flags |= Fx.IE
    return undefined
  }
  const { sign, m, e } = exactOf(v)
  // Far too large: no need to build it.
  if (e > 64) {
    status.flags |= Fx.IE
    return undefined
  }
  const r = roundShift(m, -e, false, mode, sign)
  const value = sign ? -r.m : r.m
  if (value !== BigInt.asIntN(bits, value)) {
    status.flags |= Fx.IE
    return undefined
  }
  if (r.inexact) {
    status.flags |= Fx.PE
    status.roundedUp = r.up
  }
  return value
}
