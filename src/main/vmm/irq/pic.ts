/** Two cascaded Intel 8259A interrupt controllers, as in a PC/AT. Intel 8259A data sheet; ELCR as in PIIX. */
import { VmmError } from '../errors'
import type { AccessSize, AddressSpace, Device, DeviceState, IoHandler, IrqLine, LineFate } from '../bus/types'

const CASCADE = 2

class Chip {
  irr = 0
  isr = 0
  imr = 0xff
  lines = 0
  elcr = 0
  vectorBase = 0
  /** 0 = ready; 2, 3, 4: the initialisation word expected next. */
  initStep = 0
  needsIcw4 = false
  autoEoi = false
  rotateOnAutoEoi = false
  readIsr = false
  poll = false
  specialMask = false
  specialNested = false
  /** IRQ with the lowest priority; the next one has the highest. */
  lowest = 7

  reset(): void {
    Object.assign(this, {
      irr: 0, isr: 0, imr: 0xff, lines: 0, elcr: 0, vectorBase: 0, initStep: 0, needsIcw4: false, autoEoi: false,
      rotateOnAutoEoi: false, readIsr: false, poll: false, specialMask: false, specialNested: false, lowest: 7,
    })
  }

  /** @returns whether the requests changed */
  setLine(irq: number, level: boolean): boolean {
    const bit = 1 << irq
    const before = this.irr
    if (level) {
      if ((this.elcr & bit) !== 0 || (this.lines & bit) === 0) this.irr |= bit
      this.lines |= bit
    } else {
      this.lines &= ~bit
      // A line that drops before it is acknowledged withdraws its request.
      this.irr &= ~bit
    }
    return this.irr !== before
  }

  /** Highest-priority bit of a set, -1 none. */
  private first(set: number): number {
    for (let i = 1; i <= 8; i++) {
      const irq = (this.lowest + i) & 7
      if ((set & (1 << irq)) !== 0) return irq
    }
    return -1
  }

  private rank(irq: number): number {
    return (irq - this.lowest - 1) & 7
  }

  /** What holds back lower priorities, and what a non-specific EOI may end: in special mask mode not what is masked. */
  private get serving(): number {
    return this.specialMask ? this.isr & ~this.imr : this.isr
  }

  /** IRQ that would be delivered now, -1 none. */
  pending(): number {
    const request = this.first(this.irr & ~this.imr)
    if (request < 0) return -1
    const blocking = this.first(this.serving)
    if (blocking < 0 || this.rank(request) < this.rank(blocking)) return request
    return this.specialNested && request === blocking ? request : -1
  }

  acknowledge(irq: number): void {
    const bit = 1 << irq
    if ((this.elcr & bit) === 0) this.irr &= ~bit
    if (!this.autoEoi) this.isr |= bit
    else if (this.rotateOnAutoEoi) this.lowest = irq
  }

  writeCommand(value: number): void {
    if ((value & 0x10) !== 0) this.startInit(value)
    else if ((value & 0x08) !== 0) this.writeOcw3(value)
    else this.writeOcw2(value)
  }

  private startInit(value: number): void {
    const { elcr, lines } = this
    this.reset()
    this.elcr = elcr
    this.lines = lines & elcr
    this.irr = this.lines
    this.imr = 0
    this.needsIcw4 = (value & 1) !== 0
    this.initStep = 2
  }

  private writeOcw3(value: number): void {
    if ((value & 4) !== 0) this.poll = true
    if ((value & 2) !== 0) this.readIsr = (value & 1) !== 0
    if ((value & 0x40) !== 0) this.specialMask = (value & 0x20) !== 0
  }

  private writeOcw2(value: number): void {
    const level = value & 7
    const irq = (value & 0x40) !== 0 ? level : this.first(this.serving)
    switch (value >> 5) {
      case 0: this.rotateOnAutoEoi = false; break
      case 4: this.rotateOnAutoEoi = true; break
      case 1: case 3: if (irq >= 0) this.isr &= ~(1 << irq); break
      case 5: case 7:
        if (irq < 0) break
        this.isr &= ~(1 << irq)
        this.lowest = irq
        break
      case 6: this.lowest = level; break
    }
  }

