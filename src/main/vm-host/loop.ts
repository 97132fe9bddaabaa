/** Gives a machine its time: slices while it has work, sleep while it has none, and room for everything else between. */
import { collectGarbage, IdleMemory } from '../host'
import type { Machine } from '../vmm/machine'
import type { HostStop } from './protocol'

/** Host time of one slice: short enough that disk completions and commands are prompt. */
const SLICE_NS = 4e6
/**
 * A nap blocks the process: it ends on time, where Node's timers have a grain of a millisecond, and costs a fraction of one.
 * Commands wait until it is over. It covers the tick of a guest that has 250 a second or more.
 */
const LONGEST_NAP_MS = 4
/** The same while something else of this process must not wait: a state being written. */
const SHORT_NAP_MS = 0.25
/** Below this a timer is too coarse while something else must not wait. */
const SHORT_NAPS_BELOW_MS = 1.5
/** How much late a timer may be. */
const TIMER_GRAIN_MS = 1
const LONGEST_SLEEP_MS = 1000
/** Full slices that leave garbage worth collecting: a second of work. */
const SLICES_WORTH_COLLECTING = 250
/** Until what was let go is free: the engine sweeps garbage beside its threads. */
const FREE_AFTER_MS = 500

/** What is given time: a machine, or two of them in lockstep. */
export type Runnable = Pick<Machine, 'runSlice' | 'pauseClock' | 'resumeClock' | 'onWake' | 'awaitsHost'> & Partial<Pick<Machine, 'mergeTranslations' | 'releaseBuffers' | 'restTranslator' | 'hasTranslatorRunning' | 'isTranslating'>>

export interface LoopOptions {
  /** Gives the computer back what is free in this process's heap: after much work, while there is none. */
  readonly trimHeap?: (() => void) | undefined
}

export class MachineLoop {
  private paused = false
  private held = false
  private frozen = false
  private stopRequested: HostStop | undefined
  private wakeUp: (() => void) | undefined
  private woken = false
  /** Works under way that must not wait for a nap's end. */
  private attended = 0
  private readonly memory = new IdleMemory({
    worth: SLICES_WORTH_COLLECTING, collect: () => void this.putInOrder(), rest: () => void this.restTranslator(),
    ready: () => !this.machine.isTranslating,
  })
  private readonly neverNotified = new Int32Array(new SharedArrayBuffer(4))

  private trim: NodeJS.Timeout | undefined

  constructor(private readonly machine: Runnable, private readonly options: LoopOptions = {}) {
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
      if (result.kind === 'blocked') {
        this.pause()
        continue
      }
      if (result.kind === 'busy') {
        this.memory.worked()
        await immediate()
      } else {
        if (this.machine.hasTranslatorRunning) this.memory.stirred()
        await this.idle(result.wakeNs / 1e6, result.loose === true)
      }
    }
  }

  private async putInOrder(): Promise<void> {
    await this.machine.mergeTranslations?.()
    this.machine.releaseBuffers?.()
    // What the merge let go is nobody's only when its own frames are gone.
    await immediate()
    collectGarbage()
    this.trimSoon()
    await this.restTranslator()
  }

  private async restTranslator(): Promise<void> {
    if (await this.machine.restTranslator?.()) this.trimSoon()
  }

  private trimSoon(): void {
    const { trimHeap } = this.options
    if (!trimHeap) return
    clearTimeout(this.trim)
    this.trim = setTimeout(trimHeap, FREE_AFTER_MS).unref()
  }

  /** @param loose a timer of the host is good enough */
  private async idle(wakeMs: number, loose: boolean): Promise<void> {
    if (this.woken) {
      this.woken = false
      return immediate()
    }
    // A nap would hold up every step of a disk request; that the guest's timer is late by a timer's grain harms less.
    if (this.machine.awaitsHost) return void await this.sleep(Math.min(Math.max(wakeMs, TIMER_GRAIN_MS), LONGEST_SLEEP_MS))
    if (this.attended > 0) return this.idleAttentively(wakeMs)
    if (loose) return void await this.sleep(Math.min(wakeMs, LONGEST_SLEEP_MS))
    const due = performance.now() + wakeMs
    if (wakeMs > LONGEST_NAP_MS && await this.sleep(Math.min(wakeMs - TIMER_GRAIN_MS, LONGEST_SLEEP_MS))) return
    const rest = due - performance.now()
    if (rest > LONGEST_NAP_MS) return
    this.nap(rest)
    if (wakeMs <= LONGEST_NAP_MS) await immediate()
  }

  /** Whatever else this process does gets its turn at once. */
  private async idleAttentively(wakeMs: number): Promise<void> {
    if (wakeMs >= SHORT_NAPS_BELOW_MS) {
      await this.sleep(Math.min(wakeMs - TIMER_GRAIN_MS, LONGEST_SLEEP_MS))
      return
    }
    this.nap(Math.min(wakeMs, SHORT_NAP_MS))
    return immediate()
  }

  private nap(ms: number): void {
    if (ms > 0) Atomics.wait(this.neverNotified, 0, 0, ms)
  }

  /** @returns true where it was woken before its time */
  private sleep(ms: number): Promise<boolean> {
    return new Promise<void>((resolve) => {
      const timer = Number.isFinite(ms) ? setTimeout(done, ms) : undefined
      const wake = (): void => done()
      this.wakeUp = wake
      function done(): void {
        if (timer) clearTimeout(timer)
        resolve()
      }
    }).then(() => {
      const { woken } = this
      this.wakeUp = undefined
      this.woken = false
      return woken
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

  /** Work of this process that many turns of its event loop make up is not slowed down by the guest's naps. */
  async attend<T>(work: Promise<T>): Promise<T> {
    this.attended++
    try {
      return await work
    } finally {
      this.attended--
    }
  }

  /** Ends the loop before the next slice. */
  stop(reason: HostStop): void {
    this.stopRequested ??= reason
    this.wake()
  }
}

const immediate = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
