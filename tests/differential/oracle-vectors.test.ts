/** The oracle's vector and float instructions against the engine's real ones: every SIMD instruction of the encoder's table. */
import { describe, expect, it } from 'vitest'
import { FunctionBuilder } from '../../src/main/vmm/cpu/emit/wasm/function'
import { ModuleBuilder } from '../../src/main/vmm/cpu/emit/wasm/module'
import { simdNames } from '../../src/main/vmm/cpu/emit/wasm/opcodes'
import {
  convertShape, floatCompare, floatOp, fromInteger, toNumber, truncateSaturated, type FloatShape,
} from '../../src/main/vmm/cpu/oracle/floats'
import { readLanes, vecOp, vecShift, vecTestOp } from '../../src/main/vmm/cpu/oracle/vectors'
import { interesting64, putInterestingVector, Random } from '../isa/random'

const ROUNDS = 300
const UNARY = /\.(not|abs|neg|popcnt|ceil|floor|trunc|nearest|sqrt|extend_|extadd_|convert_|trunc_sat_|demote_|promote_)/
const TEST = /\.(any_true|all_true|bitmask)$/
const SHIFT = /\.(shl|shr_s|shr_u)$/

interface Runner { readonly memory: Uint8Array; run(): number }

/** A wasm function over memory: operands at 0, 16 and 32, shift count at 48, vector result at 64, or integer result returned. */
function compile(build: (f: FunctionBuilder) => void): Runner {
  const module = new ModuleBuilder()
  const index = module.defineFunction({ params: ['i32'], results: ['i32'] }, 'run')
  const f = new FunctionBuilder(['i32'])
  build(f)
  module.setBody(index, f.encode())
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true })
  const table = new WebAssembly.Table({ initial: 0, element: 'anyfunc' })
  const bytes = module.finish(1, 0)
  const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes as BufferSource), { env: { memory, table } })
  const run = instance.exports.run as (base: number) => number
  return { memory: new Uint8Array(memory.buffer), run: () => run(0) }
}

function compileVec(op: string, arity: number): Runner {
  return compile((f) => {
    const operands = Array.from({ length: arity }, (_, i) => f.load('v128.load', 'v128', f.param(0), i * 16))
    if (TEST.test(op)) { f.return(f.pure(op, 'i32', operands)); return }
    const args = SHIFT.test(op) ? [operands[0], f.load('i32.load', 'i32', f.param(0), 48)] : operands
    f.store('v128.store', f.param(0), f.pure(op, 'v128', args), 64)
    f.return(f.i32(0))
  })
}

/** Which NaN comes out of arithmetic is wasm's to choose. */
function sameLanes(op: string, expected: Uint8Array, actual: Uint8Array): boolean {
  if (!op.startsWith('f')) return expected.every((byte, i) => byte === actual[i])
  const shape: FloatShape = op.startsWith('f64') ? 64 : 32
  const b = readLanes(actual, shape)
  const isNaNLane = (lane: bigint): boolean => Number.isNaN(toNumber(shape, lane))
  return readLanes(expected, shape).every((lane, i) => lane === b[i] || (isNaNLane(lane) && isNaNLane(b[i])))
}

const hex = (bytes: Uint8Array): string => [...bytes].reverse().map((b) => b.toString(16).padStart(2, '0')).join('')

describe('vector instructions', () => {
  const names = simdNames.filter((name) => !name.endsWith('.splat'))
  it('are all there', () => { expect(names.length).toBeGreaterThan(180) })

  it.each(names)('%s', (op) => {
    const arity = op === 'v128.bitselect' ? 3 : UNARY.test(op) || TEST.test(op) || SHIFT.test(op) ? 1 : 2
    const { memory, run } = compileVec(op, arity)
    const random = new Random(op.length * 7919)
    for (let round = 0; round < ROUNDS; round++) {
      const args = Array.from({ length: arity }, (_, i) => memory.subarray(i * 16, i * 16 + 16))
      for (const arg of args) putInterestingVector(random, new DataView(memory.buffer), arg.byteOffset)
      const count = random.below(80)
      new DataView(memory.buffer).setUint32(48, count, true)
      const inputs = args.map((arg) => hex(arg)).join(' ')
      const returned = run()
      if (TEST.test(op)) { expect(vecTestOp(op, args[0]), inputs).toBe(BigInt(returned >>> 0)); continue }
      const expected = memory.slice(64, 80)
      const actual = SHIFT.test(op) ? vecShift(op, args[0].slice(), BigInt(count)) : vecOp(op, args.map((arg) => arg.slice()))
      if (!sameLanes(op, expected, actual)) expect(`${inputs} ${count}: ${hex(actual)}`).toBe(hex(expected))
    }
  })
})

