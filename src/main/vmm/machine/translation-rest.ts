/**
 * Lets the translations of a guest rest that wakes for moments only, as an idle one does for its tick.
 *
 * Between two such moments the host's caches forget all code. A translated block that runs once then costs a dozen cache
 * misses; tier 0, whose few handlers run again and again over records that lie in a row, takes half the time.
 */

/** More instructions than this without a halt are work: a kernel's tick takes some 3500. */
const WORK = 50_000
/** How long the guest is watched before translations rest, and how often after. */
const WINDOW_NS = 1e9
/** More instructions than this in a window are work too: a guest with a thousand ticks a second is below it. */
const QUIET = 4e6
/** A guest that runs for more than this share of the time keeps the caches warm. */
const BUSY_SHARE = 0.3

export interface RestingCode {
  rest(): void
  wake(): void
}

export class TranslationRest {
  private burst = 0
  private windowStart: number | undefined
  private ranNs = 0
  private instructions = 0
  private isResting = false

  constructor(private readonly code: RestingCode) {}

  /**
   * The guest ran. Only between two entries into generated code.
   * @param ns host time it took @param halted it has nothing more to do @param nowNs host time
   */
  ran(ns: number, instructions: number, halted: boolean, nowNs: number): void {
    this.burst += instructions
    this.ranNs += ns
    this.instructions += instructions
    if (this.burst > WORK) this.work()
    if (!halted) return
    this.burst = 0
    this.windowStart ??= nowNs
    if (nowNs - this.windowStart >= WINDOW_NS) this.judge(nowNs)
  }

  private work(): void {
    this.windowStart = undefined
    this.ranNs = this.instructions = 0
    if (!this.isResting) return
    this.isResting = false
    this.code.wake()
  }

  private judge(nowNs: number): void {
    const elapsed = nowNs - (this.windowStart ?? nowNs)
    if (this.ranNs > BUSY_SHARE * elapsed || this.instructions > QUIET * (elapsed / WINDOW_NS)) return this.work()
    this.windowStart = nowNs
    this.ranNs = this.instructions = 0
    if (this.isResting) return
    this.isResting = true
    this.code.rest()
  }
}
