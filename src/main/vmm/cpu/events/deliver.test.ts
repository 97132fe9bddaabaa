import { describe, expect, it } from 'vitest'
import {
  CODE0, CODE3, DATA0, DATA3, GDT, IDT, TSS, faultOf, longCpu, protectedCpu, toUser, TestCpu, type GateSpec,
} from '../helpers/system/test-cpu'
import { Flag, packRflags, unpackRflags } from '../state/flags'
import { Seg } from '../state/layout'
import { deliverEvent, TripleFault } from './deliver'

const INT32 = 14, TRAP32 = 15, INT16 = 6, TASK = 5

function describeStack(cpu: TestCpu, count: number): number[] {
  const top = cpu.state.lo('gpr', 4)
  return Array.from({ length: count }, (_, i) => cpu.u32(top + i * 4))
}

const gate32 = (cpu: TestCpu, vector: number, spec: Partial<GateSpec> = {}): void =>
  cpu.gate(IDT + vector * 8, { selector: CODE0, offset: 0x5000 + vector, type: INT32, ...spec })
const gate64 = (cpu: TestCpu, vector: number, spec: Partial<GateSpec> = {}): void =>
  cpu.gate(IDT + vector * 16, { selector: CODE0, offset: 0x5000 + vector, type: INT32, ...spec }, true)

describe('real mode', () => {
  it('pushes FLAGS, CS and IP, and clears IF and TF', () => {
    const cpu = new TestCpu()
    cpu.view.setUint32(0x21 * 4, 0x1234_0560, true)
    cpu.segment(Seg.CS, 0x900, 0x9000, 0xffff, 0x9b)
    unpackRflags(cpu.state, 0x302n | Flag.CF)
    cpu.state.setGpr(4, 0x1_0000_7000n)
    cpu.state.set64('rip', 0x77n)
    cpu.modeChanged()
    deliverEvent(cpu, 0x21, 'interrupt')
    expect([cpu.u16(0x6ffa), cpu.u16(0x6ffc), cpu.u16(0x6ffe)]).toEqual([0x77, 0x900, 0x303])
    expect(cpu.state.gpr(4)).toBe(0x1_0000_6ffan)
    expect(cpu.state.get64('rip')).toBe(0x560n)
    expect(cpu.state.get64('segBase', Seg.CS)).toBe(0x1_2340n)
    expect(packRflags(cpu.state) & 0x301n).toBe(1n)
  })

  it('executes INT n and IRET', () => {
    const cpu = new TestCpu()
    cpu.view.setUint32(0x10 * 4, 0x0000_0500, true)
    cpu.bytes[0x500] = 0xcf
    cpu.state.setGpr(4, 0x8000n)
    unpackRflags(cpu.state, 0x202n)
    cpu.run([0xcd, 0x10], 0x900, 1)
    expect(cpu.state.get64('rip')).toBe(0x500n)
    cpu.step()
    expect(cpu.state.get64('rip')).toBe(0x902n)
    expect(cpu.state.gpr(4)).toBe(0x8000n)
    expect(packRflags(cpu.state)).toBe(0x202n)
  })

  it('is a triple fault without a usable vector table', () => {
    const cpu = new TestCpu()
    cpu.state.set('idtrLimit', 0)
    expect(() => deliverEvent(cpu, 13, 'fault', 0)).toThrow(TripleFault)
  })
})

