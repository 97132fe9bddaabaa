/**
 * When wasm's float arithmetic gives exactly what SSE gives, flags included. wasm rounds to nearest and raises nothing, so:
 * MXCSR rounds to nearest without flush modes, every exception is masked, PE is already set (most operations would set it),
 * and operands and result are such that no other flag can change. Everything else goes to the exact helpers.
 */
import type { Emitter, Flt, Val, Vec } from '../emit/emitter'
import { laneBytes } from './simd'

export type FloatWidth = 32 | 64

const MINIMUM = { 32: 0x0080_0000n, 64: 0x0010_0000_0000_0000n } as const
const INFINITY = { 32: 0x7f80_0000n, 64: 0x7ff0_0000_0000_0000n } as const
const MAGNITUDE = { 32: 0x7fff_ffffn, 64: 0x7fff_ffff_ffff_ffffn } as const

export function all(e: Emitter, ...conditions: Val[]): Val {
  return conditions.reduce((a, b) => e.and(a, b))
}

/** Default rounding, no flush modes, all masked, PE set. */
export const quietMode = (e: Emitter): Val => e.eq(e.and(e.field('mxcsr'), e.const(32, 0xffe0)), e.const(32, 0x1fa0))
/** As `quietMode`, where PE is set or `exact` holds: then the result is exact and nothing can set it. */
export function quietUnlessInexact(e: Emitter, exact: () => Val): Val {
  const mxcsr = e.field('mxcsr')
  const quiet = e.eq(e.and(mxcsr, e.const(32, 0xffc0)), e.const(32, 0x1f80))
  return e.and(quiet, e.choose(e.bit(mxcsr, 5), () => e.const(1, 1), exact))
}

/** Denormals are not taken for zeros. */
export const keepsDenormals = (e: Emitter): Val => e.isZero(e.bit(e.field('mxcsr'), 6))

const widthOf = (v: Val): FloatWidth => (v.width === 64 ? 64 : 32)
const magnitude = (e: Emitter, x: Val): Val => e.and(x, e.const(widthOf(x), MAGNITUDE[widthOf(x)]))

export const isFloatZero = (e: Emitter, x: Val): Val => e.isZero(magnitude(e, x))

/** Zero or a normal number. */
export function plain(e: Emitter, x: Val): Val {
  const w = widthOf(x)
  const abs = magnitude(e, x)
  return e.or(e.isZero(abs), e.ltu(e.sub(abs, e.const(w, MINIMUM[w])), e.const(w, INFINITY[w] - MINIMUM[w])))
}

/** Normal, and above the smallest normal number: that one may have been tiny before rounding. */
export function surelyNormal(e: Emitter, x: Val): Val {
  const w = widthOf(x)
  return e.ltu(e.sub(magnitude(e, x), e.const(w, MINIMUM[w] + 1n)), e.const(w, INFINITY[w] - MINIMUM[w] - 1n))
}

const FRACTION = { 32: 23, 64: 52 } as const

/** Bits from the highest to the lowest one of a normal number's significand, width as the number's. */
function significantBits(e: Emitter, x: Val): Val {
  const w = widthOf(x)
  const hidden = e.or(x, e.const(w, 1n << BigInt(FRACTION[w])))
  return e.sub(e.const(w, FRACTION[w] + 1), e.unary('ctz', hidden))
}

/** The product of two normal numbers needs no more bits than there are. */
export function productIsExact(e: Emitter, a: Val, b: Val): Val {
  const w = widthOf(a)
  return e.ltu(e.add(significantBits(e, a), significantBits(e, b)), e.const(w, FRACTION[w] + 2))
}

/** Knuth's two-sum: the rounding error of a + b, itself exact, is zero. */
export function sumIsExact(e: Emitter, a: Flt, b: Flt, sum: Flt): Val {
  const t = a.width
  const part = e.flt(`${t}.sub`, sum, a)
  const errorA = e.flt(`${t}.sub`, a, e.flt(`${t}.sub`, sum, part))
  const error = e.flt(`${t}.add`, errorA, e.flt(`${t}.sub`, b, part))
  return isFloatZero(e, e.fltToBits(error))
}

// ── the same for whole vectors: masks of lanes ──────────────────────────────────────────────────────────────────────

