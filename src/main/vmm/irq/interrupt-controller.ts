/** The interrupt system of a one-CPU machine: PIC, I/O APIC, local APIC and MSI wired as in a PC. */
import type { AddressSpace, Device, IrqLine, LineFate, MsiSink, VirtualClock } from '../bus/types'
import type { Logger } from '../ports'
import type { TimeStampCounter } from '../timers/tsc'
import { IoApic, type ApicBus, type ApicMessage } from './ioapic'
import { LocalApic } from './lapic'
import { Delivery } from './lapic-registers'
import { Oddities } from './oddities'
import { Pic } from './pic'

export interface InterruptControllerOptions {
  readonly clock: VirtualClock
  readonly tsc: TimeStampCounter
  /** Something to deliver may have appeared: leave generated code, wake from HLT. */
  readonly onChange: () => void
  /** INIT for the processor: without firmware behind the reset vector, the machine starts again. */
  readonly onInit: () => void
  /** The local APIC's page lies at this guest-physical address from now on, over memory too; undefined: nowhere. */
  readonly onApicPage?: (gpa: number | undefined) => void
  readonly log?: Logger
}

/** ISA IRQ 0 arrives at I/O APIC pin 2, as the MADT override says; the others one to one. */
const pinOf = (irq: number): number => (irq === 0 ? 2 : irq)
/** The PIC's INTR is wired to this pin, as in MultiProcessor Specification 1.4, 3.6.2.2, and to LINT0. */
const PIC_PIN = 0

export class InterruptController implements MsiSink {
  readonly pic: Pic
  readonly ioapic: IoApic
  readonly lapic: LocalApic
  readonly oddities: Oddities
  private readonly picPin: IrqLine

  constructor(private readonly options: InterruptControllerOptions) {
    const bus: ApicBus = { deliver: (message) => this.deliver(message) }
    this.oddities = new Oddities(options.log)
    this.pic = new Pic(() => this.picChanged())
    this.ioapic = new IoApic(bus)
    this.picPin = this.ioapic.line(PIC_PIN)
    this.lapic = new LocalApic({
      apicId: 0, clock: options.clock, tsc: options.tsc, bus, onEoi: (vector) => this.ioapic.endOfInterrupt(vector), onChange: options.onChange,
      onEnabled: () => this.ioapic.retry(), onPage: (gpa) => options.onApicPage?.(gpa), note: (oddity) => this.oddities.note(oddity),
    })
  }

  get devices(): readonly Device[] {
    return [this.pic, this.ioapic, this.lapic]
  }

  mapInto(io: AddressSpace, memory: AddressSpace, bases: { ioapic: number }): void {
    this.pic.mapInto(io)
    this.ioapic.mapInto(memory, bases.ioapic)
    this.lapic.mapInto(memory)
  }

  /** ISA interrupt line: reaches the PIC and the I/O APIC. */
  isaLine(irq: number): IrqLine {
    const pic = this.pic.line(irq)
    const ioapic = this.ioapic.line(pinOf(irq))
    const fate = (): LineFate => this.isaFate(irq)
    return {
      set: (level) => {
        pic.set(level)
        ioapic.set(level)
      },
      get fate() {
        return fate()
      },
    }
  }

  private isaFate(irq: number): LineFate {
    const pic = this.lapic.passesExtInt ? this.pic.fate(irq) : 'masked'
    const pin = this.pinFate(pinOf(irq))
    if (pic === 'waiting' || pin === 'waiting') return 'waiting'
    return pic === 'masked' ? pin : pic
  }

  private pinFate(pin: number): LineFate {
    if (this.ioapic.isMasked(pin)) return 'masked'
    return this.lapic.isRequested(this.ioapic.entry(pin) & 0xff) ? 'waiting' : 'taken'
  }

  /** Line of a global system interrupt above the ISA ones: I/O APIC only. */
  gsiLine(gsi: number): IrqLine {
    if (gsi < 16) return this.isaLine(gsi)
    const line = this.ioapic.line(gsi)
    const fate = (): LineFate => this.pinFate(gsi)
    return {
      set: (level) => line.set(level),
      get fate() {
        return fate()
      },
    }
  }

  /** SDM vol. 3, 11.11: destination in address bits 19:12, vector and mode in the data. */
  send(addressLow: number, _addressHigh: number, data: number): void {
    this.deliver({
      destination: (addressLow >>> 12) & 0xff, logical: (addressLow & 4) !== 0, deliveryMode: (data >> 8) & 7,
      vector: data & 0xff, level: false,
    })
  }

  /** The PIC's INTR rose, fell, or stays as it is. */
  private picChanged(): void {
    const { intr } = this.pic
    this.picPin.set(intr)
    this.lapic.setLint0(intr)
    if (intr) this.options.onChange()
  }

  /** Delivery modes: SDM vol. 3, 11.6.1. */
  private deliver(message: ApicMessage): boolean {
    const { lapic, oddities } = this
    if (!lapic.matches(message)) {
      if (message.ipi) oddities.note('no-destination')
      return false
    }
    switch (message.deliveryMode) {
      case Delivery.FIXED: case Delivery.LOWEST: return lapic.accept(message.vector, message.level)
      case Delivery.NMI: lapic.acceptNmi(); break
      case Delivery.INIT: this.init(); break
      case Delivery.SMI: oddities.note('smi-dropped'); break
      case Delivery.STARTUP: oddities.note(message.ipi ? 'startup-ipi-dropped' : 'reserved-mode-dropped'); break
      case Delivery.EXTINT: if (message.ipi) oddities.note('extint-ipi-dropped'); else lapic.acceptExtInt(); break
      default: oddities.note('reserved-mode-dropped')
    }
    return true
  }

  private init(): void {
    this.oddities.note('init')
    this.options.onInit()
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
    this.lapic.takeExtInt()
    const vector = this.pic.acknowledge()
    // INTR falls at the acknowledge, and rises again where more waits: an edge for whoever looks for one.
    this.picPin.set(false)
    this.lapic.setLint0(false)
    this.picChanged()
    return vector
  }

  takeNmi(): boolean {
    return this.lapic.takeNmi()
  }
}
