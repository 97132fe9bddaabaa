/**
 * Numbers as unevaluated sums of two doubles: about 106 significant bits. Dekker, A floating-point technique for extending the
 * available precision, 1971; Knuth's two-sum. Sums assume that the first operand is the larger, or that nothing cancels.
 */
import type { Flt, HelperEmitter, Val } from '../../../emit/emitter'
import { F, ONE } from '../series'

export interface Double2 { readonly hi: Flt; readonly lo: Flt }

/** 2^27 + 1: cuts a double into two halves whose products are exact. */
const SPLITTER = 134_217_729
const FRACTION_MASK = (1n << 52n) - 1n
const EXPONENT_BIAS = 1023

const bitsOf = (value: number): bigint => new BigUint64Array(new Float64Array([value]).buffer)[0]

/** A fixed-point number of `series.ts` as two doubles. */
export function split(fixed: bigint): readonly [number, number] {
  const first = Number(fixed)
  return [first / 2 ** F, Number(fixed - BigInt(first)) / 2 ** F]
}

/** numerator / denominator as fixed point. */
export const ratio = (numerator: bigint, denominator: bigint): bigint => (numerator * ONE) / denominator

export class DoubleDouble {
  private readonly halves = new Map<Flt, readonly [Flt, Flt]>()

  constructor(private readonly e: HelperEmitter) {}

  double(value: number): Flt {
    return this.e.bitsToFlt(this.e.const(64, bitsOf(value)))
  }

  constant(fixed: bigint): Double2 {
    const [hi, lo] = split(fixed)
    return { hi: this.double(hi), lo: this.double(lo) }
  }

  private op(name: 'add' | 'sub' | 'mul' | 'div', a: Flt, b: Flt): Flt {
    return this.e.flt(`f64.${name}`, a, b)
  }

  plus(a: Flt, b: Flt): Flt { return this.op('add', a, b) }
  times(a: Flt, b: Flt): Flt { return this.op('mul', a, b) }
  over(a: Flt, b: Flt): Flt { return this.op('div', a, b) }

  /** a + b exactly, |a| ≥ |b|. */
  private quickSum(a: Flt, b: Flt): Double2 {
    const hi = this.op('add', a, b)
    return { hi, lo: this.op('sub', b, this.op('sub', hi, a)) }
  }

  private twoSum(a: Flt, b: Flt): Double2 {
    const hi = this.op('add', a, b)
    const part = this.op('sub', hi, a)
    return { hi, lo: this.op('add', this.op('sub', a, this.op('sub', hi, part)), this.op('sub', b, part)) }
  }

  private halve(a: Flt): readonly [Flt, Flt] {
    const known = this.halves.get(a)
    if (known) return known
    const scaled = this.op('mul', a, this.double(SPLITTER))
    const high = this.op('sub', scaled, this.op('sub', scaled, a))
    const made = [high, this.op('sub', a, high)] as const
    this.halves.set(a, made)
    return made
  }

  private twoProduct(a: Flt, b: Flt): Double2 {
    const hi = this.op('mul', a, b)
    const [[ah, al], [bh, bl]] = [this.halve(a), this.halve(b)]
    const cross = this.op('add', this.op('add', this.op('sub', this.op('mul', ah, bh), hi), this.op('mul', ah, bl)), this.op('mul', al, bh))
    return { hi, lo: this.op('add', cross, this.op('mul', al, bl)) }
  }

  /** Two doubles of any size, in order. */
  normal(hi: Flt, lo: Flt): Double2 {
    return this.quickSum(hi, lo)
  }

  add(a: Double2, b: Double2): Double2 {
    const sum = this.twoSum(a.hi, b.hi)
    const rest = this.twoSum(a.lo, b.lo)
    const first = this.quickSum(sum.hi, this.op('add', sum.lo, rest.hi))
    return this.quickSum(first.hi, this.op('add', first.lo, rest.lo))
  }

  subtract(a: Double2, b: Double2): Double2 {
    return this.add(a, this.negate(b))
  }

  addDouble(a: Double2, b: Flt): Double2 {
    const sum = this.twoSum(a.hi, b)
    return this.quickSum(sum.hi, this.op('add', sum.lo, a.lo))
  }

