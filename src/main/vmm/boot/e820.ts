/** The memory map the guest is told. ACPI 6.4, chapter 15. */
import { Layout } from '../firmware/layout'

export const E820Type = { RAM: 1, RESERVED: 2, ACPI: 3 } as const

export interface E820Entry { readonly base: number; readonly length: number; readonly type: number }

/** @param ramBytes guest RAM, at most up to the PCI window */
export function buildE820(ramBytes: number): readonly E820Entry[] {
  return [
    { base: 0, length: Layout.legacyHole, type: E820Type.RAM },
    { base: Layout.acpiTables, length: Layout.acpiTablesEnd - Layout.acpiTables, type: E820Type.RESERVED },
    { base: Layout.kernel, length: ramBytes - Layout.kernel, type: E820Type.RAM },
    { base: Layout.ecam, length: Layout.ecamBuses << 20, type: E820Type.RESERVED },
  ]
}
