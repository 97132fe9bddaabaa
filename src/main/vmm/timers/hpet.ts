/** High-precision event timer: a 100 MHz 64-bit counter with three comparators. IA-PC HPET specification 1.0a. */
import { VmmError } from '../errors'
import type { AccessSize, AddressSpace, Device, DeviceState, IrqLine, LineFate, Timer, VirtualClock } from '../bus/types'
import { LostTicks } from './lost-ticks'

const TIMERS = 3
const NS_PER_TICK = 10
const FEMTOSECONDS_PER_TICK = NS_PER_TICK * 1e6
/** Revision 1, three timers, 64-bit counter, legacy replacement, vendor 0x8086. Also for the ACPI table. */
export const HPET_CAPABILITIES = (0x8086_0000 | (1 << 15) | (1 << 13) | ((TIMERS - 1) << 8) | 1) >>> 0

/** Inputs of the I/O APIC that a timer may be routed to (bit = GSI): the ones no PCI line uses. */
const ROUTES = 0x00f0_0000
const Reg = { CAPABILITIES: 0, CONFIG: 0x10, STATUS: 0x20, COUNTER: 0xf0, TIMER0: 0x100 } as const
const Config = { ENABLE: 1, LEGACY: 2 } as const
const Tn = { LEVEL: 2, ENABLE: 4, PERIODIC: 8, PERIODIC_CAP: 0x10, SIZE_CAP: 0x20, SET_VALUE: 0x40, MODE_32: 0x100 } as const
const TN_WRITABLE = Tn.LEVEL | Tn.ENABLE | Tn.PERIODIC | Tn.SET_VALUE | Tn.MODE_32 | 0x3e00

const withHalf = (old: bigint, high: boolean, value: number): bigint =>
  high ? (old & 0xffff_ffffn) | (BigInt(value) << 32n) : (old & ~0xffff_ffffn) | BigInt(value)
const half = (value: bigint, high: boolean): number => Number(high ? value >> 32n : value & 0xffff_ffffn)

/** A 64-bit read arrives as two: the upper half belongs to the lower one that came just before. */
const SAME_READ_NS = 100_000

interface Comparator {
  config: number
  value: bigint
  period: bigint
  setHigh: boolean
  /** Machine time of the next match. */
  matchNs: number
  /** Line that it holds up: a level interrupt until its status is cleared, an edge until the next one. */
  driven: IrqLine | undefined
  readonly timer: Timer
  readonly lost: LostTicks
}

const widthOf = ({ config }: Comparator): 32 | 64 => ((config & Tn.MODE_32) !== 0 ? 32 : 64)

/**
 * Neither an interrupt nor a status comes of a match. Linux leaves its first timer like this, periodic, once it has a better one:
 * as soon as the counter's lower half has come around, it would wake an idle machine 250 times a second for ever.
 */
const isSilent = ({ config }: Comparator): boolean => (config & (Tn.ENABLE | Tn.LEVEL)) === 0

export interface HpetOptions {
  readonly clock: VirtualClock
  /** Lines of timers 0 and 1 in legacy replacement: ISA IRQ 0 and 8. */
  readonly legacyLines: readonly [IrqLine, IrqLine]
  /** Line of a GSI among 20–23. */
  readonly gsiLine: (gsi: number) => IrqLine
}

export class Hpet implements Device {
  readonly id = 'hpet'
  readonly stateVersion = 1
  private config = 0
  private status = 0
  /** Counter while halted; counter at machine time 0 while running. */
  private base = 0n
  private readonly comparators: readonly Comparator[]
  /** Upper half of the counter as the last read of the lower one saw it. */
  private upper: { readonly value: number; readonly atNs: number } | undefined

  constructor(private readonly options: HpetOptions) {
    this.comparators = Array.from({ length: TIMERS }, (_, i) => ({
      config: 0, value: 0n, period: 0n, setHigh: false, matchNs: Infinity, driven: undefined,
      timer: options.clock.createTimer(() => this.fired(i)), lost: new LostTicks(() => this.fate(i)),
    }))
    this.reset()
  }

