/** The ACPI tables of the machine: RSDP, XSDT, FADT, FACS, MADT, MCFG, HPET, DSDT. ACPI 6.4, chapter 5. */
import { BugError } from '../../errors'
import type { GuestMemory } from '../../bus/types'
import { PM_BLOCK_SIZE, PM_CONTROL, PM_EVENT, PM_GPE0, PM_TIMER, S5_SLEEP_TYPE } from '../../devices/acpi/device'
import { GENERATION_GPE } from '../../devices/vmgenid/device'
import { Irq, Layout, PCI_GSIS, Ports } from '../layout'
import * as aml from './aml'

/** Fewest ticks in periodic mode without lost interrupts. */
const HPET_MIN_TICK = 0x80
const OEM = 'NESTBX'
const OEM_TABLE = 'NESTBOX1'

class TableWriter {
  private readonly bytes: number[] = []

  u8(...values: number[]): this {
    for (const v of values) this.bytes.push(v & 0xff)
    return this
  }

  u16(value: number): this { return this.u8(value, value >> 8) }
  u32(value: number): this { return this.u8(value, value >>> 8, value >>> 16, value >>> 24) }
  u64(value: number): this { return this.u32(value >>> 0).u32(Math.floor(value / 2 ** 32)) }
  text(value: string, length: number): this { return this.u8(...[...value.padEnd(length)].map((c) => c.charCodeAt(0))) }
  zeros(count: number): this { return this.u8(...new Array<number>(count).fill(0)) }

  /** Generic address structure: 0 memory, 1 I/O. */
  address(space: 0 | 1, at: number, bits: number): this {
    return this.u8(space, bits, 0, bits === 8 ? 1 : bits === 16 ? 2 : 3).u64(at)
  }

  done(): Uint8Array {
    return Uint8Array.from(this.bytes)
  }
}

const checksum = (bytes: Uint8Array): number => (256 - (bytes.reduce((sum, b) => (sum + b) & 0xff, 0))) & 0xff

/** Wraps a body in the common header (5.2.6) with a right checksum. */
function table(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const header = new TableWriter().text(signature, 4).u32(36 + body.length).u8(revision, 0).text(OEM, 6).text(OEM_TABLE, 8)
    .u32(1).text('NSTB', 4).u32(1).done()
  const whole = new Uint8Array(header.length + body.length)
  whole.set(header)
  whole.set(body, header.length)
  whole[9] = checksum(whole)
  return whole
}

function madt(cpuCount: number): Uint8Array {
  const w = new TableWriter().u32(Layout.lapic).u32(1) // flag: PC-AT compatible, there are 8259s
  for (let i = 0; i < cpuCount; i++) w.u8(0, 8, i, i).u32(1)
  w.u8(1, 12, cpuCount, 0).u32(Layout.ioapic).u32(0)
  w.u8(2, 10, 0, Irq.pit).u32(2).u16(0)
  w.u8(2, 10, 0, Irq.sci).u32(Irq.sci).u16(0x0d) // active high, level
  w.u8(4, 6, 0xff).u16(0).u8(1) // NMI on LINT1 of every CPU
  return table('APIC', 4, w.done())
}

function mcfg(): Uint8Array {
  return table('MCFG', 1, new TableWriter().zeros(8).u64(Layout.ecam).u16(0).u8(0, Layout.ecamBuses - 1).u32(0).done())
}

/** IA-PC HPET 1.0a, 3.2.4. @param capabilities low half of the timer's GCAP_ID register */
function hpet(capabilities: number): Uint8Array {
  return table('HPET', 1, new TableWriter().u32(capabilities).u8(0, 64, 0, 0).u64(Layout.hpet).u8(0).u16(HPET_MIN_TICK).u8(0).done())
}

/** Fields in the order of table 5.9. */
function fadt(facs: number, dsdt: number): Uint8Array {
  const pm = Ports.acpiPm
  const flags = (1 << 0) | (1 << 2) | (1 << 5) | (1 << 8) | (1 << 10) // WBINVD, C1, sleep button absent, 32-bit timer, reset
  const w = new TableWriter().u32(facs).u32(dsdt).u8(0, 1).u16(Irq.sci).u32(0).u8(0, 0, 0, 0)
    .u32(pm + PM_EVENT).u32(0).u32(pm + PM_CONTROL).u32(0).u32(0).u32(pm + PM_TIMER).u32(pm + PM_GPE0).u32(0)
    .u8(4, 2, 0, 4, 4, 0, 0, 0)
    .u16(0xffff).u16(0xffff).u16(0).u16(0).u8(0, 0, 0, 0, 0x32).u16(3).u8(0).u32(flags)
    .address(1, 0xcf9, 8).u8(6).u16(0).u8(1)
    .u64(facs).u64(dsdt)
    .address(1, pm + PM_EVENT, 32).zeros(12).address(1, pm + PM_CONTROL, 16).zeros(12).zeros(12)
    .address(1, pm + PM_TIMER, 32).address(1, pm + PM_GPE0, 32).zeros(12).zeros(12).zeros(12).u64(0)
  return table('FACP', 6, w.done())
}

