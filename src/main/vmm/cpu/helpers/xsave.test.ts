import { describe, expect, it } from 'vitest'
import { faultOf, longCpu, protectedCpu, type TestCpu } from './system/test-cpu'

const AREA = 0x5000
const XSAVE_RDI = [0x0f, 0xae, 0x27]
const XRSTOR_RDI = [0x0f, 0xae, 0x2f]

/** 64-bit mode with OSFXSR and OSXSAVE, both states enabled, RDI at the area, RFBM as given. */
function ready(mask: bigint): TestCpu {
  const cpu = longCpu()
  cpu.state.set64('cr4', 0x4_0620n)
  cpu.state.set64('xcr0', 3n)
  cpu.state.setGpr(7, BigInt(AREA))
  cpu.state.setGpr(0, mask)
  cpu.state.setGpr(2, 0n)
  cpu.state.set('mxcsr', 0x1fa0)
  cpu.state.set('fcw', 0x27f)
  cpu.modeChanged()
  for (let n = 0; n < 16; n++) cpu.state.vec('xmm', n).fill(n + 1)
  for (let n = 0; n < 8; n++) cpu.state.vec('fpr', n).fill(0x40 + n, 0, 10)
  return cpu
}

describe('XSAVE', () => {
  it('stores what is asked for and keeps the rest of the area', () => {
    const cpu = ready(2n)
    cpu.bytes.fill(0xee, AREA, AREA + 576)
    cpu.view.setBigUint64(AREA + 512, 1n, true)
    cpu.run(XSAVE_RDI)
    expect(cpu.u16(AREA)).toBe(0xeeee)
    expect(cpu.u32(AREA + 24)).toBe(0x1fa0)
    expect(cpu.bytes[AREA + 160 + 16 * 15]).toBe(16)
    expect(cpu.bytes[AREA + 32]).toBe(0xee)
    expect(cpu.bytes[AREA + 464]).toBe(0xee)
    expect(cpu.u64(AREA + 512)).toBe(3n)
  })

  it('brings everything back with XRSTOR', () => {
    const cpu = ready(3n)
    cpu.run(XSAVE_RDI)
    for (let n = 0; n < 16; n++) cpu.state.vec('xmm', n).fill(0)
    for (let n = 0; n < 8; n++) cpu.state.vec('fpr', n).fill(0)
    cpu.state.set('mxcsr', 0x1f80)
    cpu.state.set('fcw', 0x37f)
    cpu.run(XRSTOR_RDI)
    expect(cpu.state.get('mxcsr')).toBe(0x1fa0)
    expect(cpu.state.get('fcw')).toBe(0x27f)
    expect([...cpu.state.vec('xmm', 9)]).toEqual(new Array(16).fill(10))
    expect([...cpu.state.vec('fpr', 3).subarray(0, 10)]).toEqual(new Array(10).fill(0x43))
  })

  it('gives a component its initial state where XSTATE_BV says so, but takes MXCSR from memory', () => {
    const cpu = ready(3n)
    cpu.bytes.fill(0, AREA, AREA + 576)
    cpu.view.setUint32(AREA + 24, 0x1f81, true)
    cpu.run(XRSTOR_RDI)
    expect(cpu.state.get('fcw')).toBe(0x37f)
    expect(cpu.state.get('mxcsr')).toBe(0x1f81)
    expect([...cpu.state.vec('xmm', 15)]).toEqual(new Array(16).fill(0))
  })

  const refused = (change: (cpu: TestCpu) => void): string => {
    const cpu = ready(3n)
    cpu.bytes.fill(0, AREA, AREA + 640)
    cpu.view.setUint32(AREA + 24, 0x1f80, true)
    change(cpu)
    cpu.modeChanged()
    const fault = faultOf(() => cpu.run(XRSTOR_RDI))
    expect(cpu.state.get('fcw')).toBe(0x27f)
    expect(cpu.state.vec('xmm', 3)[0]).toBe(4)
    return fault
  }

  it.each<[string, (cpu: TestCpu) => void, string]>([
    ['#UD without OSXSAVE', (cpu) => cpu.state.set64('cr4', 0x620n), '6:-'],
    ['#NM with TS', (cpu) => cpu.state.set64('cr0', 0x8001_0019n), '7:-'],
    ['#GP off a 64-byte boundary', (cpu) => cpu.state.setGpr(7, BigInt(AREA + 16)), '13:0'],
    ['#GP for a component XCR0 does not have', (cpu) => cpu.view.setBigUint64(AREA + 512, 4n, true), '13:0'],
    ['#GP for the compacted form', (cpu) => cpu.view.setBigUint64(AREA + 520, 1n << 63n, true), '13:0'],
    ['#GP for a reserved bit of MXCSR', (cpu) => cpu.view.setUint32(AREA + 24, 0x1_0000, true), '13:0'],
    ['#PF where the area ends on an absent page', (cpu) => {
      cpu.state.setGpr(7, 0x5e00n)
      cpu.view.setUint32(0x2_3000 + 6 * 8, 0, true)
    }, '14:0'],
  ])('XRSTOR raises %s and changes nothing', (_name, change, fault) => {
    expect(refused(change)).toBe(fault)
  })
})

describe('FXSAVE', () => {
  it('stores eight XMM registers outside 64-bit mode', () => {
    const cpu = protectedCpu()
    cpu.state.set64('cr4', 0x600n)
    cpu.modeChanged()
    for (let n = 0; n < 16; n++) cpu.state.vec('xmm', n).fill(n + 1)
    cpu.state.setGpr(7, BigInt(AREA))
    cpu.bytes.fill(0xee, AREA, AREA + 512)
    cpu.run([0x0f, 0xae, 0x07])
    expect(cpu.bytes[AREA + 160 + 16 * 7]).toBe(8)
    expect(cpu.bytes[AREA + 160 + 16 * 8]).toBe(0xee)
  })
})
