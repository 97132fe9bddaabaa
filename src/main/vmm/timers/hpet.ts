/** High-precision event timer: a 100 MHz 64-bit counter with three comparators. IA-PC HPET specification 1.0a. */
import { VmmError } from '../errors'
import type { AccessSize, AddressSpace, Device, DeviceState, IrqLine, Timer, VirtualClock } from '../bus/types'

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

interface Comparator { config: number; value: bigint; period: bigint; setHigh: boolean; readonly timer: Timer }

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

  constructor(private readonly options: HpetOptions) {
    this.comparators = Array.from({ length: TIMERS }, (_, i) => ({
      config: 0, value: 0n, period: 0n, setHigh: false, timer: options.clock.createTimer(() => this.fired(i)),
    }))
    this.reset()
  }

  mapInto(memory: AddressSpace, base: number): void {
    memory.map(base, 0x400, { read: (offset, size) => this.read(offset, size), write: (o, s, v) => this.write(o, s, v) }, 'hpet')
  }

  /** The PIT and the RTC reach their lines through this: legacy replacement disconnects them. */
  behindLegacyReplacement(line: IrqLine): IrqLine {
    return { set: (level) => { if (!this.legacy) line.set(level) } }
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
      case Reg.COUNTER: return half(this.counter(), high)
      default: return this.readTimer(offset, high)
    }
  }

  private readTimer(offset: number, high: boolean): number {
    const index = (offset - Reg.TIMER0) >> 5
    if (index < 0 || index >= TIMERS) return 0
    const comparator = this.comparators[index]
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
    const now = this.counter()
    if ((value & Config.LEGACY) === 0 && this.legacy) for (const line of this.options.legacyLines) line.set(false)
    this.config = value & (Config.ENABLE | Config.LEGACY)
    this.setCounter(now)
  }

  private setCounter(value: bigint): void {
    this.base = BigInt.asUintN(64, this.running ? value - this.elapsed() : value)
    this.comparators.forEach((_, i) => this.schedule(i))
  }

  private writeCounter(high: boolean, value: number): void {
    this.setCounter(withHalf(this.counter(), high, value))
  }

  private clearStatus(value: number): void {
    for (let i = 0; i < TIMERS; i++) {
      if ((value & this.status & (1 << i)) === 0) continue
      this.status &= ~(1 << i)
      this.lineOf(i)?.set(false)
    }
  }

  private writeTimer(offset: number, high: boolean, value: number): void {
    const index = (offset - Reg.TIMER0) >> 5
    if (index < 0 || index >= TIMERS) return
    const register = offset & 0x18
    if (register === 8) this.writeComparator(this.comparators[index], high, value)
    else if (register !== 0 || high) return
    else this.writeTimerConfig(index, value)
    this.schedule(index)
  }

  private writeTimerConfig(index: number, value: number): void {
    const comparator = this.comparators[index]
    // A line driven high by a level interrupt must not stay up when its timer is rerouted or made edge-triggered.
    if ((this.status & (1 << index)) !== 0) this.clearStatus(1 << index)
    comparator.config = value & TN_WRITABLE
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

  private schedule(index: number, afterFiring = false): void {
    const { config, value, timer } = this.comparators[index]
    if (!this.running) return timer.cancel()
    const bits = (config & Tn.MODE_32) !== 0 ? 32 : 64
    let ticks = BigInt.asUintN(bits, value - this.counter())
    if (ticks === 0n && afterFiring) ticks = 1n << BigInt(bits)
    const toBoundary = this.options.clock.nowNs() % NS_PER_TICK
    timer.arm(this.options.clock.nowNs() - toBoundary + Number(ticks) * NS_PER_TICK)
  }

  private fired(index: number): void {
    const comparator = this.comparators[index]
    if ((comparator.config & Tn.PERIODIC) !== 0 && comparator.period > 0n) this.advance(comparator)
    const line = this.lineOf(index)
    if ((comparator.config & Tn.LEVEL) !== 0) {
      this.status |= 1 << index
      if ((comparator.config & Tn.ENABLE) !== 0) line?.set(true)
    } else if ((comparator.config & Tn.ENABLE) !== 0) {
      line?.set(true)
      line?.set(false)
    }
    this.schedule(index, true)
  }

  /** Next multiple of the period in the future; periods missed while the host was busy are skipped. */
  private advance(comparator: Comparator): void {
    const bits = (comparator.config & Tn.MODE_32) !== 0 ? 32 : 64
    const late = BigInt.asUintN(bits, this.counter() - comparator.value)
    comparator.value = BigInt.asUintN(bits, comparator.value + (late / comparator.period + 1n) * comparator.period)
  }

  // ── lifecycle ─────────────────────────────────────────────────────────────────────────────────────────────────

  reset(): void {
    this.clearStatus(this.status)
    this.config = this.status = 0
    this.base = 0n
    for (const comparator of this.comparators) {
      Object.assign(comparator, { config: 0, value: 0xffff_ffff_ffff_ffffn, period: 0n, setHigh: false })
      comparator.timer.cancel()
    }
  }

  save(): DeviceState {
    return {
      config: this.config, status: this.status, base: this.base,
      comparators: this.comparators.map(({ config, value, period, setHigh, timer }) => ({ config, value, period, setHigh, deadlineNs: timer.deadlineNs })),
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
      comparator.timer.arm(Number(saved.deadlineNs))
    })
  }
}
