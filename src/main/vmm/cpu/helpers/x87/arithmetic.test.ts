import { describe, expect, it } from 'vitest'
import { add, compare, divide, multiply, remainder, roundToInteger, scale, squareRoot, subtract, type FpMode } from './arithmetic'
import {
  DEFAULT_NAN, DOUBLE, Fx, SINGLE, bitLength, fromDouble, fromInteger, fromSingle, infinity, kindOf, toIeee, toInteger, zero,
  type Float80, type Rounding,
} from './float80'

const mode = (rounding: Rounding = 0, precision = 64, unmasked = 0): FpMode =>
  ({ precision, rounding, status: { flags: 0, roundedUp: false }, unmasked })
const doubleBits = (value: number): bigint => new BigUint64Array(new Float64Array([value]).buffer)[0]
const from = (value: number): Float80 => fromDouble(doubleBits(value))
/** Back to a double, rounded to nearest. */
const to = (v: Float80): number => new Float64Array(new BigUint64Array([toIeee(v, DOUBLE, 0, { flags: 0, roundedUp: false })]).buffer)[0]

const VALUES = [1, -1, 0.1, 3, -2.5, 1e300, -1e-300, 1 / 3, 123456789.125, 5e-324, 2 ** 63]

describe('arithmetic with 53 bits', () => {
  it('agrees with IEEE doubles in the common range', () => {
    for (const a of VALUES) {
      for (const b of VALUES) {
        if (Math.abs(Math.log2(Math.abs(a)) + Math.log2(Math.abs(b))) > 1000 || Math.min(Math.abs(a), Math.abs(b)) < 1e-290) continue
        if (Math.max(Math.abs(a), Math.abs(b)) > 1e290) continue
        expect(to(add(from(a), from(b), mode(0, 53)))).toBe(a + b)
        expect(to(subtract(from(a), from(b), mode(0, 53)))).toBe(a - b)
        expect(to(multiply(from(a), from(b), mode(0, 53)))).toBe(a * b)
        expect(to(divide(from(a), from(b), mode(0, 53)))).toBe(a / b)
      }
      if (a > 1e-290) expect(to(squareRoot(from(a), mode(0, 53)))).toBe(Math.sqrt(a))
    }
  })

  it('keeps 64 bits where it is told to', () => {
    const third = divide(from(1), from(3), mode())
    expect(third).toEqual({ sign: 0, exp: 0x3ffd, sig: 0xaaaa_aaaa_aaaa_aaabn })
    expect(divide(from(1), from(3), mode(1)).sig).toBe(0xaaaa_aaaa_aaaa_aaaan)
    expect(divide(from(1), from(3), mode(0, 24)).sig).toBe(0xaaaa_ab00_0000_0000n)
  })
})

describe('special values', () => {
  it('reports what cannot be computed', () => {
    const check = (compute: (m: FpMode) => Float80, flags: number, result: Float80): void => {
      const m = mode()
      expect(compute(m)).toEqual(result)
      expect(m.status.flags).toBe(flags)
    }
    check((m) => subtract(infinity(0), infinity(0), m), Fx.IE, DEFAULT_NAN)
    check((m) => multiply(infinity(0), zero(0), m), Fx.IE, DEFAULT_NAN)
    check((m) => divide(from(-1), zero(0), m), Fx.ZE, infinity(1))
    check((m) => divide(zero(0), zero(0), m), Fx.IE, DEFAULT_NAN)
    check((m) => squareRoot(from(-4), m), Fx.IE, DEFAULT_NAN)
    check((m) => squareRoot(zero(1), m), 0, zero(1))
    check((m) => scale(from(1), from(100000), m), Fx.OE | Fx.PE, infinity(0))
    check((m) => scale(from(1), from(-100000), m), Fx.UE | Fx.PE, zero(0))
    check((m) => roundToInteger(from(-0.5), m), Fx.PE, zero(1))
  })

  it('orders numbers, zeros and infinities', () => {
    expect(compare(from(-2), from(-1), false, mode())).toBe('less')
    expect(compare(zero(0), zero(1), false, mode())).toBe('equal')
    expect(compare(infinity(0), from(1e300), false, mode())).toBe('greater')
    const quiet = mode()
    expect(compare(DEFAULT_NAN, from(1), true, quiet)).toBe('unordered')
    expect(quiet.status.flags).toBe(0)
    const loud = mode()
    compare(DEFAULT_NAN, from(1), false, loud)
    expect(loud.status.flags).toBe(Fx.IE)
  })

  it('gives remainders with the quotient\'s low bits, and in steps where the exponents are far apart', () => {
    const truncated = remainder(from(17), from(5), false, mode())
    expect([to(truncated.value), truncated.quotient]).toEqual([2, 3])
    const nearest = remainder(from(18), from(5), true, mode())
    expect([to(nearest.value), nearest.quotient]).toEqual([-2, 4])
    let step = remainder(from(1e100), from(3), false, mode())
    expect(step.incomplete).toBe(true)
    for (let n = 0; step.incomplete && n < 20; n++) step = remainder(step.value, from(3), false, mode())
    expect(step.incomplete).toBe(false)
    expect(to(step.value)).toBe(1e100 % 3)
  })
})

describe('formats', () => {
  it('counts bits', () => {
    for (const n of [1, 2, 7, 8, 63, 64, 65, 127, 128, 1000]) {
      expect(bitLength(1n << BigInt(n))).toBe(n + 1)
      expect(bitLength((1n << BigInt(n)) - 1n)).toBe(n)
    }
  })

  it('converts singles and doubles both ways', () => {
    for (const value of [...VALUES, 0, -0, Infinity, -Infinity]) expect(to(from(value))).toBe(value)
    expect(to(fromSingle(0x3fc00000))).toBe(1.5)
    expect(to(fromSingle(1))).toBe(2 ** -149)
    expect(toIeee(from(0.1), SINGLE, 0, { flags: 0, roundedUp: false })).toBe(0x3dcc_cccdn)
    expect(kindOf(fromDouble(0x7ff0_0000_0000_0001n))).toBe('signalling')
  })

  it('rounds to integers in each direction', () => {
    const status = { flags: 0, roundedUp: false }
    const rounded = ([0, 1, 2, 3] as const).map((rounding) => toInteger(from(-2.5), 16, rounding, status))
    expect(rounded).toEqual([-2n, -3n, -2n, -2n])
    expect(status.flags).toBe(Fx.PE)
    const tooLarge = { flags: 0, roundedUp: false }
    expect(toInteger(fromInteger(32768n), 16, 0, tooLarge)).toBeUndefined()
    expect(tooLarge.flags).toBe(Fx.IE)
    expect(toInteger(fromInteger(-32768n), 16, 0, tooLarge)).toBe(-32768n)
  })
})
