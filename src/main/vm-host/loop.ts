/** Gives a machine its time: slices while it has work, sleep while it has none, and room for everything else between. */
import type { Machine } from '../vmm/machine'
import type { HostStop } from './protocol'

/** Host time of one slice: short enough that disk completions and commands are prompt. */
const SLICE_NS = 4e6
/** Node's timers have a grain of a millisecond: what is shorter than this is slept in naps. */
const NAP_BELOW_MS = 1.5
/** A nap blocks the process, so that it costs nothing; between two of them disks and commands get their turn. */
const LONGEST_NAP_MS = 0.25
const LONGEST_SLEEP_MS = 1000

export class MachineLoop {
  private paused = false
  private held = false
  private frozen = false
  private stopRequested: HostStop | undefined
  private wakeUp: (() => void) | undefined
  private woken = false
  private readonly neverNotified = new Int32Array(new SharedArrayBuffer(4))

  constructor(private readonly machine: Machine) {
    machine.onWake(() => this.wake())
  }

  /** Runs until the machine stops or `stop` is called. Resolves with the reason. */
  async run(): Promise<HostStop> {
    this.machine.resumeClock()
    for (;;) {
      if (this.stopRequested) return this.stopRequested
      if (this.paused || this.held || this.frozen) {
        await this.sleep(Infinity)
        continue
      }
      const result = this.machine.runSlice(SLICE_NS)
      if (result.kind === 'stopped') return result.reason
      if (result.kind === 'busy') await immediate()
      else await this.idle(result.wakeNs / 1e6)
    }
  }

  private async idle(wakeMs: number): Promise<void> {
    if (this.woken || wakeMs < NAP_BELOW_MS) {
      if (!this.woken) Atomics.wait(this.neverNotified, 0, 0, Math.min(wakeMs, LONGEST_NAP_MS))
      this.woken = false
      return immediate()
    }
    // The timer would be up to a millisecond late; waking early costs one more look at the clock.
    await this.sleep(Math.min(wakeMs - 1, LONGEST_SLEEP_MS))
  }

  private sleep(ms: number): Promise<void> {
    return new Promise<void>((resolve) => {
      const timer = Number.isFinite(ms) ? setTimeout(done, ms) : undefined
      const wake = (): void => done()
      this.wakeUp = wake
      function done(): void {
        if (timer) clearTimeout(timer)
        resolve()
      }
    }).then(() => {
      this.wakeUp = undefined
      this.woken = false
    })
  }

  private wake(): void {
    this.woken = true
    this.wakeUp?.()
  }

  get isPaused(): boolean {
    return this.paused
  }

  pause(): void {
    this.paused = true
    this.machine.pauseClock()
  }

  resume(): void {
    this.paused = false
    if (!this.frozen) this.machine.resumeClock()
    this.wake()
  }

  /** Stops guest and clock for the machine's state to be taken. */
  freeze(): void {
    this.frozen = true
    this.machine.pauseClock()
  }

  thaw(): void {
    this.frozen = false
    if (!this.paused) this.machine.resumeClock()
    this.wake()
  }

  /** Holds the guest while whoever reads its console cannot keep up. The guest's clock goes on: it sees a slow line. */
  hold(held: boolean): void {
    this.held = held
    if (!held) this.wake()
  }

  /** Ends the loop before the next slice. */
  stop(reason: HostStop): void {
    this.stopRequested ??= reason
    this.wake()
  }
}

const immediate = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
