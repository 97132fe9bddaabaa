/** IEEE 754 binary32 and binary64 as x86 SSE sees them: unpacking, rounding, packing. SDM vol. 1, 4.8, 4.9 and 11.5. */

/** Exception flags, in MXCSR's order. */
export const Exc = { I: 1, D: 2, Z: 4, O: 8, U: 16, P: 32 } as const

export interface FloatFormat {
  readonly bits: 32 | 64
  /** Fraction bits, without the hidden one. */
  readonly fraction: number
  readonly bias: number
}

export const F32: FloatFormat = { bits: 32, fraction: 23, bias: 127 }
export const F64: FloatFormat = { bits: 64, fraction: 52, bias: 1023 }

/** 0 nearest even, 1 down, 2 up, 3 towards zero: the encoding of MXCSR.RC and of ROUNDPS's immediate. */
export type Rounding = 0 | 1 | 2 | 3

/** Controls of one operation, and the flags it raises. */
export class FloatEnvironment {
  flags = 0
  constructor(
    readonly rounding: Rounding,
    /** Exceptions that are masked, as `Exc` bits. */
    readonly masked: number,
    readonly denormalsAreZero: boolean,
    readonly flushToZero: boolean,
  ) {}

  /** From MXCSR. */
  static of(mxcsr: number): FloatEnvironment {
    return new FloatEnvironment(((mxcsr >> 13) & 3) as Rounding, (mxcsr >> 7) & 63, (mxcsr & 0x40) !== 0, (mxcsr & 0x8000) !== 0)
  }
}

export type FloatKind = 'zero' | 'finite' | 'infinity' | 'quiet' | 'signalling'

/** |value| = significand * 2^exponent for finite numbers. */
export interface Unpacked {
  readonly kind: FloatKind
  readonly negative: boolean
  readonly significand: bigint
  readonly exponent: number
  readonly denormal: boolean
  /** As it was, or zero of its sign under denormals-are-zero. */
  readonly bits: bigint
}

const signOf = (format: FloatFormat): bigint => 1n << BigInt(format.bits - 1)
const maxExponentField = (format: FloatFormat): number => 2 * format.bias + 1

export const quietBit = (format: FloatFormat): bigint => 1n << BigInt(format.fraction - 1)
export const infinity = (format: FloatFormat, negative: boolean): bigint =>
  (BigInt(maxExponentField(format)) << BigInt(format.fraction)) | (negative ? signOf(format) : 0n)
/** The QNaN "real indefinite": negative, quiet bit only. */
export const indefinite = (format: FloatFormat): bigint => infinity(format, true) | quietBit(format)
export const zero = (format: FloatFormat, negative: boolean): bigint => (negative ? signOf(format) : 0n)

export function unpack(format: FloatFormat, bits: bigint, env: FloatEnvironment): Unpacked {
  const negative = (bits & signOf(format)) !== 0n
  const fraction = bits & ((1n << BigInt(format.fraction)) - 1n)
  const field = Number((bits >> BigInt(format.fraction)) & BigInt(maxExponentField(format)))
  const special = (kind: FloatKind, value = bits): Unpacked => ({ kind, negative, significand: 0n, exponent: 0, denormal: false, bits: value })
  if (field === maxExponentField(format)) {
    if (fraction === 0n) return special('infinity')
    return special((fraction & quietBit(format)) !== 0n ? 'quiet' : 'signalling')
  }
  if (field === 0 && (fraction === 0n || env.denormalsAreZero)) return special('zero', zero(format, negative))
  const denormal = field === 0
  const significand = denormal ? fraction : fraction | (1n << BigInt(format.fraction))
  return { kind: 'finite', negative, significand, exponent: Math.max(field, 1) - format.bias - format.fraction, denormal, bits }
}

export const isNaNKind = ({ kind }: Unpacked): boolean => kind === 'quiet' || kind === 'signalling'

export const bitLength = (value: bigint): number => (value === 0n ? 0 : value.toString(16).length * 4 - Math.clz32(parseInt(value.toString(16)[0] ?? '0', 16)) + 28)

/** Cuts `shift` low bits off and rounds. */
export function roundShift(value: bigint, shift: number, negative: boolean, rounding: Rounding): { result: bigint; inexact: boolean } {
  if (shift <= 0) return { result: value << BigInt(-shift), inexact: false }
  const kept = value >> BigInt(shift)
  const rest = value - (kept << BigInt(shift))
  if (rest === 0n) return { result: kept, inexact: false }
  const half = 1n << BigInt(shift - 1)
  const up = rounding === 0 ? rest > half || (rest === half && (kept & 1n) !== 0n)
    : rounding === 1 ? negative : rounding === 2 ? !negative : false
  return { result: up ? kept + 1n : kept, inexact: true }
}

function overflowResult(format: FloatFormat, negative: boolean, rounding: Rounding): bigint {
  const toInfinity = rounding === 0 || (rounding === 1 && negative) || (rounding === 2 && !negative)
  return toInfinity ? infinity(format, negative) : infinity(format, negative) - 1n
}

function roundTiny(format: FloatFormat, env: FloatEnvironment, negative: boolean, significand: bigint, exponent: number, wasInexact: boolean): bigint {
  if ((env.masked & Exc.U) === 0) {
    // The trap gets the result with unbounded exponent; nothing is written, only the flags are seen.
    env.flags |= Exc.U | (wasInexact ? Exc.P : 0)
    return zero(format, negative)
  }
  if (env.flushToZero) {
    env.flags |= Exc.U | Exc.P
    return zero(format, negative)
  }
  const { result, inexact } = roundShift(significand, 1 - format.bias - format.fraction - exponent, negative, env.rounding)
  if (inexact) env.flags |= Exc.U | Exc.P
  return result | zero(format, negative)
}

/**
 * Rounds ±significand * 2^exponent (significand > 0; its lowest bit may stand for any remainder below it, provided it has
 * at least two bits more than the format) and packs it. Tininess is detected after rounding, as SSE does.
 */
export function roundPack(format: FloatFormat, env: FloatEnvironment, negative: boolean, significand: bigint, exponent: number): bigint {
  const precision = format.fraction + 1
  const shift = bitLength(significand) - precision
  const rounded = roundShift(significand, shift, negative, env.rounding)
  const { inexact } = rounded
  let { result } = rounded
  let top = exponent + shift + format.fraction
  if (bitLength(result) > precision) { result >>= 1n; top++ }
  if (top < 1 - format.bias) return roundTiny(format, env, negative, significand, exponent, inexact)
  if (top > format.bias) {
    env.flags |= Exc.O | (inexact || (env.masked & Exc.O) !== 0 ? Exc.P : 0)
    return overflowResult(format, negative, env.rounding)
  }
  if (inexact) env.flags |= Exc.P
  return (BigInt(top + format.bias - 1) << BigInt(format.fraction)) + result + zero(format, negative)
}
