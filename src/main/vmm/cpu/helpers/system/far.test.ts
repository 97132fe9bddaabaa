import { describe, expect, it } from 'vitest'
import { Flag, packRflags, unpackRflags } from '../../state/flags'
import { Gpr, Seg } from '../../state/layout'
import { CODE0, CODE3, CODE_CONFORMING, DATA0, DATA3, GDT, IDT, TSS, TestCpu, faultOf, longCpu, protectedCpu, toUser } from './test-cpu'

const word = (n: number): number[] => [n & 0xff, (n >> 8) & 0xff]
const dword = (n: number): number[] => [...word(n), ...word(n >>> 16)]
const farJump = (selector: number, offset = 0x5000): number[] => [0xea, ...dword(offset), ...word(selector)]
const farCall = (selector: number, offset = 0x5000): number[] => [0x9a, ...dword(offset), ...word(selector)]
const CALL32 = 12

describe('far JMP and CALL to code', () => {
  it('works by paragraphs in real mode', () => {
    const cpu = new TestCpu()
    cpu.state.setGpr(Gpr.RSP, 0x8000n)
    cpu.run([0x9a, ...word(0x30), ...word(0x500)], 0x900)
    expect([cpu.state.get64('rip'), cpu.state.get64('segBase', Seg.CS)]).toEqual([0x30n, 0x5000n])
    expect([cpu.u16(0x7ffc), cpu.u16(0x7ffe)]).toEqual([0x905, 0])
    cpu.bytes.set([0xca, 2, 0], 0x5030)
    cpu.step()
    expect([cpu.state.get64('rip'), cpu.state.gpr(Gpr.RSP)]).toEqual([0x905n, 0x8002n])
  })

  it('checks privilege, type, presence and limit', () => {
    const cpu = protectedCpu()
    cpu.descriptor(GDT, 0x50, 0, 0xffff_ffff, 0xc01b)
    cpu.descriptor(GDT, 0x58, 0, 0xfff, 0x409b)
    expect(faultOf(() => cpu.run(farJump(0)))).toBe('13:0')
    expect(faultOf(() => cpu.run(farJump(CODE3)))).toBe('13:18')
    expect(faultOf(() => cpu.run(farJump(DATA0)))).toBe('13:10')
    expect(faultOf(() => cpu.run(farJump(0x50)))).toBe('11:50')
    expect(faultOf(() => cpu.run(farJump(0x58)))).toBe('13:0')
    expect(faultOf(() => cpu.run(farJump(0x200)))).toBe('13:200')
    expect(faultOf(() => cpu.run(farJump(CODE0)))).toBe('none')
    expect(cpu.state.get64('rip')).toBe(0x5000n)
  })

  it('keeps the privilege through conforming code', () => {
    const cpu = protectedCpu()
    toUser(cpu)
    cpu.run(farCall(CODE_CONFORMING))
    expect([cpu.state.get('cpl'), cpu.state.get('segSelector', Seg.CS)]).toEqual([3, CODE_CONFORMING | 3])
    expect([cpu.u32(0x5ff8), cpu.u32(0x5ffc)]).toEqual([0x9007, CODE3])
    cpu.run([0xcb], 0x9800)
    expect([cpu.state.get64('rip'), cpu.state.get('segSelector', Seg.CS), cpu.state.gpr(Gpr.RSP)]).toEqual([0x9007n, CODE3, 0x6000n])
  })

  it('jumps from 64-bit to compatibility mode and back through memory pointers', () => {
    const cpu = longCpu()
    toUser(cpu)
    cpu.view.setUint32(0xa000, 0x9100, true)
    cpu.view.setUint16(0xa004, 0x33, true)
    cpu.run([0xff, 0x2c, 0x25, ...dword(0xa000)])
    expect(cpu.state.get64('rip')).toBe(0x9100n)
    cpu.run(farJump(CODE3, 0x9300), 0x9100)
    expect([cpu.state.get64('rip'), cpu.state.get('segAttr', Seg.CS) & 0x2000]).toEqual([0x9300n, 0x2000])
  })
})

