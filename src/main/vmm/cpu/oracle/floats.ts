/** wasm's scalar float instructions over bits, WebAssembly Core Specification 4.3.3. */
import { maskOf } from './values'

export type FloatShape = 32 | 64

/** Value of IEEE bits. */
export function toNumber(shape: FloatShape, bits: bigint): number {
  const scratch = new DataView(new ArrayBuffer(8))
  scratch.setBigUint64(0, bits)
  return shape === 64 ? scratch.getFloat64(0) : scratch.getFloat32(4)
}

export function toBits(shape: FloatShape, value: number): bigint {
  if (Number.isNaN(value)) return canonicalNaN(shape)
  const scratch = new DataView(new ArrayBuffer(8))
  if (shape === 64) scratch.setFloat64(0, value)
  else { scratch.setUint32(0, 0); scratch.setFloat32(4, value) }
  return scratch.getBigUint64(0)
}

export const canonicalNaN = (shape: FloatShape): bigint => (shape === 64 ? 0x7ff8_0000_0000_0000n : 0x7fc0_0000n)
const signBit = (shape: FloatShape): bigint => 1n << BigInt(shape - 1)

/** First NaN operand made quiet, as V8 on x86 gives it; wasm leaves the payload open, meanings must not rely on it. */
function propagateNaN(shape: FloatShape, ...operands: bigint[]): bigint {
  const nan = operands.find((bits) => Number.isNaN(toNumber(shape, bits)))
  return nan === undefined ? canonicalNaN(shape) | signBit(shape) : nan | (1n << (shape === 64 ? 51n : 22n))
}

function nearestEven(x: number): number {
  if (!Number.isFinite(x) || x === 0 || Math.abs(x) >= 2 ** 52) return x
  const floor = Math.floor(x)
  const rest = x - floor
  const rounded = rest < 0.5 ? floor : rest > 0.5 ? floor + 1 : floor % 2 === 0 ? floor : floor + 1
  return rounded === 0 && x < 0 ? -0 : rounded
}

function least(a: number, b: number): number {
  if (a === 0 && b === 0) return Object.is(a, -0) || Object.is(b, -0) ? -0 : 0
  return a < b ? a : b
}

function greatest(a: number, b: number): number {
  if (a === 0 && b === 0) return Object.is(a, -0) && Object.is(b, -0) ? -0 : 0
  return a > b ? a : b
}

const UNARY: Readonly<Record<string, (x: number) => number>> = {
  ceil: Math.ceil, floor: Math.floor, trunc: Math.trunc, nearest: nearestEven, sqrt: Math.sqrt,
}

const BINARY: Readonly<Record<string, (a: number, b: number) => number>> = {
  add: (a, b) => a + b, sub: (a, b) => a - b, mul: (a, b) => a * b, div: (a, b) => a / b, min: least, max: greatest,
}

const COMPARE: Readonly<Record<string, (a: number, b: number) => boolean>> = {
  eq: (a, b) => a === b, ne: (a, b) => a !== b, lt: (a, b) => a < b, gt: (a, b) => a > b, le: (a, b) => a <= b, ge: (a, b) => a >= b,
}

/** Result of an operation with one or two operands of the shape, as bits; undefined for an unknown name. */
export function floatOp(shape: FloatShape, op: string, a: bigint, b = 0n): bigint | undefined {
  switch (op) {
    case 'abs': return a & ~signBit(shape)
    case 'neg': return a ^ signBit(shape)
    case 'copysign': return (a & ~signBit(shape)) | (b & signBit(shape))
    // Pseudo-minimum and -maximum choose one operand unchanged: b < a ? b : a and a < b ? b : a.
    case 'pmin': return toNumber(shape, b) < toNumber(shape, a) ? b : a
    case 'pmax': return toNumber(shape, a) < toNumber(shape, b) ? b : a
  }
  const one = UNARY[op]
  if (one) {
    const result = one(toNumber(shape, a))
    return Number.isNaN(result) ? propagateNaN(shape, a) : toBits(shape, result)
  }
  const two = BINARY[op]
  if (!two) return undefined
  const [x, y] = [toNumber(shape, a), toNumber(shape, b)]
  const result = Number.isNaN(x) || Number.isNaN(y) ? NaN : two(x, y)
  // Rounding a double result to 32 bits is exact for these operations: 53 >= 2 * 24 + 2.
  return Number.isNaN(result) ? propagateNaN(shape, a, b) : toBits(shape, result)
}

export function floatCompare(shape: FloatShape, op: string, a: bigint, b: bigint): boolean | undefined {
  return COMPARE[op]?.(toNumber(shape, a), toNumber(shape, b))
}

/** Integer to float, rounded once to nearest even. */
export function fromInteger(shape: FloatShape, value: bigint): bigint {
  const magnitude = value < 0n ? -value : value
  const keep = shape === 64 ? 0 : 40
  const extra = magnitude.toString(2).length - keep
  if (shape === 64 || extra <= 0) return toBits(shape, Number(value))
  const shift = BigInt(extra)
  const sticky = (magnitude & maskOf(extra)) === 0n ? 0n : 1n
  const rounded = Math.fround(Number((magnitude >> shift) | sticky)) * 2 ** extra
  return toBits(32, value < 0n ? -rounded : rounded)
}

/** Truncation with saturation to an integer of `width` bits; NaN gives 0. */
export function truncateSaturated(shape: FloatShape, bits: bigint, width: 32 | 64, isSigned: boolean): bigint {
  const x = toNumber(shape, bits)
  const low = isSigned ? -(1n << BigInt(width - 1)) : 0n
  const high = isSigned ? (1n << BigInt(width - 1)) - 1n : maskOf(width)
  if (Number.isNaN(x)) return 0n
  if (!Number.isFinite(x)) return BigInt.asUintN(width, x < 0 ? low : high)
  const whole = BigInt(Math.trunc(x))
  return BigInt.asUintN(width, whole < low ? low : whole > high ? high : whole)
}

/** f64.promote_f32 and f32.demote_f64. */
export function convertShape(from: FloatShape, bits: bigint): bigint {
  const x = toNumber(from, bits)
  const to: FloatShape = from === 32 ? 64 : 32
  if (!Number.isNaN(x)) return toBits(to, x)
  const sign = bits >> BigInt(from - 1)
  const payload = from === 32 ? (bits & 0x3f_ffffn) << 29n : (bits >> 29n) & 0x3f_ffffn
  return canonicalNaN(to) | payload | (sign << BigInt(to - 1))
}
