import { describe, expect, it } from 'vitest'
import { Flag, packRflags, unpackRflags } from '../../state/flags'
import { Gpr, Seg } from '../../state/layout'
import { Mode } from '../../state/mode'
import { CODE0, CODE3, CODE_CONFORMING, DATA0, DATA3, GDT, TSS, TestCpu, faultOf, longCpu, protectedCpu, toUser } from './test-cpu'
import { systemHelpers } from './index'

const dword = (n: number): number[] => [n & 0xff, (n >> 8) & 0xff, (n >> 16) & 0xff, (n >>> 24) & 0xff]

describe('segment registers', () => {
  const load = (cpu: TestCpu, code: number[], selector: number): string => {
    cpu.state.setGpr(Gpr.RAX, BigInt(selector))
    return faultOf(() => cpu.run(code))
  }
  const MOV_DS = [0x8e, 0xd8]
  const MOV_SS = [0x8e, 0xd0]

  it('check data segments and mark them accessed', () => {
    const cpu = protectedCpu()
    toUser(cpu)
    cpu.descriptor(GDT, 0x50, 0x1234_5678, 0xfff, 0x40f2)
    cpu.descriptor(GDT, 0x58, 0, 0xfff, 0x40f8)
    cpu.descriptor(GDT, 0x60, 0, 0xfff, 0x4073)
    expect(load(cpu, MOV_DS, 0x53)).toBe('none')
    expect([cpu.state.get64('segBase', Seg.DS), cpu.state.get('segLimit', Seg.DS), cpu.bytes[GDT + 0x55]]).toEqual([0x1234_5678n, 0xfff, 0xf3])
    expect(load(cpu, MOV_DS, DATA0)).toBe('13:10')
    expect(load(cpu, MOV_DS, 0x5b)).toBe('13:58')
    expect(load(cpu, MOV_DS, 0x63)).toBe('11:60')
    expect(load(cpu, MOV_DS, CODE_CONFORMING)).toBe('none')
    expect(load(cpu, MOV_DS, 0x1003)).toBe('13:1000')
    expect(load(cpu, MOV_DS, 7)).toBe('13:4')
    expect(load(cpu, MOV_DS, 3)).toBe('none')
    expect(cpu.state.get('segAttr', Seg.DS) & 0x1_0000).toBe(0x1_0000)
    expect(faultOf(() => cpu.run([0xa0, ...dword(0x100)]))).toBe('13:0')
  })

  it('check stack segments, with a shadow of one instruction', () => {
    const cpu = protectedCpu()
    expect(load(cpu, MOV_SS, 0)).toBe('13:0')
    expect(load(cpu, MOV_SS, DATA3)).toBe('13:20')
    expect(load(cpu, MOV_SS, CODE0)).toBe('13:8')
    cpu.descriptor(GDT, 0x50, 0, 0xfff, 0x4013)
    expect(load(cpu, MOV_SS, 0x50)).toBe('12:50')
    expect(cpu.state.get('intShadow')).toBe(0)
    expect(load(cpu, MOV_SS, DATA0)).toBe('none')
    expect(cpu.state.get('intShadow')).toBe(2)
  })

  it('take descriptors from the LDT', () => {
    const cpu = protectedCpu()
    cpu.descriptor(GDT, 0x50, 0x4000, 0xf, 0x82)
    cpu.descriptor(0x4000, 8, 0x7_0000, 0xff, 0x4093)
    cpu.state.setGpr(Gpr.RBX, 0x50n)
    cpu.run([0x0f, 0x00, 0xd3])
    expect(load(cpu, MOV_DS, 0x0c)).toBe('none')
    expect(cpu.state.get64('segBase', Seg.DS)).toBe(0x7_0000n)
    expect(load(cpu, MOV_DS, 0x14)).toBe('13:14')
    cpu.state.setGpr(Gpr.RBX, 0x10n)
    expect(faultOf(() => cpu.run([0x0f, 0x00, 0xd3]))).toBe('13:10')
  })

  it('POP leaves RSP where the load fails; LSS loads both', () => {
    const cpu = protectedCpu()
    cpu.view.setUint32(0x7000, 0x1000, true)
    expect(faultOf(() => cpu.run([0x1f]))).toBe('13:1000')
    expect(cpu.state.gpr(Gpr.RSP)).toBe(0x7000n)
    cpu.view.setUint32(0xa000, 0x6543, true)
    cpu.view.setUint16(0xa004, DATA0, true)
    cpu.run([0x0f, 0xb2, 0x25, ...dword(0xa000)])
    expect([cpu.state.gpr(Gpr.RSP), cpu.state.get('segSelector', Seg.SS), cpu.state.get('intShadow')]).toEqual([0x6543n, DATA0, 0])
  })

  it('a null SS is legal in 64-bit ring 0 only', () => {
    const cpu = longCpu()
    expect(load(cpu, MOV_SS, 0)).toBe('none')
    toUser(cpu)
    expect(load(cpu, MOV_SS, 3)).toBe('13:0')
  })

  it('respect limits, expand-down segments and read-only data', () => {
    const cpu = protectedCpu()
    const { state } = cpu
    cpu.segment(Seg.DS, 0x50, 0x1_0000, 0xfff, 0x40b7 & ~0x20)
    cpu.modeChanged()
    expect(faultOf(() => cpu.run([0xa1, ...dword(0xfff)]))).toBe('13:0')
    expect(faultOf(() => cpu.run([0xa1, ...dword(0x1000)]))).toBe('none')
    cpu.segment(Seg.DS, 0x50, 0x1_0000, 0xfff, 0x4091)
    cpu.modeChanged()
    expect(faultOf(() => cpu.run([0xa1, ...dword(0xffc)]))).toBe('none')
    expect(faultOf(() => cpu.run([0xa1, ...dword(0xffd)]))).toBe('13:0')
    expect(faultOf(() => cpu.run([0xa3, ...dword(0)]))).toBe('13:0')
    cpu.segment(Seg.SS, 0x50, 0, 0x6fff, 0x4093)
    state.setGpr(Gpr.RSP, 0x7004n)
    cpu.modeChanged()
    expect(faultOf(() => cpu.run([0x50]))).toBe('12:0')
  })
})

