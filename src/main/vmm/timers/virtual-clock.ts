/** The machine's time: host monotonic time less the pauses, or executed instructions in deterministic mode. */
import type { DeviceState, Timer, VirtualClock } from '../bus/types'
import { VmmError } from '../errors'
import type { HostClock } from '../ports'

class ClockTimer implements Timer {
  deadlineNs = Infinity

  constructor(readonly fire: () => void, private readonly changed: () => void, private readonly armed: () => void) {}

  arm(deadlineNs: number): void {
    this.deadlineNs = deadlineNs
    this.changed()
    this.armed()
  }

  cancel(): void {
    this.deadlineNs = Infinity
    this.changed()
  }
}

export class MachineClock implements VirtualClock {
  private readonly timers: ClockTimer[] = []
  /** Host time that corresponds to machine time 0. */
  private origin: number
  /** Machine time while paused. */
  private pausedAt: number | undefined = 0
  private bootWallMs: number
  private nextCached: number | undefined
  private armed: () => void = () => undefined

  /** @param counted time source of deterministic mode: nanoseconds made of executed instructions */
  constructor(private readonly host: HostClock, private readonly counted?: () => number) {
    this.origin = host.monotonicNs()
    this.bootWallMs = host.wallMs()
  }

  nowNs(): number {
    if (this.counted) return this.counted()
    return this.pausedAt ?? this.host.monotonicNs() - this.origin
  }

  wallMs(): number {
    // In deterministic mode wall time follows machine time, so that two runs see the same.
    return this.counted ? this.bootWallMs + this.nowNs() / 1e6 : this.host.wallMs()
  }

  pause(): void {
    this.pausedAt ??= this.nowNs()
  }

  resume(): void {
    if (this.pausedAt === undefined) return
    this.origin = this.host.monotonicNs() - this.pausedAt
    this.pausedAt = undefined
  }

  save(): DeviceState {
    return { nowNs: this.nowNs(), bootWallMs: this.bootWallMs }
  }

  /**
   * Machine time goes on where it stood: timers, time-stamp counter and kvmclock see no jump. Wall time is the host's, so the
   * RTC has caught up when the guest reads it. In deterministic mode the instruction count brings `nowNs` back.
   */
  restore({ nowNs, bootWallMs }: DeviceState): void {
    if (typeof nowNs !== 'number' || typeof bootWallMs !== 'number' || !(nowNs >= 0)) throw new VmmError('bad-state', 'clock: nowNs and bootWallMs must be numbers')
    this.pausedAt = nowNs
    this.bootWallMs = bootWallMs
  }

  /** Called whenever a timer was armed: who sleeps until the next one may have to sleep less. */
  onArmed(armed: () => void): void {
    this.armed = armed
  }

  createTimer(fire: () => void): Timer {
    const timer = new ClockTimer(fire, () => (this.nextCached = undefined), () => this.armed())
    this.timers.push(timer)
    return timer
  }

  /** Earliest deadline in machine time, Infinity when nothing is armed. */
  nextDeadlineNs(): number {
    if (this.nextCached === undefined) {
      let next = Infinity
      for (const timer of this.timers) if (timer.deadlineNs < next) next = timer.deadlineNs
      this.nextCached = next
    }
    return this.nextCached
  }

  /**
   * As `nextDeadlineNs`, where a timer that stands at `deadlineNs` may be late.
   * @returns machine time at which something must run at the latest
   */
  latestWakeNs(deadlineNs: number, latenessNs: number): number {
    let next = Infinity
    let spared = latenessNs > 0
    for (const timer of this.timers) {
      const late = spared && timer.deadlineNs === deadlineNs
      if (late) spared = false
      next = Math.min(next, timer.deadlineNs + (late ? latenessNs : 0))
    }
    return next
  }

  /** Fires what is due. A timer that rearms itself into the past fires again at the next call. */
  runDue(): void {
    const now = this.nowNs()
    if (this.nextDeadlineNs() > now) return
    for (const timer of this.timers) {
      if (timer.deadlineNs > now) continue
      timer.cancel()
      timer.fire()
    }
  }
}
