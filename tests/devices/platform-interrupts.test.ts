/** PIC, I/O APIC and local APIC behaviour, from the data sheets. */
import { describe, expect, it } from 'vitest'
import { Bench, IOAPIC } from './platform-bench'

const ack = (bench: Bench): number => bench.interrupts.acknowledge()
const pic = (open: number, icw4?: number): Bench => {
  const bench = new Bench()
  bench.initPic(open, icw4)
  // Virtual wire: LINT0 in ExtINT mode passes the PIC through.
  bench.setLapic(0xf0, 0x1ff)
  bench.setLapic(0x350, 0x700)
  return bench
}
const pulse = (bench: Bench, irq: number): void => {
  bench.interrupts.isaLine(irq).set(false)
  bench.interrupts.isaLine(irq).set(true)
}

describe('8259A pair', () => {
  it('delivers the lower number first and holds back what is not more urgent', () => {
    const bench = pic(0xffff)
    pulse(bench, 4)
    pulse(bench, 1)
    expect(ack(bench)).toBe(0x21)
    expect(bench.interrupts.pendingVector()).toBe(-1)
    bench.out(0x20, 0x20)
    expect(ack(bench)).toBe(0x24)
  })

  it('passes the slave through the cascade with its own vector', () => {
    const bench = pic(0xffff)
    pulse(bench, 12)
    expect(ack(bench)).toBe(0x2c)
    bench.out(0x20, 0x0b)
    expect(bench.in(0x20)).toBe(4)
    bench.out(0xa0, 0x0b)
    expect(bench.in(0xa0)).toBe(0x10)
  })

  it('answers a request that vanished with spurious vector 7 and sets no in-service bit', () => {
    const bench = pic(0xffff)
    const line = bench.interrupts.isaLine(3)
    line.set(true)
    line.set(false)
    expect(bench.interrupts.pendingVector()).toBe(-1)
    expect(ack(bench)).toBe(0x27)
    bench.out(0x20, 0x0b)
    expect(bench.in(0x20)).toBe(0)
  })

  it('asks the CPU for nothing where a line is said to be what it is, or falls', () => {
    const bench = pic(0xffff)
    const line = bench.interrupts.isaLine(4)
    const before = bench.changes
    line.set(false)
    expect(bench.changes).toBe(before)
    line.set(true)
    const raised = bench.changes
    expect(raised).toBeGreaterThan(before)
    line.set(true)
    line.set(false)
    expect(bench.changes).toBe(raised)
    line.set(true)
    expect(bench.changes).toBeGreaterThan(raised)
  })

  it('requests again at the end of interrupt while a level-triggered line stands', () => {
    const bench = pic(0xffff)
    bench.out(0x4d1, 0x04)
    const line = bench.interrupts.isaLine(10)
    line.set(true)
    expect(ack(bench)).toBe(0x2a)
    line.set(true)
    expect(bench.interrupts.pendingVector()).toBe(-1)
    const before = bench.changes
    bench.out(0xa0, 0x20)
    bench.out(0x20, 0x20)
    expect(bench.changes).toBeGreaterThan(before)
    expect(ack(bench)).toBe(0x2a)
  })

  it('rotates: the level ended by rotate-on-EOI becomes the lowest', () => {
    const bench = pic(0xffff)
    pulse(bench, 3)
    expect(ack(bench)).toBe(0x23)
    bench.out(0x20, 0xa0)
    pulse(bench, 3)
    pulse(bench, 7)
    expect(ack(bench)).toBe(0x27)
  })

  it('in special mask mode lets lower levels through while the masked one is in service', () => {
    const bench = pic(0xffff)
    pulse(bench, 1)
    ack(bench)
    pulse(bench, 5)
    expect(bench.interrupts.pendingVector()).toBe(-1)
    bench.out(0x21, 2)
    bench.out(0x20, 0x68)
    expect(ack(bench)).toBe(0x25)
  })

  it('in special mask mode does not end a masked level by a non-specific EOI', () => {
    const bench = new Bench()
    bench.initPic(0xff)
    bench.interrupts.isaLine(1).set(true)
    bench.interrupts.pic.acknowledge()
    bench.out(0x21, 0x02)
    bench.out(0x20, 0x68)
    bench.interrupts.isaLine(3).set(true)
    expect(bench.interrupts.pic.acknowledge()).toBe(0x23)
    bench.out(0x20, 0x20, 0x20, 0x0b)
    expect(bench.in(0x20)).toBe(0x02)
  })

  it('with automatic EOI leaves nothing in service', () => {
    const bench = pic(0xffff, 3)
    pulse(bench, 1)
    expect(ack(bench)).toBe(0x21)
    pulse(bench, 5)
    expect(ack(bench)).toBe(0x25)
  })

  it('repeats a level-triggered request until the line drops, and never lets IRQ 0 be level', () => {
    const bench = pic(0xffff)
    bench.out(0x4d0, 0xff)
    expect(bench.in(0x4d0)).toBe(0xf8)
    const line = bench.interrupts.isaLine(5)
    line.set(true)
    expect(ack(bench)).toBe(0x25)
    bench.out(0x20, 0x20)
    expect(ack(bench)).toBe(0x25)
    line.set(false)
    bench.out(0x20, 0x20)
    expect(bench.interrupts.pendingVector()).toBe(-1)
  })

  it('poll reads the request once and acknowledges it', () => {
    const bench = pic(0xffff)
    pulse(bench, 6)
    bench.out(0x20, 0x0c)
    expect(bench.in(0x20)).toBe(0x86)
    bench.out(0x20, 0x0c)
    expect(bench.in(0x20)).toBe(0)
  })
})

