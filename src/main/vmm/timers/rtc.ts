/** MC146818 real-time clock with 128 bytes of CMOS memory. Motorola data sheet; ports 0x70/0x71, IRQ 8. */
import { VmmError } from '../errors'
import type { AddressSpace, Device, DeviceState, IrqLine, LineFate, Timer, VirtualClock } from '../bus/types'
import { LostTicks } from './lost-ticks'

const A = 0x0a
const B = 0x0b
const C = 0x0c
const D = 0x0d
const CENTURY = 0x32
const B_SET = 0x80
const B_PERIODIC = 0x40
const B_ALARM = 0x20
const B_UPDATE = 0x10
const B_BINARY = 0x04
const B_24H = 0x02
const C_IRQ = 0x80
const SECOND_NS = 1e9
const A_UIP = 0x80
/** The time may change while UIP is set, and for 244 µs after it was clear. Hosts tell wall time by the millisecond. */
const UIP_MS = 1
/** Values of the divider bits that hold it in reset (110 and 111); let go, the first second is over after half of one. */
const DIVIDER_RESET = 0x60
const AFTER_RESET_MS = 500
const DAY_SECONDS = 86_400
/** Alarm bytes from here on match everything. */
const ANY = 0xc0
/** Registers 0–9 hold time and alarm: seconds, alarm, minutes, alarm, hours, alarm, weekday, day, month, year. */
const TIME_REGISTERS = [0, 2, 4, 6, 7, 8, 9, CENTURY]

export class Rtc implements Device {
  readonly id = 'rtc'
  readonly stateVersion = 1
  private readonly cmos = new Uint8Array(128)
  private index = 0
  /** Guest time minus the clock's wall time, in milliseconds: what the guest set. */
  private offsetMs = 0
  /** Guest time, in milliseconds, and machine time up to which register C tells what happened. */
  private seenMs = 0
  private seenNs = 0
  private readonly periodic: Timer
  private readonly second: Timer
  private readonly lost = new LostTicks(() => this.fate)

  constructor(private readonly clock: VirtualClock, private readonly irq: IrqLine) {
    this.periodic = clock.createTimer(() => this.periodicTick())
    this.second = clock.createTimer(() => this.secondTick())
    this.reset()
  }

  mapInto(io: AddressSpace): void {
    io.map(0x70, 2, {
      read: (offset) => (offset === 0 ? 0xff : this.read(this.index)),
      write: (offset, _size, value) => {
        if (offset === 0) this.index = value & 0x7f
        else this.write(this.index, value & 0xff)
      },
    }, 'rtc')
  }

  private encode(value: number): number {
    return (this.cmos[B] & B_BINARY) !== 0 ? value : (Math.floor(value / 10) << 4) | value % 10
  }

  private decode(value: number): number {
    return (this.cmos[B] & B_BINARY) !== 0 ? value : (value >> 4) * 10 + (value & 15)
  }

  private get guestMs(): number {
    return this.clock.wallMs() + this.offsetMs
  }

  /** The time stands still and may be set. */
  private get isHeld(): boolean {
    return (this.cmos[B] & B_SET) !== 0 || (this.cmos[A] & DIVIDER_RESET) === DIVIDER_RESET
  }

  private encodeHour(hour: number): number {
    if ((this.cmos[B] & B_24H) !== 0) return this.encode(hour)
    return this.encode(hour % 12 === 0 ? 12 : hour % 12) | (hour >= 12 ? 0x80 : 0)
  }

  private timeField(register: number, ms = this.guestMs): number {
    const t = new Date(ms)
    switch (register) {
      case 0: return this.encode(t.getUTCSeconds())
      case 2: return this.encode(t.getUTCMinutes())
      case 4: return this.encodeHour(t.getUTCHours())
      case 6: return this.encode(t.getUTCDay() + 1)
      case 7: return this.encode(t.getUTCDate())
      case 8: return this.encode(t.getUTCMonth() + 1)
      case 9: return this.encode(t.getUTCFullYear() % 100)
      default: return this.encode(Math.floor(t.getUTCFullYear() / 100))
    }
  }

  private read(register: number): number {
    if (TIME_REGISTERS.includes(register) && !this.isHeld) return this.timeField(register)
    if (register === A) return (this.cmos[A] & ~A_UIP) | (!this.isHeld && this.guestMs % 1000 >= 1000 - UIP_MS ? A_UIP : 0)
    if (register === D) return 0x80
    if (register !== C) return this.cmos[register]
    this.catchUp()
    const flags = this.cmos[C]
    this.cmos[C] = 0
    this.irq.set(false)
    if (this.lost.owed > 0) this.armPeriodic()
    return flags
  }

  private write(register: number, value: number): void {
    if (register === C || register === D) return
    if (register === A || register === B) return this.writeControl(register, value)
    this.cmos[register] = value
    if (TIME_REGISTERS.includes(register) && !this.isHeld) this.adoptField(register, value)
  }

  private writeControl(register: typeof A | typeof B, value: number): void {
    this.catchUp()
    const wasHeld = this.isHeld
    const time = wasHeld ? [] : TIME_REGISTERS.map((r) => this.timeField(r))
    this.cmos[register] = register === A ? value & ~A_UIP : value
    if (this.isHeld && !wasHeld) TIME_REGISTERS.forEach((r, i) => (this.cmos[r] = time[i]))
    else if (wasHeld && !this.isHeld) this.adoptSetTime(register === A ? AFTER_RESET_MS : 0)
    this.schedule()
    this.updateLine()
  }