describe('scalar float conversions and operations', () => {
  const shapes: readonly FloatShape[] = [32, 64]
  const floatBits = (random: Random, shape: FloatShape): bigint => {
    const bytes = new Uint8Array(16)
    putInterestingVector(random, new DataView(bytes.buffer), 0)
    return readLanes(bytes, shape)[0]
  }
  const put = (memory: Uint8Array, at: number, value: bigint): void => new DataView(memory.buffer).setBigUint64(at, value, true)

  it.each(shapes)('from integers to f%i', (shape) => {
    for (const width of [32, 64] as const) for (const sign of ['s', 'u'] as const) {
      const t = `i${width}` as const
      const { memory, run } = compile((f) => {
        const value = f.load(`${t}.load`, t, f.param(0), 0)
        const flt = f.pure(`f${shape}.convert_${t}_${sign}`, `f${shape}`, [value])
        const bits = f.pure(`i${shape}.reinterpret_f${shape}`, `i${shape}`, [flt])
        f.store(`i${shape}.store`, f.param(0), bits, 64)
        f.return(f.i32(0))
      })
      const random = new Random(shape + width)
      for (let round = 0; round < 2000; round++) {
        const value = interesting64(random)
        put(memory, 0, value)
        put(memory, 64, 0n)
        run()
        const given = sign === 's' ? BigInt.asIntN(width, value) : BigInt.asUintN(width, value)
        expect(fromInteger(shape, given), String(given)).toBe(new DataView(memory.buffer).getBigUint64(64, true))
      }
    }
  })

  it.each(shapes)('from f%i to integers, other floats, comparisons and operations', (shape) => {
    const random = new Random(shape)
    const type = `f${shape}` as const
    const bitsType = `i${shape}` as const
    const load = (f: FunctionBuilder, at: number): ReturnType<FunctionBuilder['load']> =>
      f.pure(`${type}.reinterpret_${bitsType}`, type, [f.load(`${bitsType}.load`, bitsType, f.param(0), at)])
    type Compute = (a: bigint, b: bigint) => bigint
    const check = (name: string, build: (f: FunctionBuilder) => void, compute: Compute, nan?: FloatShape): void => {
      const { memory, run } = compile((f) => { build(f); f.return(f.i32(0)) })
      for (let round = 0; round < 500; round++) {
        const [a, b] = [floatBits(random, shape), floatBits(random, shape)]
        put(memory, 0, a)
        put(memory, 16, b)
        put(memory, 64, 0n)
        run()
        const expected = new DataView(memory.buffer).getBigUint64(64, true)
        const actual = compute(a, b)
        if (nan && Number.isNaN(toNumber(nan, expected)) && Number.isNaN(toNumber(nan, actual))) continue
        expect(actual.toString(16), `${name} ${a.toString(16)} ${b.toString(16)}`).toBe(expected.toString(16))
      }
    }
    for (const width of [32, 64] as const) for (const sign of ['s', 'u'] as const) {
      const t = `i${width}` as const
      check(`${t}.trunc_sat`, (f) => f.store(`${t}.store`, f.param(0), f.pure(`${t}.trunc_sat_${type}_${sign}`, t, [load(f, 0)]), 64),
        (a) => truncateSaturated(shape, a, width, sign === 's'))
    }
    for (const op of ['eq', 'ne', 'lt', 'gt', 'le', 'ge']) {
      check(op, (f) => f.store('i32.store', f.param(0), f.pure(`${type}.${op}`, 'i32', [load(f, 0), load(f, 16)]), 64),
        (a, b) => (floatCompare(shape, op, a, b) ? 1n : 0n))
    }
    const storeFloat = (f: FunctionBuilder, value: ReturnType<typeof load>, of: FloatShape): void =>
      f.store(`i${of}.store`, f.param(0), f.pure(`i${of}.reinterpret_f${of}`, `i${of}`, [value]), 64)
    for (const op of ['add', 'sub', 'mul', 'div', 'min', 'max', 'copysign', 'abs', 'neg', 'ceil', 'floor', 'trunc', 'nearest', 'sqrt']) {
      const binary = ['add', 'sub', 'mul', 'div', 'min', 'max', 'copysign'].includes(op)
      check(op, (f) => storeFloat(f, f.pure(`${type}.${op}`, type, binary ? [load(f, 0), load(f, 16)] : [load(f, 0)]), shape),
        (a, b) => floatOp(shape, op, a, b) ?? -1n, shape)
    }
    const other: FloatShape = shape === 32 ? 64 : 32
    const convert = shape === 32 ? 'f64.promote_f32' : 'f32.demote_f64'
    check(convert, (f) => storeFloat(f, f.pure(convert, `f${other}`, [load(f, 0)]), other), (a) => convertShape(shape, a), other)
  })
})
