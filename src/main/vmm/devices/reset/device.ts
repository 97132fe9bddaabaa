/** Ways a guest restarts a PC: port 0xCF9 and port 0x92. */
import type { AddressSpace, IoHandler } from '../../bus/types'

/**
 * The reset control register at 0xCF9, seen from 0xCF8 (it lies between the bytes of the PCI address port).
 * Writing it with bit 2 set resets; ACPI's RESET_REG points here.
 */
export function createResetControl(onReset: () => void): IoHandler {
  let control = 0
  return {
    read: (offset, size) => (offset === 1 && size === 1 ? control : 2 ** (8 * size) - 1),
    write: (offset, size, value) => {
      if (offset !== 1 || size !== 1) return
      control = value & 0xe
      if ((value & 4) !== 0) onReset()
    },
  }
}

/** System control port A: bit 0 is the PS/2's fast reset, bit 1 the A20 gate (always open here). */
export function mapSystemControlPort(io: AddressSpace, onReset: () => void): void {
  let portA = 2
  io.map(0x92, 1, {
    read: () => portA,
    write: (_offset, _size, value) => {
      portA = value & 0xfe
      if ((value & 1) !== 0) onReset()
    },
  }, 'port-92')
}