  mapInto(memory: AddressSpace, base: number): void {
    memory.map(base, 0x400, { read: (offset, size) => this.read(offset, size), write: (o, s, v) => this.write(o, s, v) }, 'hpet')
  }

  /** The PIT and the RTC reach their lines through this: legacy replacement disconnects them. */
  behindLegacyReplacement(line: IrqLine): IrqLine {
    const fate = (): LineFate | undefined => (this.legacy ? 'masked' : line.fate)
    return {
      set: (level) => { if (!this.legacy) line.set(level) },
      get fate() {
        return fate()
      },
    }
  }

  private get legacy(): boolean {
    return (this.config & Config.LEGACY) !== 0
  }

  private get running(): boolean {
    return (this.config & Config.ENABLE) !== 0
  }

  private elapsed(): bigint {
    return BigInt(Math.floor(this.options.clock.nowNs() / NS_PER_TICK))
  }

  private counter(): bigint {
    return this.running ? BigInt.asUintN(64, this.base + this.elapsed()) : this.base
  }

  private lineOf(index: number): IrqLine | undefined {
    if (this.legacy && index < 2) return this.options.legacyLines[index]
    const gsi = (this.comparators[index].config >> 9) & 31
    return (ROUTES & (1 << gsi)) !== 0 ? this.options.gsiLine(gsi) : undefined
  }

  // ── registers ─────────────────────────────────────────────────────────────────────────────────────────────────

  private read(offset: number, size: AccessSize): number {
    const word = this.readWord(offset & ~3) >>> ((offset & 3) * 8)
    return size === 4 ? word : word & (2 ** (8 * size) - 1)
  }

  private readWord(offset: number): number {
    const high = (offset & 4) !== 0
    switch (offset & ~7) {
      case Reg.CAPABILITIES: return high ? FEMTOSECONDS_PER_TICK : HPET_CAPABILITIES
      case Reg.CONFIG: return high ? 0 : this.config
      case Reg.STATUS: return high ? 0 : this.status
      case Reg.COUNTER: return high ? this.readUpper() : this.readLower()
      default: return this.readTimer(offset, high)
    }
  }

  private readLower(): number {
    const counter = this.counter()
    this.upper = { value: half(counter, true), atNs: this.options.clock.nowNs() }
    return half(counter, false)
  }

  private readUpper(): number {
    const { upper } = this
    this.upper = undefined
    return upper && this.options.clock.nowNs() - upper.atNs < SAME_READ_NS ? upper.value : half(this.counter(), true)
  }

  private readTimer(offset: number, high: boolean): number {
    const index = (offset - Reg.TIMER0) >> 5
    if (index < 0 || index >= TIMERS) return 0
    const comparator = this.comparators[index]
    this.catchUp(comparator)
    const register = offset & 0x18
    if (register === 0) return high ? ROUTES : comparator.config | Tn.PERIODIC_CAP | Tn.SIZE_CAP
    return register === 8 ? half(comparator.value, high) : 0
  }

  /** Registers take aligned 32- and 64-bit writes only; others are undefined and dropped here. */
  private write(offset: number, size: AccessSize, value: number): void {
    if (size !== 4 || (offset & 3) !== 0) return
    const high = (offset & 4) !== 0
    switch (offset & ~7) {
      case Reg.CONFIG: if (!high) this.writeConfig(value); break
      case Reg.STATUS: if (!high) this.clearStatus(value); break
      case Reg.COUNTER: this.writeCounter(high, value); break
      default: this.writeTimer(offset, high, value)
    }
  }

  private writeConfig(value: number): void {
    this.comparators.forEach((comparator) => this.catchUp(comparator))
    const now = this.counter()
    if ((value & Config.LEGACY) === 0 && this.legacy) for (const line of this.options.legacyLines) line.set(false)
    this.config = value & (Config.ENABLE | Config.LEGACY)
    this.setCounter(now)
    this.comparators.forEach((_, i) => this.updateLine(i))
  }

