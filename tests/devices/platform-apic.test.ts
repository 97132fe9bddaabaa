/** Messages, LINT0 and the switch of the local APIC: each delivery mode does what the manual says or is counted. SDM vol. 3, 11.4–11.6. */
import { describe, expect, it } from 'vitest'
import { Bench, HPET } from './platform-bench'

const LINT0 = 0x350
const ICR = 0x300
const EOI = 0xb0
const MASKED = 1 << 16

const apic = (): Bench => {
  const bench = new Bench()
  bench.setLapic(0xf0, 0x1ff)
  bench.initPic(0xffff)
  return bench
}
const pulse = (bench: Bench, irq: number): void => {
  bench.interrupts.isaLine(irq).set(true)
  bench.interrupts.isaLine(irq).set(false)
}
const counts = (bench: Bench): Record<string, number> => bench.interrupts.oddities.counts()
/** Redirection entry of a pin: low word. */
const route = (bench: Bench, pin: number, entry: number): void => {
  bench.setIoapic(0x11 + pin * 2, 0)
  bench.setIoapic(0x10 + pin * 2, entry)
}

describe('LINT0, which the PIC drives', () => {
  it('delivers a fixed vector at a rise, and asks no PIC for one', () => {
    const bench = apic()
    bench.setLapic(LINT0, 0x55)
    bench.interrupts.isaLine(5).set(true)
    expect(bench.interrupts.acknowledge()).toBe(0x55)
    bench.setLapic(EOI, 0)
    expect(bench.interrupts.pendingVector()).toBe(-1)
    bench.interrupts.isaLine(5).set(false)
    bench.interrupts.isaLine(5).set(true)
    expect(bench.interrupts.pendingVector()).toBe(0x55)
  })

  it('level-triggered, comes again at EOI while INTR stands, with remote IRR in between', () => {
    const bench = apic()
    bench.setLapic(LINT0, 0x8055)
    bench.interrupts.isaLine(5).set(true)
    expect(bench.lapic(LINT0)).toBe(0xc055)
    expect(bench.interrupts.acknowledge()).toBe(0x55)
    expect(bench.interrupts.pendingVector()).toBe(-1)
    bench.setLapic(EOI, 0)
    expect(bench.interrupts.pendingVector()).toBe(0x55)
    bench.interrupts.acknowledge()
    bench.interrupts.isaLine(5).set(false)
    bench.setLapic(EOI, 0)
    expect(bench.lapic(LINT0)).toBe(0x8055)
    expect(bench.interrupts.pendingVector()).toBe(-1)
  })

  it('as NMI raises one for each rise: the old watchdog', () => {
    const bench = apic()
    bench.setLapic(LINT0, 0x400)
    bench.interrupts.isaLine(0).set(true)
    expect([bench.interrupts.takeNmi(), bench.interrupts.takeNmi()]).toEqual([true, false])
    bench.setLapic(LINT0, 0x400 | MASKED)
    bench.interrupts.isaLine(0).set(false)
    bench.interrupts.isaLine(0).set(true)
    expect(bench.interrupts.takeNmi()).toBe(false)
  })

  it('as INIT starts the machine again; as SMI is counted', () => {
    const bench = apic()
    bench.setLapic(LINT0, 0x500)
    bench.interrupts.isaLine(3).set(true)
    expect(bench.resets).toBe(1)
    bench.setLapic(LINT0, 0x200)
    bench.interrupts.isaLine(3).set(false)
    bench.interrupts.isaLine(3).set(true)
    expect(counts(bench)).toEqual({ 'apic-init': 1, 'apic-smi-dropped': 1 })
  })
})

describe('ExtINT through the I/O APIC', () => {
  it('pin 0 brings the PIC\'s vector, with LINT0 masked', () => {
    const bench = apic()
    route(bench, 0, 0x700)
    expect(bench.interrupts.pendingVector()).toBe(-1)
    bench.interrupts.isaLine(5).set(true)
    expect(bench.interrupts.pendingVector()).toBeGreaterThanOrEqual(0)
    expect(bench.interrupts.acknowledge()).toBe(0x25)
    expect(bench.interrupts.pendingVector()).toBe(-1)
  })

  it('brings the next one too: INTR rises again after the acknowledge', () => {
    const bench = apic()
    route(bench, 0, 0x700)
    bench.interrupts.isaLine(5).set(true)
    bench.interrupts.isaLine(4).set(true)
    expect(bench.interrupts.acknowledge()).toBe(0x24)
    bench.out(0x20, 0x20)
    expect(bench.interrupts.pendingVector()).toBeGreaterThanOrEqual(0)
    expect(bench.interrupts.acknowledge()).toBe(0x25)
  })

  it('is kept in a saved state', () => {
    const bench = apic()
    route(bench, 0, 0x700)
    bench.interrupts.isaLine(5).set(true)
    const other = new Bench()
    for (const [i, device] of bench.interrupts.devices.entries()) other.interrupts.devices[i].restore(device.save(), device.stateVersion)
    expect(other.interrupts.acknowledge()).toBe(0x25)
  })
})