const apic = (): Bench => {
  const bench = new Bench()
  bench.setLapic(0xf0, 0x1ff)
  return bench
}

describe('I/O APIC', () => {
  it('reports version 0x20 with 24 pins', () => {
    expect(apic().ioapic(1)).toBe(0x0017_0020)
  })

  it('routes ISA IRQ 0 to pin 2', () => {
    const bench = apic()
    bench.setIoapic(0x14, 0x30)
    bench.interrupts.isaLine(0).set(true)
    expect(ack(bench)).toBe(0x30)
  })

  it('sends a level interrupt once, and again at EOI while the line is high', () => {
    const bench = apic()
    bench.setIoapic(0x10 + 2 * 20, 0x8041)
    const line = bench.interrupts.gsiLine(20)
    line.set(true)
    expect(bench.ioapic(0x10 + 2 * 20) & 0x4000).toBe(0x4000)
    expect(ack(bench)).toBe(0x41)
    line.set(true)
    expect(bench.interrupts.pendingVector()).toBe(-1)
    bench.setLapic(0xb0, 0)
    expect(ack(bench)).toBe(0x41)
    line.set(false)
    bench.setLapic(0xb0, 0)
    expect(bench.interrupts.pendingVector()).toBe(-1)
    expect(bench.ioapic(0x10 + 2 * 20) & 0x4000).toBe(0)
  })

  it('delivers a level request that waited behind the mask, but loses a masked edge', () => {
    const bench = apic()
    bench.setIoapic(0x10 + 2 * 20, 0x18041)
    bench.setIoapic(0x10 + 2 * 21, 0x10042)
    bench.interrupts.gsiLine(20).set(true)
    bench.interrupts.gsiLine(21).set(true)
    bench.setIoapic(0x10 + 2 * 21, 0x42)
    expect(bench.interrupts.pendingVector()).toBe(-1)
    bench.setIoapic(0x10 + 2 * 20, 0x8041)
    expect(ack(bench)).toBe(0x41)
  })
})