describe('protected mode', () => {
  it('stays on the stack at the same privilege and pushes the error code of faults with RF', () => {
    const cpu = protectedCpu()
    gate32(cpu, 13, { type: TRAP32 })
    unpackRflags(cpu.state, 0x4202n | Flag.TF)
    cpu.state.set64('rip', 0x9123n)
    deliverEvent(cpu, 13, 'fault', 0x18)
    expect(describeStack(cpu, 4)).toEqual([0x18, 0x9123, CODE0, 0x1_4302])
    expect(cpu.state.get64('rip')).toBe(0x500dn)
    // A trap gate keeps IF; TF and NT go.
    expect(packRflags(cpu.state)).toBe(0x202n)
  })

  it('switches to the stack of the inner ring and clears IF through an interrupt gate', () => {
    const cpu = protectedCpu()
    toUser(cpu)
    gate32(cpu, 0x30)
    unpackRflags(cpu.state, 0x202n)
    cpu.state.set64('rip', 0x9100n)
    deliverEvent(cpu, 0x30, 'interrupt')
    expect(cpu.state.gpr(4)).toBe(0x8000n - 20n)
    expect(describeStack(cpu, 5)).toEqual([0x9100, CODE3, 0x202, 0x6000, DATA3])
    expect(cpu.state.get('cpl')).toBe(0)
    expect(cpu.state.get('segSelector', Seg.SS)).toBe(DATA0)
    expect(cpu.state.get('segSelector', Seg.CS)).toBe(CODE0)
    expect(packRflags(cpu.state) & Flag.IF).toBe(0n)
    // And back.
    cpu.run([0xcf], 0x9200)
    expect([cpu.state.get64('rip'), cpu.state.get('cpl'), cpu.state.gpr(4)]).toEqual([0x9100n, 3, 0x6000n])
    expect(cpu.state.get('segSelector', Seg.SS)).toBe(DATA3)
  })

  it('uses 16-bit frames through 16-bit gates', () => {
    const cpu = protectedCpu()
    gate32(cpu, 0x31, { type: INT16, offset: 0x5031 })
    cpu.state.set64('rip', 0x9100n)
    deliverEvent(cpu, 0x31, 'interrupt')
    expect(cpu.state.gpr(4)).toBe(0x6ffan)
    expect([cpu.u16(0x6ffa), cpu.u16(0x6ffc)]).toEqual([0x9100, CODE0])
  })

  it('checks gates: privilege of INT n, presence, target', () => {
    const cpu = protectedCpu()
    toUser(cpu)
    gate32(cpu, 0x40)
    gate32(cpu, 0x41, { dpl: 3, present: false })
    gate32(cpu, 0x42, { dpl: 3, selector: 0 })
    gate32(cpu, 0x43, { dpl: 3, selector: DATA0 })
    gate32(cpu, 0x44, { dpl: 3, selector: 0x108 })
    gate32(cpu, 0x45, { dpl: 3 })
    const int = (n: number): string => faultOf(() => cpu.run([0xcd, n]))
    expect(int(0x40)).toBe('13:202')
    expect(int(0x41)).toBe('11:20a')
    expect(int(0x42)).toBe('13:0')
    expect(int(0x43)).toBe('13:10')
    expect(int(0x44)).toBe('13:108')
    expect(cpu.state.get64('rip')).toBe(0x9000n)
    expect(int(0x45)).toBe('none')
    expect(describeStack(cpu, 2)).toEqual([0x9002, CODE3])
  })

  it('tells a bad inner stack with #TS and a stack that is not there with #SS', () => {
    const cpu = protectedCpu()
    toUser(cpu)
    gate32(cpu, 0x40, { dpl: 3 })
    cpu.view.setUint32(TSS + 8, DATA3, true)
    expect(faultOf(() => cpu.run([0xcd, 0x40]))).toBe('10:20')
    cpu.view.setUint32(TSS + 8, 0, true)
    expect(faultOf(() => cpu.run([0xcd, 0x40]))).toBe('10:0')
    cpu.descriptor(GDT, 0x50, 0, 0xffff_ffff, 0xc013)
    cpu.view.setUint32(TSS + 8, 0x50, true)
    expect(faultOf(() => cpu.run([0xcd, 0x40]))).toBe('12:50')
  })

  it('turns a fault while delivering a contributory fault into a double fault, and a fault there into a triple fault', () => {
    const cpu = protectedCpu()
    gate32(cpu, 8)
    cpu.state.set64('rip', 0x9100n)
    deliverEvent(cpu, 13, 'fault', 0)
    expect(cpu.state.get64('rip')).toBe(0x5008n)
    expect(describeStack(cpu, 2)).toEqual([0, 0x9100])
    cpu.gate(IDT + 8 * 8, { selector: CODE0, offset: 0, type: INT32, present: false })
    expect(() => deliverEvent(cpu, 13, 'fault', 0)).toThrow(/triple fault: #13\(0x0\) -> #8\(0x0\) -> #11 \(43\)/)
  })

  it('delivers a fault met by an interrupt as itself, with EXT', () => {
    const cpu = protectedCpu()
    gate32(cpu, 13)
    cpu.state.set64('rip', 0x9100n)
    deliverEvent(cpu, 0x50, 'interrupt')
    expect(cpu.state.get64('rip')).toBe(0x500dn)
    expect(describeStack(cpu, 2)).toEqual([0x50 * 8 + 3, 0x9100])
  })

  it('leaves virtual-8086 mode with all segments on the ring-0 stack, and goes back', () => {
    const cpu = protectedCpu()
    gate32(cpu, 0x20)
    unpackRflags(cpu.state, 0x2_3202n)
    for (const [seg, selector] of [[Seg.CS, 0x900], [Seg.SS, 0x600], [Seg.DS, 0x111], [Seg.ES, 0x222], [Seg.FS, 0x333], [Seg.GS, 0x444]] as const) {
      cpu.segment(seg, selector, selector * 16, 0xffff, 0xf3)
    }
    cpu.state.set('cpl', 3)
    cpu.state.setGpr(4, 0xfffen)
    cpu.state.set64('rip', 0x12n)
    cpu.modeChanged()
    deliverEvent(cpu, 0x20, 'interrupt')
    expect(describeStack(cpu, 9)).toEqual([0x12, 0x900, 0x2_3202, 0xfffe, 0x600, 0x222, 0x111, 0x333, 0x444])
    expect(packRflags(cpu.state) & Flag.VM).toBe(0n)
    expect(cpu.state.get('segSelector', Seg.DS)).toBe(0)
    cpu.run([0xcf], 0x9800)
    expect(packRflags(cpu.state)).toBe(0x2_3202n)
    expect([Seg.CS, Seg.SS, Seg.DS, Seg.ES, Seg.FS, Seg.GS].map((seg) => cpu.state.get('segSelector', seg)))
      .toEqual([0x900, 0x600, 0x111, 0x222, 0x333, 0x444])
    expect(cpu.state.get64('segBase', Seg.DS)).toBe(0x1110n)
    expect([cpu.state.get64('rip'), cpu.state.gpr(4), cpu.state.get('cpl')]).toEqual([0x12n, 0xfffen, 3])
  })

  it('needs IOPL 3 for INT n in virtual-8086 mode', () => {
    const cpu = protectedCpu()
    unpackRflags(cpu.state, 0x2_0202n)
    for (let seg = 0; seg < 6; seg++) cpu.segment(seg, 0, 0, 0xffff, 0xf3)
    cpu.state.set('cpl', 3)
    cpu.modeChanged()
    expect(faultOf(() => cpu.run([0xcd, 0x20]))).toBe('13:0')
  })

  it('switches tasks through a task gate and hands over the error code', () => {
    const cpu = protectedCpu()
    const other = 0x3800
    cpu.descriptor(GDT, 0x48, other, 0x67, 0x89)
    cpu.gate(IDT + 13 * 8, { selector: 0x48, offset: 0, type: TASK })
    const put = (offset: number, value: number): void => cpu.view.setUint32(other + offset, value, true)
    put(0x20, 0x5555); put(0x24, 2); put(0x38, 0x4000)
    for (const offset of [0x48, 0x50, 0x54]) put(offset, DATA0)
    put(0x4c, CODE0)
    cpu.state.set64('rip', 0x9111n)
    deliverEvent(cpu, 13, 'fault', 0x77)
    expect(cpu.state.get64('rip')).toBe(0x5555n)
    expect(cpu.state.gpr(4)).toBe(0x3ffcn)
    expect(cpu.u32(0x3ffc)).toBe(0x77)
    expect(cpu.u32(TSS + 0x20)).toBe(0x9111)
    expect(cpu.u16(other)).toBe(0x40)
    expect(packRflags(cpu.state) & Flag.NT).toBe(Flag.NT)
    expect(cpu.state.lo('cr0') & 8).toBe(8)
  })
})

describe('long mode', () => {
  it('pushes a 64-bit frame with error code on the aligned ring-0 stack', () => {
    const cpu = longCpu()
    toUser(cpu)
    gate64(cpu, 14)
    unpackRflags(cpu.state, 0x4_0202n)
    cpu.state.set64('rip', 0x9123n)
    deliverEvent(cpu, 14, 'fault', 6)
    expect(cpu.state.gpr(4)).toBe(0x8000n - 48n)
    expect([0, 1, 2, 3, 4, 5].map((i) => cpu.u64(0x8000 - 48 + i * 8))).toEqual([6n, 0x9123n, 0x1bn, 0x5_0202n, 0x6000n, 0x23n])
    expect(cpu.state.get('segSelector', Seg.SS)).toBe(0)
    expect(cpu.state.get('cpl')).toBe(0)
    expect(cpu.state.get64('rip')).toBe(0x500en)
    cpu.state.setGpr(4, cpu.state.gpr(4) + 8n)
    cpu.run([0x48, 0xcf], 0x9800)
    expect([cpu.state.get64('rip'), cpu.state.gpr(4), cpu.state.get('cpl')]).toEqual([0x9123n, 0x6000n, 3])
    expect(cpu.state.get('segSelector', Seg.SS)).toBe(0x23)
    expect(packRflags(cpu.state)).toBe(0x5_0202n)
  })

  it('takes the stack of the interrupt stack table at any privilege', () => {
    const cpu = longCpu()
    gate64(cpu, 2, { ist: 1 })
    cpu.state.setGpr(4, 0x6ff1n)
    cpu.state.set64('rip', 0x9123n)
    deliverEvent(cpu, 2, 'nmi')
    expect(cpu.state.gpr(4)).toBe(0xc000n - 40n)
    expect(cpu.u64(0xc000 - 16)).toBe(0x6ff1n)
    expect(cpu.u64(0xc000 - 8)).toBe(BigInt(DATA0))
  })

  it('aligns the running stack without a switch', () => {
    const cpu = longCpu()
    gate64(cpu, 0x30)
    cpu.state.setGpr(4, 0x6ffdn)
    deliverEvent(cpu, 0x30, 'interrupt')
    expect(cpu.state.gpr(4)).toBe(0x6ff0n - 40n)
    expect(cpu.u64(0x6ff0 - 16)).toBe(0x6ffdn)
  })

  it('checks the gate: privilege, presence, 64-bit target, table limit', () => {
    const cpu = longCpu()
    toUser(cpu)
    gate64(cpu, 0x40)
    gate64(cpu, 0x41, { dpl: 3, present: false })
    gate64(cpu, 0x42, { dpl: 3, selector: 0x30 })
    gate64(cpu, 0x43, { dpl: 3, type: TASK })
    const int = (n: number): string => faultOf(() => cpu.run([0xcd, n]))
    expect(int(0x40)).toBe('13:202')
    expect(int(0x41)).toBe('11:20a')
    expect(int(0x42)).toBe('13:30')
    expect(int(0x43)).toBe('13:21a')
    cpu.state.set('idtrLimit', 0x3ff)
    expect(int(0x80)).toBe('13:402')
  })

  it('makes a page fault on the handler stack a double fault on its own stack', () => {
    const cpu = longCpu()
    toUser(cpu)
    gate64(cpu, 14)
    gate64(cpu, 8, { ist: 1 })
    cpu.view.setUint32(0x2_3000 + 7 * 8, 0, true)
    cpu.state.set64('rip', 0x9123n)
    deliverEvent(cpu, 14, 'fault', 4)
    expect(cpu.state.get64('rip')).toBe(0x5008n)
    expect(cpu.state.gpr(4)).toBe(0xc000n - 48n)
    expect(cpu.u64(0xc000 - 48)).toBe(0n)
    expect(cpu.state.get64('cr2')).toBe(0x7fd0n)
  })

  it('delivers a page fault met by an interrupt as a page fault', () => {
    const cpu = longCpu()
    toUser(cpu)
    gate64(cpu, 0x30)
    gate64(cpu, 14, { ist: 1 })
    cpu.view.setUint32(0x2_3000 + 7 * 8, 0, true)
    deliverEvent(cpu, 0x30, 'interrupt')
    expect(cpu.state.get64('rip')).toBe(0x500en)
    expect(cpu.u64(0xc000 - 48)).toBe(2n)
  })

  it('describes a triple fault', () => {
    const cpu = longCpu()
    cpu.state.set('idtrLimit', 0)
    cpu.state.set64('rip', 0x9123n)
    expect(() => deliverEvent(cpu, 6, 'fault')).toThrow(/#6 -> #13\(0x33\) -> #8\(0x0\) -> #13 \(43\) at cs:rip 0x8:0x9123/)
  })

  it('takes INT3 with the address behind it', () => {
    const cpu = longCpu()
    gate64(cpu, 3, { dpl: 3 })
    cpu.run([0xcc])
    expect(cpu.u64(Number(cpu.state.gpr(4)))).toBe(0x9001n)
    expect(cpu.state.get64('rip')).toBe(0x5003n)
  })
})