describe('descriptor questions', () => {
  const ask = (cpu: TestCpu, code: number[], selector: number): [boolean, bigint] => {
    cpu.state.setGpr(Gpr.RAX, BigInt(selector))
    cpu.state.setGpr(Gpr.RBX, 0x9999n)
    cpu.run(code)
    return [(packRflags(cpu.state) & Flag.ZF) !== 0n, cpu.state.gpr(Gpr.RBX)]
  }
  it('LAR, LSL, VERR, VERW answer by privilege', () => {
    const cpu = protectedCpu()
    const LAR = [0x0f, 0x02, 0xd8], LSL = [0x0f, 0x03, 0xd8], VERR = [0x0f, 0x00, 0xe0], VERW = [0x0f, 0x00, 0xe8]
    expect(ask(cpu, LAR, CODE0)).toEqual([true, 0xc0_9b00n])
    expect(ask(cpu, LSL, CODE0)).toEqual([true, 0xffff_ffffn])
    expect(ask(cpu, LSL, 0x40)).toEqual([true, 0x67n])
    expect(ask(cpu, LAR, 0)).toEqual([false, 0x9999n])
    expect(ask(cpu, VERW, CODE0)[0]).toBe(false)
    expect(ask(cpu, VERR, CODE0)[0]).toBe(true)
    toUser(cpu)
    expect(ask(cpu, LAR, CODE0)).toEqual([false, 0x9999n])
    expect(ask(cpu, VERR, DATA0)[0]).toBe(false)
    expect(ask(cpu, VERW, DATA3)[0]).toBe(true)
    expect(ask(cpu, VERR, CODE_CONFORMING)[0]).toBe(true)
  })

  it('LTR marks the task busy, and takes no busy one', () => {
    const cpu = longCpu()
    cpu.descriptor(GDT, 0x40, TSS, 0x67, 0x89)
    cpu.view.setUint32(GDT + 0x48, 0xffff_8000, true)
    cpu.view.setUint32(GDT + 0x4c, 0, true)
    cpu.state.setGpr(Gpr.RAX, 0x40n)
    cpu.run([0x0f, 0x00, 0xd8])
    expect([cpu.state.get64('segBase', Seg.TR), cpu.bytes[GDT + 0x45]]).toEqual([0xffff_8000_0000_3000n, 0x8b])
    expect(faultOf(() => cpu.run([0x0f, 0x00, 0xd8]))).toBe('13:40')
  })

  it('LGDT and SGDT move 10 bytes in 64-bit mode', () => {
    const cpu = longCpu()
    cpu.view.setUint16(0xa000, 0x123, true)
    cpu.view.setBigUint64(0xa002, 0xffff_8000_0000_1000n, true)
    cpu.run([0x0f, 0x01, 0x14, 0x25, ...dword(0xa000)])
    expect([cpu.state.get('gdtrLimit'), cpu.state.get64('gdtrBase')]).toEqual([0x123, 0xffff_8000_0000_1000n])
    cpu.run([0x0f, 0x01, 0x04, 0x25, ...dword(0xa100)])
    expect([cpu.u16(0xa100), cpu.u64(0xa102)]).toEqual([0x123, 0xffff_8000_0000_1000n])
    cpu.view.setBigUint64(0xa002, 0x8000_0000_0000n, true)
    expect(faultOf(() => cpu.run([0x0f, 0x01, 0x14, 0x25, ...dword(0xa000)]))).toBe('13:0')
  })
})

