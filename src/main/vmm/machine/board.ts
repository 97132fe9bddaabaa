/** The machine's board: memory, buses, interrupt system and devices, wired together. Knows no CPU. */
import type { Device, IrqLine } from '../bus/types'
import { WindowedSpace } from '../bus/address-space'
import { SharedLine } from '../bus/irq-line'
import { AcpiPm } from '../devices/acpi/device'
import { GENERATION_GPE, VmGeneration } from '../devices/vmgenid/device'
import { I8042 } from '../devices/i8042/device'
import { PciBus } from '../devices/pci/bus'
import { createHostBridge, type PciEnvironment } from '../devices/pci/function'
import { ResetPorts } from '../devices/reset/device'
import { Uart16550 } from '../devices/uart16550/device'
import { Irq, Layout, PCI_GSIS, Ports } from '../firmware/layout'
import { InterruptController } from '../irq/interrupt-controller'
import type { PhysicalRam } from '../memory/guest-memory'
import { Hpet } from '../timers/hpet'
import { Pit } from '../timers/pit'
import { Rtc } from '../timers/rtc'
import { TimeStampCounter } from '../timers/tsc'
import type { MachineClock } from '../timers/virtual-clock'
import { VirtioBlk } from '../virtio/blk/device'
import { VirtioConsole } from '../virtio/console/device'
import type { VirtioDevice } from '../virtio/device'
import { VirtioRng } from '../virtio/rng/device'
import { VirtioPci } from '../virtio/transport/pci'
import type { MachineConfig, MachinePorts } from './types'

/** Rate of the guest's time-stamp counter: a tick is a nanosecond. */
export const TSC_KHZ = 1_000_000

export interface BoardOptions {
  readonly config: MachineConfig
  readonly ports: MachinePorts
  readonly ram: PhysicalRam
  readonly clock: MachineClock
  /** An interrupt may have become pending. */
  readonly onInterruptChange: () => void
  readonly onPowerOff: () => void
  readonly onReset: () => void
  /** Work finished outside a time slice. */
  readonly onCompletion: () => void
}

export class Board {
  readonly io = new WindowedSpace('I/O ports')
  readonly mmio = new WindowedSpace('memory')
  readonly tsc: TimeStampCounter
  readonly interrupts: InterruptController
  readonly uart: Uart16550
  readonly acpi: AcpiPm
  readonly generation: VmGeneration
  readonly keyboard: I8042
  readonly disks: readonly VirtioBlk[]
  readonly console: VirtioConsole
  readonly devices: Device[] = []
  private readonly pci: PciBus
  private readonly intxLines: readonly SharedLine[]
  private nextSlot = 1

  constructor(private readonly options: BoardOptions) {
    const { clock, ports, config, ram } = options
    this.tsc = new TimeStampCounter(clock, TSC_KHZ)
    this.interrupts = new InterruptController({
      clock, tsc: this.tsc, onChange: options.onInterruptChange, onInit: options.onReset, onApicPage: (gpa) => ram.frames.cover(gpa), log: ports.log,
    })
    this.interrupts.mapInto(this.io, this.mmio, { ioapic: Layout.ioapic })
    this.intxLines = PCI_GSIS.map((gsi) => new SharedLine(this.interrupts.gsiLine(gsi)))
    const line = (irq: number): IrqLine => this.interrupts.isaLine(irq)

    const hpet = new Hpet({ clock, legacyLines: [line(Irq.pit), line(Irq.rtc)], gsiLine: (gsi) => this.interrupts.gsiLine(gsi) })
    const pit = new Pit(clock, hpet.behindLegacyReplacement(line(Irq.pit)))
    const rtc = new Rtc(clock, hpet.behindLegacyReplacement(line(Irq.rtc)))
    hpet.mapInto(this.mmio, Layout.hpet)
    this.uart = new Uart16550({ id: 'uart0', irq: line(Irq.com1), chars: ports.serial, clock })
    this.keyboard = new I8042({ keyboardIrq: line(Irq.keyboard), auxIrq: line(Irq.aux), onReset: options.onReset })
    this.acpi = new AcpiPm({ clock, sci: line(Irq.sci), onPowerOff: options.onPowerOff })
    this.generation = new VmGeneration(ram, Layout.generationId, () => this.acpi.raiseEvent(GENERATION_GPE))
    pit.mapInto(this.io)
    rtc.mapInto(this.io)
    this.uart.mapInto(this.io, Ports.com1)
    this.keyboard.mapInto(this.io)
    this.acpi.mapInto(this.io, Ports.acpiPm)
    const resetPorts = new ResetPorts(options.onReset)
    resetPorts.mapInto(this.io)
    this.pci = new PciBus(resetPorts.resetControl)
    this.mapPci()
    this.devices.push(...this.interrupts.devices, hpet, pit, rtc, this.uart, this.keyboard, this.acpi, this.pci, resetPorts)

    this.console = new VirtioConsole(ram, ports.console)
    this.disks = config.disks.map((disk) => new VirtioBlk({
      id: disk.id, serial: disk.serial ?? disk.id, memory: ram, backend: disk.backend, log: ports.log, onCompletion: options.onCompletion,
      ...(disk.queues === undefined ? {} : { queues: disk.queues }), ...(ports.onDiskFull ? { onStalled: ports.onDiskFull } : {}),
    }))
    for (const device of [this.console, new VirtioRng(ram, ports.entropy), ...this.disks]) this.plug(device)
  }

  private mapPci(): void {
    this.pci.attach(0, createHostBridge(this.environment(0)))
    this.pci.mapInto(this.io, this.mmio, {
      address: Ports.pciConfigAddress, data: Ports.pciConfigData, ecam: Layout.ecam, ecamBuses: Layout.ecamBuses,
    })
  }

  private environment(slot: number): PciEnvironment {
    return { memory: this.mmio, msi: this.interrupts, intx: this.intxLines[slot % 4].source() }
  }

  private plug(device: VirtioDevice): void {
    const slot = this.nextSlot++
    const env = this.environment(slot)
    const transport = new VirtioPci({ device, memory: env.memory, guest: this.options.ram, msi: env.msi, intx: env.intx, log: this.options.ports.log })
    this.pci.attach(slot, transport.pci)
    this.assignBars(transport, slot)
    this.devices.push(transport)
  }

  /** What firmware would do: BAR addresses, so that guests that trust them find the device. */
  private assignBars(transport: VirtioPci, slot: number): void {
    transport.pci.writeConfig(0x10 + 4 * 4, 4, Layout.pciWindow + slot * 0x10000)
    transport.pci.writeConfig(0x10 + 4, 4, Layout.pciWindow + slot * 0x10000 + 0x8000)
    transport.pci.writeConfig(0x3c, 1, PCI_GSIS[slot % 4])
  }

  reset(): void {
    for (const device of this.devices) device.reset()
    this.devices.forEach((device) => {
      if (device instanceof VirtioPci) this.assignBars(device, this.slotOf(device))
    })
  }

  private slotOf(transport: VirtioPci): number {
    return 1 + this.devices.filter((d) => d instanceof VirtioPci).indexOf(transport)
  }
}
