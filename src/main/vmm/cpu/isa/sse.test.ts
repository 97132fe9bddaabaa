/** Availability and fault rules of MMX and SSE; what the instructions compute is compared with the real CPU in tests/isa. */
import { describe, expect, it } from 'vitest'
import { compareStringsHelper } from '../helpers/sse/string-compare'
import { faultOf, longCpu, type TestCpu } from '../helpers/system/test-cpu'

const ADDPS = [0x0f, 0x58, 0xc1]
const ADDPS_MEMORY = [0x0f, 0x58, 0x07]
const MOVUPS_MEMORY = [0x0f, 0x10, 0x07]
const PADDB_MMX = [0x0f, 0xfc, 0xc1]
const FLD1 = [0xd9, 0xe8]
const FSIN = [0xd9, 0xfe]
const FNSTSW_AX = [0xdf, 0xe0]
const DIVSS = [0xf3, 0x0f, 0x5e, 0xc1]

function ready(cr4 = 0x620n): TestCpu {
  const cpu = longCpu()
  cpu.state.set64('cr4', cr4)
  cpu.state.set('mxcsr', 0x1f80)
  cpu.modeChanged()
  return cpu
}
function pending(cpu: TestCpu, cr0: bigint): void {
  cpu.state.set64('cr0', cr0)
  cpu.state.set('fcw', 0x37e)
  cpu.state.set('fsw', 0x8081)
}
const setSingle = (cpu: TestCpu, register: number, value: number): void => {
  new DataView(cpu.state.bytes.buffer, cpu.state.vec('xmm', register).byteOffset).setFloat32(0, value, true)
}

describe('availability', () => {
  it.each<[string, (cpu: TestCpu) => void, readonly number[], string]>([
    ['SSE without OSFXSR', (cpu) => cpu.state.set64('cr4', 0x20n), ADDPS, '6:-'],
    ['SSE with EM', (cpu) => cpu.state.set64('cr0', 0x8001_0015n), ADDPS, '6:-'],
    ['SSE with TS', (cpu) => cpu.state.set64('cr0', 0x8001_0019n), ADDPS, '7:-'],
    ['MMX with EM', (cpu) => cpu.state.set64('cr0', 0x8001_0015n), PADDB_MMX, '6:-'],
    ['MMX with TS', (cpu) => cpu.state.set64('cr0', 0x8001_0019n), PADDB_MMX, '7:-'],
    ['MMX with a pending x87 exception', (cpu) => pending(cpu, 0x8001_0031n), PADDB_MMX, '16:-'],
    ['MMX with a pending x87 exception that NE keeps from #MF', (cpu) => pending(cpu, 0x8001_0011n), PADDB_MMX, 'none'],
    ['FLD1 with a pending x87 exception', (cpu) => pending(cpu, 0x8001_0031n), FLD1, '16:-'],
    ['FNSTSW with a pending x87 exception', (cpu) => pending(cpu, 0x8001_0031n), FNSTSW_AX, 'none'],
    ['FSIN with TS', (cpu) => cpu.state.set64('cr0', 0x8001_0019n), FSIN, '7:-'],
    ['a misaligned packed operand', (cpu) => cpu.state.setGpr(7, 0x5008n), ADDPS_MEMORY, '13:0'],
    ['a misaligned MOVUPS', (cpu) => cpu.state.setGpr(7, 0x5008n), MOVUPS_MEMORY, 'none'],
  ])('%s', (_name, change, code, fault) => {
    const cpu = ready()
    change(cpu)
    cpu.modeChanged()
    expect(faultOf(() => cpu.run(code))).toBe(fault)
  })
})

describe('unmasked exceptions', () => {
  const divideByZero = (cr4: bigint, mxcsr: number): { fault: string; mxcsr: number; low: number } => {
    const cpu = ready(cr4)
    cpu.state.set('mxcsr', mxcsr)
    setSingle(cpu, 0, 1)
    setSingle(cpu, 1, 0)
    const fault = faultOf(() => cpu.run(DIVSS))
    return { fault, mxcsr: cpu.state.get('mxcsr'), low: cpu.state.vec('xmm', 0)[3] }
  }

  it('set the flag and raise #XM, or #UD without OSXMMEXCPT; the destination stays', () => {
    expect(divideByZero(0x620n, 0x1d80)).toEqual({ fault: '19:-', mxcsr: 0x1d84, low: 0x3f })
    expect(divideByZero(0x220n, 0x1d80)).toEqual({ fault: '6:-', mxcsr: 0x1d84, low: 0x3f })
  })

  it('only set the flag where they are masked', () => {
    expect(divideByZero(0x620n, 0x1f80)).toEqual({ fault: 'none', mxcsr: 0x1f84, low: 0x7f })
  })
})

describe('MMX and the x87', () => {
  it('marks every register valid, TOP zero, and the exponent all ones', () => {
    const cpu = ready()
    cpu.state.set('fsw', 0x3800)
    cpu.state.set('ftw', 0)
    cpu.state.vec('fpr', 0).fill(1, 0, 10)
    cpu.state.vec('fpr', 1).fill(2, 0, 10)
    cpu.run(PADDB_MMX)
    expect([...cpu.state.vec('fpr', 0).subarray(0, 10)]).toEqual([3, 3, 3, 3, 3, 3, 3, 3, 0xff, 0xff])
    expect(cpu.state.get('fsw')).toBe(0)
    expect(cpu.state.get('ftw')).toBe(0xff)
  })
})

describe('string comparison', () => {
  const bytes = (text: string): [bigint, bigint] => {
    const codes = [...text.padEnd(16, '\0')].map((c) => BigInt(c.charCodeAt(0)))
    const half = (at: number): bigint => codes.slice(at, at + 8).reduce((all, code, i) => all | (code << BigInt(8 * i)), 0n)
    return [half(0), half(8)]
  }
  const compare = (a: string, b: string, imm: number): { mask: number; least: number; greatest: number } => {
    const cpu = ready()
    const run = compareStringsHelper.run as (...args: unknown[]) => number
    const result = run(cpu, imm, ...bytes(a), ...bytes(b), 0n, 0n)
    return { mask: result & 0xffff, least: (result >>> 16) & 0xff, greatest: result >>> 24 }
  }

  it('finds members of a set, ranges, equal prefixes and substrings', () => {
    expect(compare('aeiou', 'xyzebra', 0x00)).toEqual({ mask: 0b100_1000, least: 3, greatest: 6 })
    expect(compare('09AF', 'zz7Bq', 0x04)).toEqual({ mask: 0b1100, least: 2, greatest: 3 })
    expect(compare('same text', 'same test', 0x18)).toEqual({ mask: 0b1000_0000, least: 7, greatest: 7 })
    expect(compare('ab', 'xxabyab', 0x0c)).toEqual({ mask: 0b10_0100, least: 2, greatest: 5 })
  })

  it('gives the element count where nothing is found', () => {
    expect(compare('q', 'hello', 0x00)).toEqual({ mask: 0, least: 16, greatest: 16 })
  })
})
