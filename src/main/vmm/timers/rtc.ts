/** MC146818 real-time clock with 128 bytes of CMOS memory. Motorola data sheet; ports 0x70/0x71, IRQ 8. */
import { VmmError } from '../errors'
import type { AddressSpace, Device, DeviceState, IrqLine, Timer, VirtualClock } from '../bus/types'

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
/** Registers 0–9 hold time and alarm: seconds, alarm, minutes, alarm, hours, alarm, weekday, day, month, year. */
const TIME_REGISTERS = [0, 2, 4, 6, 7, 8, 9, CENTURY]

export class Rtc implements Device {
  readonly id = 'rtc'
  readonly stateVersion = 1
  private readonly cmos = new Uint8Array(128)
  private index = 0
  /** Guest time minus the clock's wall time, in milliseconds: what the guest set. */
  private offsetMs = 0
  private readonly periodic: Timer
  private readonly second: Timer

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

  private now(): Date {
    return new Date(this.clock.wallMs() + this.offsetMs)
  }

  private encodeHour(hour: number): number {
    if ((this.cmos[B] & B_24H) !== 0) return this.encode(hour)
    return this.encode(hour % 12 === 0 ? 12 : hour % 12) | (hour >= 12 ? 0x80 : 0)
  }

  private timeField(register: number): number {
    const t = this.now()
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
    if (TIME_REGISTERS.includes(register) && (this.cmos[B] & B_SET) === 0) return this.timeField(register)
    if (register === A) return this.cmos[A] & 0x7f
    if (register === D) return 0x80
    if (register !== C) return this.cmos[register]
    const flags = this.cmos[C]
    this.cmos[C] = 0
    this.irq.set(false)
    return flags
  }

  private write(register: number, value: number): void {
    if (register === C || register === D) return
    if (register === B && (value & B_SET) !== 0 && (this.cmos[B] & B_SET) === 0) {
      for (const r of TIME_REGISTERS) this.cmos[r] = this.timeField(r)
    }
    const leavingSet = register === B && (value & B_SET) === 0 && (this.cmos[B] & B_SET) !== 0
    this.cmos[register] = value
    if (leavingSet) this.adoptSetTime()
    else if (TIME_REGISTERS.includes(register) && (this.cmos[B] & B_SET) === 0) this.adoptField(register, value)
    if (register === A || register === B) this.schedule()
  }

  /** A field written without SET: the other fields keep running. */
  private adoptField(register: number, value: number): void {
    for (const r of TIME_REGISTERS) if (r !== register) this.cmos[r] = this.timeField(r)
    this.cmos[register] = value
    this.adoptSetTime()
  }

  private adoptSetTime(): void {
    const { cmos } = this
    const rawHour = cmos[4]
    let hour = this.decode(rawHour & 0x7f)
    if ((cmos[B] & B_24H) === 0) hour = (hour % 12) + ((rawHour & 0x80) !== 0 ? 12 : 0)
    const year = this.decode(cmos[CENTURY]) * 100 + this.decode(cmos[9])
    const set = Date.UTC(year, this.decode(cmos[8]) - 1, this.decode(cmos[7]), hour, this.decode(cmos[2]), this.decode(cmos[0]))
    if (Number.isFinite(set)) this.offsetMs = set - this.clock.wallMs()
  }

  private get periodNs(): number {
    const rate = this.cmos[A] & 15
    if (rate === 0) return 0
    return SECOND_NS / (32768 >> ((rate < 3 ? rate + 7 : rate) - 1))
  }

  private schedule(): void {
    const enables = this.cmos[B]
    if ((enables & B_PERIODIC) !== 0 && this.periodNs > 0) this.periodic.arm(this.clock.nowNs() + this.periodNs)
    else this.periodic.cancel()
    if ((enables & (B_ALARM | B_UPDATE)) !== 0) this.armSecond()
    else this.second.cancel()
  }

  private armSecond(): void {
    const intoSecond = this.now().getTime() % 1000
    this.second.arm(this.clock.nowNs() + (1000 - intoSecond) * 1e6)
  }

  private raise(flag: number): void {
    this.cmos[C] |= flag
    if ((this.cmos[B] & flag) === 0) return
    this.cmos[C] |= C_IRQ
    this.irq.set(true)
  }

  private periodicTick(): void {
    this.raise(B_PERIODIC)
    if (this.periodNs > 0) this.periodic.arm(this.clock.nowNs() + this.periodNs)
  }

  private secondTick(): void {
    this.raise(B_UPDATE)
    const matches = [1, 3, 5].every((alarm) => this.cmos[alarm] >= 0xc0 || this.cmos[alarm] === this.timeField(alarm - 1))
    if (matches) this.raise(B_ALARM)
    this.armSecond()
  }

  reset(): void {
    this.cmos[A] = 0x26
    this.cmos[B] = B_24H
    this.cmos[C] = 0
    this.index = 0
    this.periodic.cancel()
    this.second.cancel()
    this.irq.set(false)
  }

  save(): DeviceState {
    return {
      cmos: this.cmos.slice(), index: this.index, offsetMs: this.offsetMs,
      periodicNs: this.periodic.deadlineNs, secondNs: this.second.deadlineNs,
    }
  }

  restore(state: DeviceState): void {
    if (!(state.cmos instanceof Uint8Array) || state.cmos.length !== 128) throw new VmmError('bad-state', 'rtc: cmos must be 128 bytes')
    this.cmos.set(state.cmos)
    this.index = Number(state.index)
    this.offsetMs = Number(state.offsetMs)
    this.periodic.arm(Number(state.periodicNs))
    this.second.arm(Number(state.secondNs))
  }
}
