/** CPUID feature bits by name: leaf, register, bit. Intel SDM vol. 2, CPUID; AMD APM vol. 3, appendix E. */

export type CpuidRegister = 'eax' | 'ebx' | 'ecx' | 'edx'
export interface FeatureBit { readonly leaf: number; readonly register: CpuidRegister; readonly bit: number }

const at = (leaf: number, register: CpuidRegister) => (bit: number): FeatureBit => ({ leaf, register, bit })
const d1 = at(1, 'edx')
const c1 = at(1, 'ecx')
const b7 = at(7, 'ebx')
const d7 = at(7, 'edx')
const c8 = at(0x8000_0001, 'ecx')
const d8 = at(0x8000_0001, 'edx')

export const FEATURE_BITS = {
  fpu: d1(0), vme: d1(1), de: d1(2), pse: d1(3), tsc: d1(4), msr: d1(5), pae: d1(6), mce: d1(7), cx8: d1(8), apic: d1(9),
  sep: d1(11), mtrr: d1(12), pge: d1(13), mca: d1(14), cmov: d1(15), pat: d1(16), pse36: d1(17), clflush: d1(19), mmx: d1(23),
  fxsr: d1(24), sse: d1(25), sse2: d1(26),
  sse3: c1(0), ssse3: c1(9), cx16: c1(13), pcid: c1(17), 'sse4.1': c1(19), 'sse4.2': c1(20), x2apic: c1(21), movbe: c1(22),
  popcnt: c1(23), tscDeadline: c1(24), xsave: c1(26), rdrand: c1(30), hypervisor: c1(31),
  fsgsbase: b7(0), tscAdjust: b7(1), bmi1: b7(3), smep: b7(7), erms: b7(9), invpcid: b7(10), rdseed: b7(18), smap: b7(20),
  clflushopt: b7(23), fsrm: d7(4),
  lahf: c8(0), lzcnt: c8(5), prefetchw: c8(8),
  syscall: d8(11), nx: d8(20), pdpe1gb: d8(26), rdtscp: d8(27), lm: d8(29),
} as const satisfies Record<string, FeatureBit>

export type FeatureName = keyof typeof FEATURE_BITS

/** Bits of EDX leaf 1 that AMD repeats in leaf 0x80000001. */
export const AMD_REPEATED_EDX = 0x0183_f3ff