describe('local APIC', () => {
  it('nests by priority class and obeys the task priority', () => {
    const bench = apic()
    bench.interrupts.send(0xfee0_0000, 0, 0x45)
    bench.interrupts.send(0xfee0_0000, 0, 0x61)
    expect(ack(bench)).toBe(0x61)
    expect(bench.interrupts.pendingVector()).toBe(-1)
    bench.setLapic(0xb0, 0)
    bench.setLapic(0x80, 0x40)
    expect(bench.lapic(0xa0)).toBe(0x40)
    expect(bench.interrupts.pendingVector()).toBe(-1)
    bench.setLapic(0x80, 0x3f)
    expect(ack(bench)).toBe(0x45)
  })

  it('counts down one-shot and periodic with the divider', () => {
    const bench = apic()
    bench.setLapic(0x3e0, 3) // divide by 16
    bench.setLapic(0x320, 0x50)
    bench.setLapic(0x380, 1000)
    bench.time.advance(8000)
    expect(bench.lapic(0x390)).toBe(500)
    expect(bench.interrupts.pendingVector()).toBe(-1)
    bench.time.advance(8000)
    expect(ack(bench)).toBe(0x50)
    expect(bench.lapic(0x390)).toBe(0)
    bench.setLapic(0xb0, 0)
    bench.setLapic(0x320, 0x2_0051)
    bench.setLapic(0x380, 1000)
    for (let i = 0; i < 3; i++) {
      bench.time.advance(16_000)
      expect(ack(bench)).toBe(0x51)
      bench.setLapic(0xb0, 0)
    }
  })

  it('fires at the TSC deadline, once, and reads zero afterwards', () => {
    const bench = apic()
    const { lapic } = bench.interrupts
    bench.setLapic(0x320, 0x4_0052)
    bench.tsc.write(5_000_000n)
    lapic.writeTscDeadline(5_001_000n)
    expect(lapic.tscDeadline).toBe(5_001_000n)
    bench.time.advance(999)
    expect(bench.interrupts.pendingVector()).toBe(-1)
    bench.time.advance(1)
    expect(ack(bench)).toBe(0x52)
    expect(lapic.tscDeadline).toBe(0n)
    bench.setLapic(0xb0, 0)
    lapic.writeTscDeadline(1n)
    bench.time.advance(0)
    expect(ack(bench)).toBe(0x52)
  })

  it('refuses the forbidden APIC_BASE transitions and switches faces', () => {
    const { lapic } = apic().interrupts
    const base = 0xfee0_0000n
    expect(lapic.readMsr(3)).toBeUndefined()
    expect(lapic.writeApicBase(base | 1n << 10n)).toBe(false)
    expect(lapic.writeApicBase(base | 3n << 10n)).toBe(true)
    expect(lapic.readMsr(3)).toBe(0x0106_0014n)
    expect(lapic.writeMsr(0x3f, 0x77n)).toBe(true)
    expect(lapic.pendingVector()).toBe(0x77)
    expect(lapic.writeApicBase(base | 1n << 11n)).toBe(false)
  })

  it('records an illegal vector, and an error entry with an illegal vector does not recurse', () => {
    const bench = apic()
    bench.setLapic(0x370, 0x03)
    bench.interrupts.send(0xfee0_0000, 0, 0x05)
    bench.setLapic(0x280, 0)
    expect(bench.lapic(0x280)).toBe(0x40)
    bench.setLapic(0x280, 0)
    expect(bench.lapic(0x280)).toBe(0)
  })

  it('keeps counting when one-shot becomes periodic or the divider changes', () => {
    const bench = apic()
    bench.setLapic(0x3e0, 0xb) // divide by 1
    bench.setLapic(0x320, 0x50)
    bench.setLapic(0x380, 1000)
    bench.time.advance(400)
    bench.setLapic(0x320, 0x2_0050)
    expect(bench.lapic(0x390)).toBe(600)
    bench.setLapic(0x3e0, 0) // divide by 2
    bench.time.advance(600)
    expect(bench.lapic(0x390)).toBe(300)
    bench.time.advance(600)
    expect(ack(bench)).toBe(0x50)
    bench.setLapic(0xb0, 0)
    bench.time.advance(2000)
    expect(ack(bench)).toBe(0x50)
    bench.setLapic(0x320, 0x4_0050)
    expect(bench.lapic(0x380)).toBe(0)
  })

  it('drops interrupts while software has it off, and takes a level request that waited once it is on', () => {
    const bench = apic()
    bench.setIoapic(0x10 + 2 * 20, 0x8070)
    bench.setLapic(0xf0, 0xff)
    const line = bench.interrupts.gsiLine(20)
    line.set(true)
    bench.interrupts.send(0xfee0_0000, 0, 0x71)
    expect(bench.ioapic(0x10 + 2 * 20) & 0x4000).toBe(0)
    bench.setLapic(0xf0, 0x1ff)
    expect(ack(bench)).toBe(0x70)
    expect(bench.ioapic(0x10 + 2 * 20) & 0x4000).toBe(0x4000)
    line.set(false)
    bench.setLapic(0xb0, 0)
    expect(bench.interrupts.pendingVector()).toBe(-1)
  })

  it('with EOI broadcasts suppressed leaves the end of a level interrupt to the I/O APIC register', () => {
    const bench = apic()
    bench.setLapic(0xf0, 0x11ff)
    expect(bench.lapic(0xf0)).toBe(0x11ff)
    bench.setIoapic(0x10 + 2 * 20, 0x8070)
    bench.interrupts.gsiLine(20).set(true)
    expect(ack(bench)).toBe(0x70)
    bench.setLapic(0xb0, 0)
    expect(bench.interrupts.pendingVector()).toBe(-1)
    bench.mmio.write(IOAPIC + 0x40, 4, 0x70)
    expect(ack(bench)).toBe(0x70)
  })

  it('keeps only the bits a local vector table entry has', () => {
    const bench = apic()
    const written = [0x320, 0x330, 0x340, 0x350, 0x360, 0x370].map((offset) => {
      bench.setLapic(offset, 0xffff_ffff)
      return bench.lapic(offset)
    })
    expect(written).toEqual([0x700ff, 0x107ff, 0x107ff, 0x1a7ff, 0x1a7ff, 0x100ff])
  })

  it('as x2APIC refuses registers that are not there, read-only ones and reserved bits', () => {
    const { lapic } = apic().interrupts
    lapic.writeApicBase(0xfee0_0000n | 3n << 10n)
    for (const register of [0, 1, 4, 9, 0xb, 0xe, 0x29, 0x31, 0x3a, 0x3f, 0x40]) expect(lapic.readMsr(register), `RDMSR ${register}`).toBeUndefined()
    for (const register of [0, 2, 3, 0xa, 0xd, 0xe, 0x10, 0x18, 0x20, 0x31, 0x39]) expect(lapic.writeMsr(register, 0n), `WRMSR ${register}`).toBe(false)
    for (const register of [0x8, 0xb, 0x28, 0x3e, 0x3f]) expect(lapic.writeMsr(register, 0x100n), `reserved bits of ${register}`).toBe(false)
    expect(lapic.writeMsr(0x8, 0x20n)).toBe(true)
    expect(lapic.readMsr(0x8)).toBe(0x20n)
    expect(lapic.readMsr(0xd)).toBe(1n)
    expect(lapic.writeMsr(0x38, 1n << 32n)).toBe(false)
  })

  it('reports an interprocessor interrupt with an illegal vector as such', () => {
    const bench = apic()
    bench.setLapic(0x300, 0x4_0005)
    bench.setLapic(0x280, 0)
    expect(bench.lapic(0x280)).toBe(0x20)
  })

  it('takes a self IPI and an NMI message', () => {
    const bench = apic()
    bench.setLapic(0x300, 0x4_0066)
    expect(ack(bench)).toBe(0x66)
    bench.interrupts.send(0xfee0_0000, 0, 0x400)
    expect(bench.interrupts.takeNmi()).toBe(true)
    expect(bench.interrupts.takeNmi()).toBe(false)
  })
})
