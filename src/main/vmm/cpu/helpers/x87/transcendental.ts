/** F2XM1, FYL2X, FYL2XP1, FPTAN, FPATAN, FSIN, FCOS, FSINCOS: special cases here, numbers in `series.ts`. SDM vol. 2. */
import { noteDenormals, propagateNaN, type FpMode } from './arithmetic'
import { BIAS, DEFAULT_NAN, Fx, bitLength, exactOf, infinity, kindOf, toFloat80, zero, type Exact, type Float80 } from './float80'
import { angle as angleCommon, exponential as exponentialCommon, timesLogarithm } from './common/transcendental'
import { x87Helper } from './helper'
import { dropDenormalOfInvalid } from './memory'
import {
  F, LN2, ONE, PI, arcTangent, exactOfFixed, fixedOf, log2Mantissa, log2OnePlus, powerMinusOne, sineCosine,
} from './series'
import { C1, C2, type X87 } from './unit'

/** Below 2^-70 a function with f(x) ≈ c·x is that line, to more digits than are kept. */
const TINY_EXP = BIAS - 70
const isTiny = (v: Float80): boolean => v.exp < TINY_EXP
const FLOAT_ONE: Float80 = { sign: 0, exp: BIAS, sig: 1n << 63n }

/** These operations are always made to the full width. */
const finish = (v: Exact, mode: FpMode): Float80 => toFloat80(v, 64, mode.rounding, mode.status, mode.unmasked)

function invalid(mode: FpMode): Float80 {
  mode.status.flags |= Fx.IE
  return DEFAULT_NAN
}

/** Just beside x: farther from zero, or nearer. */
function beside({ sign, m, e }: Exact, farther: boolean): Exact {
  const wide = m << 128n
  return { sign, m: farther ? wide : wide - 1n, e: e - 128, sticky: true }
}

/** x times a constant given in fixed point. */
const timesFixed = ({ sign, m, e }: Exact, factor: bigint): Exact => ({ sign, m: m * factor, e: e - F, sticky: true })

type Circular = 'sine' | 'cosine' | 'tangent'

/** |x| is below 2^63; not a NaN. */
function circular(which: Circular, a: Float80, mode: FpMode): Float80 {
  if (kindOf(a) === 'infinity') return invalid(mode)
  if (kindOf(a) === 'zero') return which === 'cosine' ? FLOAT_ONE : a
  noteDenormals(mode, a)
  const x = exactOf(a)
  if (isTiny(a)) return finish(which === 'cosine' ? beside({ sign: 0, m: 1n, e: 0 }, false) : beside(x, which === 'tangent'), mode)
  const { sine, cosine } = sineCosine(fixedOf(x))
  if (which === 'sine') return finish(exactOfFixed(sine), mode)
  return finish(exactOfFixed(which === 'cosine' ? cosine : (sine << BigInt(F)) / cosine), mode)
}

/** F2XM1. Outside −1 … 1 the result is undefined: the operand stays. */
export function exponential(a: Float80, mode: FpMode): Float80 {
  const nan = propagateNaN(a, zero(0), mode)
  if (nan) return nan
  const kind = kindOf(a)
  if (kind === 'zero') return a
  if (kind === 'infinity') return a.sign ? { ...FLOAT_ONE, sign: 1 } : a
  noteDenormals(mode, a)
  if (a.exp >= BIAS) {
    if (a.exp > BIAS || a.sig !== FLOAT_ONE.sig) return a
    return a.sign ? { sign: 1, exp: BIAS - 1, sig: FLOAT_ONE.sig } : a
  }
  return finish(isTiny(a) ? timesFixed(exactOf(a), LN2) : exactOfFixed(powerMinusOne(fixedOf(exactOf(a)))), mode)
}

/** y times a logarithm, whose value is `log`; 0 is exact. */
function timesLog(y: Float80, log: Exact | undefined, mode: FpMode): Float80 {
  if (!log) return kindOf(y) === 'infinity' ? invalid(mode) : zero(y.sign)
  const sign = (y.sign ^ log.sign) as 0 | 1
  if (kindOf(y) === 'infinity') return infinity(sign)
  if (kindOf(y) === 'zero') return zero(sign)
  const v = exactOf(y)
  return finish({ sign, m: v.m * log.m, e: v.e + log.e, sticky: log.sticky }, mode)
}

