/** The exact arithmetic against JavaScript's own (nearest even), and directed rounding against its definition. */
import { describe, expect, it } from 'vitest'
import { Exc, F32, F64, FloatEnvironment, type FloatFormat, type Rounding } from './format'
import {
  add, compare, convertFormat, divide, fromInteger, minMax, multiply, predicate, roundIntegral, squareRoot, subtract, toInteger,
} from './operations'

const view = new DataView(new ArrayBuffer(8))
const toNumber = (format: FloatFormat, bits: bigint): number => {
  view.setBigUint64(0, bits)
  return format.bits === 64 ? view.getFloat64(0) : view.getFloat32(4)
}
const toBits = (format: FloatFormat, value: number): bigint => {
  view.setBigUint64(0, 0n)
  if (format.bits === 64) view.setFloat64(0, value)
  else view.setFloat32(4, value)
  return view.getBigUint64(0)
}

const nearest = (): FloatEnvironment => new FloatEnvironment(0, 63, false, false)

let seed = 12345
const next32 = (): number => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0
  return (seed ^ (seed >>> 15)) >>> 0
}
/** Random bits whose exponents are near the middle half of the time, so that sums and products matter. */
function randomBits(format: FloatFormat): bigint {
  const bits = format.bits === 64 ? (BigInt(next32()) << 32n) | BigInt(next32()) : BigInt(next32())
  if (next32() % 2 === 0) return bits
  const field = BigInt(format.bias - 8 + (next32() % 16))
  const exponentMask = BigInt(2 * format.bias + 1) << BigInt(format.fraction)
  return (bits & ~exponentMask) | (field << BigInt(format.fraction))
}
const isNaNBits = (format: FloatFormat, bits: bigint): boolean => Number.isNaN(toNumber(format, bits))

const OPERATIONS = [
  ['add', add, (a: number, b: number) => a + b], ['subtract', subtract, (a: number, b: number) => a - b],
  ['multiply', multiply, (a: number, b: number) => a * b], ['divide', divide, (a: number, b: number) => a / b],
  ['squareRoot', (f: FloatFormat, env: FloatEnvironment, a: bigint) => squareRoot(f, env, a), (a: number) => Math.sqrt(a)],
] as const

describe.each([['binary32', F32], ['binary64', F64]] as const)('%s', (_name, format) => {
  it.each(OPERATIONS)('%s agrees with JavaScript on random bits', (_op, exact, native) => {
    for (let n = 0; n < 20_000; n++) {
      const [a, b] = [randomBits(format), randomBits(format)]
      const result = exact(format, nearest(), a, b)
      const expected = toBits(format, native(toNumber(format, a), toNumber(format, b)))
      if (isNaNBits(format, expected)) expect(isNaNBits(format, result)).toBe(true)
      else if (result !== expected) expect([a.toString(16), b.toString(16), result.toString(16)]).toEqual([a.toString(16), b.toString(16), expected.toString(16)])
    }
  })

  it('rounds downwards and upwards to the neighbours of an inexact result, and towards zero to one of them', () => {
    let inexact = 0
    for (let n = 0; n < 5000; n++) {
      const [a, b] = [randomBits(format), randomBits(format)]
      const by = (rounding: Rounding): [number, number] => {
        const env = new FloatEnvironment(rounding, 63, false, false)
        return [toNumber(format, divide(format, env, a, b)), env.flags]
      }
      const [[near, flags], [down], [up], [cut]] = [by(0), by(1), by(2), by(3)]
      if (Number.isNaN(near)) continue
      expect(down <= near && near <= up).toBe(true)
      expect(cut).toBe(Math.abs(down) < Math.abs(up) ? down : up)
      if ((flags & Exc.P) !== 0) inexact++
      expect(down === up).toBe((flags & Exc.P) === 0)
    }
    expect(inexact).toBeGreaterThan(1000)
  })

  it('compares as JavaScript does', () => {
    for (let n = 0; n < 5000; n++) {
      const a = randomBits(format)
      const b = n % 5 === 0 ? a : randomBits(format)
      const [x, y] = [toNumber(format, a), toNumber(format, b)]
      expect(compare(format, nearest(), a, b, false)).toBe(x < y ? -1 : x > y ? 1 : x === y ? 0 : undefined)
      expect(predicate(format, nearest(), a, b, 5)).toBe(!(x < y))
    }
  })
})

