/**
 * Ticks of a periodic timer that the guest has not had: periods that passed while the host was busy, and rises that came while the
 * one before still waited. They are made up for at no more than twice the rate, so that guests that count ticks keep time.
 */
import type { LineFate } from '../bus/types'

/** More at once is no busy host but a stop of the machine's process: the time is the guest's loss, as with a suspended computer. */
const LONG_STOP_NS = 2e9
/** What is owed at most. */
const LIMIT_NS = 1e9

export class LostTicks {
  private count = 0

  /** @param fate of the tick before */
  constructor(private readonly fate: () => LineFate) {}

  get owed(): number {
    return this.count
  }

  /** The regular tick is due, and `missed` periods more have passed. @returns whether a rise now would be heard as one */
  due(missed: number, periodNs: number): boolean {
    const fate = this.fate()
    if (fate === 'masked' || missed * periodNs > LONG_STOP_NS) {
      this.forget()
      return true
    }
    const heard = fate === 'taken'
    this.owe(missed + (heard ? 0 : 1), periodNs)
    return heard
  }

  owe(ticks: number, periodNs: number): void {
    this.count = Math.min(this.count + ticks, Math.floor(LIMIT_NS / periodNs))
  }

  /** Time for one of those owed. @returns whether it is to come now */
  extra(): boolean {
    const fate = this.fate()
    if (fate === 'masked') this.forget()
    if (this.count === 0 || fate !== 'taken') return false
    this.count--
    return true
  }

  /** When to look again: where ticks are owed, half a period from now if that is well before the regular tick; else at that. */
  nextNs(nowNs: number, periodNs: number, regularNs: number): number {
    const between = nowNs + periodNs / 2
    return this.count > 0 && between <= regularNs - periodNs / 4 ? between : regularNs
  }

  forget(): void {
    this.count = 0
  }
}
