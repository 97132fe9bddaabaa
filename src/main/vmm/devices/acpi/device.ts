/** ACPI fixed hardware: PM1 event and control blocks, PM timer, GPE0. ACPI 6.4, chapter 4.8. */
import type { AddressSpace, Device, DeviceState, IrqLine, Timer, VirtualClock } from '../../bus/types'

export const PM_TIMER_HZ = 3_579_545

const Pm1 = { TIMER: 1, POWER_BUTTON: 1 << 8, WAKE: 1 << 15 } as const
const SLP_ENABLE = 1 << 13
const SCI_ENABLE = 1
/** TMR_STS is set whenever the timer's highest bit (the FADT says 32 of them) changes. */
const HALF_TURN = 2 ** 31

/** Offsets within the block. */
export const PM_EVENT = 0
export const PM_CONTROL = 4
export const PM_TIMER = 8
export const PM_GPE0 = 0x10
export const PM_BLOCK_SIZE = 0x20
/** Value of SLP_TYP that the DSDT's \_S5 package announces. */
export const S5_SLEEP_TYPE = 5

export interface AcpiPmOptions {
  readonly clock: VirtualClock
  readonly sci: IrqLine
  /** The guest asked for soft-off (S5). */
  readonly onPowerOff: () => void
}

export class AcpiPm implements Device {
  readonly id = 'acpi-pm'
  readonly stateVersion = 1
  private status = 0
  private enable = 0
  private control = SCI_ENABLE
  private gpeStatus = 0
  private gpeEnable = 0
  /** Half turns of the timer that TMR_STS has told of. */
  private halfTurns = 0
  private readonly carry: Timer

  constructor(private readonly options: AcpiPmOptions) {
    this.carry = options.clock.createTimer(() => this.update())
  }

  mapInto(io: AddressSpace, base: number): void {
    io.map(base, PM_BLOCK_SIZE, {
      read: (offset, size) => (this.readDword(offset & ~3) >>> ((offset & 3) * 8)) & (size === 4 ? -1 : 2 ** (8 * size) - 1),
      write: (offset, size, value) => this.write(offset, size, value),
    }, 'acpi-pm')
  }

  pressPowerButton(): void {
    this.status |= Pm1.POWER_BUTTON
    this.update()
  }

  /** A general-purpose event of the first sixteen. */
  raiseEvent(gpe: number): void {
    this.gpeStatus |= 1 << gpe
    this.update()
  }

  private get ticks(): number {
    return Math.floor(this.options.clock.nowNs() * (PM_TIMER_HZ / 1e9))
  }

  private noteCarry(): void {
    const halfTurns = Math.floor(this.ticks / HALF_TURN)
    if (halfTurns !== this.halfTurns) this.status |= Pm1.TIMER
    this.halfTurns = halfTurns
  }

  private update(): void {
    this.noteCarry()
    if ((this.enable & Pm1.TIMER) !== 0) this.carry.arm(Math.ceil((this.halfTurns + 1) * HALF_TURN * (1e9 / PM_TIMER_HZ)) + 1)
    else this.carry.cancel()
    this.options.sci.set((this.status & this.enable) !== 0 || (this.gpeStatus & this.gpeEnable) !== 0)
  }

  private readDword(offset: number): number {
    switch (offset) {
      case PM_EVENT:
        this.noteCarry()
        return this.status | (this.enable << 16)
      case PM_CONTROL: return this.control
      case PM_TIMER: return this.ticks >>> 0
      case PM_GPE0: return this.gpeStatus | (this.gpeEnable << 16)
      default: return 0
    }
  }

  private write(offset: number, size: number, value: number): void {
    this.noteCarry()
    for (let i = 0; i < size; i++) this.writeByte(offset + i, (value >>> (8 * i)) & 0xff)
    if (offset <= PM_CONTROL + 1 && offset + size > PM_CONTROL + 1) this.maySleep()
    this.update()
  }

  /** Status bits are cleared by writing ones; enables and control are plain. */
  private writeByte(offset: number, value: number): void {
    const shift = (offset & 1) * 8
    const merge = (old: number): number => (old & ~(0xff << shift)) | (value << shift)
    switch (offset & ~1) {
      case PM_EVENT: this.status &= ~(value << shift); break
      case PM_EVENT + 2: this.enable = merge(this.enable); break
      case PM_CONTROL: this.control = merge(this.control); break
      case PM_GPE0: this.gpeStatus &= ~(value << shift); break
      case PM_GPE0 + 2: this.gpeEnable = merge(this.gpeEnable); break
      default: break
    }
  }

  private maySleep(): void {
    const wanted = this.control
    this.control &= ~SLP_ENABLE
    if ((wanted & SLP_ENABLE) !== 0 && ((wanted >> 10) & 7) === S5_SLEEP_TYPE) this.options.onPowerOff()
  }

  reset(): void {
    this.status = this.enable = this.gpeStatus = this.gpeEnable = 0
    this.control = SCI_ENABLE
    this.halfTurns = Math.floor(this.ticks / HALF_TURN)
    this.update()
  }

  save(): DeviceState {
    const { status, enable, control, gpeStatus, gpeEnable } = this
    return { status, enable, control, gpeStatus, gpeEnable }
  }

  restore(state: DeviceState): void {
    const { status, enable, control, gpeStatus, gpeEnable } = state
    Object.assign(this, { status, enable, control, gpeStatus, gpeEnable })
    this.halfTurns = Math.floor(this.ticks / HALF_TURN)
    this.update()
  }
}
