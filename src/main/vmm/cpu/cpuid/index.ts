/** CPUID leaves of a model, computed from its feature list. */
import { VmmError } from '../../errors'
import type { CpuModel, CpuidResult } from '../core/context'
import type { CpuState } from '../state/access'
import { AMD_REPEATED_EDX, FEATURE_BITS, type CpuidRegister, type FeatureName } from './features'
import { CPU_PROFILES, type CpuProfile } from './profiles'

export interface CpuModelOptions { readonly tscKHz: number; readonly apicId: number; readonly cpuCount: number }

const EMPTY: CpuidResult = { eax: 0, ebx: 0, ecx: 0, edx: 0 }
const MAX_BASIC = 0x16
const MAX_EXTENDED = 0x8000_0008
const MAX_HYPERVISOR = 0x4000_0010
const CR4_OSXSAVE = 1 << 18
const OSXSAVE_BIT = 1 << 27

/** Four ASCII characters as a little-endian word. */
const word = (text: string, at: number): number =>
  ([0, 1, 2, 3].reduce((sum, i) => sum | ((text.charCodeAt(at + i) || 0) << (8 * i)), 0)) >>> 0

class ProfileModel implements CpuModel {
  private readonly names: ReadonlySet<string>
  readonly cr4Allowed: bigint
  readonly eferAllowed: bigint
  readonly xcr0Allowed = 3n
  readonly physicalAddressBits: number

  constructor(private readonly profile: CpuProfile, private readonly options: CpuModelOptions) {
    this.names = new Set<string>([...profile.features, 'x87'])
    this.physicalAddressBits = profile.physicalAddressBits
    this.cr4Allowed = this.allowedCr4()
    this.eferAllowed = (this.has('syscall') ? 1n : 0n) | (this.has('lm') ? 0x500n : 0n) | (this.has('nx') ? 0x800n : 0n)
  }

  has(feature: string): boolean {
    return this.names.has(feature)
  }

  private allowedCr4(): bigint {
    // TSD, MCE, PCE and PVI need no feature; VME is not offered.
    let bits = 0x0000_0144n
    const add = (feature: FeatureName, bit: number): void => {
      if (this.has(feature)) bits |= 1n << BigInt(bit)
    }
    const gated: readonly [FeatureName, number][] = [
      ['de', 3], ['pse', 4], ['pae', 5], ['pge', 7], ['fxsr', 9], ['sse', 10], ['fsgsbase', 16], ['pcid', 17], ['xsave', 18],
      ['smep', 20], ['smap', 21],
    ]
    for (const [feature, bit] of gated) add(feature, bit)
    return bits
  }

  private featureWord(leaf: number, register: CpuidRegister): number {
    let value = 0
    for (const name of this.profile.features) {
      const bit = FEATURE_BITS[name]
      if (bit.leaf === leaf && bit.register === register) value |= 1 << bit.bit
    }
    return value >>> 0
  }

  cpuid(leaf: number, subleaf: number, state: CpuState): CpuidResult {
    if (leaf >= 0x8000_0000) return this.extended(leaf)
    if (leaf >= 0x4000_0000 && leaf <= 0x4fff_ffff) return this.hypervisor(leaf)
    return this.basic(leaf, subleaf, state)
  }

  private basic(leaf: number, subleaf: number, state: CpuState): CpuidResult {
    const { vendor, signature } = this.profile
    const { apicId, cpuCount, tscKHz } = this.options
    switch (leaf) {
      case 0: return { eax: MAX_BASIC, ebx: word(vendor, 0), edx: word(vendor, 4), ecx: word(vendor, 8) }
      case 1: {
        const osxsave = (state.lo('cr4') & CR4_OSXSAVE) !== 0 ? OSXSAVE_BIT : 0
        const ebx = ((apicId << 24) | (cpuCount << 16) | (8 << 8)) >>> 0
        return { eax: signature, ebx, ecx: (this.featureWord(1, 'ecx') | osxsave) >>> 0, edx: this.featureWord(1, 'edx') }
      }
      case 7: return subleaf === 0 ? { eax: 0, ebx: this.featureWord(7, 'ebx'), ecx: 0, edx: this.featureWord(7, 'edx') } : EMPTY
      case 0xb: return this.topology(subleaf)
      case 0xd: return this.has('xsave') ? xsaveLeaf(subleaf) : EMPTY
      // TSC frequency as crystal (1 MHz) times ratio.
      case 0x15: return { eax: 1000, ebx: tscKHz, ecx: 1_000_000, edx: 0 }
      case 0x16: return { eax: Math.floor(tscKHz / 1000), ebx: Math.floor(tscKHz / 1000), ecx: 100, edx: 0 }
      default: return EMPTY
    }
  }

