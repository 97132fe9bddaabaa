/** National Semiconductor 16550A UART. PC16550D data sheet. */
import { VmmError } from '../../errors'
import type { AddressSpace, Device, DeviceState, IrqLine, Timer, VirtualClock } from '../../bus/types'
import type { CharBackend } from '../../ports'

const FIFO_SIZE = 16
/** Receive bytes waiting beyond the FIFO: the host side never loses what a person types or pastes. */
const TRIGGER_LEVELS = [1, 4, 8, 14]

const Ier = { RECEIVE: 1, TRANSMIT: 2, LINE: 4, MODEM: 8 } as const
const Lsr = { DATA_READY: 1, OVERRUN: 2, BREAK: 0x10, THR_EMPTY: 0x20, IDLE: 0x40 } as const
const Mcr = { OUT2: 8, LOOPBACK: 0x10 } as const
/** Modem status: the delta of RI tells of its end only (TERI). */
const RI = 0x40
const TERI = 4
const Iir = { NONE: 1, LINE: 6, RECEIVE: 4, TIMEOUT: 12, TRANSMIT: 2, MODEM: 0 } as const
const LCR_BREAK = 0x40
const LCR_DLAB = 0x80
/** Output is handed on when this much has gathered, or after this long. */
const FLUSH_BYTES = 1024
const FLUSH_NS = 2e6
/** Character timeout: four characters at the usual 115200 baud. */
const TIMEOUT_NS = 350_000

export interface UartOptions {
  readonly id: string
  readonly irq: IrqLine
  readonly chars: CharBackend
  readonly clock: VirtualClock
}

export class Uart16550 implements Device {
  readonly id: string
  readonly stateVersion = 1
  private divisor = 1
  private ier = 0
  private lcr = 3
  private mcr = 0
  private scratch = 0
  private fifoEnabled = false
  private trigger = 1
  private overrun = false
  /** A break came in, which only loopback can bring about here. */
  private breakSeen = false
  private transmitPending = false
  private timeoutPending = false
  private msrDelta = 0
  private receive: number[] = []
  /** What was typed during a loopback, which cuts the line off. */
  private held: number[] = []
  private readonly output = new Uint8Array(FLUSH_BYTES)
  private outputLength = 0
  private readonly flushTimer: Timer
  private readonly timeoutTimer: Timer
  bytesOut = 0

  constructor(private readonly options: UartOptions) {
    this.id = options.id
    this.flushTimer = options.clock.createTimer(() => this.flush())
    this.timeoutTimer = options.clock.createTimer(() => {
      this.timeoutPending = this.receive.length > 0
      this.update()
    })
    options.chars.onInput((bytes) => this.accept(bytes))
  }

  mapInto(io: AddressSpace, base: number): void {
    io.map(base, 8, {
      read: (offset) => this.read(offset),
      write: (offset, _size, value) => this.write(offset, value & 0xff),
    }, this.id)
  }

  /** Bytes typed at the guest. They wait here until the guest reads them, as on a line with flow control. */
  private accept(bytes: Uint8Array): void {
    const queue = this.loopsBack ? this.held : this.receive
    for (const byte of bytes) queue.push(byte)
    if (!this.loopsBack) this.receiveChanged()
  }

  private get loopsBack(): boolean {
    return (this.mcr & Mcr.LOOPBACK) !== 0
  }

  private receiveChanged(): void {
    this.timeoutPending = false
    if (this.fifoEnabled && this.receive.length > 0 && this.receive.length < this.trigger) {
      this.timeoutTimer.arm(this.options.clock.nowNs() + TIMEOUT_NS)
    } else this.timeoutTimer.cancel()
    this.update()
  }

  // ── interrupts ────────────────────────────────────────────────────────────────────────────────────────────────

  /** Highest-priority pending interrupt. */
  private identification(): number {
    if ((this.overrun || this.breakSeen) && (this.ier & Ier.LINE) !== 0) return Iir.LINE
    if ((this.ier & Ier.RECEIVE) !== 0) {
      if (this.receive.length >= (this.fifoEnabled ? this.trigger : 1)) return Iir.RECEIVE
      if (this.timeoutPending) return Iir.TIMEOUT
    }
    if (this.transmitPending && (this.ier & Ier.TRANSMIT) !== 0) return Iir.TRANSMIT
    return this.msrDelta !== 0 && (this.ier & Ier.MODEM) !== 0 ? Iir.MODEM : Iir.NONE
  }

  private update(): void {
    this.options.irq.set(this.identification() !== Iir.NONE && (this.mcr & Mcr.OUT2) !== 0)
  }

  // ── registers ─────────────────────────────────────────────────────────────────────────────────────────────────

  private get dlab(): boolean {
    return (this.lcr & LCR_DLAB) !== 0
  }

  private read(offset: number): number {
    switch (offset) {
      case 0: return this.dlab ? this.divisor & 0xff : this.readData()
      case 1: return this.dlab ? this.divisor >> 8 : this.ier
      case 2: return this.readIdentification()
      case 3: return this.lcr
      case 4: return this.mcr
      case 5: return this.readLineStatus()
      case 6: return this.readModemStatus()
      default: return this.scratch
    }
  }

  private readData(): number {
    const byte = this.receive.shift() ?? 0
    this.receiveChanged()
    return byte
  }

  private readIdentification(): number {
    const pending = this.identification()
    if (pending === Iir.TRANSMIT) {
      this.transmitPending = false
      this.update()
    }
    return pending | (this.fifoEnabled ? 0xc0 : 0)
  }

