/** Intel 8042 keyboard controller with a PS/2 keyboard and mouse. IBM PS/2 technical reference, "Keyboard and auxiliary device controller". */
import { VmmError } from '../../errors'
import type { AddressSpace, Device, DeviceState, IrqLine, StateValue } from '../../bus/types'
import { Ps2Keyboard } from './keyboard'
import { Ps2Mouse } from './mouse'
import { Translation } from './scancodes'

const Status = { OUTPUT_FULL: 1, SYSTEM: 4, COMMAND: 8, UNLOCKED: 0x10, AUX_DATA: 0x20 } as const
const Config = { KEYBOARD_IRQ: 1, AUX_IRQ: 2, SYSTEM: 4, KEYBOARD_OFF: 0x10, AUX_OFF: 0x20, TRANSLATE: 0x40 } as const
/** Output port: reset and A20 are driven, the lines of both devices idle high, the two interrupts show a full buffer. A20 is always open. */
const Output = { RESET: 1, A20: 2, AUX_IRQ: 0x20, KEYBOARD_IRQ: 0x10, LINES: 0xcc } as const
const RAM_BYTES = 32
/** Input port: not locked, and not the jumper settings of a PC/AT. */
const INPUT_PORT = 0x80
const NO_PASSWORD = 0xf1
/** Bytes the guest leaves unread; a guest that only ever asks must not fill the host's memory. */
const QUEUE_LIMIT = 256

/** Who a byte comes from; the controller's own are held up by nothing. */
interface Byte { readonly value: number; readonly aux: boolean; readonly own: boolean }

export interface I8042Options {
  readonly keyboardIrq: IrqLine
  readonly auxIrq: IrqLine
  /** Command 0xFE pulses the CPU's reset line. */
  readonly onReset: () => void
}

export class I8042 implements Device {
  readonly id = 'i8042'
  /** Version 1 had no mouse; up to 2 the keyboard had no state of its own, and bytes no owner. */
  readonly stateVersion = 3
  /** Byte 0 is the configuration. As firmware leaves it: tested, translating, keyboard interrupts on. */
  private readonly ram = new Uint8Array(RAM_BYTES)
  /** Output buffer: what is in it stays until it is read, whatever is switched off meanwhile. */
  private output: Byte | undefined
  private queue: Byte[] = []
  /** Controller command that waits for its data byte, 0 none. */
  private pendingCommand = 0
  /** The last write went to the command port. */
  private commandWritten = false
  private outputPort: number = Output.LINES | Output.RESET | Output.A20
  private readonly keyboard = new Ps2Keyboard()
  private readonly mouse = new Ps2Mouse()
  private readonly translation = new Translation()

  constructor(private readonly options: I8042Options) {
    this.config = Config.KEYBOARD_IRQ | Config.SYSTEM | Config.TRANSLATE
  }

  private get config(): number {
    return this.ram[0]
  }

  private set config(value: number) {
    this.ram[0] = value
  }

  mapInto(io: AddressSpace): void {
    io.map(0x60, 1, { read: () => this.readData(), write: (_o, _s, value) => this.writeData(value & 0xff) }, 'i8042')
    io.map(0x64, 1, { read: () => this.status(), write: (_o, _s, value) => this.command(value & 0xff) }, 'i8042')
  }

  /** Scan codes (set 1) of keys pressed or released at the host. */
  sendScanCodes(codes: readonly number[]): void {
    const bytes = this.keyboard.press(codes)
    // A key is told whole or not at all.
    if (this.queue.length + bytes.length <= QUEUE_LIMIT) for (const byte of bytes) this.push(byte, false)
  }

  /** Movement and buttons at the host; see `Ps2Mouse.move`. */
  sendMouse(dx: number, dy: number, dz: number, buttons: number): void {
    for (const byte of this.mouse.move(dx, dy, dz, buttons)) this.push(byte, true)
  }

  private push(value: number, aux: boolean, own = false): void {
    if (this.queue.length >= QUEUE_LIMIT) return
    this.queue.push({ value, aux, own })
    this.update()
  }

  private reply(value: number): void {
    this.push(value, false, true)
  }

  /** A device whose clock is held keeps what it has to say. */
  private mayCome({ aux, own }: Byte): boolean {
    return own || (this.config & (aux ? Config.AUX_OFF : Config.KEYBOARD_OFF)) === 0
  }

  private fill(): void {
    while (!this.output) {
      const at = this.queue.findIndex((byte) => this.mayCome(byte))
      if (at < 0) return
      const [byte] = this.queue.splice(at, 1)
      const translates = !byte.own && !byte.aux && (this.config & Config.TRANSLATE) !== 0
      const value = translates ? this.translation.translate(byte.value) : byte.value
      if (value !== undefined) this.output = { ...byte, value }
    }
  }

  private update(): void {
    this.fill()
    const { output, config } = this
    this.options.keyboardIrq.set(output !== undefined && !output.aux && (config & Config.KEYBOARD_IRQ) !== 0)
    this.options.auxIrq.set(output?.aux === true && (config & Config.AUX_IRQ) !== 0)
  }

  private status(): number {
    const { output } = this
    return (output ? Status.OUTPUT_FULL : 0) | (output?.aux ? Status.AUX_DATA : 0) | Status.UNLOCKED | (this.config & Config.SYSTEM) |
      (this.commandWritten ? Status.COMMAND : 0)
  }