const shapeOf = (w: FloatWidth): string => (w === 32 ? 'i32x4' : 'i64x2')
const splat = (e: Emitter, w: FloatWidth, value: bigint): Vec => e.vecConst(laneBytes(w, new Array<bigint>(128 / w).fill(value)))
const magnitudes = (e: Emitter, w: FloatWidth, v: Vec): Vec => e.vec('v128.and', v, splat(e, w, MAGNITUDE[w]))
const between = (e: Emitter, w: FloatWidth, abs: Vec, above: bigint, below: bigint): Vec =>
  e.vec('v128.and', e.vec(`${shapeOf(w)}.gt_s`, abs, splat(e, w, above)), e.vec(`${shapeOf(w)}.lt_s`, abs, splat(e, w, below)))

export const zeroLanes = (e: Emitter, w: FloatWidth, v: Vec): Vec => e.vec(`${shapeOf(w)}.eq`, magnitudes(e, w, v), splat(e, w, 0n))

export function plainLanes(e: Emitter, w: FloatWidth, v: Vec): Vec {
  return e.vec('v128.or', zeroLanes(e, w, v), between(e, w, magnitudes(e, w, v), MINIMUM[w] - 1n, INFINITY[w]))
}

export const surelyNormalLanes = (e: Emitter, w: FloatWidth, v: Vec): Vec => between(e, w, magnitudes(e, w, v), MINIMUM[w], INFINITY[w])

export const everyLane = (e: Emitter, w: FloatWidth, mask: Vec): Val => e.ne(e.vecTest(`${shapeOf(w)}.all_true`, mask), e.const(32, 0))

// ── exactness of whole vectors ──────────────────────────────────────────────────────────────────────────────────────

/** 2^27 + 1 and 2^12 + 1: what Veltkamp's splitting multiplies with. */
const SPLITTER = { 32: 0x4580_0800n, 64: 0x41a0_0000_0200_0000n } as const
/** Products above these have rounding errors that are normal numbers: 2^-70 and 2^-900. */
const ERROR_REPRESENTABLE = { 32: 0x1c80_0000n, 64: 0x07b0_0000_0000_0000n } as const

const floatShape = (w: FloatWidth): string => (w === 32 ? 'f32x4' : 'f64x2')
const zeroVector = (e: Emitter, w: FloatWidth): Vec => splat(e, w, 0n)

/** Lanes where a + b = sum: the rounding error by Knuth's two-sum, itself exact, is zero. */
export function exactSumLanes(e: Emitter, w: FloatWidth, a: Vec, b: Vec, sum: Vec): Vec {
  const op = (name: string, x: Vec, y: Vec): Vec => e.vec(`${floatShape(w)}.${name}`, x, y)
  const part = op('sub', sum, a)
  const error = op('add', op('sub', a, op('sub', sum, part)), op('sub', b, part))
  return op('eq', error, zeroVector(e, w))
}

/** Lanes where a · b = product: Dekker's error term is zero. False where the term could overflow or underflow. */
export function exactProductLanes(e: Emitter, w: FloatWidth, a: Vec, b: Vec, product: Vec): Vec {
  const op = (name: string, x: Vec, y: Vec): Vec => e.vec(`${floatShape(w)}.${name}`, x, y)
  const split = (x: Vec): [Vec, Vec] => {
    const scaled = op('mul', x, splat(e, w, SPLITTER[w]))
    const high = op('sub', scaled, op('sub', scaled, x))
    return [high, op('sub', x, high)]
  }
  const [aHigh, aLow] = split(a)
  const [bHigh, bLow] = split(b)
  const cross = op('add', op('add', op('sub', op('mul', aHigh, bHigh), product), op('mul', aHigh, bLow)), op('mul', aLow, bHigh))
  const exact = op('eq', op('add', cross, op('mul', aLow, bLow)), zeroVector(e, w))
  const large = e.vec(`${shapeOf(w)}.gt_s`, magnitudes(e, w, product), splat(e, w, ERROR_REPRESENTABLE[w]))
  return e.vec('v128.and', exact, large)
}

/** As `quietUnlessInexact` for vectors: `exact` gives a mask of lanes. */
export const quietUnlessInexactLanes = (e: Emitter, w: FloatWidth, exact: () => Vec): Val =>
  quietUnlessInexact(e, () => everyLane(e, w, exact()))
