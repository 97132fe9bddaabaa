/**
 * The common case of F2XM1, FYL2X and FPATAN: normal numbers, computed with some 100 bits and rounded once. As with the exact
 * series, the last bit may differ from a given CPU's.
 */
import type { Flt, HelperEmitter, Val } from '../../../emit/emitter'
import { BIAS } from '../float80'
import { LN2, ONE, PI, arcTangent } from '../series'
import { Result } from './arithmetic'
import { DoubleDouble, ratio, split, type Double2 } from './double-double'
import { inexactUnmasked } from './rounding'
import { RegisterStack, SIGN, exponentOf, isNormal, signOf, type Operand } from './stack'

const range = (n: number): number[] => Array.from({ length: n }, (_, k) => k)

/** Result in st(`to`) with `pops` (0 or 1): a positive number, its sign, and what its exponent is moved by. */
function give(e: HelperEmitter, stack: RegisterStack, to: Val, pops: number, value: Double2, sign: Val, moved: Val, inexact: Val): void {
  const { hi, lo, exponent } = new DoubleDouble(e).toSignificand(value)
  const result = new Result(e, stack, to, pops === 0 ? undefined : e.const(32, pops))
  // None of these functions is exact but where `inexact` is 0, even if all digits computed say so.
  result.set(sign, e.add(e.add(exponent, e.const(32, BIAS)), moved), hi, e.or(lo, inexact))
  result.round(true)
}

const always = (e: HelperEmitter): Val => e.const(64, 1)
/** True where an exponent is from `low` to `high` inclusive. */
const within = (e: HelperEmitter, exponent: Val, low: number, high: number): Val =>
  e.ltu(e.sub(exponent, e.const(32, low)), e.const(32, high - low + 1))

function absolute(e: HelperEmitter, d: DoubleDouble, v: Double2): { readonly value: Double2; readonly negative: Val } {
  const negative = e.fltToInt('f64.lt', v.hi, d.double(0))
  const turn = (x: Flt): Flt => e.bitsToFlt(e.select(negative, e.fltToBits(e.flt('f64.neg', x)), e.fltToBits(x)))
  return { value: { hi: turn(v.hi), lo: turn(v.lo) }, negative }
}

const signed = (e: HelperEmitter, d: DoubleDouble, v: Double2, sign: Val): Double2 =>
  d.scale(v, e.bitsToFlt(e.or(e.const(64, 0x3ff0_0000_0000_0000n), e.shl(e.zext(sign, 64), e.const(64, 48)))))

// ── F2XM1 ───────────────────────────────────────────────────────────────────────────────────────────────────────

const SMALLEST = BIAS - 300
/** The argument is divided by 2^HALVINGS, and the result doubled as often: (1 + y)² − 1 = y (y + 2). */
const HALVINGS = 3
/** Coefficients of (e^u − 1) / u: 1 / (k + 1)!. */
const exponentialSeries = (): bigint[] => {
  let factorial = 1n
  return range(17).map((k) => ONE / (factorial *= BigInt(k + 1)))
}

export const exponential = (e: HelperEmitter): void => {
  const stack = new RegisterStack(e)
  const at = stack.physical(0)
  stack.needFull([at], inexactUnmasked(e))
  const v = stack.read(at)
  const exponent = exponentOf(e, v)
  e.if(e.isZero(e.and(isNormal(e, v), within(e, exponent, SMALLEST, BIAS - 1))), () => e.fallBack())
  const d = new DoubleDouble(e)
  const x = signed(e, d, d.scale(d.fromSignificand(v.sig), d.power(e.sub(exponent, e.const(32, BIAS + HALVINGS)))), signOf(e, v))
  const u = d.multiply(x, d.constant(LN2))
  let y = d.multiply(u, d.polynomial(u, exponentialSeries(), 10))
  for (let n = 0; n < HALVINGS; n++) y = d.multiply(y, d.add(d.constant(2n * ONE), y))
  give(e, stack, at, 0, absolute(e, d, y).value, signOf(e, v), e.const(32, 0), always(e))
}

// ── FYL2X ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** Coefficients of log2((1 + s) / (1 − s)) / s, in powers of s². */
const logarithmSeries = (): bigint[] => range(21).map((k) => (2n * ONE * ONE) / LN2 / BigInt(2 * k + 1))
/** Above this significand, √2, the half is taken: then the logarithm of numbers near 1 is small on both sides. */
const ROOT = 0xb504_f333_f9de_6484n

