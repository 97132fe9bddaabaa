/** CPUID leaves of a profile. Intel SDM vol. 2 (CPUID); AMD APM vol. 3, appendix E; Documentation/virt/kvm/x86/cpuid.rst. */
import type { CpuidResult } from '../core/context'
import type { CpuState } from '../state/access'
import { FEATURE_BITS, type CpuidRegister, type FeatureBit, type FeatureName } from './features'
import type { CpuProfile } from './profiles'

/** What is the machine's, not the model's. */
export interface CpuTopology {
  /** Rate of the time-stamp counter. */
  readonly tscKHz: number
  readonly apicId: number
  readonly cpuCount: number
  /** Rate of the local APIC timer before its divider; default 1 GHz. */
  readonly apicBusKHz?: number
}

const NONE: CpuidResult = { eax: 0, ebx: 0, ecx: 0, edx: 0 }
const MAX_BASIC = 0xd
const MAX_EXTENDED = 0x8000_0021
const HYPERVISOR_BASE = 0x4000_0000
const HYPERVISOR_MAX = 0x4000_0010

const CR4_OSXSAVE = 1 << 18
const ECX_OSXSAVE = 1 << 27
const EDX_HT = 1 << 28
const EXT_ECX_CMP_LEGACY = 2
/** Bits of leaf 1 EDX that AMD repeats in leaf 8000_0001h. */
const AMD_REPEATED = 0x0183_f3ff
const LINE = 64

/** KVM features: clocksource, no port-80 delays, clocksource2, stable clock. */
const KVM_FEATURES = (1 | 2 | 8 | 0x0100_0000) >>> 0

/** XSAVE area: 512 legacy bytes and the 64-byte header; x87 and SSE need no more. */
const XSAVE_BYTES = 576
const XCR0_X87_SSE = 3

const ascii = (text: string, at: number): number => {
  let word = 0
  for (let i = 3; i >= 0; i--) word = (word << 8) | (at + i < text.length ? text.charCodeAt(at + i) : 0)
  return word >>> 0
}

const bitsFor = (count: number): number => Math.ceil(Math.log2(Math.max(count, 1)))

export class CpuidLeaves {
  private readonly bits = new Map<string, number>()

  constructor(private readonly profile: CpuProfile, private readonly topology: CpuTopology, features: Iterable<FeatureName>) {
    for (const name of features) {
      const { leaf, register, bit }: FeatureBit = FEATURE_BITS[name]
      const key = `${leaf}:${register}`
      this.bits.set(key, ((this.bits.get(key) ?? 0) | (1 << bit)) >>> 0)
    }
  }

  private mask(leaf: number, register: CpuidRegister): number {
    return this.bits.get(`${leaf}:${register}`) ?? 0
  }

  private masks(leaf: number): CpuidResult {
    return { eax: this.mask(leaf, 'eax'), ebx: this.mask(leaf, 'ebx'), ecx: this.mask(leaf, 'ecx'), edx: this.mask(leaf, 'edx') }
  }

  /** Leaves beyond the largest give zeros, as on AMD. */
  read(leaf: number, subleaf: number, state: CpuState): CpuidResult {
    if (leaf >= 0x8000_0000) return this.extended(leaf, subleaf)
    if (leaf >= HYPERVISOR_BASE && leaf <= HYPERVISOR_MAX) return this.hypervisor(leaf)
    return this.basic(leaf, subleaf, state)
  }

  private vendor(max: number): CpuidResult {
    const name = 'AuthenticAMD'
    return { eax: max, ebx: ascii(name, 0), edx: ascii(name, 4), ecx: ascii(name, 8) }
  }

  private basic(leaf: number, subleaf: number, state: CpuState): CpuidResult {
    switch (leaf) {
      case 0: return this.vendor(MAX_BASIC)
      case 1: return this.features(state)
      case 6: return this.masks(6)
      case 7: return subleaf === 0 ? this.masks(7) : NONE
      case 0xb: return this.topologyLevels(subleaf)
      case 0xd: return this.xsave(subleaf)
      default: return NONE
    }
  }

  private features(state: CpuState): CpuidResult {
    const { profile, topology } = this
    const osxsave = (state.lo('cr4') & CR4_OSXSAVE) !== 0 ? ECX_OSXSAVE : 0
    return {
      eax: profile.signature,
      ebx: ((topology.apicId << 24) | (topology.cpuCount << 16) | ((LINE / 8) << 8)) >>> 0,
      ecx: (this.mask(1, 'ecx') | osxsave) >>> 0,
      edx: (this.mask(1, 'edx') | (topology.cpuCount > 1 ? EDX_HT : 0)) >>> 0,
    }
  }

