import { describe, expect, it } from 'vitest'
import { CpuState } from '../../state/access'
import { STATE_SIZE } from '../../state/layout'
import { add, multiply, subtract } from './arithmetic'
import { FastX87, type FastOp } from './fast'
import { DOUBLE, Fx, SINGLE, fromDouble, fromSingle, toIeee, type Float80 } from './float80'
import { X87 } from './unit'

/** xorshift32: the same numbers at every run. */
function* random(seed: number): Generator<number, never> {
  let x = seed
  for (;;) {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    yield x >>> 0
  }
}

const numbers = random(1)
const word = (): number => numbers.next().value
const below = (n: number): number => word() % n

/** Significands with runs of ones and zeros, where carries and ties are. */
function significand(): bigint {
  const patterns = [
    () => (BigInt(word()) << 32n) | BigInt(word()),
    () => (1n << BigInt(below(64))) - 1n,
    () => ~((1n << BigInt(below(64))) - 1n),
    () => 1n << BigInt(below(64)),
    () => BigInt(word()) << 40n,
  ]
  return BigInt.asUintN(64, patterns[below(patterns.length)]()) | (1n << 63n)
}

const operand = (): Float80 => ({ sign: (word() & 1) as 0 | 1, exp: 0x3fff + below(140) - 70, sig: significand() })

class Bench {
  readonly state = new CpuState(new ArrayBuffer(STATE_SIZE), 0)
  readonly unit = new X87(this.state)
  readonly fast = new FastX87(this.state)

  constructor() {
    this.state.set('fcw', 0x37f)
  }

  put(...values: readonly Float80[]): void {
    this.state.set('fsw', 0x1200)
    this.state.set('ftw', 0)
    values.forEach((v, i) => this.unit.write(i, v))
  }

  exact(op: FastOp, a: Float80, b: Float80): { value: Float80; fsw: number } {
    const mode = this.unit.mode()
    const value = op === 'add' ? add(a, b, mode) : op === 'multiply' ? multiply(a, b, mode) : op === 'subtract' ? subtract(a, b, mode) : subtract(b, a, mode)
    this.unit.settle(mode.status)
    return { value, fsw: this.state.get('fsw') }
  }
}

describe('x87 arithmetic in words', () => {
  const bench = new Bench()

  it.each(['add', 'multiply', 'subtract', 'subtractReverse'] as const)('%s is that of the exact arithmetic', (op) => {
    let done = 0
    for (let i = 0; i < 20_000; i++) {
      const a = operand()
      const b = below(8) === 0 ? { ...a, sign: (word() & 1) as 0 | 1, sig: a.sig ^ BigInt(below(4)) } : operand()
      bench.put(a, b)
      const expected = bench.exact(op, a, b)
      bench.put(a, b)
      if (!bench.fast.registers(op, 0, 1)) continue
      done++
      expect({ value: bench.unit.read(0), fsw: bench.state.get('fsw') }, `${JSON.stringify([a, b], (_, v: unknown) => (typeof v === 'bigint' ? v.toString(16) : v))}`).toEqual(expected)
    }
    expect(done).toBeGreaterThan(12_000)
  })

  it('takes singles and doubles from memory', () => {
    for (let i = 0; i < 5000; i++) {
      const a = operand()
      const [lo, hi] = [word(), ((word() & 0x800f_ffff) | ((1023 + below(120) - 60) << 20)) >>> 0]
      const narrow = ((word() & 0x807f_ffff) | ((127 + below(60) - 30) << 23)) >>> 0
      for (const [double, value] of [[true, fromDouble((BigInt(hi) << 32n) | BigInt(lo))], [false, fromSingle(narrow)]] as const) {
        bench.put(a)
        const expected = bench.exact('multiply', a, value)
        bench.put(a)
        if (!bench.fast.memory('multiply', double, double ? lo : narrow, double ? hi : 0)) continue
        expect({ value: bench.unit.read(0), fsw: bench.state.get('fsw') }).toEqual(expected)
      }
    }
  })

  it('loads what the exact conversion gives', () => {
    for (const value of [0, -0, 1, -1.5, 0.1, 1e300, -2e-300]) {
      const bits = new BigUint64Array(new Float64Array([value]).buffer)[0]
      bench.put()
      expect(bench.fast.load(true, Number(bits & 0xffff_ffffn), Number(bits >> 32n))).toBe(true)
      expect(bench.unit.read(0)).toEqual(fromDouble(bits))
      expect([bench.unit.top, bench.state.get('ftw'), bench.state.get('fsw') & 0x200]).toEqual([1, 2, 0])
    }
  })

  it.each([true, false])('narrows as the exact conversion does (double: %s)', (double) => {
    for (let i = 0; i < 20_000; i++) {
      const value = operand()
      bench.put(value)
      expect(bench.fast.narrow(double)).toBe(true)
      const status = { flags: 0, roundedUp: false }
      const bits = toIeee(value, double ? DOUBLE : SINGLE, 0, status)
      const { storedLo, storedHi, storedInexact, storedUp } = bench.fast
      expect([storedLo, storedHi, storedInexact, storedUp])
        .toEqual([Number(bits & 0xffff_ffffn), Number(bits >> 32n), (status.flags & Fx.PE) !== 0, status.roundedUp])
    }
  })

  it('leaves everything else to the exact arithmetic, untouched', () => {
    const one: Float80 = { sign: 0, exp: 0x3fff, sig: 1n << 63n }
    const odd: readonly Float80[] = [
      { sign: 0, exp: 0, sig: 0n }, { sign: 0, exp: 0x7fff, sig: 1n << 63n }, { sign: 1, exp: 0x7fff, sig: 3n << 62n }, { sign: 0, exp: 0, sig: 5n },
      { sign: 0, exp: 0x3fff, sig: 1n }, { sign: 0, exp: 0x3fff + 64, sig: 1n << 63n },
    ]
    for (const value of odd) {
      bench.put(one, value)
      expect(bench.fast.registers('add', 0, 1)).toBe(false)
      expect([bench.unit.read(0), bench.unit.read(1), bench.state.get('fsw')]).toEqual([one, value, 0x1200])
    }
    bench.put({ ...one, exp: 0x7ffe }, { ...one, exp: 0x7ffe })
    expect(bench.fast.registers('multiply', 0, 1)).toBe(false)
    for (const fcw of [0x37f & ~0x20, 0x27f, 0x77f]) {
      bench.state.set('fcw', fcw)
      bench.put(one, one)
      expect(bench.fast.registers('add', 0, 1)).toBe(false)
    }
    bench.state.set('fcw', 0x37f)
    bench.put(one)
    expect(bench.fast.registers('add', 0, 1)).toBe(false)
    expect(bench.fast.load(true, 1, 0)).toBe(false)
  })
})