describe('messages', () => {
  it('NMI comes by I/O APIC, MSI and interprocessor interrupt, with software having the APIC off too', () => {
    const bench = apic()
    route(bench, 5, 0x400)
    pulse(bench, 5)
    expect(bench.interrupts.takeNmi()).toBe(true)
    bench.setLapic(0xf0, 0xff)
    bench.interrupts.send(0xfee0_0000, 0, 0x400)
    expect(bench.interrupts.takeNmi()).toBe(true)
    bench.setLapic(ICR, 0x400)
    expect(bench.interrupts.takeNmi()).toBe(true)
    expect(counts(bench)).toEqual({})
  })

  it('INIT to itself starts the machine again; the end of an INIT level is nothing', () => {
    const bench = apic()
    bench.setLapic(ICR, 0x8500)
    expect(bench.resets).toBe(0)
    bench.setLapic(ICR, 0xc500)
    expect(bench.resets).toBe(1)
    expect(counts(bench)).toEqual({ 'apic-init-deassert': 1, 'apic-init': 1 })
  })

  it('what has no use here is counted by name', () => {
    const bench = apic()
    bench.setLapic(ICR, 0x610)
    bench.setLapic(ICR, 0x700)
    bench.setLapic(ICR, 0x300)
    bench.setLapic(ICR, 0x4_0500)
    bench.interrupts.send(0xfee0_0000, 0, 0x200)
    bench.setLapic(0x310, 7 << 24)
    bench.setLapic(ICR, 0x40)
    expect(counts(bench)).toEqual({
      'apic-startup-ipi-dropped': 1, 'apic-extint-ipi-dropped': 1, 'apic-reserved-mode-dropped': 1, 'apic-invalid-shorthand-dropped': 1,
      'apic-smi-dropped': 1, 'apic-no-destination': 1,
    })
    expect(bench.resets).toBe(0)
    expect(bench.interrupts.pendingVector()).toBe(-1)
  })

  it('to all others reaches no one, as one processor has none', () => {
    const bench = apic()
    bench.setLapic(ICR, 0xc_4500)
    bench.setLapic(ICR, 0xc_0040)
    expect(bench.resets).toBe(0)
    expect(bench.interrupts.pendingVector()).toBe(-1)
    expect(counts(bench)).toEqual({})
  })

  it('all, itself included, is itself; an interrupt for an APIC that is off is counted', () => {
    const bench = apic()
    bench.setLapic(ICR, 0x8_0040)
    expect(bench.interrupts.acknowledge()).toBe(0x40)
    bench.setLapic(0xf0, 0xff)
    bench.interrupts.send(0xfee0_0000, 0, 0x41)
    expect(counts(bench)).toEqual({ 'apic-off': 1 })
  })
})

describe('IA32_APIC_BASE', () => {
  it('off, nothing answers; on again, it is as after power-up', () => {
    const bench = apic()
    const { lapic } = bench.interrupts
    bench.setLapic(LINT0, 0x700)
    expect(lapic.writeApicBase(0xfee0_0000n)).toBe(true)
    expect(bench.lapic(0x30)).toBe(0xffff_ffff)
    bench.setLapic(0x80, 0x40)
    // Without an APIC the PIC is the processor's.
    bench.interrupts.isaLine(5).set(true)
    expect(bench.interrupts.acknowledge()).toBe(0x25)
    expect(lapic.writeApicBase(0xfee0_0c00n)).toBe(false)
    expect(lapic.writeApicBase(0xfee0_0800n)).toBe(true)
    expect([bench.lapic(0x80), bench.lapic(0xf0), bench.lapic(LINT0)]).toEqual([0, 0xff, MASKED])
    expect(lapic.apicBase).toBe(0xfee0_0900n)
  })

  it('the page answers in xAPIC mode alone', () => {
    const bench = apic()
    expect(bench.lapic(0x30)).toBe(0x0106_0014)
    bench.interrupts.lapic.writeApicBase(0xfee0_0c00n)
    expect(bench.lapic(0x30)).toBe(0xffff_ffff)
  })

  it('moves the page, over whatever else answers there and above 4 GiB too', () => {
    const bench = apic()
    const { lapic } = bench.interrupts
    const hpet = bench.mmio.read(HPET, 4)
    bench.setLapic(0x80, 0x30)
    expect(lapic.writeApicBase(BigInt(HPET) | 0x900n)).toBe(true)
    expect(bench.lapic(0x80)).toBe(0xffff_ffff)
    expect(bench.mmio.read(HPET + 0x80, 4)).toBe(0x30)
    bench.mmio.write(HPET + 0x80, 4, 0x20)
    expect(lapic.writeApicBase(0x1_2345_6900n)).toBe(true)
    expect(bench.mmio.read(0x1_2345_6080, 4)).toBe(0x20)
    expect(bench.mmio.read(HPET, 4)).toBe(hpet)
    expect(counts(bench)).toEqual({})
  })

  it('a moved page is found again in x2APIC mode switched off, in a saved state, and not after a reset', () => {
    const bench = apic()
    const { lapic } = bench.interrupts
    for (const base of [0xfed0_0900n, 0xfed0_0d00n, 0xfed0_0100n, 0xfed0_0900n]) expect(lapic.writeApicBase(base)).toBe(true)
    expect(bench.mmio.read(0xfed0_0030, 4)).toBe(0x0106_0014)
    const other = apic()
    other.interrupts.lapic.restore(lapic.save())
    expect([other.mmio.read(0xfed0_0030, 4), other.lapic(0x30)]).toEqual([0x0106_0014, 0xffff_ffff])
    lapic.reset()
    expect([bench.lapic(0x30), lapic.apicBase]).toEqual([0x0106_0014, 0xfee0_0900n])
  })

  it('tells where its page lies, that memory there may be covered', () => {
    const bench = apic()
    const { lapic } = bench.interrupts
    const seen = [0x8_0900n, 0x8_0d00n, 0x8_0100n, 0xfee0_0900n].map((base) => [lapic.writeApicBase(base), bench.apicPage])
    expect(seen).toEqual([[true, 0x8_0000], [true, undefined], [true, undefined], [true, 0xfee0_0000]])
    lapic.writeApicBase(0x9_0900n)
    const other = apic()
    other.interrupts.lapic.restore(lapic.save())
    expect(other.apicPage).toBe(0x9_0000)
    lapic.reset()
    expect(bench.apicPage).toBe(0xfee0_0000)
  })
})