/** y × log2 x; x in st(0), y in st(1). */
export const timesLogarithm = (e: HelperEmitter): void => {
  const stack = new RegisterStack(e)
  const [at, to] = [stack.physical(0), stack.physical(1)]
  stack.needFull([at, to], inexactUnmasked(e))
  const [x, y] = [stack.read(at), stack.read(to)]
  const fine = e.and(e.and(isNormal(e, x), isNormal(e, y)), e.isZero(signOf(e, x)))
  const exact = e.eq(x.sig, e.const(64, 1n << 63n))
  const isOne = e.and(exact, e.eq(x.top, e.const(32, BIAS)))
  e.if(e.or(isOne, e.isZero(fine)), () => e.fallBack())
  const d = new DoubleDouble(e)
  const halved = e.ltu(e.const(64, ROOT), x.sig)
  const m = d.scale(d.fromSignificand(x.sig), d.power(e.neg(e.zext(halved, 32))))
  const s = d.divide(d.addDouble(m, d.double(-1)), d.addDouble(m, d.double(1)))
  const log = d.multiply(s, d.polynomial(d.multiply(s, s), logarithmSeries(), 11))
  const whole = e.add(e.sub(exponentOf(e, x), e.const(32, BIAS)), e.zext(halved, 32))
  const total = d.add({ hi: e.flt('f64.convert_i32_s', whole), lo: d.double(0) }, log)
  const { value, negative } = absolute(e, d, d.multiply(total, d.fromSignificand(y.sig)))
  const sign = e.xor(signOf(e, y), e.select(negative, e.const(32, SIGN), e.const(32, 0)))
  give(e, stack, to, 1, value, sign, e.sub(exponentOf(e, y), e.const(32, BIAS)), e.zext(e.isZero(exact), 64))
}

// ── FPATAN ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** Farther apart than this, what the angle differs from the quotient by is lost among the digits computed. */
const FARTHEST = 45
/** The tangent is brought near one of 0, ¼ … 1, so that what remains is below ⅛. */
const STEPS = 4
const arcTangentSeries = (): bigint[] => range(19).map((k) => (k % 2 === 0 ? ONE : -ONE) / BigInt(2 * k + 1))

/** One of several constants, by an index from 0. */
function choose(e: HelperEmitter, index: Val, constants: readonly (readonly [number, number])[]): Double2 {
  const d = new DoubleDouble(e)
  const part = (which: 0 | 1): Flt => e.bitsToFlt(constants.reduce((rest, pair, i) => {
    const bits = e.fltToBits(d.double(pair[which]))
    return i === 0 ? bits : e.select(e.eq(index, e.const(32, i)), bits, rest)
  }, e.const(64, 0) as Val))
  return { hi: part(0), lo: part(1) }
}

/** atan(p / q), 0 < p ≤ q. */
function arcTangentOf(e: HelperEmitter, d: DoubleDouble, p: Double2, q: Double2): Double2 {
  const nearest = e.flt('f64.nearest', d.times(d.over(p.hi, q.hi), d.double(STEPS)))
  const c = d.times(nearest, d.double(1 / STEPS))
  const r = d.divide(d.subtract(p, d.multiplyDouble(q, c)), d.add(q, d.multiplyDouble(p, c)))
  const rest = d.multiply(r, d.polynomial(d.multiply(r, r), arcTangentSeries(), 10))
  const known = range(STEPS + 1).map((k) => split(k === 0 ? 0n : arcTangent(ratio(BigInt(k), BigInt(STEPS)))))
  return d.add(choose(e, e.fltToInt('i32.trunc_sat_f64_s', nearest), known), rest)
}

const larger = (e: HelperEmitter, x: Operand, y: Operand): Val => {
  const [ex, ey] = [exponentOf(e, x), exponentOf(e, y)]
  return e.or(e.ltu(ex, ey), e.and(e.eq(ex, ey), e.ltu(x.sig, y.sig)))
}

/** The angle of the point (x, y); x in st(0), y in st(1). */
export const angle = (e: HelperEmitter): void => {
  const stack = new RegisterStack(e)
  const [at, to] = [stack.physical(0), stack.physical(1)]
  stack.needFull([at, to], inexactUnmasked(e))
  const [x, y] = [stack.read(at), stack.read(to)]
  const steep = larger(e, x, y)
  const pick = (a: Operand, b: Operand): Operand => ({ top: e.select(steep, a.top, b.top), sig: e.select(steep, a.sig, b.sig) })
  const [small, large] = [pick(x, y), pick(y, x)]
  const distance = e.sub(exponentOf(e, large), exponentOf(e, small))
  const fine = e.and(e.and(isNormal(e, x), isNormal(e, y)), e.ltu(distance, e.const(32, FARTHEST)))
  e.if(e.isZero(fine), () => e.fallBack())
  const d = new DoubleDouble(e)
  const theta = arcTangentOf(e, d, d.scale(d.fromSignificand(small.sig), d.power(e.neg(distance))), d.fromSignificand(large.sig))
  // π/2 − θ where the point lies nearer to the vertical axis; then π − that where x is negative: one constant, and θ with a sign.
  const negative = e.bit(x.top, 15)
  const quarters = e.select(steep, e.const(32, 1), e.select(negative, e.const(32, 2), e.const(32, 0)))
  const turned = e.select(e.xor(steep, negative), e.const(32, SIGN), e.const(32, 0))
  const base = choose(e, quarters, [[0, 0], split(PI >> 1n), split(PI)])
  give(e, stack, to, 1, d.add(base, signed(e, d, theta, turned)), signOf(e, y), e.const(32, 0), always(e))
}
