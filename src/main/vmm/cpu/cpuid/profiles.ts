/** CPU models a machine can have. Only what the core implements is listed: a feature here is a promise. */
import type { FeatureName } from './features'

export interface CpuProfile {
  readonly name: string
  readonly features: readonly FeatureName[]
  /** CPUID leaf 1 EAX: family, model, stepping. */
  readonly signature: number
  readonly brand: string
  readonly physicalAddressBits: number
  readonly linearAddressBits: number
}

/**
 * AMD family 1Ah. The vendor keeps Linux from page-table isolation; the family is behind those that need return thunks
 * against Retbleed, which would make every RET of the guest's kernel an indirect jump.
 */
export const SIGNATURE = 0x00b0_0f21
const BRAND = 'Nestbox Virtual CPU'

const COMMON: readonly FeatureName[] = [
  'x87', 'vme', 'de', 'pse', 'tsc', 'msr', 'pae', 'mce', 'cx8', 'apic', 'sep', 'mtrr', 'pge', 'mca', 'cmov', 'pat', 'pse36', 'clflush', 'mmx', 'fxsr',
  'sse', 'sse2', 'sse3', 'ssse3', 'sse4.1', 'sse4.2', 'popcnt', 'movbe', 'lzcnt', 'prefetchw', 'xsave',
  'x2apic', 'tsc-deadline', 'arat', 'invariant-tsc', 'tsc-adjust', 'rdtscp', 'rdpid', 'rdrand', 'rdseed', 'hypervisor',
  'umip', 'smep', 'smap', 'erms', 'clflushopt', 'nx', 'xsaveerptr', 'ssb-no', 'lfence-serializing', 'null-sel-clears-base', 'auto-ibrs', 'topoext',
]

const LONG_MODE: readonly FeatureName[] = ['lm', 'syscall', 'lahf', 'cx16', 'pdpe1gb', 'pcid', 'invpcid', 'fsgsbase']

/** x86-64-v2 without AVX and AES: what is not fast is not offered. */
export const nestbox64: CpuProfile = {
  name: 'nestbox64', features: [...COMMON, ...LONG_MODE], signature: SIGNATURE, brand: BRAND, physicalAddressBits: 40, linearAddressBits: 48,
}

/** The same without long mode. */
export const nestbox32: CpuProfile = {
  name: 'nestbox32', features: COMMON, signature: SIGNATURE, brand: `${BRAND} (32-bit)`, physicalAddressBits: 36, linearAddressBits: 32,
}

export const CPU_PROFILES: readonly CpuProfile[] = [nestbox64, nestbox32]
