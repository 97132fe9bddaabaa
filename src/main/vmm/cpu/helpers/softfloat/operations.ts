/** Arithmetic, comparison and conversion of SSE numbers, exact in result and flags. SDM vol. 1, tables 4-7, 11-1 and E. */
import {
  Exc, F32, F64, bitLength, indefinite, infinity, isNaNKind, quietBit, roundPack, roundShift, unpack, zero,
  type FloatEnvironment, type FloatFormat, type Rounding, type Unpacked,
} from './format'

/** The first NaN operand, made quiet; SNaN raises Invalid. Undefined where neither is a NaN. */
function propagate(format: FloatFormat, env: FloatEnvironment, a: Unpacked, b: Unpacked): bigint | undefined {
  if (a.kind === 'signalling' || b.kind === 'signalling') env.flags |= Exc.I
  if (isNaNKind(a)) return a.bits | quietBit(format)
  return isNaNKind(b) ? b.bits | quietBit(format) : undefined
}

function invalid(format: FloatFormat, env: FloatEnvironment): bigint {
  env.flags |= Exc.I
  return indefinite(format)
}

const noteDenormals = (env: FloatEnvironment, ...operands: Unpacked[]): void => {
  if (operands.some(({ denormal }) => denormal)) env.flags |= Exc.D
}

function sum(format: FloatFormat, env: FloatEnvironment, x: Unpacked, y: Unpacked): bigint {
  if (x.kind === 'infinity') return y.kind === 'infinity' && x.negative !== y.negative ? invalid(format, env) : (noteDenormals(env, y), x.bits)
  noteDenormals(env, x, y)
  if (y.kind === 'infinity') return infinity(format, y.negative)
  const exponent = x.kind === 'zero' ? y.exponent : y.kind === 'zero' ? x.exponent : Math.min(x.exponent, y.exponent)
  const scaled = ({ significand, exponent: own, negative, kind }: Unpacked): bigint => {
    if (kind === 'zero') return 0n
    const shifted = significand << BigInt(own - exponent)
    return negative ? -shifted : shifted
  }
  const total = scaled(x) + scaled(y)
  if (total === 0n) {
    const bothNegative = x.negative && y.negative
    const cancels = x.negative !== y.negative
    return zero(format, bothNegative || (cancels && env.rounding === 1))
  }
  return roundPack(format, env, total < 0n, total < 0n ? -total : total, exponent)
}

export function add(format: FloatFormat, env: FloatEnvironment, a: bigint, b: bigint): bigint {
  const [x, y] = [unpack(format, a, env), unpack(format, b, env)]
  return propagate(format, env, x, y) ?? sum(format, env, x, y)
}

export function subtract(format: FloatFormat, env: FloatEnvironment, a: bigint, b: bigint): bigint {
  const [x, y] = [unpack(format, a, env), unpack(format, b, env)]
  return propagate(format, env, x, y) ?? sum(format, env, x, { ...y, negative: !y.negative })
}

export function multiply(format: FloatFormat, env: FloatEnvironment, a: bigint, b: bigint): bigint {
  const [x, y] = [unpack(format, a, env), unpack(format, b, env)]
  const nan = propagate(format, env, x, y)
  if (nan !== undefined) return nan
  const negative = x.negative !== y.negative
  const infinite = x.kind === 'infinity' || y.kind === 'infinity'
  if (infinite && (x.kind === 'zero' || y.kind === 'zero')) return invalid(format, env)
  noteDenormals(env, x, y)
  if (infinite) return infinity(format, negative)
  if (x.kind === 'zero' || y.kind === 'zero') return zero(format, negative)
  return roundPack(format, env, negative, x.significand * y.significand, x.exponent + y.exponent)
}

export function divide(format: FloatFormat, env: FloatEnvironment, a: bigint, b: bigint): bigint {
  const [x, y] = [unpack(format, a, env), unpack(format, b, env)]
  const nan = propagate(format, env, x, y)
  if (nan !== undefined) return nan
  const negative = x.negative !== y.negative
  if (x.kind === y.kind && x.kind !== 'finite') return invalid(format, env)
  if (x.kind === 'infinity') { noteDenormals(env, y); return infinity(format, negative) }
  if (y.kind === 'zero') { env.flags |= Exc.Z; return infinity(format, negative) }
  noteDenormals(env, x, y)
  if (y.kind === 'infinity' || x.kind === 'zero') return zero(format, negative)
  const extra = BigInt(2 * format.fraction + 6)
  const dividend = x.significand << extra
  const quotient = dividend / y.significand
  const sticky = quotient * y.significand === dividend ? 0n : 1n
  return roundPack(format, env, negative, (quotient << 1n) | sticky, x.exponent - y.exponent - Number(extra) - 1)
}

function integerRoot(value: bigint): bigint {
  let x = 1n << BigInt((bitLength(value) + 1) >> 1)
  for (;;) {
    const next = (x + value / x) >> 1n
    if (next >= x) return x
    x = next
  }
}