describe('control registers', () => {
  const write = (cpu: TestCpu, register: number, value: bigint): string => {
    cpu.state.setGpr(Gpr.RAX, value)
    return faultOf(() => cpu.run(register === 8 ? [0x44, 0x0f, 0x22, 0xc0] : [0x0f, 0x22, 0xc0 | (register << 3)]))
  }

  it('refuse combinations that do not exist', () => {
    const cpu = protectedCpu()
    expect(write(cpu, 0, 0x8000_0010n)).toBe('13:0')
    expect(write(cpu, 0, 0x2000_0011n)).toBe('13:0')
    expect(write(cpu, 4, 1n << 13n)).toBe('13:0')
    expect(write(cpu, 4, 1n << 17n)).toBe('13:0')
    expect(faultOf(() => cpu.run([0x0f, 0x22, 0xc8]))).toBe('6:-')
    toUser(cpu)
    expect(write(cpu, 0, 0x11n)).toBe('13:0')
  })

  it('enter and leave long mode', () => {
    const cpu = protectedCpu()
    const { state } = cpu
    state.setGpr(Gpr.RCX, 0xc000_0080n)
    state.setGpr(Gpr.RAX, 0x100n)
    cpu.run([0x0f, 0x30])
    expect(write(cpu, 0, 0x8000_0011n)).toBe('13:0')
    expect(write(cpu, 4, 0x20n)).toBe('none')
    cpu.view.setUint32(0x2_0000, 0x2_1007, true)
    cpu.view.setUint32(0x2_1000, 0x2_2007, true)
    cpu.view.setUint32(0x2_2000, 0x87, true)
    expect(write(cpu, 3, 0x2_0000n)).toBe('none')
    expect(write(cpu, 0, 0x8000_0011n)).toBe('none')
    expect(state.get64('efer')).toBe(0x500n)
    expect(state.get('modeKey') & (Mode.LONG | Mode.CODE64)).toBe(Mode.LONG)
    expect(write(cpu, 4, 0n)).toBe('13:0')
    state.setGpr(Gpr.RAX, 0n)
    expect(faultOf(() => cpu.run([0x0f, 0x30]))).toBe('13:0')
    expect(write(cpu, 0, 0x11n)).toBe('none')
    expect(state.get64('efer')).toBe(0x100n)
  })

  it('check CR3, PCID and CR8 in 64-bit mode', () => {
    const cpu = longCpu()
    expect(write(cpu, 3, 1n << 40n)).toBe('13:0')
    expect(write(cpu, 3, (1n << 63n) | 0x2_0000n)).toBe('13:0')
    expect(write(cpu, 3, 0x2_0001n)).toBe('none')
    expect(write(cpu, 4, 0x2_0020n)).toBe('13:0')
    expect(write(cpu, 3, 0x2_0000n)).toBe('none')
    expect(write(cpu, 4, 0x2_0020n)).toBe('none')
    expect(write(cpu, 3, (1n << 63n) | 0x2_0005n)).toBe('none')
    expect(cpu.state.get64('cr3')).toBe(0x2_0005n)
    expect(write(cpu, 8, 16n)).toBe('13:0')
    expect(write(cpu, 8, 5n)).toBe('none')
    expect(cpu.platform.tpr).toBe(5)
    expect(write(cpu, 0, 0x1_0000_0011n)).toBe('13:0')
  })

  it('refuse PAE page directory pointers with reserved bits', () => {
    const cpu = protectedCpu()
    expect(write(cpu, 4, 0x20n)).toBe('none')
    cpu.view.setUint32(0x2_0000, 0x2_1003, true)
    expect(write(cpu, 3, 0x2_0000n)).toBe('none')
    expect(write(cpu, 0, 0x8000_0011n)).toBe('13:0')
    expect(cpu.state.lo('cr0')).toBe(0x11)
    cpu.view.setUint32(0x2_0000, 0x2_1001, true)
    cpu.view.setUint32(0x2_1000, 0x83, true)
    expect(write(cpu, 0, 0x8000_0011n)).toBe('none')
  })

  it('LMSW sets PE but cannot clear it; CLTS clears TS', () => {
    const cpu = protectedCpu()
    cpu.state.setGpr(Gpr.RAX, 8n)
    cpu.run([0x0f, 0x01, 0xf0])
    expect(cpu.state.lo('cr0')).toBe(0x19)
    cpu.run([0x0f, 0x06])
    expect(cpu.state.lo('cr0')).toBe(0x11)
  })

  it('guard debug registers', () => {
    const cpu = protectedCpu()
    cpu.state.setGpr(Gpr.RAX, 0xffff_ffffn)
    cpu.run([0x0f, 0x23, 0xf0])
    expect(cpu.state.get64('dr', 6)).toBe(0xffff_effFn & ~0x1000n)
    cpu.state.set64('cr4', 8n)
    expect(faultOf(() => cpu.run([0x0f, 0x21, 0xe0]))).toBe('6:-')
    cpu.state.set64('dr', 0x2400n, 7)
    expect(faultOf(() => cpu.run([0x0f, 0x21, 0xc0]))).toBe('1:-')
    expect(cpu.state.lo('dr', 6) & 0x2000).toBe(0x2000)
  })

  it('invalidate pages and address spaces', () => {
    const cpu = longCpu()
    cpu.state.setGpr(Gpr.RBX, 0xffff_8000_0012_3456n)
    cpu.run([0x0f, 0x01, 0x3b])
    expect(cpu.invalidated).toEqual([0xffff_8000_0012_3456n])
    cpu.state.setGpr(Gpr.RAX, 2n)
    cpu.run([0x66, 0x0f, 0x38, 0x82, 0x04, 0x25, ...dword(0xa000)])
    cpu.state.setGpr(Gpr.RAX, 3n)
    cpu.run([0x66, 0x0f, 0x38, 0x82, 0x04, 0x25, ...dword(0xa000)])
    expect(cpu.flushes).toEqual([false, true])
    cpu.state.setGpr(Gpr.RAX, 4n)
    expect(faultOf(() => cpu.run([0x66, 0x0f, 0x38, 0x82, 0x04, 0x25, ...dword(0xa000)]))).toBe('13:0')
  })
})