function log2(x: Float80): Exact | undefined {
  const { m, e } = exactOf(x)
  const length = bitLength(m)
  const exponent = BigInt(e + length - 1)
  const { log, halved } = log2Mantissa(m << BigInt(F - length + 1))
  const whole = exponent + (halved ? 1n : 0n)
  if (log === 0n && whole === 0n) return undefined
  if (log === 0n) return { sign: whole < 0n ? 1 : 0, m: whole < 0n ? -whole : whole, e: 0 }
  return exactOfFixed(whole * ONE + log)
}

/** FYL2X: y × log2 x. */
export function timesLog2(x: Float80, y: Float80, mode: FpMode): Float80 {
  const nan = propagateNaN(x, y, mode)
  if (nan) return nan
  const [kx, ky] = [kindOf(x), kindOf(y)]
  if (kx === 'zero') {
    if (ky === 'zero') return invalid(mode)
    if (ky === 'finite') mode.status.flags |= Fx.ZE
    return infinity(y.sign ? 0 : 1)
  }
  if (x.sign) return invalid(mode)
  if (kx === 'infinity') {
    if (ky === 'zero') return invalid(mode)
    noteDenormals(mode, y)
    return infinity(y.sign)
  }
  noteDenormals(mode, x, y)
  return timesLog(y, log2(x), mode)
}

/** FYL2XP1: y × log2(x + 1). Outside |x| < 1 − √½ the result is undefined: here what mathematics says, invalid at and below −1. */
export function timesLog2OnePlus(x: Float80, y: Float80, mode: FpMode): Float80 {
  const nan = propagateNaN(x, y, mode)
  if (nan) return nan
  const [kx, ky] = [kindOf(x), kindOf(y)]
  if (kx === 'zero') {
    noteDenormals(mode, y)
    return ky === 'infinity' ? invalid(mode) : zero((x.sign ^ y.sign) as 0 | 1)
  }
  if (kx === 'infinity') {
    noteDenormals(mode, y)
    return x.sign || ky === 'zero' ? invalid(mode) : infinity(y.sign)
  }
  if (x.sign && x.exp >= BIAS) return invalid(mode)
  noteDenormals(mode, x, y)
  return timesLog(y, logOnePlus(x), mode)
}

function logOnePlus(x: Float80): Exact | undefined {
  if (isTiny(x)) return timesFixed(exactOf(x), (ONE << BigInt(F)) / LN2)
  if (x.exp < BIAS - 2) return exactOfFixed(log2OnePlus(fixedOf(exactOf(x))))
  // Large arguments: 1 + x as a value of its own, cut where the one no longer matters.
  const v = exactOf(x)
  if (v.e > 128) return log2(x)
  const e = Math.min(v.e, 0)
  const one = 1n << BigInt(-e)
  const m = one + (v.sign ? -1n : 1n) * (v.m << BigInt(v.e - e))
  return log2OfExact(m, e)
}

/** log2 of m × 2^e with more digits than a register has. */
function log2OfExact(m: bigint, e: number): Exact | undefined {
  const length = bitLength(m)
  const { log, halved } = log2Mantissa(m << BigInt(F - length + 1))
  const total = (BigInt(e + length - 1) + (halved ? 1n : 0n)) * ONE + log
  return total === 0n ? undefined : { ...exactOfFixed(total), sticky: log !== 0n }
}

const signed = (v: bigint, sign: 0 | 1): Exact => exactOfFixed(sign ? -v : v)

/** FPATAN: the angle of the point (x, y), −π … π. */
export function angle(x: Float80, y: Float80, mode: FpMode): Float80 {
  const nan = propagateNaN(x, y, mode)
  if (nan) return nan
  const [kx, ky] = [kindOf(x), kindOf(y)]
  noteDenormals(mode, x, y)
  if (ky === 'infinity') {
    const multiple = kx === 'infinity' ? (x.sign ? 3n : 1n) : 2n
    return finish(signed((PI * multiple) >> 2n, y.sign), mode)
  }
  if (ky === 'zero' || kx === 'infinity') return x.sign ? finish(signed(PI, y.sign), mode) : zero(y.sign)
  if (kx === 'zero') return finish(signed(PI >> 1n, y.sign), mode)
  return finish(angleOf(exactOf(x), exactOf(y)), mode)
}

