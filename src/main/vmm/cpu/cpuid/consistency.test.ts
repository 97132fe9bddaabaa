/** What different leaves tell of the same thing must be the same. AMD APM vol. 3, appendix E; Intel SDM vol. 2, CPUID. */
import { describe, expect, it } from 'vitest'
import { CpuState } from '../state/access'
import { STATE_SIZE } from '../state/layout'
import { FEATURE_BITS, type FeatureName } from './features'
import { CPU_PROFILES, createCpuModel } from './index'

const state = new CpuState(new ArrayBuffer(STATE_SIZE), 0)
const ASSOCIATIVITY: Readonly<Record<number, number>> = { 6: 8, 8: 16 }

describe.each(CPU_PROFILES.flatMap(({ name }) => [1, 4].map((cpuCount) => ({ name, cpuCount }))))('$name, $cpuCount processors', ({ name, cpuCount }) => {
  const apicId = cpuCount - 1
  const model = createCpuModel(name, { tscKHz: 1_000_000, apicId, cpuCount })
  const leaf = (number: number, subleaf = 0): ReturnType<typeof model.cpuid> => model.cpuid(number, subleaf, state)

  it('announces every feature it has, and no other of those known', () => {
    for (const [feature, bit] of Object.entries(FEATURE_BITS) as [FeatureName, { leaf: number; register: 'eax' | 'ebx' | 'ecx' | 'edx'; bit: number }][]) {
      expect((leaf(bit.leaf)[bit.register] >>> bit.bit) & 1, feature).toBe(model.has(feature) ? 1 : 0)
    }
  })

  it('keeps within the largest leaves it tells', () => {
    const used = Object.values(FEATURE_BITS).map((bit) => bit.leaf)
    expect(Math.max(...used.filter((n) => n < 0x8000_0000))).toBeLessThanOrEqual(leaf(0).eax)
    expect(Math.max(...used)).toBeLessThanOrEqual(leaf(0x8000_0000).eax)
    expect(leaf(leaf(0).eax + 1)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 })
    expect(leaf(leaf(0x8000_0000).eax + 1)).toEqual({ eax: 0, ebx: 0, ecx: 0, edx: 0 })
    expect({ ...leaf(0x8000_0000), eax: 0 }).toEqual({ ...leaf(0), eax: 0 })
  })

  it('repeats the common features and the signature', () => {
    const repeated = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15, 16, 17, 23, 24].reduce((mask, bit) => mask | (1 << bit), 0)
    expect(leaf(0x8000_0001).edx & repeated).toBe(leaf(1).edx & repeated)
    expect(leaf(0x8000_0001).eax).toBe(leaf(1).eax)
  })

  it('tells one APIC ID and one number of processors', () => {
    const ids = [leaf(1).ebx >>> 24, leaf(0xb, 0).edx, leaf(0xb, 1).edx, leaf(0x8000_001e).eax]
    expect(new Set(ids)).toEqual(new Set([apicId]))
    const counts = [(leaf(1).ebx >>> 16) & 0xff, leaf(0xb, 1).ebx & 0xffff, (leaf(0x8000_0008).ecx & 0xff) + 1, ((leaf(0x8000_001d, 3).eax >>> 14) & 0xfff) + 1]
    expect(new Set(counts)).toEqual(new Set([cpuCount]))
    expect(2 ** (leaf(0xb, 1).eax & 31)).toBeGreaterThanOrEqual(cpuCount)
    expect(2 ** ((leaf(0x8000_0008).ecx >>> 12) & 15)).toBeGreaterThanOrEqual(cpuCount)
  })

  it('tells one size of every cache', () => {
    const cache = (index: number): { kib: number; ways: number; line: number } => {
      const { ebx, ecx } = leaf(0x8000_001d, index)
      const ways = ((ebx >>> 22) & 0x3ff) + 1
      const line = (ebx & 0xfff) + 1
      return { kib: (ways * line * (ecx + 1)) / 1024, ways, line }
    }
    const first = (word: number): ReturnType<typeof cache> => ({ kib: word >>> 24, ways: (word >>> 16) & 0xff, line: word & 0xff })
    expect(cache(0)).toEqual(first(leaf(0x8000_0005).ecx))
    expect(cache(1)).toEqual(first(leaf(0x8000_0005).edx))
    const { ecx: l2, edx: l3 } = leaf(0x8000_0006)
    expect(cache(2)).toEqual({ kib: l2 >>> 16, ways: ASSOCIATIVITY[(l2 >>> 12) & 15], line: l2 & 0xff })
    expect(cache(3)).toEqual({ kib: (l3 >>> 18) * 512, ways: ASSOCIATIVITY[(l3 >>> 12) & 15], line: l3 & 0xff })
    expect(((leaf(1).ebx >>> 8) & 0xff) * 8).toBe(cache(0).line)
  })

  it('tells what control registers take', () => {
    expect(BigInt(leaf(0xd).eax) | (BigInt(leaf(0xd).edx) << 32n)).toBe(model.xcr0Allowed)
    expect(leaf(0x8000_0008).eax & 0xff).toBe(model.physicalAddressBits)
    const bits = [['vme', 0], ['vme', 1], ['de', 3], ['pse', 4], ['pae', 5], ['mce', 6], ['pge', 7], ['umip', 11], ['fsgsbase', 16], ['pcid', 17], ['smep', 20], ['smap', 21]] as const
    for (const [feature, bit] of bits) expect((model.cr4Allowed >> BigInt(bit)) & 1n, feature).toBe(model.has(feature) ? 1n : 0n)
  })
})