describe('interrupt flag and ports', () => {
  it('follow IOPL', () => {
    const cpu = protectedCpu()
    toUser(cpu)
    expect(faultOf(() => cpu.run([0xfa]))).toBe('13:0')
    expect(faultOf(() => cpu.run([0xfb]))).toBe('13:0')
    expect(faultOf(() => cpu.run([0xf4]))).toBe('13:0')
    unpackRflags(cpu.state, 0x3002n)
    for (const waits of [false, true]) {
      cpu.interruptWaits = waits
      cpu.run([0xfb])
      expect([packRflags(cpu.state) & Flag.IF, cpu.state.get('intShadow')]).toEqual([Flag.IF, waits ? 1 : 0])
      cpu.run([0xfa])
      expect(packRflags(cpu.state) & Flag.IF).toBe(0n)
    }
  })

  it('HLT halts and ends the shadow of STI', () => {
    const cpu = protectedCpu()
    cpu.interruptWaits = true
    cpu.run([0xfb, 0xf4], 0x9000, 2)
    expect([cpu.state.get('halted'), cpu.state.get('intShadow'), cpu.state.get64('rip')]).toEqual([1, 0, 0x9002n])
  })

  it('ask the I/O permission map', () => {
    const cpu = protectedCpu()
    toUser(cpu)
    expect(faultOf(() => cpu.run([0xe4, 0x60]))).toBe('13:0')
    cpu.segment(Seg.TR, 0x40, TSS, 0x68 + 0x100, 0x8b)
    cpu.bytes[TSS + 0x68 + 0x60 / 8] = 0b1000
    cpu.state.setGpr(Gpr.RAX, 0n)
    cpu.run([0xe4, 0x60])
    expect(cpu.state.gpr(Gpr.RAX)).toBe(0x60n)
    expect(faultOf(() => cpu.run([0xe4, 0x63]))).toBe('13:0')
    expect(faultOf(() => cpu.run([0xe5, 0x60]))).toBe('13:0')
    expect(faultOf(() => cpu.run([0xe5, 0x64]))).toBe('none')
    cpu.state.setGpr(Gpr.RDX, 0x1000n)
    expect(faultOf(() => cpu.run([0xee]))).toBe('13:0')
  })

  it('move strings of ports', () => {
    const cpu = protectedCpu()
    cpu.state.setGpr(Gpr.RDX, 0x3f8n)
    cpu.state.setGpr(Gpr.RCX, 3n)
    cpu.state.setGpr(Gpr.RSI, 0xa000n)
    cpu.bytes.set([1, 2, 3], 0xa000)
    cpu.run([0xf3, 0x6e])
    expect(cpu.platform.outs).toEqual(['3f8/1=1', '3f8/1=2', '3f8/1=3'])
    expect([cpu.state.gpr(Gpr.RSI), cpu.state.gpr(Gpr.RCX)]).toEqual([0xa003n, 0n])
    cpu.state.setGpr(Gpr.RCX, 2n)
    cpu.state.setGpr(Gpr.RDI, 0xb000n)
    cpu.run([0xf3, 0x66, 0x6d])
    expect([cpu.u16(0xb000), cpu.u16(0xb002), cpu.u16(0xb004)]).toEqual([0x33f8, 0x33f8, 0])
  })
})

