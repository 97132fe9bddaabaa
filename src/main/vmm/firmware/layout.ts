/** The machine's fixed addresses, in one place. Guest-physical unless said otherwise. */

/** RAM below the PCI window; all of the guest's RAM lies here. */
export const Layout = {
  /** Real-mode data and tables the boot loader builds. */
  bootGdt: 0x1000,
  bootParams: 0x7000,
  /** Top; grows down to the GDT. */
  bootStack: 0x7000,
  bootPageTables: 0x9000,
  commandLine: 0x20000,
  /** Start of the legacy hole: no RAM for the guest from here to 1 MiB. */
  legacyHole: 0xa0000,
  /** RSDP is searched from 0xE0000; the tables follow it. */
  acpiTables: 0xe0000,
  acpiTablesEnd: 0x100000,
  /** The generation ID, 16 bytes at the end of what the memory map reserves. */
  generationId: 0xff000,
  kernel: 0x100000,
  /** PCI memory window for BARs. */
  pciWindow: 0xc000_0000,
  pciWindowEnd: 0xe000_0000,
  /** PCI Express configuration (MCFG): one bus of 1 MiB. */
  ecam: 0xe000_0000,
  ecamBuses: 1,
  ioapic: 0xfec0_0000,
  hpet: 0xfed0_0000,
  lapic: 0xfee0_0000,
} as const

/** I/O ports. */
export const Ports = {
  acpiPm: 0x600,
  com1: 0x3f8,
  pciConfigAddress: 0xcf8,
  pciConfigData: 0xcfc,
  /** Port window for I/O BARs. */
  pciWindow: 0xc000,
  pciWindowEnd: 0x10000,
  smiCommand: 0xb2,
} as const

/** Interrupt lines. */
export const Irq = { pit: 0, keyboard: 1, com1: 4, rtc: 8, sci: 9, aux: 12 } as const
/** I/O APIC inputs of PCI INTA#–INTD#. */
export const PCI_GSIS = [16, 17, 18, 19] as const
