/** I/O APIC with 24 inputs. Intel 82093AA data sheet; version 0x20 adds the EOI register. */
import { VmmError } from '../errors'
import type { AddressSpace, Device, DeviceState, IrqLine } from '../bus/types'

export const IOAPIC_PINS = 24
const VERSION = 0x20

const REMOTE_IRR = 1 << 14
const PENDING = 1 << 12
const LEVEL = 1 << 15
const MASKED = 1 << 16
const READ_ONLY = REMOTE_IRR | PENDING

/** An interrupt message on the APIC bus. */
export interface ApicMessage {
  readonly destination: number
  readonly logical: boolean
  /** 0 fixed, 1 lowest priority, 2 SMI, 4 NMI, 5 INIT, 7 ExtINT. */
  readonly deliveryMode: number
  readonly vector: number
  readonly level: boolean
  /** An interprocessor interrupt, not an I/O APIC's or a device's. */
  readonly ipi?: boolean
}

export interface ApicBus {
  /** False where no APIC accepts the message. */
  deliver(message: ApicMessage): boolean
}

export class IoApic implements Device {
  readonly id = 'ioapic'
  readonly stateVersion = 1
  private readonly low = new Uint32Array(IOAPIC_PINS).fill(MASKED)
  private readonly high = new Uint32Array(IOAPIC_PINS)
  private lines = 0
  private select = 0
  private apicId = 0

  constructor(private readonly bus: ApicBus) {}

  mapInto(memory: AddressSpace, base: number): void {
    memory.map(base, 0x1000, {
      read: (offset) => (offset === 0 ? this.select : offset === 0x10 ? this.readRegister() : 0),
      write: (offset, _size, value) => {
        if (offset === 0) this.select = value & 0xff
        else if (offset === 0x10) this.writeRegister(value)
        else if (offset === 0x40) this.endOfInterrupt(value & 0xff)
      },
    }, 'ioapic')
  }

  /** Low word of a pin's redirection entry. */
  entry(pin: number): number {
    return this.low[pin]
  }

  isMasked(pin: number): boolean {
    return (this.low[pin] & MASKED) !== 0
  }

  line(pin: number): IrqLine {
    return { set: (level) => this.setLine(pin, level) }
  }

  private setLine(pin: number, level: boolean): void {
    const bit = 1 << pin
    const rising = level && (this.lines & bit) === 0
    if (level) this.lines |= bit
    else this.lines &= ~bit
    if ((this.low[pin] & LEVEL) !== 0) this.serviceLevel(pin)
    else if (rising) this.deliver(pin)
  }

  private serviceLevel(pin: number): void {
    if ((this.lines & (1 << pin)) === 0 || (this.low[pin] & (MASKED | REMOTE_IRR)) !== 0) return
    // Set before: the end of this interrupt may come from within. Only fixed interrupts and those of lowest priority are ended.
    if (((this.low[pin] >> 8) & 7) < 2) this.low[pin] |= REMOTE_IRR
    if (!this.deliver(pin)) this.low[pin] &= ~REMOTE_IRR
  }

  /** A local APIC was enabled: requests that no one accepted are made again. */
  retry(): void {
    for (let pin = 0; pin < IOAPIC_PINS; pin++) if ((this.low[pin] & LEVEL) !== 0) this.serviceLevel(pin)
  }

  private deliver(pin: number): boolean {
    const entry = this.low[pin]
    if ((entry & MASKED) !== 0) return false
    return this.bus.deliver({
      destination: this.high[pin] >>> 24, logical: (entry & 0x800) !== 0, deliveryMode: (entry >> 8) & 7,
      vector: entry & 0xff, level: (entry & LEVEL) !== 0,
    })
  }

  /** A local APIC ended a level-triggered interrupt with this vector. */
  endOfInterrupt(vector: number): void {
    for (let pin = 0; pin < IOAPIC_PINS; pin++) {
      if ((this.low[pin] & 0xff) !== vector || (this.low[pin] & REMOTE_IRR) === 0) continue
      this.low[pin] &= ~REMOTE_IRR
      this.serviceLevel(pin)
    }
  }

  private readRegister(): number {
    if (this.select === 0 || this.select === 2) return this.apicId << 24
    if (this.select === 1) return VERSION | ((IOAPIC_PINS - 1) << 16)
    const pin = (this.select - 0x10) >> 1
    if (pin < 0 || pin >= IOAPIC_PINS) return 0
    return (this.select & 1) !== 0 ? this.high[pin] : this.low[pin]
  }

  private writeRegister(value: number): void {
    if (this.select === 0) this.apicId = (value >>> 24) & 15
    const pin = (this.select - 0x10) >> 1
    if (pin < 0 || pin >= IOAPIC_PINS) return
    if ((this.select & 1) !== 0) {
      this.high[pin] = value
      return
    }
    this.low[pin] = (value & 0x1ffff & ~READ_ONLY) | (this.low[pin] & READ_ONLY)
    if ((value & LEVEL) === 0) this.low[pin] &= ~REMOTE_IRR
    else this.serviceLevel(pin)
  }

  reset(): void {
    this.low.fill(MASKED)
    this.high.fill(0)
    this.select = 0
    this.apicId = 0
  }

  save(): DeviceState {
    return { low: [...this.low], high: [...this.high], lines: this.lines, select: this.select, apicId: this.apicId }
  }

  restore(state: DeviceState): void {
    const { low, high, lines, select, apicId } = state
    if (!Array.isArray(low) || !Array.isArray(high) || low.length !== IOAPIC_PINS || high.length !== IOAPIC_PINS) {
      throw new VmmError('bad-state', `ioapic: low and high must be ${IOAPIC_PINS} redirection entries`)
    }
    this.low.set(low as number[])
    this.high.set(high as number[])
    this.lines = Number(lines)
    this.select = Number(select)
    this.apicId = Number(apicId)
  }
}