  private readData(): number {
    const { output } = this
    this.output = undefined
    this.options.keyboardIrq.set(false)
    this.options.auxIrq.set(false)
    this.update()
    return output?.value ?? 0
  }

  private readOutputPort(): number {
    return this.outputPort | (!this.output ? 0 : this.output.aux ? Output.AUX_IRQ : Output.KEYBOARD_IRQ)
  }

  private setConfig(set: number, clear: number): void {
    this.config = (this.config | set) & ~clear
    this.update()
  }

  private command(value: number): void {
    this.commandWritten = true
    this.pendingCommand = 0
    if (value >= 0x20 && value < 0x40) return this.reply(this.ram[value - 0x20])
    if (value >= 0x60 && value < 0x80 || value >= 0xd1 && value <= 0xd4) {
      this.pendingCommand = value
      return
    }
    switch (value) {
      case 0xa4: return this.reply(NO_PASSWORD)
      case 0xa7: return this.setConfig(Config.AUX_OFF, 0)
      case 0xa8: return this.setConfig(0, Config.AUX_OFF)
      case 0xa9: case 0xab: return this.reply(0)
      case 0xaa:
        this.setConfig(Config.SYSTEM, 0)
        return this.reply(0x55)
      case 0xad: return this.setConfig(Config.KEYBOARD_OFF, 0)
      case 0xae: return this.setConfig(0, Config.KEYBOARD_OFF)
      case 0xc0: return this.reply(INPUT_PORT)
      case 0xd0: return this.reply(this.readOutputPort())
      case 0xe0: return this.reply(0)
      default: if ((value & 0xf0) === 0xf0 && (value & 1) === 0) this.options.onReset()
    }
  }

  private writeData(value: number): void {
    const command = this.pendingCommand
    this.pendingCommand = 0
    this.commandWritten = false
    if (command >= 0x60 && command < 0x80) {
      this.ram[command - 0x60] = value
      return this.update()
    }
    switch (command) {
      case 0xd1: return this.writeOutputPort(value)
      case 0xd2: return this.push(value, false, true)
      case 0xd3: return this.push(value, true, true)
      case 0xd4: return this.send(this.mouse.receive(value), true)
      default: this.send(this.keyboard.receive(value), false)
    }
  }

  /** A byte for a device lets its clock go; its answer comes before what it had to say. */
  private send(answer: readonly number[], aux: boolean): void {
    this.config &= ~(aux ? Config.AUX_OFF : Config.KEYBOARD_OFF)
    for (const byte of answer) this.push(byte, aux)
  }

  private writeOutputPort(value: number): void {
    this.outputPort = value & ~(Output.AUX_IRQ | Output.KEYBOARD_IRQ)
    if ((value & Output.RESET) === 0) this.options.onReset()
  }

  reset(): void {
    this.ram.fill(0)
    this.config = Config.KEYBOARD_IRQ | Config.SYSTEM | Config.TRANSLATE
    this.queue = []
    this.output = undefined
    this.pendingCommand = 0
    this.commandWritten = this.translation.breaks = false
    this.outputPort = Output.LINES | Output.RESET | Output.A20
    this.keyboard.reset()
    this.mouse.reset()
    this.update()
  }

  save(): DeviceState {
    const { pendingCommand, commandWritten, outputPort } = this
    const plain = ({ value, aux, own }: Byte): DeviceState => ({ value, aux, own })
    return {
      ram: this.ram.slice(), pendingCommand, commandWritten, outputPort, breaks: this.translation.breaks,
      output: this.output ? plain(this.output) : null, queue: this.queue.map(plain), keyboard: this.keyboard.save(), mouse: this.mouse.save(),
    }
  }

  restore(state: DeviceState, version = this.stateVersion): void {
    if (!Array.isArray(state.queue)) throw new VmmError('bad-state', 'i8042: queue must be a list of bytes')
    this.reset()
    if (version >= 2) this.mouse.restore(state.mouse as DeviceState)
    if (version < 3) this.restoreOld(state)
    else this.restoreNew(state)
    this.update()
  }

  private restoreNew(state: DeviceState): void {
    const { ram, pendingCommand, commandWritten, outputPort, output, queue } = state
    if (!(ram instanceof Uint8Array) || ram.length !== RAM_BYTES) throw new VmmError('bad-state', `i8042: ram must be ${RAM_BYTES} bytes`)
    this.ram.set(ram)
    Object.assign(this, { pendingCommand, commandWritten, outputPort })
    this.translation.breaks = state.breaks === true
    this.keyboard.restore(state.keyboard as DeviceState)
    this.output = output ? byteOf(output) : undefined
    this.queue = (queue as readonly StateValue[]).map((byte) => byteOf(byte))
  }

  /** Bytes of the queue were as the guest would read them. */
  private restoreOld(state: DeviceState): void {
    const { config, pendingCommand, keyboardCommand, scanning, queue } = state
    this.config = Number(config)
    this.pendingCommand = Number(pendingCommand)
    this.keyboard.restore({ ...this.keyboard.save(), pending: keyboardCommand, scanning })
    this.queue = (queue as readonly StateValue[]).map((byte) => ({ ...byteOf(byte), own: true }))
  }
}

function byteOf(saved: StateValue): Byte {
  const { value, aux, own } = saved as DeviceState
  return { value: Number(value), aux: aux === true, own: own === true }
}
