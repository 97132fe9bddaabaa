import { describe, expect, it } from 'vitest'
import { FunctionBuilder } from './function'
import { listFunction } from './listing'
import { encodeName, simdNames, VALTYPE_CODE } from './opcodes'

describe('wasm listing', () => {
  it('lists what the function builder writes, with names where they are known', () => {
    const f = new FunctionBuilder(['i32', 'i64'])
    const sum = f.pure('i64.add', 'i64', [f.load('i64.load', 'i64', f.param(0), 24), f.i64(-1n)])
    f.store('i64.store', f.param(0), sum, 32)
    f.if(f.pure('i64.eqz', 'i32', [f.param(1)]), () => f.tailCall(3, [f.param(0)]))
    f.return(f.i32(70_000))
    expect(listFunction(f.encode(), { call: (index) => (index === 3 ? 'lookup' : undefined), cell: (offset) => `cell${offset}` })).toEqual([
      'locals i64*1', 'local.get 0', 'i64.load offset=24  ;; cell24', 'local.set 2',
      'local.get 0', 'local.get 2', 'i64.const -1', 'i64.add', 'i64.store offset=32',
      'local.get 1', 'i64.eqz', 'if', '  local.get 0', '  return_call lookup', 'end', 'i32.const 0x11170', 'return', 'unreachable',
    ])
  })

  it('lists a switch with the labels of its cases, the default last', () => {
    const f = new FunctionBuilder(['i32'])
    f.block((outer) => f.block((inner) => { f.switch(f.param(0), [inner, outer]) }))
    f.return(f.i32(1))
    expect(listFunction(f.encode())).toEqual(['block', '  block', '    local.get 0', '    br_table 0 1', '  end', 'end', 'i32.const 1', 'return', 'unreachable'])
  })

  it('knows every vector instruction the encoder knows', () => {
    for (const name of simdNames) {
      const { code } = encodeName(name)
      const number = code < 0x80 ? [code] : [(code & 0x7f) | 0x80, code >> 7]
      expect(listFunction(Uint8Array.of(0, 0xfd, ...number, 0x0b))).toEqual([name])
    }
  })

  it('refuses what is no function body', () => {
    expect(() => listFunction(Uint8Array.of(0, 0xff))).toThrow('no wasm instruction has the opcode 0xff')
    expect(() => listFunction(Uint8Array.of(0, 0x41))).toThrow('ends within an instruction')
    expect(() => listFunction(Uint8Array.of(1, 1, 0x11))).toThrow('0x11 is no value type')
    expect(listFunction(Uint8Array.of(1, 2, VALTYPE_CODE.f64, 0x0b))).toEqual(['locals f64*2'])
  })
})