  private topology(subleaf: number): CpuidResult {
    const { apicId, cpuCount } = this.options
    if (subleaf === 0) return { eax: 0, ebx: 1, ecx: 0x100, edx: apicId }
    const bits = Math.ceil(Math.log2(cpuCount))
    return subleaf === 1 ? { eax: bits, ebx: cpuCount, ecx: 0x201, edx: apicId } : { ...EMPTY, ecx: subleaf, edx: apicId }
  }

  /** KVM's leaves: guests then know the paravirtual clock and skip slow calibration. */
  private hypervisor(leaf: number): CpuidResult {
    const signature = 'KVMKVMKVM\0\0\0'
    switch (leaf) {
      case 0x4000_0000: return { eax: MAX_HYPERVISOR, ebx: word(signature, 0), ecx: word(signature, 4), edx: word(signature, 8) }
      // CLOCKSOURCE2 (bit 3), CLOCKSOURCE_STABLE (bit 24).
      case 0x4000_0001: return { ...EMPTY, eax: (1 << 3) | (1 << 24) }
      case 0x4000_0010: return { ...EMPTY, eax: this.options.tscKHz, ebx: 1_000_000 }
      default: return EMPTY
    }
  }

  private extended(leaf: number): CpuidResult {
    const { vendor, brand, signature, physicalAddressBits } = this.profile
    switch (leaf) {
      case 0x8000_0000: return { eax: MAX_EXTENDED, ebx: word(vendor, 0), edx: word(vendor, 4), ecx: word(vendor, 8) }
      case 0x8000_0001: return {
        eax: signature, ebx: 0, ecx: this.featureWord(leaf, 'ecx'),
        edx: (this.featureWord(leaf, 'edx') | (this.featureWord(1, 'edx') & AMD_REPEATED_EDX)) >>> 0,
      }
      case 0x8000_0002: case 0x8000_0003: case 0x8000_0004: {
        const at = (leaf - 0x8000_0002) * 16
        return { eax: word(brand, at), ebx: word(brand, at + 4), ecx: word(brand, at + 8), edx: word(brand, at + 12) }
      }
      case 0x8000_0005: return { eax: 0, ebx: 0, ecx: (32 << 24 | 8 << 16 | 1 << 8 | 64) >>> 0, edx: (32 << 24 | 8 << 16 | 1 << 8 | 64) >>> 0 }
      case 0x8000_0006: return { eax: 0, ebx: 0, ecx: (512 << 16 | 6 << 12 | 1 << 8 | 64) >>> 0, edx: 0 }
      // Invariant TSC.
      case 0x8000_0007: return { ...EMPTY, edx: 1 << 8 }
      case 0x8000_0008: return { ...EMPTY, eax: physicalAddressBits | ((this.has('lm') ? 48 : 32) << 8) }
      default: return EMPTY
    }
  }
}

/** XSAVE area: legacy region and header only (x87 and SSE). */
function xsaveLeaf(subleaf: number): CpuidResult {
  return subleaf === 0 ? { eax: 3, ebx: 576, ecx: 576, edx: 0 } : EMPTY
}

/** @throws VmmError `bad-config` for a name that is not in CPU_PROFILES */
export function createCpuModel(name: string, options: CpuModelOptions): CpuModel {
  const profile = CPU_PROFILES.find((p) => p.name === name)
  if (!profile) {
    throw new VmmError('bad-config', `there is no CPU profile '${name}'; known: ${CPU_PROFILES.map((p) => p.name).join(', ')}`)
  }
  return new ProfileModel(profile, options)
}
