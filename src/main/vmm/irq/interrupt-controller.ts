/** The interrupt system of a one-CPU machine: PIC, I/O APIC, local APIC and MSI wired as in a PC. */
import type { AddressSpace, Device, IrqLine, MsiSink, VirtualClock } from '../bus/types'
import type { TimeStampCounter } from '../timers/tsc'
import { IoApic, type ApicBus, type ApicMessage } from './ioapic'
import { LocalApic } from './lapic'
import { Pic } from './pic'

export interface InterruptControllerOptions {
  readonly clock: VirtualClock
  readonly tsc: TimeStampCounter
  /** Something to deliver may have appeared: leave generated code, wake from HLT. */
  readonly onChange: () => void
}

/** ISA IRQ 0 arrives at I/O APIC pin 2, as the MADT override says; the others one to one. */
const pinOf = (irq: number): number => (irq === 0 ? 2 : irq)

export class InterruptController implements MsiSink {
  readonly pic: Pic
  readonly ioapic: IoApic
  readonly lapic: LocalApic

  constructor(options: InterruptControllerOptions) {
    const bus: ApicBus = { deliver: (message) => this.deliver(message) }
    this.pic = new Pic(options.onChange)
    this.ioapic = new IoApic(bus)
    this.lapic = new LocalApic({
      apicId: 0, clock: options.clock, tsc: options.tsc, bus, onEoi: (vector) => this.ioapic.endOfInterrupt(vector), onChange: options.onChange,
      onEnabled: () => this.ioapic.retry(),
    })
  }

  get devices(): readonly Device[] {
    return [this.pic, this.ioapic, this.lapic]
  }

  mapInto(io: AddressSpace, memory: AddressSpace, bases: { ioapic: number; lapic: number }): void {
    this.pic.mapInto(io)
    this.ioapic.mapInto(memory, bases.ioapic)
    this.lapic.mapInto(memory, bases.lapic)
  }

  /** ISA interrupt line: reaches the PIC and the I/O APIC. */
  isaLine(irq: number): IrqLine {
    const pic = this.pic.line(irq)
    const ioapic = this.ioapic.line(pinOf(irq))
    return {
      set: (level) => {
        pic.set(level)
        ioapic.set(level)
      },
    }
  }

  /** Line of a global system interrupt above the ISA ones: I/O APIC only. */
  gsiLine(gsi: number): IrqLine {
    return gsi < 16 ? this.isaLine(gsi) : this.ioapic.line(gsi)
  }

  /** SDM vol. 3, 11.11: destination in address bits 19:12, vector and mode in the data. */
  send(addressLow: number, _addressHigh: number, data: number): void {
    this.deliver({
      destination: (addressLow >>> 12) & 0xff, logical: (addressLow & 4) !== 0, deliveryMode: (data >> 8) & 7,
      vector: data & 0xff, level: false,
    })
  }

  /** SMI (2), INIT (5) and start-up (6) mean nothing to a machine with one CPU and no SMM; ExtINT (7) is the PIC's own wire. */
  private deliver(message: ApicMessage): boolean {
    if (!this.lapic.matches(message)) return false
    if (message.deliveryMode === 0 || message.deliveryMode === 1) return this.lapic.accept(message.vector, message.level)
    if (message.deliveryMode === 4) this.lapic.acceptNmi()
    return true
  }

  // ── what the CPU sees ─────────────────────────────────────────────────────────────────────────────────────────

  pendingVector(): number {
    const local = this.lapic.pendingVector()
    if (local >= 0) return local
    // The PIC's vector is only known at the acknowledge cycle; any non-negative number will do here.
    return this.pic.intr && this.lapic.passesExtInt ? 0 : -1
  }

  acknowledge(): number {
    if (this.lapic.pendingVector() >= 0) return this.lapic.acknowledge()
    return this.pic.acknowledge()
  }

  takeNmi(): boolean {
    return this.lapic.takeNmi()
  }
}