  writeData(value: number): void {
    switch (this.initStep) {
      case 2: this.vectorBase = value & 0xf8; this.initStep = 3; break
      case 3: this.initStep = this.needsIcw4 ? 4 : 0; break
      case 4:
        this.autoEoi = (value & 2) !== 0
        this.specialNested = (value & 0x10) !== 0
        this.initStep = 0
        break
      default: this.imr = value
    }
  }
}

/** INTR output: called whenever it may have changed. */
export class Pic implements Device {
  readonly id = 'pic'
  readonly stateVersion = 1
  private readonly master = new Chip()
  private readonly slave = new Chip()

  constructor(private readonly onChange: () => void) {}

  mapInto(io: AddressSpace): void {
    io.map(0x20, 2, this.chipHandler(this.master), 'pic')
    io.map(0xa0, 2, this.chipHandler(this.slave), 'pic')
    io.map(0x4d0, 2, this.elcrHandler(), 'pic-elcr')
  }

  /** Whether the request of an IRQ waits, was taken, or is masked. */
  fate(irq: number): LineFate {
    const [chip, pin] = irq < 8 ? [this.master, irq] : [this.slave, irq - 8]
    if ((chip.imr & (1 << pin)) !== 0 || (irq >= 8 && (this.master.imr & (1 << CASCADE)) !== 0)) return 'masked'
    return (chip.irr & (1 << pin)) !== 0 ? 'waiting' : 'taken'
  }

  line(irq: number): IrqLine {
    const [chip, pin] = irq < 8 ? [this.master, irq] : [this.slave, irq - 8]
    return {
      set: (level) => {
        // Devices tell the level at each access: most say what it is already.
        if (chip.setLine(pin, level)) this.update()
      },
    }
  }

  private update(): void {
    this.master.setLine(CASCADE, this.slave.pending() >= 0)
    this.onChange()
  }

  /** True while INTR is asserted. */
  get intr(): boolean {
    return this.master.pending() >= 0
  }

  /** The two INTA cycles: returns the vector. A request that vanished gives the spurious vector 7. */
  acknowledge(): number {
    const irq = this.master.pending()
    if (irq < 0) return this.master.vectorBase + 7
    this.master.acknowledge(irq)
    let vector = this.master.vectorBase + irq
    if (irq === CASCADE) {
      const second = this.slave.pending()
      if (second >= 0) this.slave.acknowledge(second)
      vector = this.slave.vectorBase + (second < 0 ? 7 : second)
    }
    this.update()
    return vector
  }

  private chipHandler(chip: Chip): IoHandler {
    return {
      read: (offset) => {
        if (chip.poll) return this.pollRead(chip)
        if (offset === 1) return chip.imr
        return chip.readIsr ? chip.isr : chip.irr
      },
      write: (offset, _size, value) => {
        if (offset === 0) chip.writeCommand(value & 0xff)
        else chip.writeData(value & 0xff)
        this.update()
      },
    }
  }

  private pollRead(chip: Chip): number {
    chip.poll = false
    const irq = chip.pending()
    if (irq < 0) return 0
    chip.acknowledge(irq)
    this.update()
    return 0x80 | irq
  }

  private elcrHandler(): IoHandler {
    // IRQ 0, 1, 2, 8 and 13 are always edge-triggered.
    const chips = [this.master, this.slave]
    const fixed = [0xf8, 0xde]
    return {
      read: (offset, size: AccessSize) => (size === 1 ? chips[offset].elcr : chips[0].elcr | (chips[1].elcr << 8)),
      write: (offset, size, value) => {
        for (let i = 0; i < size && offset + i < 2; i++) chips[offset + i].elcr = (value >> (8 * i)) & fixed[offset + i]
      },
    }
  }

  reset(): void {
    this.master.reset()
    this.slave.reset()
    this.onChange()
  }

  save(): DeviceState {
    return { master: { ...this.master }, slave: { ...this.slave } }
  }

  restore(state: DeviceState): void {
    for (const [name, chip] of [['master', this.master], ['slave', this.slave]] as const) {
      const saved = state[name]
      if (typeof saved !== 'object' || saved === null) throw new VmmError('bad-state', `pic: no state for the ${name}`)
      Object.assign(chip, saved)
    }
    this.onChange()
  }
}
