/** x87 arithmetic on Float80 values, with the responses of SDM vol. 1, table 8-10 and 4.8.3.5. */
import {
  DEFAULT_NAN, Fx, bitLength, exactOf, infinity, isDenormal, kindOf, quieten, roundShift, toFloat80, zero,
  type Exact, type Float80, type FpStatus, type Rounding,
} from './float80'

/** What an operation is done with: precision and rounding of the control word, and where exceptions go. */
export interface FpMode {
  readonly precision: number
  readonly rounding: Rounding
  readonly status: FpStatus
  /** Exceptions the control word does not mask. */
  readonly unmasked: number
}

function invalid(mode: FpMode): Float80 {
  mode.status.flags |= Fx.IE
  return DEFAULT_NAN
}

/** The NaN that comes of operands at least one of which is a NaN or unsupported; undefined for ordinary operands. */
export function propagateNaN(a: Float80, b: Float80, mode: FpMode): Float80 | undefined {
  const [ka, kb] = [kindOf(a), kindOf(b)]
  if (ka === 'unsupported' || kb === 'unsupported') return invalid(mode)
  const aNaN = ka === 'quiet' || ka === 'signalling'
  const bNaN = kb === 'quiet' || kb === 'signalling'
  if (!aNaN && !bNaN) return undefined
  if (ka === 'signalling' || kb === 'signalling') mode.status.flags |= Fx.IE
  if (!aNaN) return quieten(b)
  if (!bNaN) return quieten(a)
  // A signalling NaN yields to a quiet one; of two alike the larger significand wins, then the positive one.
  if (ka !== kb) return ka === 'quiet' ? a : b
  const [sa, sb] = [a.sig & 0x3fff_ffff_ffff_ffffn, b.sig & 0x3fff_ffff_ffff_ffffn]
  if (sa !== sb) return quieten(sa > sb ? a : b)
  return quieten(a.sign <= b.sign ? a : b)
}

export function noteDenormals(mode: FpMode, ...values: Float80[]): void {
  if (values.some(isDenormal)) mode.status.flags |= Fx.DE
}

const finish = (v: Exact, mode: FpMode): Float80 => toFloat80(v, mode.precision, mode.rounding, mode.status, mode.unmasked)
const negate = (v: Float80): Float80 => ({ ...v, sign: v.sign ? 0 : 1 })

/** Exact sum; m may come out 0. */
function sumExact(a: Exact, b: Exact): { m: bigint; e: number } {
  const e = Math.min(a.e, b.e)
  const signed = (v: Exact): bigint => {
    const m = v.m << BigInt(v.e - e)
    return v.sign ? -m : m
  }
  return { m: signed(a) + signed(b), e }
}

export function add(a: Float80, b: Float80, mode: FpMode): Float80 {
  const nan = propagateNaN(a, b, mode)
  if (nan) return nan
  const [ka, kb] = [kindOf(a), kindOf(b)]
  if (ka === 'infinity' && kb === 'infinity') return a.sign === b.sign ? a : invalid(mode)
  noteDenormals(mode, a, b)
  if (ka === 'infinity') return a
  if (kb === 'infinity') return b
  const zeroSign: 0 | 1 = mode.rounding === 1 ? 1 : 0
  if (ka === 'zero' && kb === 'zero') return zero(a.sign === b.sign ? a.sign : zeroSign)
  if (ka === 'zero') return finish(exactOf(b), mode)
  if (kb === 'zero') return finish(exactOf(a), mode)
  const sum = sumExact(exactOf(a), exactOf(b))
  if (sum.m === 0n) return zero(zeroSign)
  return finish({ sign: sum.m < 0n ? 1 : 0, m: sum.m < 0n ? -sum.m : sum.m, e: sum.e }, mode)
}

export function subtract(a: Float80, b: Float80, mode: FpMode): Float80 {
  return propagateNaN(a, b, mode) ?? add(a, negate(b), mode)
}

