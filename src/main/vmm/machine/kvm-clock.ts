/** The KVM paravirtual clock: MSRs 0x4b564d00/01 and their old aliases. Documentation/virt/kvm/x86/msr.rst of the kernel. */
import type { DeviceState, GuestMemory, VirtualClock } from '../bus/types'
import { VmmError } from '../errors'
import type { TimeStampCounter } from '../timers/tsc'

const WALL_CLOCK = [0x11, 0x4b56_4d00]
const SYSTEM_TIME = [0x12, 0x4b56_4d01]
const TSC_STABLE = 1
/** PVCLOCK_GUEST_STOPPED: the host held the guest, so a watchdog that saw no progress is no news. The guest clears it. */
const GUEST_STOPPED = 2

export class KvmClock {
  private systemTime = 0n
  private wallClock = 0n

  constructor(private readonly memory: GuestMemory, private readonly clock: VirtualClock, private readonly tsc: TimeStampCounter) {}

  readMsr(index: number): bigint | undefined {
    if (SYSTEM_TIME.includes(index)) return this.systemTime
    return WALL_CLOCK.includes(index) ? this.wallClock : undefined
  }

  /** False: not one of these MSRs. */
  writeMsr(index: number, value: bigint): boolean {
    if (WALL_CLOCK.includes(index)) {
      this.wallClock = value
      this.writeWallClock(Number(value))
      return true
    }
    if (!SYSTEM_TIME.includes(index)) return false
    this.systemTime = value
    if ((value & 1n) !== 0n) this.writeSystemTime(Number(value & ~1n))
    return true
  }

  /** struct pvclock_wall_clock: version, seconds, nanoseconds of the moment the machine was switched on. */
  private writeWallClock(at: number): void {
    const bootMs = this.clock.wallMs() - this.clock.nowNs() / 1e6
    this.memory.writeU32(at, 1)
    this.memory.writeU32(at + 4, Math.floor(bootMs / 1000))
    this.memory.writeU32(at + 8, Math.floor((bootMs % 1000) * 1e6))
    this.memory.writeU32(at, 2)
  }

  /** struct pvclock_vcpu_time_info. The TSC runs at a constant rate, so one reading serves until the clock is moved. */
  private writeSystemTime(at: number, flags = TSC_STABLE): void {
    const tsc = this.tsc.read()
    const now = BigInt(Math.floor(this.clock.nowNs()))
    // ns = (tsc << shift) * mul >> 32, with mul kept in its upper half for precision.
    let shift = 0
    let khz = this.tsc.frequencyKHz
    while (khz > 2_000_000) {
      khz /= 2
      shift--
    }
    while (khz <= 1_000_000) {
      khz *= 2
      shift++
    }
    const multiplier = Math.floor((1e6 / khz) * 2 ** 32)
    const { memory } = this
    memory.writeU32(at, 1)
    memory.writeU32(at + 8, Number(tsc & 0xffff_ffffn))
    memory.writeU32(at + 12, Number(tsc >> 32n))
    memory.writeU32(at + 16, Number(now & 0xffff_ffffn))
    memory.writeU32(at + 20, Number(now >> 32n))
    memory.writeU32(at + 24, multiplier)
    memory.writeU32(at + 28, (shift & 0xff) | (flags << 8))
    memory.writeU32(at, 2)
  }

  save(): DeviceState {
    return { systemTime: this.systemTime, wallClock: this.wallClock }
  }

  restore({ systemTime, wallClock }: DeviceState): void {
    if (typeof systemTime !== 'bigint' || typeof wallClock !== 'bigint') throw new VmmError('bad-state', 'kvm-clock: systemTime and wallClock must be integers')
    this.systemTime = systemTime
    this.wallClock = wallClock
  }

  /** The machine was held for longer than a guest would explain to itself: after a restore. */
  noteStopped(): void {
    if ((this.systemTime & 1n) !== 0n) this.writeSystemTime(Number(this.systemTime & ~1n), TSC_STABLE | GUEST_STOPPED)
  }

  /** After a clock change: the guest's page is brought up to date. */
  refresh(): void {
    if ((this.systemTime & 1n) !== 0n) this.writeSystemTime(Number(this.systemTime & ~1n))
  }

  reset(): void {
    this.systemTime = this.wallClock = 0n
  }
}
