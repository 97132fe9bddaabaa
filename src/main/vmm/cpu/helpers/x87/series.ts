/**
 * Elementary functions in fixed point with 320 fraction bits: Taylor series after range reduction. Errors stay below 2^-250,
 * so that one rounding at the end gives the 64-bit result. Arguments and results are bigints scaled by 2^F.
 */
import type { Exact } from './float80'

/** Fraction bits. */
export const F = 320
const FB = BigInt(F)
export const ONE = 1n << FB

const mul = (a: bigint, b: bigint): bigint => (a * b) >> FB
const div = (a: bigint, b: bigint): bigint => (a << FB) / b

/** Finite value as fixed point, cut off below 2^-F. */
export function fixedOf({ sign, m, e }: Exact): bigint {
  const by = F + e
  const value = by >= 0 ? m << BigInt(by) : m >> BigInt(-by)
  return sign ? -value : value
}

/** Nonzero fixed point as a value to be rounded; something was cut off. */
export const exactOfFixed = (v: bigint): Exact => ({ sign: v < 0n ? 1 : 0, m: v < 0n ? -v : v, e: -F, sticky: true })

/** atan z or atanh z by its power series, |z| well below 1. @param step -1 alternating (atan), 1 (atanh) */
function arcSeries(z: bigint, step: 1n | -1n): bigint {
  const square = mul(z, z) * step
  let power = z
  let sum = z
  for (let k = 3n; power !== 0n && power !== -1n; k += 2n) {
    power = mul(power, square)
    sum += power / k
  }
  return sum
}

/** Machin: π/4 = 4 atan 1/5 − atan 1/239. */
export const PI = 4n * (4n * arcSeries(ONE / 5n, -1n) - arcSeries(ONE / 239n, -1n))
/** ln 2 = 2 atanh 1/3. */
export const LN2 = 2n * arcSeries(ONE / 3n, 1n)

/** Sum of x^k/k! over every second k from `first`, with alternating signs. */
function circularSeries(x: bigint, first: 0 | 1): bigint {
  const square = -mul(x, x)
  let term = first === 0 ? ONE : x
  let sum = term
  for (let k = BigInt(first) + 2n; term !== 0n && term !== -1n; k += 2n) {
    term = mul(term, square) / (k * (k - 1n))
    sum += term
  }
  return sum
}

/**
 * What angles are reduced with: π cut to 66 bits, as CPUs do it (SDM vol. 1, 8.3.8). Far from zero results therefore depart
 * from mathematics, in the way programs know from the hardware.
 */
const REDUCTION_PI = 0xc90f_daa2_2168_c234cn << (FB - 66n)

/** Sine and cosine of any angle. */
export function sineCosine(x: bigint): { sine: bigint; cosine: bigint } {
  const half = REDUCTION_PI >> 1n
  // To the nearest multiple: floor((2x + half) / (2 half)), with floor for negative values too.
  const doubled = 2n * x + half
  const floor = doubled / (2n * half) - (doubled < 0n && doubled % (2n * half) !== 0n ? 1n : 0n)
  const rest = x - floor * half
  const [s, c] = [circularSeries(rest, 1), circularSeries(rest, 0)]
  switch (BigInt.asUintN(2, floor)) {
    case 0n: return { sine: s, cosine: c }
    case 1n: return { sine: c, cosine: -s }
    case 2n: return { sine: -s, cosine: -c }
    default: return { sine: -c, cosine: s }
  }
}

/** Integer square root by Newton's method. */
function squareRootOf(n: bigint): bigint {
  if (n === 0n) return 0n
  let x = 1n << BigInt((n.toString(16).length * 4 + 1) >> 1)
  for (;;) {
    const y = (x + n / x) >> 1n
    if (y >= x) return x
    x = y
  }
}

/** Arc tangent of 0 ≤ q ≤ 1. Halving the angle twice makes the series short. */
export function arcTangent(q: bigint): bigint {
  const halve = (t: bigint): bigint => div(t, ONE + squareRootOf((ONE + mul(t, t)) << FB))
  return 4n * arcSeries(halve(halve(q)), -1n)
}

/** ln((1 + z) / (1 − z)) / ln 2, |z| < 0.2. */
const log2OfRatio = (z: bigint): bigint => div(2n * arcSeries(z, 1n), LN2)

const SQRT2 = squareRootOf(2n << (2n * FB))

/** log2 of y, 1 ≤ y < 2, as log2(y) or, above √2, as log2(y/2): no digits are lost near 1 and near 2. */
export function log2Mantissa(y: bigint): { log: bigint; halved: boolean } {
  const halved = y > SQRT2
  const v = halved ? y >> 1n : y
  return { log: log2OfRatio(div(v - ONE, v + ONE)), halved }
}

/** log2(1 + x) for small x. */
export const log2OnePlus = (x: bigint): bigint => log2OfRatio(div(x, 2n * ONE + x))

/** 2^x − 1, |x| ≤ 1. */
export function powerMinusOne(x: bigint): bigint {
  const t = mul(x, LN2)
  let term = t
  let sum = t
  for (let k = 2n; term !== 0n && term !== -1n; k++) {
    term = mul(term, t) / k
    sum += term
  }
  return sum
}
