/** Intel 8042 keyboard controller with a PS/2 keyboard and mouse. IBM PS/2 technical reference. */
import { VmmError } from '../../errors'
import type { AddressSpace, Device, DeviceState, IrqLine } from '../../bus/types'
import { Ps2Mouse } from './mouse'

const Status = { OUTPUT_FULL: 1, SYSTEM: 4, COMMAND: 8, UNLOCKED: 0x10, AUX_DATA: 0x20 } as const
const Config = { KEYBOARD_IRQ: 1, AUX_IRQ: 2, SYSTEM: 4, KEYBOARD_OFF: 0x10, AUX_OFF: 0x20, TRANSLATE: 0x40 } as const
const ACK = 0xfa
/** Answers the guest leaves unread; a guest that only ever asks must not fill the host's memory. */
const QUEUE_LIMIT = 256

interface Byte { readonly value: number; readonly aux: boolean }

export interface I8042Options {
  readonly keyboardIrq: IrqLine
  readonly auxIrq: IrqLine
  /** Command 0xFE pulses the CPU's reset line. */
  readonly onReset: () => void
}

export class I8042 implements Device {
  readonly id = 'i8042'
  readonly stateVersion = 2
  private config = Config.KEYBOARD_IRQ | Config.SYSTEM | Config.TRANSLATE
  private queue: Byte[] = []
  /** Controller command that waits for its data byte, 0 none. */
  private pendingCommand = 0
  /** Keyboard command that waits for its data byte, 0 none. */
  private keyboardCommand = 0
  private scanning = true
  private outputPort = 3
  private readonly mouse = new Ps2Mouse()

  constructor(private readonly options: I8042Options) {}

  mapInto(io: AddressSpace): void {
    io.map(0x60, 1, { read: () => this.readData(), write: (_o, _s, value) => this.writeData(value & 0xff) }, 'i8042')
    io.map(0x64, 1, { read: () => this.status(), write: (_o, _s, value) => this.command(value & 0xff) }, 'i8042')
  }

  /** Scan codes (set 1, as translated) of keys pressed or released at the host. */
  sendScanCodes(codes: readonly number[]): void {
    if (this.scanning) for (const code of codes) this.push(code, false)
  }

  /** Movement and buttons at the host; see `Ps2Mouse.move`. */
  sendMouse(dx: number, dy: number, dz: number, buttons: number): void {
    if ((this.config & Config.AUX_OFF) === 0) for (const byte of this.mouse.move(dx, dy, dz, buttons)) this.push(byte, true)
  }

  private push(value: number, aux: boolean): void {
    if (this.queue.length >= QUEUE_LIMIT) return
    this.queue.push({ value, aux })
    this.update()
  }

  private update(): void {
    const [head] = this.queue as (Byte | undefined)[]
    this.options.keyboardIrq.set(head !== undefined && !head.aux && (this.config & Config.KEYBOARD_IRQ) !== 0)
    this.options.auxIrq.set(head !== undefined && head.aux && (this.config & Config.AUX_IRQ) !== 0)
  }

  private status(): number {
    const [head] = this.queue as (Byte | undefined)[]
    return (head ? Status.OUTPUT_FULL : 0) | (head?.aux ? Status.AUX_DATA : 0) | Status.UNLOCKED | (this.config & Config.SYSTEM)
  }

  private readData(): number {
    const head = this.queue.shift()
    this.options.keyboardIrq.set(false)
    this.options.auxIrq.set(false)
    this.update()
    return head?.value ?? 0
  }

  private command(value: number): void {
    switch (value) {
      case 0x20: return this.push(this.config, false)
      case 0x60: case 0xd1: case 0xd2: case 0xd3: case 0xd4: this.pendingCommand = value; return
      case 0xa7: this.config |= Config.AUX_OFF; return
      case 0xa8: this.config &= ~Config.AUX_OFF; return
      case 0xa9: return this.push(0, false)
      case 0xaa: return this.push(0x55, false)
      case 0xab: return this.push(0, false)
      case 0xad: this.config |= Config.KEYBOARD_OFF; return
      case 0xae: this.config &= ~Config.KEYBOARD_OFF; return
      case 0xd0: return this.push(this.outputPort, false)
      default: if ((value & 0xf0) === 0xf0 && (value & 1) === 0) this.options.onReset()
    }
  }

  private writeData(value: number): void {
    const command = this.pendingCommand
    this.pendingCommand = 0
    switch (command) {
      case 0x60: this.config = value; return this.update()
      case 0xd1:
        this.outputPort = value
        if ((value & 1) === 0) this.options.onReset()
        return
      case 0xd2: return this.push(value, false)
      case 0xd3: return this.push(value, true)
      case 0xd4:
        for (const answer of this.mouse.receive(value)) this.push(answer, true)
        return
      default: this.keyboard(value)
    }
  }

  private keyboard(value: number): void {
    const command = this.keyboardCommand
    this.keyboardCommand = 0
    if (command === 0xf0 && value === 0) {
      this.push(ACK, false)
      return this.push((this.config & Config.TRANSLATE) !== 0 ? 0x41 : 2, false)
    }
    if (command !== 0) return this.push(ACK, false)
    switch (value) {
      case 0xed: case 0xf0: case 0xf3: this.keyboardCommand = value; return this.push(ACK, false)
      case 0xee: return this.push(0xee, false)
      case 0xf2:
        this.push(ACK, false)
        this.push(0xab, false)
        return this.push((this.config & Config.TRANSLATE) !== 0 ? 0x41 : 0x83, false)
      case 0xf4: this.scanning = true; return this.push(ACK, false)
      case 0xf5: this.scanning = false; return this.push(ACK, false)
      case 0xf6: this.scanning = true; return this.push(ACK, false)
      case 0xff:
        this.scanning = true
        this.push(ACK, false)
        return this.push(0xaa, false)
      default: this.push(ACK, false)
    }
  }

  reset(): void {
    this.config = Config.KEYBOARD_IRQ | Config.SYSTEM | Config.TRANSLATE
    this.queue = []
    this.pendingCommand = this.keyboardCommand = 0
    this.scanning = true
    this.outputPort = 3
    this.mouse.reset()
    this.update()
  }

  save(): DeviceState {
    const { config, pendingCommand, keyboardCommand, scanning, outputPort } = this
    return { config, pendingCommand, keyboardCommand, scanning, outputPort, queue: this.queue.map((b) => ({ value: b.value, aux: b.aux })), mouse: this.mouse.save() }
  }

  restore(state: DeviceState, version = this.stateVersion): void {
    const { config, pendingCommand, keyboardCommand, scanning, outputPort } = state
    if (!Array.isArray(state.queue)) throw new VmmError('bad-state', 'i8042: queue must be a list of bytes')
    // Version 1 had no mouse.
    if (version >= 2) this.mouse.restore(state.mouse as DeviceState)
    Object.assign(this, { config, pendingCommand, keyboardCommand, scanning, outputPort })
    this.queue = (state.queue as unknown as Byte[]).map(({ value, aux }) => ({ value, aux }))
    this.update()
  }
}