describe('fast system calls', () => {
  function withStar(): TestCpu {
    const cpu = longCpu()
    cpu.state.set64('star', 0x0013_0008_0000_0000n)
    cpu.state.set64('lstar', 0xffff_8000_0000_1234n)
    cpu.state.set64('cstar', 0x4321n)
    cpu.state.set64('sfmask', 0x700n)
    return cpu
  }

  it('SYSCALL and SYSRET in 64-bit mode', () => {
    const cpu = withStar()
    toUser(cpu)
    unpackRflags(cpu.state, 0x247n)
    cpu.run([0x0f, 0x05])
    const { state } = cpu
    expect([state.get64('rip'), state.gpr(Gpr.RCX), state.gpr(Gpr.R11)]).toEqual([0xffff_8000_0000_1234n, 0x9002n, 0x247n])
    expect([state.get('cpl'), state.get('segSelector', Seg.CS), state.get('segSelector', Seg.SS)]).toEqual([0, 8, 0x10])
    expect(packRflags(state)).toBe(0x47n)
    cpu.run([0x48, 0x0f, 0x07])
    expect([state.get64('rip'), state.get('cpl'), packRflags(state)]).toEqual([0x9002n, 3, 0x247n])
    expect([state.get('segSelector', Seg.CS), state.get('segSelector', Seg.SS)]).toEqual([0x23, 0x1b])
    expect(state.get('modeKey') & (Mode.CODE64 | Mode.USER)).toBe(Mode.CODE64 | Mode.USER)
  })

  it('SYSCALL from compatibility mode, SYSRET back to it', () => {
    const cpu = withStar()
    toUser(cpu)
    cpu.segment(Seg.CS, 0x33, 0, 0xffff_ffff, 0xc0fb)
    cpu.modeChanged()
    cpu.run([0x0f, 0x05])
    expect(cpu.state.get64('rip')).toBe(0x4321n)
    cpu.run([0x0f, 0x07])
    expect([cpu.state.get64('rip'), cpu.state.get('segAttr', Seg.CS), cpu.state.get('segSelector', Seg.CS)]).toEqual([0x9002n, 0xc0fb, 0x13])
  })

  it('need EFER.SCE and the right ring', () => {
    const cpu = withStar()
    cpu.state.setGpr(Gpr.RCX, 0x8000_0000_0000n)
    expect(faultOf(() => cpu.run([0x48, 0x0f, 0x07]))).toBe('13:0')
    cpu.state.set64('efer', 0xd00n)
    expect(faultOf(() => cpu.run([0x0f, 0x05]))).toBe('6:-')
    toUser(cpu)
    expect(faultOf(() => cpu.run([0x48, 0x0f, 0x07]))).toBe('13:0')
  })

  it('SYSENTER and SYSEXIT', () => {
    const cpu = protectedCpu()
    toUser(cpu)
    expect(faultOf(() => cpu.run([0x0f, 0x34]))).toBe('13:0')
    cpu.state.set64('sysenterCs', 8n)
    cpu.state.set64('sysenterEsp', 0x7770n)
    cpu.state.set64('sysenterEip', 0x5550n)
    unpackRflags(cpu.state, 0x202n)
    cpu.run([0x0f, 0x34])
    expect([cpu.state.get64('rip'), cpu.state.gpr(Gpr.RSP), cpu.state.get('cpl'), packRflags(cpu.state)]).toEqual([0x5550n, 0x7770n, 0, 2n])
    cpu.state.setGpr(Gpr.RDX, 0x9111n)
    cpu.state.setGpr(Gpr.RCX, 0x6000n)
    cpu.run([0x0f, 0x35])
    expect([cpu.state.get64('rip'), cpu.state.gpr(Gpr.RSP), cpu.state.get('cpl')]).toEqual([0x9111n, 0x6000n, 3])
    expect([cpu.state.get('segSelector', Seg.CS), cpu.state.get('segSelector', Seg.SS)]).toEqual([CODE3, 0x23])
  })

  it('SWAPGS, RDFSBASE and WRGSBASE', () => {
    const cpu = longCpu()
    cpu.state.set64('segBase', 0x1111n, Seg.GS)
    cpu.state.set64('kernelGsBase', 0x2222n)
    cpu.run([0x0f, 0x01, 0xf8])
    expect([cpu.state.get64('segBase', Seg.GS), cpu.state.get64('dataBase', Seg.GS), cpu.state.get64('kernelGsBase')]).toEqual([0x2222n, 0x2222n, 0x1111n])
    expect(faultOf(() => cpu.run([0xf3, 0x48, 0x0f, 0xae, 0xc0]))).toBe('6:-')
    cpu.state.set64('cr4', 0x1_0020n)
    cpu.state.setGpr(Gpr.RAX, 0xffff_8000_0000_0010n)
    cpu.run([0xf3, 0x48, 0x0f, 0xae, 0xd8])
    cpu.run([0xf3, 0x48, 0x0f, 0xae, 0xcb])
    expect(cpu.state.gpr(Gpr.RBX)).toBe(0xffff_8000_0000_0010n)
    cpu.state.setGpr(Gpr.RAX, 0x8000_0000_0000n)
    expect(faultOf(() => cpu.run([0xf3, 0x48, 0x0f, 0xae, 0xd8]))).toBe('13:0')
  })

  it('STAC and CLAC lift SMAP', () => {
    const cpu = longCpu()
    cpu.state.set64('cr4', 0x20_0020n)
    // The code itself must be reachable: make its page a supervisor page.
    cpu.view.setUint32(0x2_3000 + 9 * 8, 0x9003, true)
    for (const page of [1, 3]) cpu.view.setUint32(0x2_3000 + page * 8, page * 0x1000 + 3, true)
    const load = [0x8b, 0x04, 0x25, ...dword(0xa000)]
    expect(faultOf(() => cpu.run(load))).toBe('14:1')
    cpu.run([0x0f, 0x01, 0xcb])
    expect(faultOf(() => cpu.run(load))).toBe('none')
    cpu.run([0x0f, 0x01, 0xca])
    expect(faultOf(() => cpu.run(load))).toBe('14:1')
    toUser(cpu)
    cpu.view.setUint32(0x2_3000 + 9 * 8, 0x9007, true)
    expect(faultOf(() => cpu.run([0x0f, 0x01, 0xcb]))).toBe('6:-')
  })
})

