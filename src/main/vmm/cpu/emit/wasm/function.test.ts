import { describe, expect, it } from 'vitest'
import { FunctionBuilder } from './function'
import { ModuleBuilder, type FuncType } from './module'
import { Op } from './opcodes'

const BINARY: FuncType = { params: ['i32', 'i32'], results: ['i32'] }

function run(body: Uint8Array, a: number, b: number, hints?: Uint8Array): number {
  const m = new ModuleBuilder()
  m.setBody(m.defineFunction(BINARY, 'f'), body, hints)
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true })
  const module = new WebAssembly.Module(m.finish(1, 0) as BufferSource)
  const instance = new WebAssembly.Instance(module, { env: { memory, table: new WebAssembly.Table({ initial: 1, element: 'anyfunc' }) } })
  return (instance.exports.f as (a: number, b: number) => number)(a, b)
}

/** Locals a body declares: runs of (count, type). */
function localsOf(body: Uint8Array): number {
  let count = 0
  for (let run = 0; run < body[0]; run++) count += body[1 + 2 * run]
  return count
}

/** Each scope squares a sum, by way of a local of its own and of a node that is used twice, and adds it to what the others made. */
function sumOfSquares(scopes: number): Uint8Array {
  const f = new FunctionBuilder(BINARY.params)
  const total = f.newLocal('i32')
  for (let i = 0; i < scopes; i++) {
    f.scope(() => {
      const local = f.newLocal('i32')
      f.setLocal(local, f.pure('i32.add', 'i32', [f.param(0), f.i32(i)]))
      const sum = f.pure('i32.add', 'i32', [f.finalLocal(local), f.param(1)])
      f.setLocal(total, f.pure('i32.add', 'i32', [f.getLocal(total), f.pure('i32.mul', 'i32', [sum, sum])]))
    })
  }
  f.return(f.getLocal(total))
  return f.encode()
}

describe('scopes of locals', () => {
  it('compute what they would without', () => {
    expect(run(sumOfSquares(3), 2, 5)).toBe(7 ** 2 + 8 ** 2 + 9 ** 2)
  })

  it('take the locals of those before them', () => {
    expect(localsOf(sumOfSquares(20))).toBe(localsOf(sumOfSquares(1)))
  })

  it('do not nest', () => {
    const f = new FunctionBuilder(BINARY.params)
    expect(() => f.scope(() => f.scope(() => {}))).toThrow('within another')
  })
})

describe('effects', () => {
  it('are stores and calls, but not those of an arm that ends the function', () => {
    const f = new FunctionBuilder(BINARY.params)
    f.if(f.param(0), () => {
      f.store('i32.store', f.param(1), f.i32(1))
      f.return(f.i32(0))
    })
    f.pure('i32.add', 'i32', [f.load('i32.load', 'i32', f.param(1)), f.i32(1)])
    expect(f.effects).toBe(0)
    f.if(f.param(0), () => f.store('i32.store', f.param(1), f.i32(1)))
    expect(f.effects).toBe(1)
  })
})

describe('branch hints', () => {
  /** The hints of a body as (byte the hint points at, likely); every number is below 128. */
  function hintsOf({ hints }: FunctionBuilder, body: Uint8Array): [number, number][] {
    return Array.from({ length: hints[0] }, (_, i) => [body[hints[1 + 3 * i]], hints[3 + 3 * i]])
  }

  /** 1 where the first number is 0, 2 where the second is, else 3. */
  function build(): { readonly f: FunctionBuilder; readonly body: Uint8Array } {
    const f = new FunctionBuilder(BINARY.params)
    const result = f.newLocal('i32')
    f.unlikely(f.pure('i32.eqz', 'i32', [f.param(0)]), () => f.return(f.i32(1)))
    f.if(f.pure('i32.eqz', 'i32', [f.param(1)]), () => f.return(f.i32(2)))
    f.likely(f.param(0), () => f.setLocal(result, f.i32(3)), () => f.setLocal(result, f.i32(4)))
    f.return(f.getLocal(result))
    return { f, body: f.encode() }
  }

  it('stand where the branches do that say which way they go', () => {
    const { f, body } = build()
    expect(hintsOf(f, body)).toEqual([[Op.if, 0], [Op.if, 1]])
  })

  it('change nothing of what is computed', () => {
    const { f, body } = build()
    expect([[0, 5], [5, 0], [5, 5]].map(([a, b]) => run(body, a, b, f.hints))).toEqual([1, 2, 3])
  })
})
