/** The CPU models: what CPUID tells, which instructions exist, which control bits a guest may set. All from one list of features. */
import { VmmError } from '../../errors'
import type { CpuModel } from '../core/context'
import type { FeatureName } from './features'
import { CpuidLeaves, type CpuTopology } from './leaves'
import { CPU_PROFILES } from './profiles'

export type { CpuTopology } from './leaves'
export { CPU_PROFILES, type CpuProfile } from './profiles'

/** CR4 bits by the feature that brings them. TSD and PCE are always there. */
const CR4_BITS: readonly (readonly [FeatureName | undefined, number])[] = [
  ['vme', 0], ['vme', 1], [undefined, 2], ['de', 3], ['pse', 4], ['pae', 5], ['mce', 6], ['pge', 7], [undefined, 8], ['fxsr', 9],
  ['sse', 10], ['umip', 11],
  ['fsgsbase', 16], ['pcid', 17], ['xsave', 18], ['smep', 20], ['smap', 21],
]

/** EFER: SCE, LME, NXE, AutoIBRS (nothing speculates here: the bit is kept and does nothing). */
const EFER_BITS: readonly (readonly [FeatureName, number])[] = [['syscall', 0], ['lm', 8], ['nx', 11], ['auto-ibrs', 21]]

const XCR0_X87_SSE = 3n

function maskOf(bits: readonly (readonly [FeatureName | undefined, number])[], has: (name: FeatureName) => boolean): bigint {
  return bits.reduce((mask, [name, bit]) => (name === undefined || has(name) ? mask | (1n << BigInt(bit)) : mask), 0n)
}

/** @throws VmmError `bad-config` for a profile that does not exist */
export function createCpuModel(profileName: string, topology: CpuTopology): CpuModel {
  const profile = CPU_PROFILES.find(({ name }) => name === profileName)
  if (!profile) {
    throw new VmmError('bad-config', `CPU model '${profileName}' does not exist`, { known: CPU_PROFILES.map(({ name }) => name) })
  }
  const features: ReadonlySet<string> = new Set(profile.features)
  const leaves = new CpuidLeaves(profile, topology, profile.features)
  const has = (name: string): boolean => features.has(name)
  return {
    cpuid: (leaf, subleaf, state) => leaves.read(leaf >>> 0, subleaf >>> 0, state),
    has,
    cr4Allowed: maskOf(CR4_BITS, has),
    eferAllowed: maskOf(EFER_BITS, has),
    xcr0Allowed: has('xsave') ? XCR0_X87_SSE : 0n,
    physicalAddressBits: profile.physicalAddressBits,
  }
}
