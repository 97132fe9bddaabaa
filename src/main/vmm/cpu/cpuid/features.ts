/** CPU features by name, and the CPUID bits that announce them. Intel SDM vol. 2 (CPUID); AMD APM vol. 3, appendix E. */

export type CpuidRegister = 'eax' | 'ebx' | 'ecx' | 'edx'

export interface FeatureBit { readonly leaf: number; readonly register: CpuidRegister; readonly bit: number }

const at = (leaf: number, register: CpuidRegister, bit: number): FeatureBit => ({ leaf, register, bit })
const one = (register: 'ecx' | 'edx', bit: number): FeatureBit => at(1, register, bit)
const seven = (register: CpuidRegister, bit: number): FeatureBit => at(7, register, bit)
const extended = (register: 'ecx' | 'edx', bit: number): FeatureBit => at(0x8000_0001, register, bit)

/** Names as in the instruction table's `cpuid` column where instructions depend on them. */
export const FEATURE_BITS = {
  x87: one('edx', 0), vme: one('edx', 1), de: one('edx', 2), pse: one('edx', 3), tsc: one('edx', 4), msr: one('edx', 5), pae: one('edx', 6), mce: one('edx', 7), cx8: one('edx', 8),
  apic: one('edx', 9), sep: one('edx', 11), mtrr: one('edx', 12), pge: one('edx', 13), mca: one('edx', 14), cmov: one('edx', 15), pat: one('edx', 16),
  pse36: one('edx', 17), clflush: one('edx', 19), mmx: one('edx', 23), fxsr: one('edx', 24), sse: one('edx', 25), sse2: one('edx', 26),
  sse3: one('ecx', 0), ssse3: one('ecx', 9), cx16: one('ecx', 13), pcid: one('ecx', 17), 'sse4.1': one('ecx', 19), 'sse4.2': one('ecx', 20),
  x2apic: one('ecx', 21), movbe: one('ecx', 22), popcnt: one('ecx', 23), 'tsc-deadline': one('ecx', 24), xsave: one('ecx', 26),
  rdrand: one('ecx', 30), hypervisor: one('ecx', 31),
  arat: at(6, 'eax', 2),
  fsgsbase: seven('ebx', 0), 'tsc-adjust': seven('ebx', 1), smep: seven('ebx', 7), erms: seven('ebx', 9), invpcid: seven('ebx', 10),
  rdseed: seven('ebx', 18), smap: seven('ebx', 20), clflushopt: seven('ebx', 23), umip: seven('ecx', 2), rdpid: seven('ecx', 22),
  lahf: extended('ecx', 0), lzcnt: extended('ecx', 5),
  prefetchw: extended('ecx', 8), topoext: extended('ecx', 22),
  syscall: extended('edx', 11), nx: extended('edx', 20), mmxext: extended('edx', 22), pdpe1gb: extended('edx', 26), rdtscp: extended('edx', 27),
  lm: extended('edx', 29),
  'invariant-tsc': at(0x8000_0007, 'edx', 8),
  // FXSAVE always stores the x87 error pointers: Linux then needs no work-around for their leak.
  'xsaveerptr': at(0x8000_0008, 'ebx', 2),
  'ssb-no': at(0x8000_0008, 'ebx', 26),
  'no-nested-data-bp': at(0x8000_0021, 'eax', 0), 'lfence-serializing': at(0x8000_0021, 'eax', 2),
  'null-sel-clears-base': at(0x8000_0021, 'eax', 6),
  'auto-ibrs': at(0x8000_0021, 'eax', 8),
} as const satisfies Record<string, FeatureBit>

export type FeatureName = keyof typeof FEATURE_BITS