describe('model-specific registers', () => {
  const wrmsr = (cpu: TestCpu, index: number, value: bigint): string => {
    cpu.state.setGpr(Gpr.RCX, BigInt(index))
    cpu.state.setGpr(Gpr.RAX, value & 0xffff_ffffn)
    cpu.state.setGpr(Gpr.RDX, value >> 32n)
    return faultOf(() => cpu.run([0x0f, 0x30]))
  }
  const rdmsr = (cpu: TestCpu, index: number): bigint | string => {
    cpu.state.setGpr(Gpr.RCX, BigInt(index))
    const fault = faultOf(() => cpu.run([0x0f, 0x32]))
    return fault === 'none' ? (cpu.state.gpr(Gpr.RDX) << 32n) | cpu.state.gpr(Gpr.RAX) : fault
  }

  it('keep what is written, refuse reserved bits and unknown indices', () => {
    const cpu = longCpu()
    expect(wrmsr(cpu, 0xc000_0082, 0xffff_8000_0000_0000n)).toBe('none')
    expect(rdmsr(cpu, 0xc000_0082)).toBe(0xffff_8000_0000_0000n)
    expect(wrmsr(cpu, 0xc000_0082, 0x8000_0000_0000n)).toBe('13:0')
    expect(wrmsr(cpu, 0xc000_0080, 0xd01n | (1n << 12n))).toBe('13:0')
    expect(wrmsr(cpu, 0x277, 0x0007_0406_0007_0402n)).toBe('13:0')
    expect(wrmsr(cpu, 0x277, 0x0007_0106_0007_0106n)).toBe('none')
    expect(rdmsr(cpu, 0x277)).toBe(0x0007_0106_0007_0106n)
    expect(rdmsr(cpu, 0xc001_0131)).toBe('13:0')
    expect(rdmsr(cpu, 0x1b)).toBe(0xfee0_0900n)
    expect([rdmsr(cpu, 0x2ff), rdmsr(cpu, 0xfe)]).toEqual([0xc06n, 0x508n])
    expect(wrmsr(cpu, 0x2ff, 0n)).toBe('none')
    expect(rdmsr(cpu, 0x2ff)).toBe(0n)
    expect(wrmsr(cpu, 0xfe, 0n)).toBe('13:0')
  })

  it('FS base reaches addressing at once', () => {
    const cpu = longCpu()
    wrmsr(cpu, 0xc000_0100, 0xa000n)
    cpu.view.setUint32(0xa010, 0x77, true)
    cpu.run([0x64, 0x8b, 0x04, 0x25, ...dword(0x10)])
    expect(cpu.state.gpr(Gpr.RAX)).toBe(0x77n)
  })

  it('TSC_ADJUST follows the TSC', () => {
    const cpu = longCpu()
    wrmsr(cpu, 0x10, 5000n)
    expect(rdmsr(cpu, 0x3b)).toBe(4000n)
    wrmsr(cpu, 0x3b, 0n)
    expect(rdmsr(cpu, 0x10)).toBe(1000n)
  })

  it('RDTSC obeys TSD', () => {
    const cpu = longCpu()
    cpu.state.set64('cr4', 0x24n)
    cpu.run([0x0f, 0x31])
    expect(cpu.state.gpr(Gpr.RAX)).toBe(1000n)
    toUser(cpu)
    expect(faultOf(() => cpu.run([0x0f, 0x31]))).toBe('13:0')
    expect(faultOf(() => cpu.run([0x0f, 0x33]))).toBe('13:0')
  })

  it('XSETBV and XGETBV need CR4.OSXSAVE', () => {
    const cpu = longCpu()
    expect(faultOf(() => cpu.run([0x0f, 0x01, 0xd0]))).toBe('6:-')
    cpu.state.set64('cr4', 0x4_0020n)
    cpu.state.setGpr(Gpr.RCX, 0n)
    cpu.state.setGpr(Gpr.RDX, 0n)
    cpu.state.setGpr(Gpr.RAX, 7n)
    expect(faultOf(() => cpu.run([0x0f, 0x01, 0xd1]))).toBe('13:0')
    cpu.state.setGpr(Gpr.RAX, 3n)
    cpu.run([0x0f, 0x01, 0xd1])
    cpu.state.setGpr(Gpr.RAX, 0n)
    cpu.run([0x0f, 0x01, 0xd0])
    expect(cpu.state.gpr(Gpr.RAX)).toBe(3n)
  })
})

it('helpers have distinct names', () => {
  const names = systemHelpers.map(({ name }) => name)
  expect(new Set(names).size).toBe(names.length)
})