function angleOf(x: Exact, y: Exact): Exact {
  const distance = y.e + bitLength(y.m) - (x.e + bitLength(x.m))
  if (distance < -70 && !x.sign) {
    // The quotient itself, and a little less where it is exact.
    const wide = y.m << 192n
    const m = wide / x.m
    return { sign: y.sign, m: wide % x.m === 0n ? m - 1n : m, e: y.e - x.e - 192, sticky: true }
  }
  const ratio = (a: Exact, b: Exact): bigint => {
    const by = F + a.e - b.e
    return by >= 0 ? (a.m << BigInt(by)) / b.m : a.m / (b.m << BigInt(Math.min(-by, 1000)))
  }
  const steep = distance > 0 || (distance === 0 && ratio(y, x) > ONE)
  const acute = steep ? (PI >> 1n) - arcTangent(ratio(x, y)) : arcTangent(ratio(y, x))
  return signed(x.sign ? PI - acute : acute, y.sign)
}

// ── the instructions ────────────────────────────────────────────────────────────────────────────────────────────

/** Operations without a common case of their own. */
export const TRANSCENDENTAL = ['sine', 'cosine', 'sineCosine', 'tangent', 'logOnePlus'] as const
export type Transcendental = (typeof TRANSCENDENTAL)[number]

/** Two operands, result in st(1), popped. */
function binary(unit: X87, compute: (x: Float80, y: Float80, mode: FpMode) => Float80): void {
  if (unit.isEmpty(0) || unit.isEmpty(1)) {
    if (!unit.stackFault(false)) return
    unit.write(1, DEFAULT_NAN)
    return unit.pop()
  }
  const mode = unit.mode()
  const result = compute(unit.read(0), unit.read(1), mode)
  dropDenormalOfInvalid(mode)
  if (!unit.settle(mode.status)) return
  unit.write(1, result)
  unit.pop()
}

/** One operand, result in st(0); FSINCOS and FPTAN push a second one. */
function unary(unit: X87, op: Transcendental | 'exponential'): void {
  const pushes = op === 'sineCosine' || op === 'tangent'
  if (op !== 'exponential') unit.setCondition(C2, 0)
  const empty = unit.isEmpty(0)
  if (empty || (pushes && !unit.isEmpty(7))) {
    if (!unit.stackFault(!empty)) return
    unit.write(0, DEFAULT_NAN)
    if (pushes) pushSecond(unit, DEFAULT_NAN)
    return
  }
  const a = unit.read(0)
  const kind = kindOf(a)
  if (op !== 'exponential' && kind === 'finite' && a.exp >= BIAS + 63) return unit.setCondition(C1 | C2, C2)
  const mode = unit.mode()
  const nan = op === 'exponential' ? undefined : propagateNaN(a, zero(0), mode)
  const [first, second] = nan ? [nan, nan] : results(op, a, mode)
  dropDenormalOfInvalid(mode)
  if (!unit.settle(mode.status)) return
  unit.write(0, first)
  if (pushes) pushSecond(unit, second)
}

function pushSecond(unit: X87, value: Float80): void {
  unit.top = unit.top - 1
  unit.write(0, value)
}

function results(op: Transcendental | 'exponential', a: Float80, mode: FpMode): readonly [Float80, Float80] {
  switch (op) {
    case 'sine': return [circular('sine', a, mode), DEFAULT_NAN]
    case 'cosine': return [circular('cosine', a, mode), DEFAULT_NAN]
    case 'sineCosine': return [circular('sine', a, mode), circular('cosine', a, mode)]
    case 'tangent': {
      const value = circular('tangent', a, mode)
      return [value, kindOf(value) === 'quiet' ? value : FLOAT_ONE]
    }
    default: return [exponential(a, mode), DEFAULT_NAN]
  }
}

export const transcendentalHelper = x87Helper('x87Transcendental', ['i32'], (unit, which: number) => {
  const op = TRANSCENDENTAL[which]
  if (op === 'logOnePlus') binary(unit, timesLog2OnePlus)
  else unary(unit, op)
})

/** F2XM1. */
export const exponentialHelper = x87Helper('x87Exponential', [], (unit) => unary(unit, 'exponential'), exponentialCommon)
/** FYL2X. */
export const logarithmHelper = x87Helper('x87Logarithm', [], (unit) => binary(unit, timesLog2), timesLogarithm)
/** FPATAN. */
export const angleHelper = x87Helper('x87Angle', [], (unit) => binary(unit, angle), angleCommon)
