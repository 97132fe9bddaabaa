import { describe, expect, it } from 'vitest'
import type { FpMode } from './arithmetic'
import { toDecimal } from './decimal'
import { DOUBLE, Fx, fromDouble, fromInteger, infinity, toIeee, zero, type Float80, type FpStatus } from './float80'
import { F, LN2, PI, sineCosine } from './series'
import { angle, exponential, timesLog2, timesLog2OnePlus } from './transcendental'

const mode = (): FpMode => ({ precision: 64, rounding: 0, status: { flags: 0, roundedUp: false }, unmasked: 0 })
const from = (value: number): Float80 => fromDouble(new BigUint64Array(new Float64Array([value]).buffer)[0])
const to = (v: Float80): number => new Float64Array(new BigUint64Array([toIeee(v, DOUBLE, 0, { flags: 0, roundedUp: false })]).buffer)[0]
/** Fixed point to 64 bits of fraction: more than a double shows. */
const upper = (v: bigint): string => (v >> BigInt(F - 128)).toString(16)

describe('series', () => {
  it('knows its constants to 128 bits', () => {
    expect(upper(PI)).toBe('3243f6a8885a308d313198a2e03707344')
    expect(upper(LN2)).toBe('b17217f7d1cf79abc9e3b39803f2f6af')
  })

  it('sine and cosine lie on the unit circle, whatever the quadrant', () => {
    for (let i = -20; i <= 20; i++) {
      const x = (BigInt(i) << BigInt(F)) / 3n
      const { sine, cosine } = sineCosine(x)
      const error = sine * sine + cosine * cosine - (1n << BigInt(2 * F))
      expect(error < 0n ? -error : error).toBeLessThan(1n << BigInt(2 * F - 250))
      expect(Number(sine >> BigInt(F - 60)) / 2 ** 60).toBeCloseTo(Math.sin(i / 3), 14)
      expect(Number(cosine >> BigInt(F - 60)) / 2 ** 60).toBeCloseTo(Math.cos(i / 3), 14)
    }
  })
})

describe('transcendental functions', () => {
  it('powers: 2^x - 1', () => {
    for (const x of [0.5, -0.5, 0.001, -0.9999, 1e-30]) {
      expect(to(exponential(from(x), mode())) / Math.expm1(x * Math.LN2)).toBeCloseTo(1, 14)
    }
    expect(exponential(from(-1), mode())).toEqual(from(-0.5))
    expect(exponential(infinity(1), mode())).toEqual(from(-1))
  })

  it('logarithms, exact at powers of two', () => {
    expect(timesLog2(from(8), from(5), mode())).toEqual(from(15))
    expect(timesLog2(from(0.25), from(5), mode())).toEqual(from(-10))
    expect(timesLog2(from(1), from(-5), mode())).toEqual(zero(1))
    expect(to(timesLog2(from(10), from(1), mode()))).toBe(Math.log2(10))
    expect(to(timesLog2OnePlus(from(1e-20), from(1), mode())) / (1e-20 / Math.LN2)).toBeCloseTo(1, 14)
    expect(to(timesLog2OnePlus(from(0.25), from(1), mode()))).toBe(Math.log2(1.25))
    const m = mode()
    expect(timesLog2(zero(0), from(1), m)).toEqual(infinity(1))
    expect(m.status.flags).toBe(Fx.ZE)
  })

  it('angles in every quadrant', () => {
    for (const y of [0, -0, 1, -1, 1e-30, -3, Infinity, -Infinity]) {
      for (const x of [0, -0, 1, -1, 1e30, -0.1, Infinity, -Infinity]) expect(to(angle(from(x), from(y), mode()))).toBeCloseTo(Math.atan2(y, x), 14)
    }
    expect(angle(from(-1), zero(0), mode())).toEqual({ sign: 0, exp: 0x4000, sig: 0xc90f_daa2_2168_c235n })
  })
})

describe('packed decimals', () => {
  const pack = (v: Float80): { bits: bigint; high: number; flags: number } => {
    const status: FpStatus = { flags: 0, roundedUp: false }
    return { ...toDecimal(v, 0, status), flags: status.flags }
  }

  it('holds eighteen digits and a sign', () => {
    expect(pack(fromInteger(-123456789012345678n))).toEqual({ bits: 0x3456_7890_1234_5678n, high: 0x8012, flags: 0 })
    expect(pack(from(2.5))).toEqual({ bits: 2n, high: 0, flags: Fx.PE })
    expect(pack(fromInteger(10n ** 18n))).toEqual({ bits: 0xc000_0000_0000_0000n, high: 0xffff, flags: Fx.IE })
    expect(pack(fromInteger(10n ** 18n - 1n))).toEqual({ bits: 0x9999_9999_9999_9999n, high: 0x99, flags: 0 })
  })
})