function facs(): Uint8Array {
  return new TableWriter().text('FACS', 4).u32(64).zeros(24).u8(2).zeros(31).done()
}

/** _PRT: slot and pin swizzle over four inputs. */
function interruptRouting(): number[] {
  const entries: number[][] = []
  for (let slot = 0; slot < 32; slot++) {
    for (let pin = 0; pin < 4; pin++) {
      const gsi = PCI_GSIS[(slot + pin) % 4]
      entries.push(aml.pkg(aml.integer((slot * 0x10000 + 0xffff) >>> 0), aml.integer(pin), aml.integer(0), aml.integer(gsi)))
    }
  }
  return aml.pkg(...entries)
}

function dsdt(): Uint8Array {
  const pciResources = aml.resources(
    aml.wordBusRange(0, Layout.ecamBuses - 1), aml.ioPorts(Ports.pciConfigAddress, 8),
    aml.wordIoRange(0, 0xcf7), aml.wordIoRange(0xd00, 0xffff), aml.dwordMemoryRange(Layout.pciWindow, Layout.pciWindowEnd - 1),
  )
  const serial = aml.device('COM1', aml.name('_HID', aml.eisaId('PNP0501')), aml.name('_UID', aml.integer(1)),
    aml.name('_CRS', aml.resources(aml.ioPorts(Ports.com1, 8), aml.irqNoFlags(Irq.com1))))
  const clock = aml.device('RTC', aml.name('_HID', aml.eisaId('PNP0B00')),
    aml.name('_CRS', aml.resources(aml.ioPorts(0x70, 2), aml.irqNoFlags(Irq.rtc))))
  const keyboard = aml.device('KBD', aml.name('_HID', aml.eisaId('PNP0303')),
    aml.name('_CRS', aml.resources(aml.ioPorts(0x60, 1), aml.ioPorts(0x64, 1), aml.irqNoFlags(Irq.keyboard))))
  const bridge = aml.device('PCI0', aml.name('_HID', aml.eisaId('PNP0A08')), aml.name('_CID', aml.eisaId('PNP0A03')),
    aml.name('_UID', aml.integer(0)), aml.name('_CRS', pciResources), aml.name('_PRT', interruptRouting()), serial, clock, keyboard)
  const reserved = aml.device('MBRD', aml.name('_HID', aml.eisaId('PNP0C02')), aml.name('_UID', aml.integer(1)),
    aml.name('_CRS', aml.resources(aml.ioPorts(Ports.acpiPm, PM_BLOCK_SIZE),
      aml.dwordMemoryRange(Layout.ecam, Layout.ecam + (Layout.ecamBuses << 20) - 1))))
  // Its names are the specification's, but the hardware id, which is ours. The address is in two halves.
  const generation = aml.device('VGEN', aml.name('_HID', aml.string('NSTB0001')), aml.name('_CID', aml.string('VM_Gen_Counter')),
    aml.name('_DDN', aml.string('VM_Gen_Counter')), aml.name('ADDR', aml.pkg(aml.integer(Layout.generationId), aml.integer(0))))
  const events = aml.scope('\\_GPE', aml.method(`_E0${GENERATION_GPE}`, aml.notify('\\_SB.VGEN', 0x80)))
  const sleep = aml.name('\\_S5', aml.pkg(aml.integer(S5_SLEEP_TYPE), aml.integer(S5_SLEEP_TYPE), aml.integer(0), aml.integer(0)))
  return table('DSDT', 2, Uint8Array.from([...aml.scope('\\_SB', bridge, reserved, generation), ...events, ...sleep]))
}

function rsdp(xsdt: number): Uint8Array {
  const w = new TableWriter().text('RSD PTR ', 8).u8(0).text(OEM, 6).u8(2).u32(0).u32(36).u64(xsdt).u8(0).zeros(3).done()
  w[8] = checksum(w.subarray(0, 20))
  w[32] = checksum(w)
  return w
}

export interface AcpiOptions {
  readonly cpuCount: number
  /** Low half of GCAP_ID; given where the machine has an HPET at `Layout.hpet`. */
  readonly hpetCapabilities?: number
}

/** Writes all tables; the RSDP lies at `Layout.acpiTables`. */
export function writeAcpiTables(memory: GuestMemory, { cpuCount, hpetCapabilities }: AcpiOptions): void {
  let top = Layout.acpiTables + 64
  const put = (bytes: Uint8Array): number => {
    const at = Math.ceil(top / 64) * 64
    top = at + bytes.length
    if (top > Layout.generationId) throw new BugError('ACPI tables outgrew their place')
    memory.write(at, bytes)
    return at
  }
  const pointers = [put(fadt(put(facs()), put(dsdt()))), put(madt(cpuCount)), put(mcfg())]
  if (hpetCapabilities !== undefined) pointers.push(put(hpet(hpetCapabilities)))
  const list = new TableWriter()
  for (const at of pointers) list.u64(at)
  memory.write(Layout.acpiTables, rsdp(put(table('XSDT', 1, list.done()))))
}