  private readLineStatus(): number {
    const status = Lsr.THR_EMPTY | Lsr.IDLE | (this.receive.length > 0 ? Lsr.DATA_READY : 0) |
      (this.overrun ? Lsr.OVERRUN : 0) | (this.breakSeen ? Lsr.BREAK : 0)
    this.overrun = this.breakSeen = false
    this.update()
    return status
  }

  /** In loopback the modem outputs come back as inputs; otherwise carrier, DSR and CTS are up. */
  private modemLines(): number {
    if (!this.loopsBack) return 0xb0
    return ((this.mcr & 2) << 3) | ((this.mcr & 1) << 5) | ((this.mcr & 4) << 4) | ((this.mcr & 8) << 4)
  }

  private readModemStatus(): number {
    const value = this.modemLines() | this.msrDelta
    this.msrDelta = 0
    this.update()
    return value
  }

  private write(offset: number, value: number): void {
    switch (offset) {
      case 0:
        if (this.dlab) this.divisor = (this.divisor & 0xff00) | value
        else this.writeData(value)
        break
      case 1:
        if (this.dlab) this.divisor = (this.divisor & 0xff) | (value << 8)
        else this.writeInterruptEnable(value)
        break
      case 2: this.writeFifoControl(value); break
      case 3: this.writeLineControl(value); break
      case 4: this.writeModemControl(value); break
      case 7: this.scratch = value; break
      default: break // line and modem status are read-only
    }
  }

  private writeInterruptEnable(value: number): void {
    // Enabling the transmit interrupt raises it at once when the transmitter is empty, which it always is here.
    if ((value & Ier.TRANSMIT) !== 0 && (this.ier & Ier.TRANSMIT) === 0) this.transmitPending = true
    this.ier = value & 15
    this.update()
  }

  /** A break sent in loopback comes back as one: a zero with the break bit. */
  private writeLineControl(value: number): void {
    const starts = (value & ~this.lcr & LCR_BREAK) !== 0
    this.lcr = value
    if (!starts || !this.loopsBack) return
    this.breakSeen = true
    this.receive.push(0)
    this.receiveChanged()
  }

  private writeFifoControl(value: number): void {
    const enable = (value & 1) !== 0
    const clears = enable !== this.fifoEnabled || (enable && (value & 2) !== 0)
    this.fifoEnabled = enable
    this.trigger = enable ? TRIGGER_LEVELS[value >> 6] : 1
    // Clearing the FIFO drops what it holds; what waits behind it on the line is still to come.
    if (clears) this.receive.splice(0, Math.min(this.receive.length, FIFO_SIZE))
    this.receiveChanged()
  }

  private writeModemControl(value: number): void {
    const before = this.modemLines()
    const looped = this.loopsBack
    this.mcr = value & 0x1f
    const lines = this.modemLines()
    const changed = before ^ lines
    this.msrDelta |= ((changed & ~RI) >> 4) | ((changed & before & RI) !== 0 ? TERI : 0)
    if (looped && !this.loopsBack) this.receive.push(...this.held.splice(0))
    this.receiveChanged()
  }

  private writeData(byte: number): void {
    this.transmitPending = true
    if (this.loopsBack) {
      if (this.receive.length >= (this.fifoEnabled ? FIFO_SIZE : 1)) this.overrun = true
      else this.receive.push(byte)
      return this.receiveChanged()
    }
    this.output[this.outputLength++] = byte
    this.bytesOut++
    if (this.outputLength === FLUSH_BYTES) this.flush()
    else if (this.outputLength === 1) this.flushTimer.arm(this.options.clock.nowNs() + FLUSH_NS)
    this.update()
  }

  /** Hands gathered output to the host. */
  flush(): void {
    this.flushTimer.cancel()
    if (this.outputLength === 0) return
    const bytes = this.output.slice(0, this.outputLength)
    this.outputLength = 0
    this.options.chars.write(bytes)
  }

  // ── lifecycle ─────────────────────────────────────────────────────────────────────────────────────────────────

  reset(): void {
    this.flush()
    this.divisor = 1
    this.ier = this.mcr = this.scratch = this.msrDelta = 0
    this.lcr = 3
    this.fifoEnabled = this.overrun = this.breakSeen = this.transmitPending = this.timeoutPending = false
    this.trigger = 1
    this.receive = []
    this.held = []
    this.timeoutTimer.cancel()
    this.update()
  }

  save(): DeviceState {
    this.flush()
    return {
      divisor: this.divisor, ier: this.ier, lcr: this.lcr, mcr: this.mcr, scratch: this.scratch, fifoEnabled: this.fifoEnabled,
      trigger: this.trigger, overrun: this.overrun, transmitPending: this.transmitPending, timeoutPending: this.timeoutPending,
      msrDelta: this.msrDelta, receive: Uint8Array.from([...this.receive, ...this.held]), timeoutNs: this.timeoutTimer.deadlineNs,
    }
  }

  restore(state: DeviceState): void {
    if (!(state.receive instanceof Uint8Array)) throw new VmmError('bad-state', `${this.id}: receive must be bytes`)
    const { divisor, ier, lcr, mcr, scratch, trigger, msrDelta } = state
    Object.assign(this, { divisor, ier, lcr, mcr, scratch, trigger, msrDelta })
    this.fifoEnabled = state.fifoEnabled === true
    this.overrun = state.overrun === true
    this.transmitPending = state.transmitPending === true
    this.timeoutPending = state.timeoutPending === true
    this.receive = [...state.receive]
    this.timeoutTimer.arm(Number(state.timeoutNs))
    this.update()
  }
}