export function multiply(a: Float80, b: Float80, mode: FpMode): Float80 {
  const nan = propagateNaN(a, b, mode)
  if (nan) return nan
  const [ka, kb] = [kindOf(a), kindOf(b)]
  const sign = (a.sign ^ b.sign) as 0 | 1
  if ((ka === 'infinity' && kb === 'zero') || (ka === 'zero' && kb === 'infinity')) return invalid(mode)
  noteDenormals(mode, a, b)
  if (ka === 'infinity' || kb === 'infinity') return infinity(sign)
  if (ka === 'zero' || kb === 'zero') return zero(sign)
  const [x, y] = [exactOf(a), exactOf(b)]
  return finish({ sign, m: x.m * y.m, e: x.e + y.e }, mode)
}

/** Bits of quotient computed beyond what any rounding looks at. */
const GUARD = 70

export function divide(a: Float80, b: Float80, mode: FpMode): Float80 {
  const nan = propagateNaN(a, b, mode)
  if (nan) return nan
  const [ka, kb] = [kindOf(a), kindOf(b)]
  const sign = (a.sign ^ b.sign) as 0 | 1
  if (ka === kb && (ka === 'infinity' || ka === 'zero')) return invalid(mode)
  if (ka === 'infinity') {
    noteDenormals(mode, b)
    return infinity(sign)
  }
  if (kb === 'zero') {
    mode.status.flags |= Fx.ZE
    return infinity(sign)
  }
  noteDenormals(mode, a, b)
  if (ka === 'zero' || kb === 'infinity') return zero(sign)
  const [x, y] = [exactOf(a), exactOf(b)]
  const shift = BigInt(64 + GUARD)
  const n = x.m << shift
  const m = n / y.m
  return finish({ sign, m, e: x.e - y.e - Number(shift), sticky: n % y.m !== 0n }, mode)
}

/** Integer square root. */
function isqrt(n: bigint): bigint {
  let x = 1n << BigInt((bitLength(n) + 1) >> 1)
  for (;;) {
    const y = (x + n / x) >> 1n
    if (y >= x) return x
    x = y
  }
}

export function squareRoot(a: Float80, mode: FpMode): Float80 {
  const nan = propagateNaN(a, zero(0), mode)
  if (nan) return nan
  const kind = kindOf(a)
  if (kind === 'zero') return a
  if (a.sign) return invalid(mode)
  if (kind === 'infinity') return a
  noteDenormals(mode, a)
  const x = exactOf(a)
  const shift = 160 + ((x.e + 160) % 2 === 0 ? 0 : 1)
  const n = x.m << BigInt(shift)
  const m = isqrt(n)
  return finish({ sign: 0, m, e: (x.e - shift) / 2, sticky: m * m !== n }, mode)
}

/** FRNDINT: always to the full width, whatever the precision control. */
export function roundToInteger(a: Float80, mode: FpMode): Float80 {
  const nan = propagateNaN(a, zero(0), mode)
  if (nan) return nan
  if (kindOf(a) !== 'finite') return a
  noteDenormals(mode, a)
  const x = exactOf(a)
  if (x.e >= 0) return a
  const r = roundShift(x.m, Math.min(-x.e, 130), x.e < -130, mode.rounding, a.sign)
  if (r.inexact) {
    mode.status.flags |= Fx.PE
    mode.status.roundedUp = r.up
  }
  return r.m === 0n ? zero(a.sign) : toFloat80({ sign: a.sign, m: r.m, e: 0 }, 64, 0, { flags: 0, roundedUp: false })
}

export type Ordering = 'less' | 'equal' | 'greater' | 'unordered'