  /** A field written without SET: the other fields keep running. */
  private adoptField(register: number, value: number): void {
    for (const r of TIME_REGISTERS) if (r !== register) this.cmos[r] = this.timeField(r)
    this.cmos[register] = value
    this.adoptSetTime()
  }

  private adoptSetTime(ms = 0): void {
    const { cmos } = this
    const rawHour = cmos[4]
    let hour = this.decode(rawHour & 0x7f)
    if ((cmos[B] & B_24H) === 0) hour = (hour % 12) + ((rawHour & 0x80) !== 0 ? 12 : 0)
    const year = this.decode(cmos[CENTURY]) * 100 + this.decode(cmos[9])
    const set = Date.UTC(year, this.decode(cmos[8]) - 1, this.decode(cmos[7]), hour, this.decode(cmos[2]), this.decode(cmos[0]))
    if (Number.isFinite(set)) this.offsetMs = set + ms - this.clock.wallMs()
    this.seenMs = this.guestMs
  }

  private get periodNs(): number {
    const rate = this.cmos[A] & 15
    if (rate === 0) return 0
    return SECOND_NS / (32768 >> ((rate < 3 ? rate + 7 : rate) - 1))
  }

  private schedule(): void {
    const enables = this.cmos[B]
    if ((enables & B_PERIODIC) === 0 || this.periodNs === 0) {
      this.periodic.cancel()
      this.lost.forget()
    } else this.armPeriodic()
    if ((enables & (B_ALARM | B_UPDATE)) !== 0 && !this.isHeld) this.armSecond()
    else this.second.cancel()
  }

  /** A tick was told once register C is read. */
  private get fate(): LineFate {
    const { fate } = this.irq
    return fate === 'masked' ? fate : (this.cmos[C] & B_PERIODIC) !== 0 ? 'waiting' : 'taken'
  }

  private armPeriodic(): void {
    const { periodNs } = this
    this.periodic.arm(this.lost.nextNs(this.clock.nowNs(), periodNs, this.seenNs + periodNs))
  }

  private armSecond(): void {
    const intoSecond = this.guestMs % 1000
    this.second.arm(this.clock.nowNs() + (1000 - intoSecond) * 1e6)
  }

  private raise(flag: number): void {
    this.cmos[C] |= flag
    this.updateLine()
  }

  /** A flag that is set already interrupts as soon as it is enabled. */
  private updateLine(): void {
    if ((this.cmos[C] & this.cmos[B] & (B_PERIODIC | B_ALARM | B_UPDATE)) === 0) return
    this.cmos[C] |= C_IRQ
    this.irq.set(true)
  }

  /** Sets the flags of what happened since they were looked at last, whether an interrupt is enabled for it or not. */
  private catchUp(): void {
    const now = this.clock.nowNs()
    const period = this.periodNs
    const periods = period > 0 ? Math.floor((now - this.seenNs) / period) : 0
    if (periods > 0) {
      if ((this.cmos[B] & B_PERIODIC) !== 0) this.lost.due(periods - 1, period)
      this.raise(B_PERIODIC)
    }
    this.seenNs = period > 0 ? this.seenNs + periods * period : now
    if (this.isHeld) return
    const before = Math.floor(this.seenMs / 1000)
    const second = Math.floor(this.guestMs / 1000)
    this.seenMs = this.guestMs
    if (second === before) return
    this.raise(B_UPDATE)
    // A day has every time of day once.
    for (let at = Math.max(before + 1, second - DAY_SECONDS + 1); at <= second; at++) {
      if (this.alarmMatches(at * 1000)) return this.raise(B_ALARM)
    }
  }

  private alarmMatches(ms: number): boolean {
    return [1, 3, 5].every((alarm) => this.cmos[alarm] >= ANY || this.cmos[alarm] === this.timeField(alarm - 1, ms))
  }

  private periodicTick(): void {
    if (this.clock.nowNs() < this.seenNs + this.periodNs) {
      if (this.lost.extra()) this.raise(B_PERIODIC)
    } else this.catchUp()
    this.schedule()
  }

  private secondTick(): void {
    this.catchUp()
    this.armSecond()
  }

  reset(): void {
    this.cmos[A] = 0x26
    this.cmos[B] = B_24H
    this.cmos[C] = 0
    this.index = 0
    this.periodic.cancel()
    this.second.cancel()
    this.lost.forget()
    this.seenMs = this.guestMs
    this.seenNs = this.clock.nowNs()
    this.irq.set(false)
  }

  save(): DeviceState {
    return {
      cmos: this.cmos.slice(), index: this.index, offsetMs: this.offsetMs,
      periodicNs: this.periodic.deadlineNs === Infinity ? Infinity : this.seenNs + this.periodNs, secondNs: this.second.deadlineNs,
    }
  }

  restore(state: DeviceState): void {
    if (!(state.cmos instanceof Uint8Array) || state.cmos.length !== 128) throw new VmmError('bad-state', 'rtc: cmos must be 128 bytes')
    this.cmos.set(state.cmos)
    this.index = Number(state.index)
    this.offsetMs = Number(state.offsetMs)
    this.lost.forget()
    this.seenMs = this.guestMs
    this.seenNs = Number.isFinite(state.periodicNs) ? Number(state.periodicNs) - this.periodNs : this.clock.nowNs()
    this.periodic.arm(Number(state.periodicNs))
    this.second.arm(Number(state.secondNs))
  }
}
