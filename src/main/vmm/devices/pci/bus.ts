/** One PCI bus: configuration access by ports 0xCF8/0xCFC and by the memory window of MCFG. PCI Local Bus 3.0, 3.2.2.3. */
import { BugError, VmmError } from '../../errors'
import type { AccessSize, AddressSpace, Device, DeviceState, IoHandler } from '../../bus/types'

export interface ConfigSpace {
  /** `offset` below 256, size 1, 2 or 4, never crossing a dword. */
  readConfig(offset: number, size: AccessSize): number
  writeConfig(offset: number, size: AccessSize, value: number): void
}

const ones = (size: AccessSize): number => 2 ** (8 * size) - 1

export class PciBus implements Device {
  readonly id = 'pci'
  readonly stateVersion = 1
  private readonly functions = new Map<number, ConfigSpace>()
  private address = 0

  /** @param byteRegister answers byte accesses within the address port: the reset register 0xCF9 lies there */
  constructor(private readonly byteRegister: IoHandler) {}

  /** @param slot device number 0–31; function 0 */
  attach(slot: number, space: ConfigSpace): void {
    if (slot < 0 || slot > 31 || this.functions.has(slot << 3)) throw new BugError(`PCI slot ${slot} is taken or does not exist`)
    this.functions.set(slot << 3, space)
  }

  mapInto(io: AddressSpace, memory: AddressSpace, places: { address: number; data: number; ecam: number; ecamBuses: number }): void {
    io.map(places.address, 4, this.addressPort(), 'pci-config')
    io.map(places.data, 4, {
      read: (offset, size) => this.access(this.address, offset, size, undefined),
      write: (offset, size, value) => void this.access(this.address, offset, size, value),
    }, 'pci-config')
    memory.map(places.ecam, places.ecamBuses << 20, {
      read: (offset, size) => this.ecam(offset, size, undefined),
      write: (offset, size, value) => void this.ecam(offset, size, value),
    }, 'pci-ecam')
  }

  private addressPort(): IoHandler {
    // Only dword accesses reach the address register.
    return {
      read: (offset, size) => (offset === 0 && size === 4 ? this.address >>> 0 : this.byteRegister.read(offset, size)),
      write: (offset, size, value) => {
        if (offset === 0 && size === 4) this.address = value
        else this.byteRegister.write(offset, size, value)
      },
    }
  }

  private access(address: number, offset: number, size: AccessSize, value: number | undefined): number {
    const bus = (address >> 16) & 0xff
    if ((address & 0x8000_0000) === 0 || bus !== 0) return ones(size)
    return this.config((address >> 8) & 0xff, (address & 0xfc) + offset, size, value)
  }

  private ecam(offset: number, size: AccessSize, value: number | undefined): number {
    const register = offset & 0xfff
    // Extended configuration space does not exist here: reads as zero, so that capability walks end.
    if (register >= 256) return this.functions.has((offset >> 12) & 0xff) ? 0 : ones(size)
    return (offset >> 20) === 0 ? this.config((offset >> 12) & 0xff, register, size, value) : ones(size)
  }

  private config(devfn: number, offset: number, size: AccessSize, value: number | undefined): number {
    const space = this.functions.get(devfn)
    if (!space) return ones(size)
    if (value === undefined) return space.readConfig(offset, size)
    space.writeConfig(offset, size, value)
    return 0
  }

  reset(): void {
    this.address = 0
  }

  save(): DeviceState {
    return { address: this.address }
  }

  restore(state: DeviceState): void {
    if (typeof state.address !== 'number') throw new VmmError('bad-state', 'pci: address must be a number')
    this.address = state.address
  }
}
