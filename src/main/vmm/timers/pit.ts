/** Intel 8254 programmable interval timer with port 0x61. Data sheet; modes 0–5, channel 0 on IRQ 0. */
import { VmmError } from '../errors'
import type { AddressSpace, Device, DeviceState, IrqLine, StateValue, Timer, VirtualClock } from '../bus/types'
import { LostTicks } from './lost-ticks'
import { PitChannel } from './pit-channel'

export { PIT_HZ } from './pit-channel'

export class Pit implements Device {
  readonly id = 'pit'
  readonly stateVersion = 2
  private readonly channels = [new PitChannel(), new PitChannel(), new PitChannel()]
  private readonly timer: Timer
  /** Machine time of channel 0's next rise. */
  private riseNs = Infinity
  private readonly lost: LostTicks
  private speakerData = false
  private refresh = false

  constructor(private readonly clock: VirtualClock, private readonly irq: IrqLine) {
    this.timer = clock.createTimer(() => this.fired())
    this.lost = new LostTicks(() => irq.fate ?? 'taken')
    this.reset()
  }

  mapInto(io: AddressSpace): void {
    io.map(0x40, 4, {
      read: (offset) => (offset === 3 ? 0xff : this.channels[offset].read(this.clock.nowNs())),
      write: (offset, _size, value) => {
        if (offset === 3) this.writeControl(value & 0xff)
        else this.writeCounter(offset, value & 0xff)
      },
    }, 'pit')
    io.map(0x61, 1, { read: () => this.readPort61(), write: (_o, _s, value) => this.writePort61(value) }, 'pit-port61')
  }

  private writeControl(value: number): void {
    const select = value >> 6
    if (select === 3) return this.readBack(value)
    const channel = this.channels[select]
    const access = (value >> 4) & 3
    if (access === 0) return channel.latchCount(this.clock.nowNs())
    const mode = (value >> 1) & 7
    channel.program(mode > 5 ? mode - 4 : mode, access, (value & 1) !== 0)
    if (select === 0) this.schedule()
  }

  private readBack(value: number): void {
    const now = this.clock.nowNs()
    this.channels.forEach((channel, i) => {
      if ((value & (2 << i)) === 0) return
      if ((value & 0x20) === 0) channel.latchCount(now)
      if ((value & 0x10) === 0) channel.latchStatus(now)
    })
  }

  private writeCounter(index: number, value: number): void {
    this.channels[index].write(value, this.clock.nowNs())
    if (index === 0) this.schedule()
  }

  /** Arms the timer for channel 0's next rising edge. */
  private schedule(): void {
    const [channel] = this.channels
    this.irq.set(channel.output(this.clock.nowNs()))
    this.lost.forget()
    this.arm()
  }

  private arm(): void {
    const [channel] = this.channels
    const now = this.clock.nowNs()
    // A nanosecond later the tick has certainly come, whatever the rounding.
    this.riseNs = (channel.nextRise(now) ?? Infinity) + 1
    if (this.riseNs === Infinity) this.timer.cancel()
    else this.timer.arm(channel.periodic ? this.lost.nextNs(now, channel.periodNs, this.riseNs) : this.riseNs)
  }

  private fired(): void {
    const [channel] = this.channels
    if (!channel.periodic || this.isHeard(channel)) {
      this.irq.set(false)
      this.irq.set(true)
    }
    this.arm()
  }

  private isHeard({ periodNs }: PitChannel): boolean {
    const late = this.clock.nowNs() - this.riseNs
    return late < 0 ? this.lost.extra() : this.lost.due(Math.floor(late / periodNs), periodNs)
  }

  private readPort61(): number {
    this.refresh = !this.refresh
    const speaker = this.channels[2]
    return (speaker.gate ? 1 : 0) | (this.speakerData ? 2 : 0) | (this.refresh ? 0x10 : 0) | (speaker.output(this.clock.nowNs()) ? 0x20 : 0)
  }

  private writePort61(value: number): void {
    this.channels[2].setGate((value & 1) !== 0, this.clock.nowNs())
    this.speakerData = (value & 2) !== 0
  }

  reset(): void {
    this.timer.cancel()
    this.riseNs = Infinity
    this.lost.forget()
    this.channels.forEach((_, i) => (this.channels[i] = new PitChannel()))
    this.channels[2].gate = false
    this.speakerData = false
    this.irq.set(false)
  }

  save(): DeviceState {
    return { channels: this.channels.map((c) => ({ ...c })) as unknown as StateValue, speakerData: this.speakerData, deadlineNs: this.riseNs }
  }

  /** Accepts version 1, whose channels knew neither a held nor a next count. */
  restore(state: DeviceState): void {
    const { channels } = state
    if (!Array.isArray(channels) || channels.length !== 3) throw new VmmError('bad-state', 'pit: channels must be three')
    channels.forEach((saved, i) => {
      const channel = this.channels[i] = Object.assign(new PitChannel(), saved)
      channel.loaded ||= channel.counting
    })
    this.speakerData = state.speakerData === true
    this.riseNs = Number(state.deadlineNs)
    this.lost.forget()
    this.timer.arm(this.riseNs)
  }
}
