/** Timer of the local APIC: one-shot, periodic, TSC deadline. Intel SDM vol. 3, 11.5.4. */
import { VmmError } from '../errors'
import type { DeviceState, Timer, VirtualClock } from '../bus/types'
import type { TimeStampCounter } from '../timers/tsc'
import { LVT_MASKED, LVT_WRITABLE, Reg } from './lapic-registers'

const ONE_SHOT = 0
const PERIODIC = 1
const TSC_DEADLINE = 2

/** Its input runs at 1 GHz, so that a tick is a nanosecond. */
export class ApicTimer {
  private deadline = 0n
  private startNs = 0
  private readonly timer: Timer

  /** @param regs the APIC's register file: the timer's registers are kept there @param fire the count reached zero */
  constructor(
    private readonly regs: Uint32Array, private readonly clock: VirtualClock, private readonly tsc: TimeStampCounter, private readonly fire: () => void,
  ) {
    this.timer = clock.createTimer(() => this.fired())
  }

  private get mode(): number {
    return (this.regs[Reg.LVT_TIMER] >> 17) & 3
  }

  private get divisor(): number {
    const d = this.regs[Reg.TIMER_DIVIDE]
    const code = (d & 3) | ((d & 8) >> 1)
    return code === 7 ? 1 : 2 << code
  }

  private get periodNs(): number {
    return this.regs[Reg.TIMER_INITIAL] * this.divisor
  }

  /** Machine time at which it fires once; Infinity where it is not armed, or periodic. */
  get onceAtNs(): number {
    return this.mode === PERIODIC ? Infinity : this.timer.deadlineNs
  }

  get tscDeadline(): bigint {
    return this.mode === TSC_DEADLINE ? this.deadline : 0n
  }

  writeTscDeadline(value: bigint): void {
    if (this.mode !== TSC_DEADLINE) return
    this.deadline = value
    if (value === 0n) this.timer.cancel()
    else this.timer.arm(this.tsc.timeOfNs(value))
  }

  /** The local vector table entry. @param enabled where the APIC is not, the entry stays masked */
  writeEntry(value: number, enabled: boolean): void {
    const before = this.mode
    this.regs[Reg.LVT_TIMER] = (value & LVT_WRITABLE[Reg.LVT_TIMER]) | (enabled ? 0 : LVT_MASKED)
    // Between one-shot and periodic the count goes on; to and from the deadline it is lost (11.5.4.1).
    if (before === this.mode || (before !== TSC_DEADLINE && this.mode !== TSC_DEADLINE)) return
    this.timer.cancel()
    this.regs[Reg.TIMER_INITIAL] = 0
    this.deadline = 0n
  }

  /** What is left of the count goes on at the new rate. */
  writeDivide(value: number): void {
    const left = this.currentCount()
    this.regs[Reg.TIMER_DIVIDE] = value
    if (left === 0) return
    this.startNs = this.clock.nowNs() - (this.regs[Reg.TIMER_INITIAL] - left) * this.divisor
    this.timer.arm(this.startNs + this.periodNs)
  }

  start(count: number): void {
    if (this.mode === TSC_DEADLINE) return
    this.regs[Reg.TIMER_INITIAL] = count
    this.startNs = this.clock.nowNs()
    if (count === 0) this.timer.cancel()
    else this.timer.arm(this.startNs + this.periodNs)
  }

  currentCount(): number {
    if (this.mode === TSC_DEADLINE || this.regs[Reg.TIMER_INITIAL] === 0) return 0
    const elapsed = this.clock.nowNs() - this.startNs
    if (this.mode === ONE_SHOT && elapsed >= this.periodNs) return 0
    return Math.max(0, this.regs[Reg.TIMER_INITIAL] - Math.floor((elapsed % this.periodNs) / this.divisor))
  }

  private fired(): void {
    if (this.mode === PERIODIC) {
      // Periods that were missed while the host was busy are skipped, not made up for in a burst.
      const missed = Math.floor((this.clock.nowNs() - this.startNs) / this.periodNs)
      this.startNs += missed * this.periodNs
      this.timer.arm(this.startNs + this.periodNs)
    } else if (this.mode === TSC_DEADLINE) this.deadline = 0n
    this.fire()
  }

  /** The registers are the APIC's to reset. */
  reset(): void {
    this.deadline = 0n
    this.timer.cancel()
  }

  save(): DeviceState {
    return { deadline: this.deadline, timerStartNs: this.startNs, timerDeadlineNs: this.timer.deadlineNs }
  }

  restore({ deadline, timerStartNs, timerDeadlineNs }: DeviceState): void {
    if (typeof deadline !== 'bigint') throw new VmmError('bad-state', 'lapic: deadline must be an integer')
    this.deadline = deadline
    this.startNs = Number(timerStartNs)
    this.timer.arm(Number(timerDeadlineNs))
  }
}
