/** A bench for platform devices: a clock moved by hand, lines that remember, a board of every device. */
import { WindowedSpace } from '../../src/main/vmm/bus/address-space'
import type { Device, IrqLine } from '../../src/main/vmm/bus/types'
import { AcpiPm } from '../../src/main/vmm/devices/acpi/device'
import { I8042 } from '../../src/main/vmm/devices/i8042/device'
import { ResetPorts } from '../../src/main/vmm/devices/reset/device'
import { Uart16550 } from '../../src/main/vmm/devices/uart16550/device'
import { InterruptController } from '../../src/main/vmm/irq/interrupt-controller'
import { Hpet } from '../../src/main/vmm/timers/hpet'
import { Pit } from '../../src/main/vmm/timers/pit'
import { Rtc } from '../../src/main/vmm/timers/rtc'
import { TimeStampCounter } from '../../src/main/vmm/timers/tsc'
import { MachineClock } from '../../src/main/vmm/timers/virtual-clock'

/** 2024-02-29 23:59:58 UTC, a Thursday. */
export const START_WALL_MS = Date.UTC(2024, 1, 29, 23, 59, 58)
export const IOAPIC = 0xfec0_0000
export const HPET = 0xfed0_0000
export const LAPIC = 0xfee0_0000

export class RecordingLine implements IrqLine {
  level = false
  rises = 0
  set(level: boolean): void {
    if (level && !this.level) this.rises++
    this.level = level
  }
}

export class TestClock {
  private ns = 0
  readonly clock: MachineClock
  constructor() {
    this.clock = new MachineClock({ monotonicNs: () => this.ns, wallMs: () => START_WALL_MS + this.ns / 1e6 })
    this.clock.resume()
  }

  /** Moves time, stopping at every deadline on the way. */
  advance(ns: number): void {
    const end = this.ns + ns
    for (let guard = 0; guard < 100_000 && this.clock.nextDeadlineNs() <= end; guard++) {
      this.ns = Math.max(this.ns, this.clock.nextDeadlineNs())
      this.clock.runDue()
    }
    this.ns = end
    this.clock.runDue()
  }

  /** Moves time at once, as when the host was busy. */
  jump(ns: number): void {
    this.ns += ns
    this.clock.runDue()
  }
}

export class Bench {
  /** Something to deliver may have appeared. */
  changed: () => void = () => undefined
  readonly time = new TestClock()
  readonly io = new WindowedSpace('I/O ports')
  readonly mmio = new WindowedSpace('memory')
  readonly tsc = new TimeStampCounter(this.time.clock, 1_000_000)
  readonly interrupts = new InterruptController({ clock: this.time.clock, tsc: this.tsc, onChange: () => { this.changes++; this.changed() }, onInit: () => { this.resets++ }, onApicPage: (gpa) => { this.apicPage = gpa } })
  readonly hpet: Hpet
  readonly uart: Uart16550
  readonly i8042: I8042
  readonly acpi: AcpiPm
  readonly resetPorts: ResetPorts
  readonly devices: readonly Device[]
  readonly said: number[] = []
  type: (bytes: Uint8Array) => void = () => undefined
  changes = 0
  resets = 0
  /** Where the local APIC's page lies. */
  apicPage: number | undefined
  powerOffs = 0

  constructor() {
    const { clock } = this.time
    const onReset = (): void => { this.resets++ }
    this.resetPorts = new ResetPorts(onReset)
    const line = (irq: number): IrqLine => this.interrupts.isaLine(irq)
    this.hpet = new Hpet({ clock, legacyLines: [line(0), line(8)], gsiLine: (gsi) => this.interrupts.gsiLine(gsi) })
    const pit = new Pit(clock, this.hpet.behindLegacyReplacement(line(0)))
    const rtc = new Rtc(clock, this.hpet.behindLegacyReplacement(line(8)))
    this.uart = new Uart16550({
      id: 'uart0', irq: line(4), clock,
      chars: { write: (bytes) => this.said.push(...bytes), onInput: (receive) => (this.type = receive) },
    })
    this.i8042 = new I8042({ keyboardIrq: line(1), auxIrq: line(12), onReset })
    this.acpi = new AcpiPm({ clock, sci: line(9), onPowerOff: () => this.powerOffs++ })
    this.interrupts.mapInto(this.io, this.mmio, { ioapic: IOAPIC })
    for (const device of [pit, rtc, this.i8042]) device.mapInto(this.io)
    this.hpet.mapInto(this.mmio, HPET)
    this.uart.mapInto(this.io, 0x3f8)
    this.acpi.mapInto(this.io, 0x600)
    this.resetPorts.mapInto(this.io)
    this.devices = [...this.interrupts.devices, this.hpet, pit, rtc, this.uart, this.i8042, this.acpi, this.resetPorts]
  }

  in(port: number): number {
    return this.io.read(port, 1)
  }

  out(port: number, ...values: number[]): void {
    for (const value of values) this.io.write(port, 1, value)
  }

  lapic(offset: number): number {
    return this.mmio.read(LAPIC + offset, 4)
  }

  setLapic(offset: number, value: number): void {
    this.mmio.write(LAPIC + offset, 4, value)
  }

  setIoapic(register: number, value: number): void {
    this.mmio.write(IOAPIC, 4, register)
    this.mmio.write(IOAPIC + 0x10, 4, value)
  }

  ioapic(register: number): number {
    this.mmio.write(IOAPIC, 4, register)
    return this.mmio.read(IOAPIC + 0x10, 4)
  }

  /** As a BIOS leaves the PICs: vectors 0x20 and 0x28, all masked but `open`. */
  initPic(open: number, icw4 = 1): void {
    this.out(0x20, 0x11)
    this.out(0x21, 0x20, 4, icw4, ~open & 0xff)
    this.out(0xa0, 0x11)
    this.out(0xa1, 0x28, 2, 1, (~open >> 8) & 0xff)
  }
}
