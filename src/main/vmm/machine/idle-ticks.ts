/**
 * Ticks of an idle guest that are slept through.
 *
 * A kernel built without a tickless idle loop (Debian's for i386: 250 Hz) arms its timer anew at each tick for ever. A wake costs
 * the host some hundred microseconds, whatever the guest does then, for caches are cold. When a guest has done nothing but tick for
 * a while, its one-shot timer may be late by a few of its own periods. Its clock is not the tick but the time-stamp counter, from
 * which it counts on all the ticks that passed; whatever else happens (input, disks, other timers) wakes it at once, and the first
 * wake that comes to user code makes its timer exact again. What only the kernel does at a tick (it looks after itself several
 * times a second) may be as late as the tick.
 *
 * What ticks at a rate of its own (periodic modes, PIT, RTC, HPET) is never late by this: guests count those.
 */

/**
 * How late the timer may be: a part of the time in which no user code ran, so a program that sleeps in an otherwise idle guest
 * wakes later by this part of its sleep, and by no more than the limit.
 */
const LATE_PART = 1 / 8
const MAX_LATE_NS = 60e6
/** For so long nothing but ticks must have come. */
const QUIET_NS = 20e6
const SHORTEST_TICK_NS = 0.9e6
/** Part of a period by which a deadline may miss the grid of ticks. */
const TOLERANCE = 1 / 32

export class IdleTicks {
  private deadlineNs = 0
  private periodNs = 0
  private quietSinceNs = Infinity
  private interrupts = 0

  /**
   * The guest halts.
   * @param deadlineNs machine time of its one-shot timer, Infinity where that is not armed
   * @param interrupts that the CPU had since the machine was made
   * @param userRan whether user code ran since it was asked last; asked only where that counts
   * @returns by how many nanoseconds the timer may be late
   */
  lateness(nowNs: number, deadlineNs: number, interrupts: number, userRan: () => boolean): number {
    const taken = interrupts - this.interrupts
    this.interrupts = interrupts
    // Halted again with nothing taken: the host was early. The tick is the one it was.
    if (taken === 0 && deadlineNs === this.deadlineNs) return this.allowed(nowNs)
    const onGrid = this.isOnGrid(deadlineNs)
    if (!onGrid) this.periodNs = deadlineNs - this.deadlineNs
    if (!onGrid || taken > 1 || userRan()) this.quietSinceNs = nowNs
    this.deadlineNs = deadlineNs
    return this.allowed(nowNs)
  }

  /** Whole periods after the tick before. */
  private isOnGrid(deadlineNs: number): boolean {
    const periods = (deadlineNs - this.deadlineNs) / this.periodNs
    return this.periodNs >= SHORTEST_TICK_NS && periods > 0.5 && Math.abs(periods - Math.round(periods)) < TOLERANCE
  }

  private allowed(nowNs: number): number {
    const quietNs = nowNs - this.quietSinceNs
    if (!(quietNs >= QUIET_NS) || !(this.periodNs >= SHORTEST_TICK_NS)) return 0
    // Between two ticks of the grid: on one of them, the guest would have the next as soon as it is done.
    const periods = Math.floor(Math.min(quietNs * LATE_PART, MAX_LATE_NS) / this.periodNs + 0.5)
    return Math.max(0, periods - 0.5) * this.periodNs
  }
}