/** @param quiet FUCOM family: only a signalling NaN is invalid */
export function compare(a: Float80, b: Float80, quiet: boolean, mode: FpMode): Ordering {
  const [ka, kb] = [kindOf(a), kindOf(b)]
  const kinds = [ka, kb]
  if (kinds.includes('unsupported') || kinds.includes('signalling') || (!quiet && kinds.includes('quiet'))) mode.status.flags |= Fx.IE
  if (kinds.some((k) => k === 'unsupported' || k === 'signalling' || k === 'quiet')) return 'unordered'
  noteDenormals(mode, a, b)
  if (ka === 'zero' && kb === 'zero') return 'equal'
  const rank = (v: Float80, k: string): number => (k === 'infinity' ? (v.sign ? -1 : 1) : 0)
  const [ra, rb] = [rank(a, ka), rank(b, kb)]
  if (ra !== rb) return ra < rb ? 'less' : 'greater'
  if (ra !== 0) return 'equal'
  const value = (v: Float80, k: string): Exact => (k === 'zero' ? { sign: 0, m: 0n, e: 0 } : exactOf(v))
  const [x, y] = [value(a, ka), value(b, kb)]
  const difference = x.m === 0n ? (y.sign ? 1n : -1n) * (y.m === 0n ? 0n : 1n)
    : y.m === 0n ? (x.sign ? -1n : 1n)
      : sumExact(x, { ...y, sign: y.sign ? 0 : 1 }).m
  return difference < 0n ? 'less' : difference > 0n ? 'greater' : 'equal'
}

/** FSCALE: a × 2^trunc(b). */
export function scale(a: Float80, b: Float80, mode: FpMode): Float80 {
  const nan = propagateNaN(a, b, mode)
  if (nan) return nan
  const [ka, kb] = [kindOf(a), kindOf(b)]
  if (kb === 'infinity') {
    if (b.sign === 0 && ka === 'zero') return invalid(mode)
    if (b.sign === 0) {
      noteDenormals(mode, a)
      return infinity(a.sign)
    }
    if (ka === 'infinity') return invalid(mode)
    noteDenormals(mode, a)
    return zero(a.sign)
  }
  noteDenormals(mode, a, b)
  if (ka === 'infinity' || ka === 'zero') return a
  if (kb === 'zero') return a
  const { m, e, sign } = exactOf(b)
  const whole = e >= 0 ? (e > 40 ? 1n << 40n : m << BigInt(e)) : m >> BigInt(Math.min(-e, 200))
  const by = Math.max(-70000, Math.min(70000, Number(sign ? -whole : whole)))
  const x = exactOf(a)
  return toFloat80({ ...x, e: x.e + by }, 64, mode.rounding, mode.status, mode.unmasked)
}

export interface Remainder {
  readonly value: Float80
  /** Low three bits of the quotient; undefined where a NaN came of it. */
  readonly quotient: number | undefined
  readonly incomplete: boolean
}

/** FPREM (truncating) and FPREM1 (to nearest). One step reduces the exponent by at most 63. */
export function remainder(a: Float80, b: Float80, nearest: boolean, mode: FpMode): Remainder {
  const none = (value: Float80): Remainder => ({ value, quotient: undefined, incomplete: false })
  const nan = propagateNaN(a, b, mode)
  if (nan) return none(nan)
  const [ka, kb] = [kindOf(a), kindOf(b)]
  if (ka === 'infinity' || kb === 'zero') return none(invalid(mode))
  noteDenormals(mode, a, b)
  if (ka === 'zero' || kb === 'infinity') return { value: a, quotient: 0, incomplete: false }
  const [x, y] = [exactOf(a), exactOf(b)]
  const distance = x.e + bitLength(x.m) - (y.e + bitLength(y.m))
  const e = Math.min(x.e, y.e)
  const [n, d] = [x.m << BigInt(x.e - e), y.m << BigInt(y.e - e)]
  if (distance >= 64) {
    // Partial step, as the manual: the quotient's top bits are taken off, the rest is left for the next round.
    const step = BigInt(distance - (32 + (distance % 32)))
    const q = (n / d) >> step << step
    const rest = n - q * d
    const value = rest === 0n ? zero(a.sign) : toFloat80({ sign: a.sign, m: rest, e }, 64, 0, mode.status, mode.unmasked)
    return { value, quotient: 0, incomplete: true }
  }
  let q = n / d
  let rest = n - q * d
  let sign = a.sign
  if (nearest && (2n * rest > d || (2n * rest === d && (q & 1n) === 1n))) {
    q += 1n
    rest = d - rest
    sign = sign ? 0 : 1
  }
  const value = rest === 0n ? zero(a.sign) : toFloat80({ sign, m: rest, e }, 64, 0, mode.status, mode.unmasked)
  return { value, quotient: Number(q & 7n), incomplete: false }
}