  /** One thread a core, all cores in one package. */
  private topologyLevels(level: number): CpuidResult {
    const { apicId, cpuCount } = this.topology
    if (level === 0) return { eax: 0, ebx: 1, ecx: 0x100, edx: apicId }
    if (level === 1) return { eax: bitsFor(cpuCount), ebx: cpuCount, ecx: 0x201, edx: apicId }
    return { eax: 0, ebx: 0, ecx: level & 0xff, edx: apicId }
  }

  private xsave(subleaf: number): CpuidResult {
    if (this.mask(1, 'ecx') >>> 26 & 1 && subleaf === 0) return { eax: XCR0_X87_SSE, ebx: XSAVE_BYTES, ecx: XSAVE_BYTES, edx: 0 }
    return NONE
  }

  private hypervisor(leaf: number): CpuidResult {
    if (leaf === HYPERVISOR_BASE) {
      const name = 'KVMKVMKVM'
      return { eax: HYPERVISOR_MAX, ebx: ascii(name, 0), ecx: ascii(name, 4), edx: ascii(name, 8) }
    }
    if (leaf === HYPERVISOR_BASE + 1) return { ...NONE, eax: KVM_FEATURES }
    if (leaf === HYPERVISOR_MAX) return { ...NONE, eax: this.topology.tscKHz, ebx: this.topology.apicBusKHz ?? 1_000_000 }
    return NONE
  }

  private extended(leaf: number, subleaf: number): CpuidResult {
    switch (leaf) {
      case 0x8000_0000: return this.vendor(MAX_EXTENDED)
      case 0x8000_0001: return this.extendedFeatures()
      case 0x8000_0002: case 0x8000_0003: case 0x8000_0004: return this.brand((leaf & 7) - 2)
      // L1 data 32 KiB 8-way, L1 instruction 64 KiB 4-way; TLB entries as large as they are told.
      case 0x8000_0005: return { eax: 0xff40_ff40, ebx: 0xff40_ff40, ecx: 0x2008_0140, edx: 0x4004_0140 }
      // L2 512 KiB 8-way, L3 8 MiB 16-way.
      case 0x8000_0006: return { eax: 0, ebx: 0x4200_4200, ecx: 0x0200_6140, edx: 0x0040_8140 }
      case 0x8000_0007: return this.masks(leaf)
      case 0x8000_0008: return this.addressSizes()
      case 0x8000_001d: return cacheProperties(subleaf, this.topology.cpuCount)
      case 0x8000_001e: return { eax: this.topology.apicId, ebx: this.topology.apicId, ecx: 0, edx: 0 }
      case 0x8000_0021: return this.masks(leaf)
      default: return NONE
    }
  }

  private extendedFeatures(): CpuidResult {
    const own = this.masks(0x8000_0001)
    const several = this.topology.cpuCount > 1
    return {
      eax: this.profile.signature, ebx: 0,
      ecx: (own.ecx | (several ? EXT_ECX_CMP_LEGACY : 0)) >>> 0,
      edx: (own.edx | (this.mask(1, 'edx') & AMD_REPEATED)) >>> 0,
    }
  }

  private brand(part: number): CpuidResult {
    const { brand } = this.profile
    const at = part * 16
    return { eax: ascii(brand, at), ebx: ascii(brand, at + 4), ecx: ascii(brand, at + 8), edx: ascii(brand, at + 12) }
  }

  private addressSizes(): CpuidResult {
    const { physicalAddressBits, linearAddressBits } = this.profile
    const { cpuCount } = this.topology
    return {
      eax: physicalAddressBits | (linearAddressBits << 8), ebx: this.mask(0x8000_0008, 'ebx'),
      ecx: (cpuCount - 1) | (bitsFor(cpuCount) << 12), edx: 0,
    }
  }
}

/** Type, level, ways, sets of one cache; 8000_001Dh. */
function cacheProperties(index: number, cpuCount: number): CpuidResult {
  const caches = [[1, 1, 8, 64, 1], [2, 1, 4, 256, 1], [3, 2, 8, 1024, 1], [3, 3, 16, 8192, cpuCount]] as const
  const cache = caches[index]
  if (!cache) return NONE
  const [type, level, ways, sets, sharing] = cache
  const selfInitializing = 1 << 8
  return {
    eax: type | (level << 5) | selfInitializing | ((sharing - 1) << 14), ebx: (LINE - 1) | ((ways - 1) << 22), ecx: sets - 1, edx: 0,
  }
}