describe('flags and special values', () => {
  const run = (compute: (env: FloatEnvironment) => bigint, options: { masked?: number; daz?: boolean; ftz?: boolean } = {}): [string, number] => {
    const env = new FloatEnvironment(0, options.masked ?? 63, options.daz ?? false, options.ftz ?? false)
    return [compute(env).toString(16), env.flags]
  }
  const SNAN = 0x7f80_0001n
  const QNAN = 0x7fc1_2345n
  const DENORMAL = 1n
  const ONE = 0x3f80_0000n

  it('takes the first NaN, quiet, and signals only for SNaN', () => {
    expect(run((env) => add(F32, env, QNAN, SNAN))).toEqual(['7fc12345', Exc.I])
    expect(run((env) => add(F32, env, SNAN, QNAN))).toEqual(['7fc00001', Exc.I])
    expect(run((env) => add(F32, env, ONE, QNAN))).toEqual(['7fc12345', 0])
    expect(run((env) => add(F32, env, DENORMAL, QNAN))).toEqual(['7fc12345', 0])
  })

  it('gives the indefinite for invalid operations', () => {
    expect(run((env) => subtract(F32, env, 0x7f80_0000n, 0x7f80_0000n))).toEqual(['ffc00000', Exc.I])
    expect(run((env) => divide(F32, env, 0n, 0n))).toEqual(['ffc00000', Exc.I])
    expect(run((env) => squareRoot(F32, env, 0xbf80_0000n))).toEqual(['ffc00000', Exc.I])
    expect(run((env) => divide(F32, env, ONE, 0x8000_0000n))).toEqual(['ff800000', Exc.Z])
  })

  it('treats denormals by DAZ and FTZ', () => {
    expect(run((env) => add(F32, env, DENORMAL, ONE))).toEqual(['3f800000', Exc.D | Exc.P])
    expect(run((env) => add(F32, env, DENORMAL, ONE), { daz: true })).toEqual(['3f800000', 0])
    expect(run((env) => multiply(F32, env, 0x0080_0000n, 0x3f00_0000n))).toEqual(['400000', 0])
    expect(run((env) => multiply(F32, env, 0x0080_0000n, 0x3f00_0000n), { ftz: true })).toEqual(['0', Exc.U | Exc.P])
    expect(run((env) => multiply(F32, env, 0x0080_0000n, 0x3f00_0000n), { masked: 63 & ~Exc.U })[1]).toBe(Exc.U)
  })

  it('takes the second operand of MIN and MAX for NaNs and zeros', () => {
    expect(run((env) => minMax(F32, env, 0n, 0x8000_0000n, false))).toEqual(['80000000', 0])
    expect(run((env) => minMax(F32, env, 0x8000_0000n, 0n, false))).toEqual(['0', 0])
    expect(run((env) => minMax(F32, env, QNAN, ONE, true))).toEqual(['3f800000', Exc.I])
    expect(run((env) => minMax(F32, env, ONE, QNAN, true))).toEqual(['7fc12345', Exc.I])
  })

  it('converts to integers with the indefinite beyond the range', () => {
    expect(run((env) => toInteger(F64, env, toBits(F64, 2 ** 31), 32, 3))).toEqual(['80000000', Exc.I])
    expect(run((env) => toInteger(F64, env, toBits(F64, -(2 ** 31)), 32, 3))).toEqual(['80000000', 0])
    expect(run((env) => toInteger(F64, env, toBits(F64, 2.5), 32, 0))).toEqual(['2', Exc.P])
    expect(run((env) => toInteger(F64, env, toBits(F64, -1.5), 64, 1))).toEqual(['fffffffffffffffe', Exc.P])
    expect(run((env) => toInteger(F32, env, QNAN, 64, 0))).toEqual(['8000000000000000', Exc.I])
  })

  it('rounds integers, narrows and widens', () => {
    expect(run((env) => fromInteger(F32, env, 0x100_0001n))).toEqual(['4b800000', Exc.P])
    expect(run((env) => fromInteger(F64, env, -(2n ** 63n)))).toEqual(['c3e0000000000000', 0])
    expect(run((env) => convertFormat(F64, F32, env, toBits(F64, 1e300)))).toEqual(['7f800000', Exc.O | Exc.P])
    expect(run((env) => convertFormat(F32, F64, env, DENORMAL))).toEqual(['36a0000000000000', Exc.D])
    expect(run((env) => roundIntegral(F64, env, toBits(F64, -0.5), 0, false))).toEqual(['8000000000000000', Exc.P])
    expect(run((env) => roundIntegral(F64, env, toBits(F64, -0.5), 1, true))).toEqual(['bff0000000000000', 0])
  })
})
