/** CPU models: what a guest is promised. Only implemented features may be listed. */
import type { FeatureName } from './features'

export interface CpuProfile {
  readonly name: string
  readonly description: string
  /** Twelve characters. */
  readonly vendor: string
  /** Leaf 1 EAX: family, model, stepping. */
  readonly signature: number
  /** At most 47 characters. */
  readonly brand: string
  readonly physicalAddressBits: number
  readonly features: readonly FeatureName[]
}

const BASE32: readonly FeatureName[] = [
  'fpu', 'de', 'pse', 'tsc', 'msr', 'pae', 'mce', 'cx8', 'apic', 'sep', 'mtrr', 'pge', 'mca', 'cmov', 'pat', 'pse36', 'clflush',
  'mmx', 'fxsr', 'sse', 'sse2', 'sse3', 'ssse3', 'x2apic', 'movbe', 'popcnt', 'tscDeadline', 'rdrand', 'hypervisor',
  'smep', 'erms', 'rdseed', 'smap', 'fsrm', 'tscAdjust', 'nx', 'rdtscp', 'prefetchw',
]
const LONG_MODE: readonly FeatureName[] = ['lm', 'syscall', 'lahf', 'cx16', 'pdpe1gb', 'fsgsbase', 'pcid', 'invpcid']

// The vendor is AMD: Linux knows these processors free of Meltdown, so it runs without page table isolation, and no
// CR3 write is made at each system call.
const AMD_FAMILY_17 = 0x0080_0f12

export const CPU_PROFILES: readonly CpuProfile[] = [
  {
    name: 'nestbox64', description: '64-bit, x86-64-v2 without what is still to come', vendor: 'AuthenticAMD', signature: AMD_FAMILY_17,
    brand: 'Nestbox virtual CPU (64-bit)', physicalAddressBits: 40, features: [...BASE32, ...LONG_MODE],
  },
  {
    name: 'nestbox32', description: '32-bit with PAE and NX', vendor: 'AuthenticAMD', signature: AMD_FAMILY_17,
    brand: 'Nestbox virtual CPU (32-bit)', physicalAddressBits: 36, features: BASE32,
  },
]
