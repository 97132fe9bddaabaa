import { describe, expect, it } from 'vitest'
import { FunctionBuilder } from './function'
import { listFunction } from './listing'
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

describe('a store that is made again', () => {
  /** Stores 1 and then 2 at address 64 with something between them, and returns what that gave plus 10 × what is there at the end. */
  function between(build: (f: FunctionBuilder, seen: number) => void): { readonly result: number; readonly stores: number } {
    const f = new FunctionBuilder(BINARY.params)
    const seen = f.newLocal('i32')
    const address = f.param(0)
    f.storeAgain('i32.store', address, f.i32(1), 64)
    build(f, seen)
    f.storeAgain('i32.store', address, f.i32(2), 64)
    const last = f.pure('i32.mul', 'i32', [f.load('i32.load', 'i32', address, 64), f.i32(10)])
    f.return(f.pure('i32.add', 'i32', [f.getLocal(seen), last]))
    const body = f.encode()
    return { result: run(body, 0, 5), stores: listFunction(body).filter((line) => line.includes('i32.store')).length }
  }

  it('takes the place of the first, where only other places are read and written between them', () => {
    const { result, stores } = between((f, seen) => {
      f.store('i32.store', f.param(0), f.i32(7), 128)
      f.setLocal(seen, f.load('i32.load', 'i32', f.param(1), 123))
    })
    expect(result).toBe(27)
    expect(stores).toBe(2)
  })

  it('leaves the first where a load may see it', () => {
    const { result } = between((f, seen) => f.setLocal(seen, f.load('i32.load16_u', 'i32', f.param(0), 62)))
    expect(result).toBe(20)
    expect(between((f, seen) => f.setLocal(seen, f.load('i32.load8_u', 'i32', f.param(0), 64))).result).toBe(21)
  })

  it('leaves the first where the code may be left between them', () => {
    const f = new FunctionBuilder(BINARY.params)
    f.storeAgain('i32.store', f.param(0), f.i32(1), 64)
    f.if(f.param(1), () => f.return(f.load('i32.load', 'i32', f.param(0), 64)))
    f.storeAgain('i32.store', f.param(0), f.i32(2), 64)
    f.return(f.load('i32.load', 'i32', f.param(0), 64))
    expect([0, 1].map((leave) => run(f.encode(), 0, leave))).toEqual([2, 1])
  })
})

describe('an adjustable sum', () => {
  it('adds what was set last, also to a sum', () => {
    const f = new FunctionBuilder(BINARY.params)
    const { sum, set } = f.adjustableSum(f.pure('i32.add', 'i32', [f.param(0), f.i32(100)]), 1)
    f.return(sum)
    set(-20)
    set(7)
    expect(run(f.encode(), 1000, 0)).toBe(1107)
  })
})
