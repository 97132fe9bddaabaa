/** Intel 8254 programmable interval timer with port 0x61. Data sheet; modes 0–5, channel 0 on IRQ 0. */
import { VmmError } from '../errors'
import type { AddressSpace, Device, DeviceState, IrqLine, StateValue, Timer, VirtualClock } from '../bus/types'

export const PIT_HZ = 1_193_182
const NS_PER_TICK = 1e9 / PIT_HZ

class Channel {
  mode = 3
  bcd = false
  /** 1 low byte, 2 high byte, 3 low then high. */
  access = 3
  reload = 0x10000
  /** Machine time when counting started. */
  startNs = 0
  counting = false
  gate = true
  latched = -1
  statusLatched = -1
  readHigh = false
  writeLow = -1

  ticks(nowNs: number): number {
    return Math.floor((nowNs - this.startNs) / NS_PER_TICK)
  }

  get periodic(): boolean {
    return this.mode === 2 || this.mode === 3
  }

  /** Counter as the guest reads it. */
  value(nowNs: number): number {
    if (!this.counting) return this.reload & 0xffff
    const ticks = this.ticks(nowNs)
    if (this.mode === 3) return (this.reload - ((2 * ticks) % this.reload)) & 0xfffe
    if (this.mode === 2) return (this.reload - (ticks % this.reload)) & 0xffff
    return (this.reload - ticks) & 0xffff
  }

  output(nowNs: number): boolean {
    if (!this.counting) return this.mode !== 0
    const ticks = this.ticks(nowNs)
    switch (this.mode) {
      case 0: case 1: return ticks >= this.reload
      case 2: return ticks % this.reload !== this.reload - 1
      case 3: return ticks % this.reload < Math.ceil(this.reload / 2)
      default: return ticks !== this.reload
    }
  }
}

export class Pit implements Device {
  readonly id = 'pit'
  readonly stateVersion = 1
  private readonly channels = [new Channel(), new Channel(), new Channel()]
  private readonly timer: Timer
  private speakerData = false
  private refresh = false

  constructor(private readonly clock: VirtualClock, private readonly irq: IrqLine) {
    this.timer = clock.createTimer(() => this.fired())
    this.reset()
  }

  mapInto(io: AddressSpace): void {
    io.map(0x40, 4, {
      read: (offset) => (offset === 3 ? 0xff : this.readCounter(this.channels[offset])),
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
    if (access === 0) {
      if (channel.latched < 0) channel.latched = channel.value(this.clock.nowNs())
      return
    }
    channel.access = access
    const mode = (value >> 1) & 7
    channel.mode = mode > 5 ? mode - 4 : mode
    channel.bcd = (value & 1) !== 0
    channel.counting = false
    channel.latched = channel.statusLatched = channel.writeLow = -1
    channel.readHigh = false
    if (select === 0) this.schedule()
  }

  private readBack(value: number): void {
    const now = this.clock.nowNs()
    this.channels.forEach((channel, i) => {
      if ((value & (2 << i)) === 0) return
      if ((value & 0x20) === 0 && channel.latched < 0) channel.latched = channel.value(now)
      if ((value & 0x10) === 0) {
        const out = channel.output(now) ? 0x80 : 0
        const empty = channel.counting ? 0 : 0x40
        channel.statusLatched = out | empty | (channel.access << 4) | (channel.mode << 1) | (channel.bcd ? 1 : 0)
      }
    })
  }

  private readCounter(channel: Channel): number {
    if (channel.statusLatched >= 0) {
      const status = channel.statusLatched
      channel.statusLatched = -1
      return status
    }
    const count = channel.latched >= 0 ? channel.latched : channel.value(this.clock.nowNs())
    const high = channel.access === 2 || (channel.access === 3 && channel.readHigh)
    if (channel.access === 3) channel.readHigh = !channel.readHigh
    if (channel.access !== 3 || !channel.readHigh) channel.latched = -1
    return high ? count >> 8 : count & 0xff
  }

  private writeCounter(index: number, value: number): void {
    const channel = this.channels[index]
    if (channel.access === 3 && channel.writeLow < 0) {
      channel.writeLow = value
      return
    }
    const count = channel.access === 1 ? value : channel.access === 2 ? value << 8 : channel.writeLow | (value << 8)
    channel.writeLow = -1
    channel.reload = count === 0 ? 0x10000 : count
    // A count of 1 is illegal in modes 2 and 3; hardware behaves as for 2.
    if (channel.periodic && channel.reload === 1) channel.reload = 2
    channel.startNs = this.clock.nowNs()
    channel.counting = true
    if (index === 0) this.schedule()
  }

  /** Arms the timer for channel 0's next rising edge. */
  private schedule(): void {
    const [channel] = this.channels
    this.irq.set(channel.output(this.clock.nowNs()))
    if (!channel.counting) return this.timer.cancel()
    const ticks = channel.ticks(this.clock.nowNs())
    if (!channel.periodic) {
      if (ticks < channel.reload) this.timer.arm(channel.startNs + channel.reload * NS_PER_TICK)
      return
    }
    this.timer.arm(channel.startNs + (Math.floor(ticks / channel.reload) + 1) * channel.reload * NS_PER_TICK + 1)
  }

  private fired(): void {
    this.irq.set(false)
    this.irq.set(true)
    if (this.channels[0].periodic) this.schedule()
  }

  private readPort61(): number {
    this.refresh = !this.refresh
    const speaker = this.channels[2]
    return (speaker.gate ? 1 : 0) | (this.speakerData ? 2 : 0) | (this.refresh ? 0x10 : 0) | (speaker.output(this.clock.nowNs()) ? 0x20 : 0)
  }

  private writePort61(value: number): void {
    const speaker = this.channels[2]
    const gate = (value & 1) !== 0
    // A rising gate restarts counting in modes 1, 2, 3 and 5.
    if (gate && !speaker.gate && speaker.mode !== 0 && speaker.mode !== 4) speaker.startNs = this.clock.nowNs()
    speaker.gate = gate
    this.speakerData = (value & 2) !== 0
  }

  reset(): void {
    this.timer.cancel()
    this.channels.forEach((_, i) => (this.channels[i] = new Channel()))
    this.channels[2].gate = false
    this.speakerData = false
    this.irq.set(false)
  }

  save(): DeviceState {
    return { channels: this.channels.map((c) => ({ ...c })) as unknown as StateValue, speakerData: this.speakerData, deadlineNs: this.timer.deadlineNs }
  }

  restore(state: DeviceState): void {
    const { channels } = state
    if (!Array.isArray(channels) || channels.length !== 3) throw new VmmError('bad-state', 'pit: channels must be three')
    channels.forEach((saved, i) => Object.assign(this.channels[i], saved))
    this.speakerData = state.speakerData === true
    this.timer.arm(Number(state.deadlineNs))
  }
}