  private setCounter(value: bigint): void {
    this.base = BigInt.asUintN(64, this.running ? value - this.elapsed() : value)
    this.upper = undefined
    this.comparators.forEach((_, i) => this.schedule(i))
  }

  private writeCounter(high: boolean, value: number): void {
    this.comparators.forEach((comparator) => this.catchUp(comparator))
    this.setCounter(withHalf(this.counter(), high, value))
  }

  private clearStatus(value: number): void {
    for (let i = 0; i < TIMERS; i++) {
      if ((value & this.status & (1 << i)) === 0) continue
      this.status &= ~(1 << i)
      this.updateLine(i)
    }
  }

  private writeTimer(offset: number, high: boolean, value: number): void {
    const index = (offset - Reg.TIMER0) >> 5
    if (index < 0 || index >= TIMERS) return
    const register = offset & 0x18
    this.catchUp(this.comparators[index])
    if (register === 8) this.writeComparator(this.comparators[index], high, value)
    else if (register !== 0 || high) return
    else this.writeTimerConfig(index, value)
    this.schedule(index)
  }

  private writeTimerConfig(index: number, value: number): void {
    const comparator = this.comparators[index]
    // The line follows enable, trigger and route; an edge-triggered timer has no status.
    comparator.config = value & TN_WRITABLE
    if ((value & Tn.LEVEL) === 0) this.status &= ~(1 << index)
    this.updateLine(index)
    comparator.lost.forget()
    if ((value & Tn.MODE_32) !== 0) {
      comparator.value &= 0xffff_ffffn
      comparator.period &= 0xffff_ffffn
    }
  }

  /** Periodic: a write sets the period, and the comparator too where SET_VALUE asks (2.3.9.2.2). */
  private writeComparator(comparator: Comparator, high: boolean, value: number): void {
    const word = high && (comparator.config & Tn.MODE_32) !== 0 ? 0 : value
    const periodic = (comparator.config & Tn.PERIODIC) !== 0
    const setValue = (comparator.config & Tn.SET_VALUE) !== 0 || (high && comparator.setHigh)
    if (!periodic || setValue) comparator.value = withHalf(comparator.value, high, word)
    if (periodic) comparator.period = withHalf(comparator.period, high, word)
    // A 64-bit write arrives as two halves; the upper one still belongs to the request the lower one used up.
    comparator.setHigh = !high && setValue
    comparator.config &= ~Tn.SET_VALUE
  }

  // ── firing ────────────────────────────────────────────────────────────────────────────────────────────────────

  private fate(index: number): LineFate {
    const line = this.lineOf(index)
    const { config } = this.comparators[index]
    if (!line || (config & Tn.ENABLE) === 0) return 'masked'
    if (line.fate === 'masked') return 'masked'
    if ((config & Tn.LEVEL) !== 0) return (this.status & (1 << index)) !== 0 ? 'waiting' : 'taken'
    return line.fate ?? 'taken'
  }

  /** Of a level interrupt: up while its status is set and it may interrupt. */
  private updateLine(index: number): void {
    const comparator = this.comparators[index]
    const may = this.running && (comparator.config & (Tn.LEVEL | Tn.ENABLE)) === (Tn.LEVEL | Tn.ENABLE)
    const line = may && (this.status & (1 << index)) !== 0 ? this.lineOf(index) : undefined
    comparator.driven?.set(false)
    comparator.driven = line
    line?.set(true)
  }

  private periodNs({ config, period }: Comparator): number {
    return (config & Tn.PERIODIC) !== 0 ? Number(period) * NS_PER_TICK : 0
  }

  private schedule(index: number, afterFiring = false): void {
    const comparator = this.comparators[index]
    const { value, timer, lost } = comparator
    if (!this.running) return timer.cancel()
    const bits = widthOf(comparator)
    let ticks = BigInt.asUintN(bits, value - this.counter())
    if (ticks === 0n && afterFiring) ticks = 1n << BigInt(bits)
    const now = this.options.clock.nowNs()
    comparator.matchNs = now - (now % NS_PER_TICK) + Number(ticks) * NS_PER_TICK
    if (isSilent(comparator)) return timer.cancel()
    const period = this.periodNs(comparator)
    timer.arm(period > 0 ? lost.nextNs(now, period, comparator.matchNs) : comparator.matchNs)
  }

