import { describe, expect, it } from 'vitest'
import { FunctionBuilder, type Node } from './function'
import { ModuleBuilder } from './module'
import { listFunction } from './listing'

type Build = (f: FunctionBuilder, x: Node) => Node

const body = (build: Build): string[] => {
  const f = new FunctionBuilder(['i32'])
  f.return(build(f, f.param(0)))
  return listFunction(f.encode())
}

function evaluate(build: Build): (x: number) => number {
  const f = new FunctionBuilder(['i32'])
  f.return(build(f, f.param(0)))
  const m = new ModuleBuilder()
  m.setBody(m.defineFunction({ params: ['i32'], results: ['i32'] }, 'run'), f.encode())
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 65536, shared: true })
  const table = new WebAssembly.Table({ initial: 1, element: 'anyfunc' })
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(m.finish(65536, 0) as BufferSource), { env: { memory, table } })
  return exports.run as (x: number) => number
}

/** As the shifts of the instruction table do it: in 64 bits, the last bit by itself. */
const shiftTwice = (op: 'shl' | 'shr_u' | 'shr_s', count: number): Build => (f, x) => {
  const wide = f.pure(op === 'shr_s' ? 'i64.extend_i32_s' : 'i64.extend_i32_u', 'i64', [x])
  const almost = f.pure(`i64.${op}`, 'i64', [wide, f.i64(BigInt(count - 1))])
  return f.pure('i32.wrap_i64', 'i32', [f.pure(`i64.${op}`, 'i64', [almost, f.i64(1n)])])
}

describe('folding shifts', () => {
  it.each(['shl', 'shr_u', 'shr_s'] as const)('%s in two steps is one of 32 bits', (op) => {
    expect(body(shiftTwice(op, 5))).toEqual(['local.get 0', 'i32.const 5', `i32.${op}`, 'return', 'unreachable'])
  })

  it.each(['shl', 'shr_u', 'shr_s'] as const)('%s gives what two steps give, for every count', (op) => {
    for (let count = 1; count < 32; count++) {
      const run = evaluate(shiftTwice(op, count))
      for (const x of [0x8765_4321, 0x7fff_ffff, 1, -1]) expect(run(x)).toBe(op === 'shl' ? x << count : op === 'shr_s' ? x >> count : (x >>> count) | 0)
    }
  })

  it('keeps shifts apart whose sum is the width or more', () => {
    const whole = evaluate((f, x) => f.pure('i32.shr_u', 'i32', [f.pure('i32.shr_u', 'i32', [x, f.i32(20)]), f.i32(12)]))
    expect(whole(-1)).toBe(0)
    expect(body((f, x) => f.pure('i32.shl', 'i32', [f.pure('i32.shl', 'i32', [x, f.i32(31)]), f.i32(1)]))).toContain('i32.const 31')
  })

  it('keeps the upper half where it comes into the low one', () => {
    const down = (op: string): Build => (f, x) => {
      const wide = f.pure('i64.extend_i32_s', 'i64', [x])
      return f.pure('i32.wrap_i64', 'i32', [f.pure(op, 'i64', [wide, f.i64(8n)])])
    }
    expect(body(down('i64.shr_u'))).toContain('i64.shr_u')
    expect(evaluate(down('i64.shr_u'))(-256)).toBe(-1)
  })
})

describe('folding comparisons', () => {
  const below = (limit: bigint): Build => (f, x) => f.pure('i64.lt_u', 'i32', [f.i64(limit), f.pure('i64.extend_i32_u', 'i64', [x])])

  it('nothing of 32 bits is above a limit of 4 GiB', () => {
    expect(body(below(0xffff_ffffn))).toEqual(['i32.const 0', 'return', 'unreachable'])
    expect(body(below(-1n))).toEqual(['i32.const 0', 'return', 'unreachable'])
  })

  it('a smaller limit is compared', () => {
    const run = evaluate(below(0xffff_fffen))
    expect([run(-1), run(-2), run(0)]).toEqual([1, 0, 0])
  })
})