  negate({ hi, lo }: Double2): Double2 {
    return { hi: this.e.flt('f64.neg', hi), lo: this.e.flt('f64.neg', lo) }
  }

  multiply(a: Double2, b: Double2): Double2 {
    const product = this.twoProduct(a.hi, b.hi)
    return this.quickSum(product.hi, this.op('add', product.lo, this.op('add', this.op('mul', a.hi, b.lo), this.op('mul', a.lo, b.hi))))
  }

  multiplyDouble(a: Double2, b: Flt): Double2 {
    const product = this.twoProduct(a.hi, b)
    return this.quickSum(product.hi, this.op('add', product.lo, this.op('mul', a.lo, b)))
  }

  /** Times a power of two: exact. */
  scale({ hi, lo }: Double2, power: Flt): Double2 {
    return { hi: this.op('mul', hi, power), lo: this.op('mul', lo, power) }
  }

  divide(a: Double2, b: Double2): Double2 {
    const first = this.op('div', a.hi, b.hi)
    const rest = this.subtract(a, this.multiplyDouble(b, first))
    const second = this.op('div', rest.hi, b.hi)
    const last = this.subtract(rest, this.multiplyDouble(b, second))
    return this.addDouble(this.quickSum(first, second), this.op('div', last.hi, b.hi))
  }

  /**
   * A polynomial by Horner's rule. Coefficients beyond `precise` are so small against the first that doubles serve.
   * @param coefficients fixed point, of x^0, x^1, …
   */
  polynomial(x: Double2, coefficients: readonly bigint[], precise: number): Double2 {
    const rough = coefficients.slice(precise).reduceRight<Flt | undefined>((sum, fixed) => {
      const coefficient = this.double(split(fixed)[0])
      return sum ? this.op('add', this.op('mul', sum, x.hi), coefficient) : coefficient
    }, undefined)
    let sum: Double2 | undefined
    for (let k = precise - 1; k >= 0; k--) {
      const product = sum ? this.multiply(sum, x) : rough && this.twoProduct(rough, x.hi)
      sum = product ? this.add(this.constant(coefficients[k]), product) : this.constant(coefficients[k])
    }
    return sum as Double2
  }

  /** 2^exponent. @param exponent width 32, −1022 … 1023 */
  power(exponent: Val): Flt {
    const { e } = this
    return e.bitsToFlt(e.shl(e.zext(e.add(exponent, e.const(32, EXPONENT_BIAS)), 64), e.const(64, 52)))
  }

  /** A significand of 64 bits, the highest set, as a number from 1 to 2. */
  fromSignificand(sig: Val): Double2 {
    const { e } = this
    const high = e.and(e.shr(sig, e.const(64, 11)), e.const(64, FRACTION_MASK))
    const hi = e.bitsToFlt(e.or(high, e.const(64, bitsOf(1))))
    const low = e.flt('f64.convert_i64_u', e.and(sig, e.const(64, 0x7ff)))
    return this.normal(hi, this.op('mul', low, this.double(2 ** -63)))
  }

  /**
   * A positive number as a significand of 128 bits, the highest set.
   * @returns with it the exponent of two of its value, width 32
   */
  toSignificand(v: Double2): { readonly hi: Val; readonly lo: Val; readonly exponent: Val } {
    const { e } = this
    const exponent = e.sub(e.trunc(e.shr(e.fltToBits(v.hi), e.const(64, 52)), 32), e.const(32, EXPONENT_BIAS))
    const power = this.power(e.sub(e.const(32, 62), exponent))
    const low = this.op('mul', v.lo, power)
    const floor = e.flt('f64.floor', low)
    const whole = e.add(e.fltToInt('i64.trunc_sat_f64_s', this.op('mul', v.hi, power)), e.fltToInt('i64.trunc_sat_f64_s', floor))
    const rest = e.fltToInt('i64.trunc_sat_f64_u', this.op('mul', this.op('sub', low, floor), this.double(2 ** 64)))
    const zeros = e.unary('clz', whole)
    const carried = e.shr(e.shr(rest, e.const(64, 1)), e.sub(e.const(64, 63), zeros))
    return {
      hi: e.or(e.shl(whole, zeros), carried), lo: e.shl(rest, zeros),
      exponent: e.sub(e.add(exponent, e.const(32, 1)), e.trunc(zeros, 32)),
    }
  }
}