describe('call gates', () => {
  it('switch to the inner stack and copy parameters; RETF n releases both', () => {
    const cpu = protectedCpu()
    toUser(cpu)
    cpu.gate(GDT + 0x60, { selector: CODE0, offset: 0x5000, type: CALL32, dpl: 3, ist: 2 })
    cpu.view.setUint32(0x6000, 0xaaaa, true)
    cpu.view.setUint32(0x6004, 0xbbbb, true)
    cpu.run(farCall(0x63, 0))
    const top = Number(cpu.state.gpr(Gpr.RSP))
    expect(top).toBe(0x8000 - 24)
    expect([0, 4, 8, 12, 16, 20].map((i) => cpu.u32(top + i))).toEqual([0x9007, CODE3, 0xaaaa, 0xbbbb, 0x6000, DATA3])
    expect([cpu.state.get('cpl'), cpu.state.get64('rip')]).toEqual([0, 0x5000n])
    cpu.segment(Seg.ES, DATA0, 0, 0xffff_ffff, 0xc093)
    cpu.run([0xca, 8, 0], 0x9800)
    expect([cpu.state.get('cpl'), cpu.state.get64('rip'), cpu.state.gpr(Gpr.RSP)]).toEqual([3, 0x9007n, 0x6008n])
    expect([cpu.state.get('segSelector', Seg.ES), cpu.state.get('segSelector', Seg.DS)]).toEqual([0, DATA3])
  })

  it('check privilege of the gate and of what is behind it', () => {
    const cpu = protectedCpu()
    toUser(cpu)
    cpu.gate(GDT + 0x60, { selector: CODE0, offset: 0x5000, type: CALL32 })
    expect(faultOf(() => cpu.run(farCall(0x60)))).toBe('13:60')
    cpu.gate(GDT + 0x60, { selector: CODE0, offset: 0x5000, type: CALL32, dpl: 3, present: false })
    expect(faultOf(() => cpu.run(farCall(0x60)))).toBe('11:60')
    cpu.gate(GDT + 0x60, { selector: DATA0, offset: 0x5000, type: CALL32, dpl: 3 })
    expect(faultOf(() => cpu.run(farCall(0x60)))).toBe('13:10')
    cpu.gate(GDT + 0x60, { selector: CODE0, offset: 0x5000, type: CALL32, dpl: 3 })
    // JMP may not change the privilege.
    expect(faultOf(() => cpu.run(farJump(0x60)))).toBe('13:8')
    expect(cpu.state.get('cpl')).toBe(3)
  })

  it('push 64-bit frames in long mode', () => {
    const cpu = longCpu()
    toUser(cpu)
    cpu.gate(GDT + 0x60, { selector: CODE0, offset: 0x5000, type: CALL32, dpl: 3 }, true)
    cpu.view.setUint16(0xa004, 0x60, true)
    cpu.run([0xff, 0x1c, 0x25, ...dword(0xa000)])
    expect([0, 8, 16, 24].map((i) => cpu.u64(0x8008 - 32 + i))).toEqual([0x9007n, 0x1bn, 0x6000n, 0x23n])
    expect([cpu.state.get('cpl'), cpu.state.get('segSelector', Seg.SS)]).toEqual([0, 0])
    cpu.run([0x48, 0xcb], 0x9800)
    expect([cpu.state.get('cpl'), cpu.state.get64('rip'), cpu.state.gpr(Gpr.RSP)]).toEqual([3, 0x9007n, 0x6000n])
  })
})

describe('IRET', () => {
  it('refuses to go inward, and bad return segments', () => {
    const cpu = protectedCpu()
    toUser(cpu)
    const frame = (cs: number): void => [0x5000, cs, 2].forEach((value, i) => cpu.view.setUint32(0x6000 + i * 4, value, true))
    frame(CODE0)
    expect(faultOf(() => cpu.run([0xcf]))).toBe('13:8')
    frame(0)
    expect(faultOf(() => cpu.run([0xcf]))).toBe('13:0')
    frame(DATA3)
    expect(faultOf(() => cpu.run([0xcf]))).toBe('13:20')
    expect(cpu.state.gpr(Gpr.RSP)).toBe(0x6000n)
  })

  it('lets ring 3 change neither IOPL nor IF', () => {
    const cpu = protectedCpu()
    toUser(cpu)
    unpackRflags(cpu.state, 0x202n)
    ;[0x5000, CODE3, 0x3000 | Number(Flag.CF | Flag.AC)].forEach((value, i) => cpu.view.setUint32(0x6000 + i * 4, value, true))
    cpu.run([0xcf])
    expect(packRflags(cpu.state)).toBe(0x202n | Flag.CF | Flag.AC)
  })

  it('unblocks NMIs', () => {
    const cpu = longCpu()
    cpu.state.set('nmiBlocked', 1)
    ;[0x5000n, BigInt(CODE0), 2n, 0x7000n, BigInt(DATA0)].forEach((value, i) => cpu.view.setBigUint64(0x7000 + i * 8, value, true))
    cpu.run([0x48, 0xcf])
    expect([cpu.state.get('nmiBlocked'), cpu.state.gpr(Gpr.RSP), cpu.state.get('segSelector', Seg.SS)]).toEqual([0, 0x7000n, DATA0])
  })
})

