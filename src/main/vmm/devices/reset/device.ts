/** Ways a guest restarts a PC: port 0xCF9 and port 0x92. */
import type { AddressSpace } from '../../bus/types'

/** Writing 6 (or 0xE) to 0xCF9 resets; ACPI's RESET_REG points here. 0x92 bit 0 is the fast reset of the PS/2. */
export function mapResetPorts(io: AddressSpace, onReset: () => void): void {
  let control = 0
  io.map(0xcf9, 1, {
    read: () => control,
    write: (_offset, _size, value) => {
      control = value & 0xe
      if ((value & 4) !== 0) onReset()
    },
  }, 'reset-cf9')
  let portA = 2
  io.map(0x92, 1, {
    read: () => portA,
    write: (_offset, _size, value) => {
      portA = value & 0xfe
      if ((value & 1) !== 0) onReset()
    },
  }, 'port-92')
}