  private fired(index: number): void {
    const comparator = this.comparators[index]
    const period = this.periodNs(comparator)
    if (period === 0 || this.isHeard(comparator, period)) this.interrupt(index)
    this.schedule(index, true)
  }

  private interrupt(index: number): void {
    const comparator = this.comparators[index]
    if ((comparator.config & Tn.LEVEL) !== 0) {
      this.status |= 1 << index
      return this.updateLine(index)
    }
    comparator.driven?.set(false)
    comparator.driven = (comparator.config & Tn.ENABLE) !== 0 ? this.lineOf(index) : undefined
    // An 8259 forgets a request whose line falls before it is acknowledged.
    comparator.driven?.set(true)
  }

  private isHeard(comparator: Comparator, periodNs: number): boolean {
    if (this.options.clock.nowNs() < comparator.matchNs) return comparator.lost.extra()
    return comparator.lost.due(this.advance(comparator), periodNs)
  }

  /** A silent timer's matches show in its comparator only: they are made up for when somebody looks. */
  private catchUp(comparator: Comparator): void {
    const period = this.periodNs(comparator)
    const late = this.options.clock.nowNs() - comparator.matchNs
    if (!this.running || !isSilent(comparator) || period === 0 || late < 0) return
    const matches = Math.floor(late / period) + 1
    comparator.value = BigInt.asUintN(widthOf(comparator), comparator.value + BigInt(matches) * comparator.period)
    comparator.matchNs += matches * period
  }

  /** To the next multiple of the period in the future. @returns periods that were missed while the host was busy */
  private advance(comparator: Comparator): number {
    const bits = widthOf(comparator)
    const missed = BigInt.asUintN(bits, this.counter() - comparator.value) / comparator.period
    comparator.value = BigInt.asUintN(bits, comparator.value + (missed + 1n) * comparator.period)
    return Number(missed)
  }

  // ── lifecycle ─────────────────────────────────────────────────────────────────────────────────────────────────

  reset(): void {
    this.clearStatus(this.status)
    this.config = this.status = 0
    this.base = 0n
    for (const comparator of this.comparators) {
      Object.assign(comparator, { config: 0, value: 0xffff_ffff_ffff_ffffn, period: 0n, setHigh: false, matchNs: Infinity })
      comparator.timer.cancel()
      comparator.lost.forget()
    }
  }

  save(): DeviceState {
    this.comparators.forEach((comparator) => this.catchUp(comparator))
    return {
      config: this.config, status: this.status, base: this.base,
      comparators: this.comparators.map(({ config, value, period, setHigh, matchNs }) => ({ config, value, period, setHigh, deadlineNs: this.running ? matchNs : Infinity })),
    }
  }

  restore(state: DeviceState): void {
    const { config, status, base, comparators } = state
    if (typeof base !== 'bigint') throw new VmmError('bad-state', 'hpet: base must be an integer')
    if (!Array.isArray(comparators) || comparators.length !== TIMERS) throw new VmmError('bad-state', `hpet: comparators must be ${TIMERS}`)
    this.config = Number(config)
    this.status = Number(status)
    this.base = base
    ;(comparators as DeviceState[]).forEach((saved, i) => {
      if (typeof saved.value !== 'bigint' || typeof saved.period !== 'bigint') throw new VmmError('bad-state', 'hpet: value and period must be integers')
      const comparator = this.comparators[i]
      Object.assign(comparator, { config: Number(saved.config), value: saved.value, period: saved.period, setHigh: saved.setHigh === true })
      comparator.lost.forget()
      comparator.matchNs = Number(saved.deadlineNs)
      if (isSilent(comparator)) comparator.timer.cancel()
      else comparator.timer.arm(comparator.matchNs)
      // The line's level is in the controller's own state.
      comparator.driven = this.running && (comparator.config & Tn.ENABLE) !== 0 ? this.lineOf(i) : undefined
    })
  }
}