export function squareRoot(format: FloatFormat, env: FloatEnvironment, a: bigint): bigint {
  const x = unpack(format, a, env)
  const nan = propagate(format, env, x, x)
  if (nan !== undefined) return nan
  if (x.kind === 'zero') return x.bits
  if (x.negative) return invalid(format, env)
  if (x.kind === 'infinity') return x.bits
  noteDenormals(env, x)
  const extra = 2 * format.fraction + 8 + ((x.exponent - (2 * format.fraction + 8)) & 1)
  const radicand = x.significand << BigInt(extra)
  const root = integerRoot(radicand)
  const sticky = root * root === radicand ? 0n : 1n
  return roundPack(format, env, false, (root << 1n) | sticky, (x.exponent - extra) / 2 - 1)
}

/** Order of two numbers that are no NaNs. */
function order(format: FloatFormat, x: Unpacked, y: Unpacked): -1 | 0 | 1 {
  // Sign and magnitude as an integer: ordered as the numbers are, and both zeros are 0.
  const key = ({ bits, negative }: Unpacked): bigint => {
    const magnitude = bits & ((1n << BigInt(format.bits - 1)) - 1n)
    return negative ? -magnitude : magnitude
  }
  const [a, b] = [key(x), key(y)]
  return a < b ? -1 : a > b ? 1 : 0
}

/** @param signals quiet NaNs raise Invalid too */
export function compare(format: FloatFormat, env: FloatEnvironment, a: bigint, b: bigint, signals: boolean): -1 | 0 | 1 | undefined {
  const [x, y] = [unpack(format, a, env), unpack(format, b, env)]
  if (isNaNKind(x) || isNaNKind(y)) {
    if (signals || x.kind === 'signalling' || y.kind === 'signalling') env.flags |= Exc.I
    return undefined
  }
  noteDenormals(env, x, y)
  return order(format, x, y)
}

/** MINPS and MAXPS: the second operand where either is a NaN or both are zeros. */
export function minMax(format: FloatFormat, env: FloatEnvironment, a: bigint, b: bigint, wantMax: boolean): bigint {
  const [x, y] = [unpack(format, a, env), unpack(format, b, env)]
  const relation = compare(format, env, a, b, true)
  return relation === (wantMax ? 1 : -1) ? x.bits : y.bits
}

/** CMPPS predicate 0 … 7. */
export function predicate(format: FloatFormat, env: FloatEnvironment, a: bigint, b: bigint, which: number): boolean {
  const base = which & 3
  const relation = compare(format, env, a, b, base === 1 || base === 2)
  const holds = base === 0 ? relation === 0
    : base === 1 ? relation === -1
      : base === 2 ? relation === -1 || relation === 0
        : relation === undefined
  return (which & 4) !== 0 ? !holds : holds
}

/** CVTSS2SD, CVTSD2SS and their packed forms. */
export function convertFormat(from: FloatFormat, to: FloatFormat, env: FloatEnvironment, a: bigint): bigint {
  const x = unpack(from, a, env)
  if (isNaNKind(x)) {
    if (x.kind === 'signalling') env.flags |= Exc.I
    const fraction = a & ((1n << BigInt(from.fraction)) - 1n)
    const moved = from.fraction < to.fraction ? fraction << BigInt(to.fraction - from.fraction) : fraction >> BigInt(from.fraction - to.fraction)
    return infinity(to, x.negative) | moved | quietBit(to)
  }
  if (x.kind === 'infinity') return infinity(to, x.negative)
  if (x.kind === 'zero') return zero(to, x.negative)
  noteDenormals(env, x)
  return roundPack(to, env, x.negative, x.significand, x.exponent)
}

/** Integer of `width` bits, two's complement; the integer indefinite where it does not fit. */
export function toInteger(format: FloatFormat, env: FloatEnvironment, a: bigint, width: 32 | 64, rounding: Rounding): bigint {
  const x = unpack(format, a, env)
  if (x.kind === 'zero') return 0n
  const outside = (): bigint => { env.flags |= Exc.I; return 1n << BigInt(width - 1) }
  if (x.kind !== 'finite' || x.exponent > 64) return outside()
  const { result, inexact } = roundShift(x.significand, -x.exponent, x.negative, rounding)
  const value = x.negative ? -result : result
  if (BigInt.asIntN(width, value) !== value) return outside()
  if (inexact) env.flags |= Exc.P
  return BigInt.asUintN(width, value)
}

/** @param value signed */
export function fromInteger(format: FloatFormat, env: FloatEnvironment, value: bigint): bigint {
  if (value === 0n) return 0n
  return roundPack(format, env, value < 0n, value < 0n ? -value : value, 0)
}

/** ROUNDPS: to an integral value in the same format. */
export function roundIntegral(format: FloatFormat, env: FloatEnvironment, a: bigint, rounding: Rounding, quietly: boolean): bigint {
  const x = unpack(format, a, env)
  const nan = propagate(format, env, x, x)
  if (nan !== undefined) return nan
  if (x.kind !== 'finite' || x.exponent >= 0) return x.bits
  const { result, inexact } = roundShift(x.significand, -x.exponent, x.negative, rounding)
  if (inexact && !quietly) env.flags |= Exc.P
  if (result === 0n) return zero(format, x.negative)
  return roundPack(format, env, x.negative, result, 0)
}

export const formatOf = (bits: 32 | 64): FloatFormat => (bits === 64 ? F64 : F32)
