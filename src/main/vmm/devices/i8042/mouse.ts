/** PS/2 mouse with the wheel extension. IBM PS/2 technical reference; the wheel knock is Microsoft's IntelliMouse. */
import type { DeviceState } from '../../bus/types'

const ACK = 0xfa
const RESEND = 0xfe
const WHEEL_KNOCK = [200, 100, 80]

const clamp = (value: number, limit: number): number => Math.max(-limit, Math.min(limit, Math.trunc(value)))

export class Ps2Mouse {
  private reporting = false
  private remote = false
  private wrap = false
  private scaling2 = false
  private resolution = 2
  private rate = 100
  private deviceId = 0
  private buttons = 0
  /** Command that waits for its data byte, 0 none. */
  private pending = 0
  private recentRates: number[] = []

  /** A byte for the mouse; returns what it answers. */
  receive(byte: number): number[] {
    if (this.wrap && byte !== 0xff && byte !== 0xec) return [byte]
    const { pending } = this
    this.pending = 0
    if (pending !== 0 && byte <= 200) return this.argument(pending, byte)
    return this.command(byte)
  }

  private argument(command: number, value: number): number[] {
    if (command === 0xe8) this.resolution = value & 3
    else {
      this.rate = value
      this.recentRates = [...this.recentRates, value].slice(-3)
      if (this.recentRates.every((rate, i) => rate === WHEEL_KNOCK[i]) && this.recentRates.length === 3) this.deviceId = 3
    }
    return [ACK]
  }

  private command(byte: number): number[] {
    switch (byte) {
      case 0xe6: this.scaling2 = false; return [ACK]
      case 0xe7: this.scaling2 = true; return [ACK]
      case 0xe8: case 0xf3: this.pending = byte; return [ACK]
      case 0xe9: return [ACK, this.status(), this.resolution, this.rate]
      case 0xea: this.remote = false; return [ACK]
      case 0xeb: return [ACK, ...this.packet(0, 0, 0)]
      case 0xec: this.wrap = false; return [ACK]
      case 0xee: this.wrap = true; return [ACK]
      case 0xf0: this.remote = true; return [ACK]
      case 0xf2: return [ACK, this.deviceId]
      case 0xf4: this.reporting = true; return [ACK]
      case 0xf5: this.reporting = false; return [ACK]
      case 0xf6: this.setDefaults(); return [ACK]
      case 0xff: this.reset(); return [ACK, 0xaa, 0]
      default: return [RESEND]
    }
  }

  private status(): number {
    const left = (this.buttons & 1) << 2
    const right = (this.buttons & 2) >> 1
    return (this.remote ? 0x40 : 0) | (this.reporting ? 0x20 : 0) | (this.scaling2 ? 0x10 : 0) | left | (this.buttons & 4 ? 2 : 0) | right
  }

  /**
   * Movement at the host. `dx` right, `dy` down, `dz` wheel towards the user; buttons: 1 left, 2 right, 4 middle.
   * Returns the bytes the mouse reports, none while reporting is off.
   */
  move(dx: number, dy: number, dz: number, buttons: number): number[] {
    this.buttons = buttons & 7
    return this.reporting && !this.remote && !this.wrap ? this.packet(dx, dy, dz) : []
  }

  private packet(dx: number, dy: number, dz: number): number[] {
    const x = clamp(dx, 255)
    const y = clamp(-dy, 255)
    const head = 8 | this.buttons | (x < 0 ? 0x10 : 0) | (y < 0 ? 0x20 : 0)
    const wheel = this.deviceId === 3 ? [clamp(dz, 7) & 0xff] : []
    return [head, x & 0xff, y & 0xff, ...wheel]
  }

  private setDefaults(): void {
    this.reporting = this.remote = this.wrap = this.scaling2 = false
    this.resolution = 2
    this.rate = 100
    this.pending = 0
    this.recentRates = []
  }

  reset(): void {
    this.setDefaults()
    this.deviceId = this.buttons = 0
  }

  save(): DeviceState {
    const { reporting, remote, wrap, scaling2, resolution, rate, deviceId, buttons, pending, recentRates } = this
    return { reporting, remote, wrap, scaling2, resolution, rate, deviceId, buttons, pending, recentRates: [...recentRates] }
  }

  restore(state: DeviceState): void {
    const { reporting, remote, wrap, scaling2, resolution, rate, deviceId, buttons, pending, recentRates } = state
    Object.assign(this, { reporting, remote, wrap, scaling2, resolution, rate, deviceId, buttons, pending })
    this.recentRates = Array.isArray(recentRates) ? recentRates.map(Number) : []
  }
}
