/** Ways a guest restarts a PC: port 0xCF9 and port 0x92. */
import type { AddressSpace, Device, DeviceState, IoHandler } from '../../bus/types'

/** Reset control register. Intel ICH9 datasheet, 13.7.5. */
const Control = { WARM_OR_HARD: 2, RESET_CPU: 4, FULL: 8 } as const
/** System control port A: the PS/2's fast reset, and the A20 gate, which moves no line here. ICH9 datasheet, 13.7.3. */
const PortA = { FAST_RESET: 1, A20: 2 } as const

export class ResetPorts implements Device {
  readonly id = 'reset'
  readonly stateVersion = 1
  private control = 0
  private portA: number = PortA.A20

  constructor(private readonly onReset: () => void) {}

  /**
   * The reset control register at 0xCF9, seen from 0xCF8 (it lies between the bytes of the PCI address port).
   * Writing it with bit 2 set resets; ACPI's RESET_REG points here.
   */
  readonly resetControl: IoHandler = {
    read: (offset, size) => (offset === 1 && size === 1 ? this.control : 2 ** (8 * size) - 1),
    write: (offset, size, value) => {
      if (offset !== 1 || size !== 1) return
      this.control = value & (Control.WARM_OR_HARD | Control.RESET_CPU | Control.FULL)
      if ((value & Control.RESET_CPU) !== 0) this.onReset()
    },
  }

  /** Port 0x92. Every bit is read as it was written; the rise of bit 0 resets. */
  mapInto(io: AddressSpace): void {
    io.map(0x92, 1, {
      read: () => this.portA,
      write: (_offset, _size, value) => {
        const rises = (value & ~this.portA & PortA.FAST_RESET) !== 0
        this.portA = value & 0xff
        if (rises) this.onReset()
      },
    }, 'port-92')
  }

  reset(): void {
    this.control = 0
    this.portA = PortA.A20
  }

  save(): DeviceState {
    return { control: this.control, portA: this.portA }
  }

  restore({ control, portA }: DeviceState): void {
    this.control = Number(control)
    this.portA = Number(portA)
  }
}
