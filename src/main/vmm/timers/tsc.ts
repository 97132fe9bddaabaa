/** Time-stamp counter: constant rate, derived from the machine's clock, never stepping back. */
import type { DeviceState, VirtualClock } from '../bus/types'
import { VmmError } from '../errors'

export class TimeStampCounter {
  private offset = 0n
  private latest = 0n
  private readonly khz: bigint

  constructor(private readonly clock: VirtualClock, readonly frequencyKHz: number) {
    this.khz = BigInt(frequencyKHz)
  }

  private raw(): bigint {
    return (BigInt(Math.floor(this.clock.nowNs())) * this.khz) / 1_000_000n
  }

  read(): bigint {
    const value = BigInt.asUintN(64, this.raw() + this.offset)
    // Double rounding of the host's clock must not show as time running backwards.
    if (value < this.latest && this.latest - value < this.khz) return this.latest
    this.latest = value
    return value
  }

  save(): DeviceState {
    return { offset: BigInt.asUintN(64, this.offset) }
  }

  restore({ offset }: DeviceState): void {
    if (typeof offset !== 'bigint') throw new VmmError('bad-state', 'tsc: offset must be an integer')
    this.offset = offset
    this.latest = 0n
  }

  write(value: bigint): void {
    this.offset = value - this.raw()
    this.latest = value
  }

  /** Machine time at which the counter reaches `value`; now or earlier when it has passed. */
  timeOfNs(value: bigint): number {
    const ticks = BigInt.asIntN(64, value - this.offset)
    return Number((ticks * 1_000_000n + this.khz - 1n) / this.khz)
  }
}