describe('task switch', () => {
  const OTHER = 0x3800
  function withTask(cs = CODE0): TestCpu {
    const cpu = protectedCpu()
    cpu.descriptor(GDT, 0x48, OTHER, 0x67, 0x89)
    const put = (offset: number, value: number): void => cpu.view.setUint32(OTHER + offset, value, true)
    put(0x20, 0x5000); put(0x24, 0x802); put(0x28, 0x1111); put(0x38, 0x4000)
    for (const offset of [0x48, 0x50, 0x54]) put(offset, DATA0)
    put(0x4c, cs)
    return cpu
  }
  const type = (cpu: TestCpu, selector: number): number => cpu.bytes[GDT + selector + 5] & 15

  it('by CALL nests, by IRET comes back', () => {
    const cpu = withTask()
    cpu.state.setGpr(Gpr.RBX, 0x77n)
    cpu.run(farCall(0x48))
    expect([cpu.state.get64('rip'), cpu.state.gpr(Gpr.RAX), cpu.state.gpr(Gpr.RSP)]).toEqual([0x5000n, 0x1111n, 0x4000n])
    expect([type(cpu, 0x40), type(cpu, 0x48), cpu.u16(OTHER)]).toEqual([11, 11, 0x40])
    expect(packRflags(cpu.state)).toBe(0x4802n)
    expect([cpu.u32(TSS + 0x20), cpu.u32(TSS + 0x28 + 12)]).toEqual([0x9007, 0x77])
    cpu.state.setGpr(Gpr.RBX, 0n)
    cpu.run([0xcf], 0x5000)
    expect([cpu.state.get64('rip'), cpu.state.gpr(Gpr.RBX), cpu.state.get('segSelector', Seg.TR)]).toEqual([0x9007n, 0x77n, 0x40])
    expect([type(cpu, 0x40), type(cpu, 0x48)]).toEqual([11, 9])
    // The other task was saved with NT clear.
    expect(cpu.u32(OTHER + 0x24)).toBe(0x802)
    expect(cpu.u32(OTHER + 0x20)).toBe(0x5001)
  })

  it('by JMP leaves the old task available', () => {
    const cpu = withTask()
    cpu.run(farJump(0x48))
    expect([type(cpu, 0x40), type(cpu, 0x48)]).toEqual([9, 11])
    expect(packRflags(cpu.state) & Flag.NT).toBe(0n)
    expect(faultOf(() => cpu.run(farJump(0x48)))).toBe('13:48')
  })

  it('checks the TSS before, and its segments after the switch, in the new task', () => {
    const cpu = withTask(DATA0)
    cpu.gate(IDT + 10 * 8, { selector: CODE0, offset: 0x5700, type: 14 })
    // The new task has no code to run #TS at, and no stack yet: delivery ends in a triple fault only if its stack is bad too.
    expect(faultOf(() => { try { cpu.run(farJump(0x48)) } catch (error) { if (!(error instanceof Error) || error.name !== 'TripleFault') throw error } })).toBe('none')
    expect(cpu.state.get('segSelector', Seg.TR)).toBe(0x48)
    const short = withTask()
    short.descriptor(GDT, 0x48, OTHER, 0x66, 0x89)
    expect(faultOf(() => short.run(farJump(0x48)))).toBe('10:48')
    short.descriptor(GDT, 0x48, OTHER, 0x67, 0x09)
    expect(faultOf(() => short.run(farJump(0x48)))).toBe('11:48')
    expect(short.state.get('segSelector', Seg.TR)).toBe(0x40)
  })

  it('works with 16-bit task state segments', () => {
    const cpu = protectedCpu()
    cpu.descriptor(GDT, 0x48, OTHER, 0x2b, 0x81)
    const put = (offset: number, value: number): void => cpu.view.setUint16(OTHER + offset, value, true)
    put(0x0e, 0x5000); put(0x10, 2); put(0x12, 0x1234); put(0x1a, 0x4000)
    put(0x22, DATA0); put(0x24, CODE0); put(0x26, DATA0); put(0x28, DATA0)
    cpu.run(farCall(0x48))
    expect([cpu.state.get64('rip'), cpu.state.gpr(Gpr.RAX) & 0xffffn, cpu.u16(OTHER)]).toEqual([0x5000n, 0x1234n, 0x40])
  })

  it('does not exist in long mode', () => {
    const cpu = longCpu()
    cpu.view.setUint16(0xa004, 0x40, true)
    expect(faultOf(() => cpu.run([0xff, 0x2c, 0x25, ...dword(0xa000)]))).toBe('13:40')
  })
})
