/** Time-stamp counter: constant rate, derived from the machine's clock, never stepping back. */
import type { DeviceState, VirtualClock } from '../bus/types'
import { VmmError } from '../errors'

const NS_PER_MS = 1e6
const TWO32 = 2 ** 32

/** A value that numbers hold exactly, else NaN. */
const exact = (value: bigint): number => (value >= -MAX_EXACT && value <= MAX_EXACT ? Number(value) : NaN)
const MAX_EXACT = BigInt(Number.MAX_SAFE_INTEGER)

export class TimeStampCounter {
  private offset = 0n
  private latest = 0n
  /** The same as numbers, for guests read the counter at every system call. NaN: not exact. */
  private offsetNumber = 0
  private latestNumber = 0
  private readonly khz: bigint

  constructor(private readonly clock: VirtualClock, readonly frequencyKHz: number) {
    this.khz = BigInt(frequencyKHz)
  }

  private raw(): bigint {
    return (BigInt(Math.floor(this.clock.nowNs())) * this.khz) / 1_000_000n
  }

  read(): bigint {
    const quick = this.readNumber()
    if (!Number.isNaN(quick)) return BigInt(quick)
    const value = BigInt.asUintN(64, this.raw() + this.offset)
    // Double rounding of the host's clock must not show as time running backwards.
    if (value < this.latest && this.latest - value < this.khz) return this.latest
    this.latest = value
    return value
  }

  /** As `read`, into two 32-bit cells, without bigint where the value fits into a number. @param low @param high byte offsets */
  readInto(view: DataView, low: number, high: number): void {
    const quick = this.readNumber()
    if (!Number.isNaN(quick)) {
      view.setUint32(low, quick % TWO32, true)
      view.setUint32(high, Math.floor(quick / TWO32), true)
      return
    }
    const value = this.read()
    view.setUint32(low, Number(value & 0xffff_ffffn), true)
    view.setUint32(high, Number(value >> 32n), true)
  }

  /** The counter while it and everything it is made of are whole numbers below 2^53; NaN afterwards. */
  private readNumber(): number {
    const ns = Math.floor(this.clock.nowNs())
    const ms = Math.floor(ns / NS_PER_MS)
    const ticks = ms * this.frequencyKHz + Math.floor(((ns - ms * NS_PER_MS) * this.frequencyKHz) / NS_PER_MS)
    const value = ticks + this.offsetNumber
    if (!(value >= 0 && value <= Number.MAX_SAFE_INTEGER && ticks <= Number.MAX_SAFE_INTEGER)) return NaN
    if (value < this.latestNumber && this.latestNumber - value < this.frequencyKHz) return this.latestNumber
    this.latestNumber = value
    return value
  }

  private setLatest(value: bigint): void {
    this.latest = value
    this.latestNumber = Number(value)
  }

  private setOffset(offset: bigint): void {
    this.offset = offset
    this.offsetNumber = exact(BigInt.asIntN(64, offset))
  }

  /** What was read last is the least that may be read after `restore`, whatever the clock says. */
  save(): DeviceState {
    return { offset: BigInt.asUintN(64, this.read() - this.raw()) }
  }

  restore({ offset }: DeviceState): void {
    if (typeof offset !== 'bigint') throw new VmmError('bad-state', 'tsc: offset must be an integer')
    this.setOffset(offset)
    this.setLatest(0n)
  }

  write(value: bigint): void {
    this.setOffset(value - this.raw())
    this.setLatest(value)
  }

  /** Machine time at which the counter reaches `value`; now or earlier when it has passed. */
  timeOfNs(value: bigint): number {
    const ticks = BigInt.asIntN(64, value - this.offset)
    return Number((ticks * 1_000_000n + this.khz - 1n) / this.khz)
  }
}
