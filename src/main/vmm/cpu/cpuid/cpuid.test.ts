import { describe, expect, it } from 'vitest'
import { isaRows } from '../isa'
import { CpuState } from '../state/access'
import { STATE_SIZE } from '../state/layout'
import { CPU_PROFILES, createCpuModel } from './index'

const state = new CpuState(new ArrayBuffer(STATE_SIZE), 0)
const topology = { tscKHz: 1_000_000, apicId: 0, cpuCount: 1 }
const text = (...words: number[]): string => words.flatMap((w) => [w & 255, (w >> 8) & 255, (w >> 16) & 255, w >>> 24])
  .map((c) => (c === 0 ? '' : String.fromCharCode(c))).join('')

describe('nestbox64', () => {
  const model = createCpuModel('nestbox64', topology)
  it('tells vendor, hypervisor and brand', () => {
    const vendor = model.cpuid(0, 0, state)
    expect(text(vendor.ebx, vendor.edx, vendor.ecx)).toBe('AuthenticAMD')
    const kvm = model.cpuid(0x4000_0000, 0, state)
    expect(text(kvm.ebx, kvm.ecx, kvm.edx)).toBe('KVMKVMKVM')
    expect(kvm.eax).toBe(0x4000_0010)
    expect(model.cpuid(0x4000_0001, 0, state).eax & (1 << 24 | 8)).toBe(1 << 24 | 8)
    expect(model.cpuid(0x4000_0010, 0, state).eax).toBe(1_000_000)
    const brand = [2, 3, 4].map((i) => model.cpuid(0x8000_0000 + i, 0, state)).map((r) => text(r.eax, r.ebx, r.ecx, r.edx)).join('')
    expect(brand).toBe('Nestbox Virtual CPU')
  })

  it('announces what has() says, and neither AVX nor AES', () => {
    const { ecx, edx } = model.cpuid(1, 0, state)
    const bits = { sse3: 0, ssse3: 9, cx16: 13, 'sse4.1': 19, 'sse4.2': 20, movbe: 22, popcnt: 23, xsave: 26, rdrand: 30, hypervisor: 31 }
    for (const [name, bit] of Object.entries(bits)) expect((ecx >>> bit) & 1, name).toBe(model.has(name) ? 1 : 0)
    expect(['sse3', 'ssse3', 'cx16', 'popcnt'].every((name) => model.has(name))).toBe(true)
    expect(ecx & ((1 << 28) | (1 << 25) | (1 << 12) | (1 << 3))).toBe(0)
    expect(edx & 0x0700_8101).toBe(0x0700_8101)
    const extended = model.cpuid(0x8000_0001, 0, state)
    expect(extended.edx >>> 29 & 1).toBe(1)
    expect(extended.ecx & 1).toBe(1)
    expect(model.cpuid(0x8000_0007, 0, state).edx & 0x100).toBe(0x100)
    expect(model.cpuid(0x8000_0008, 0, state).eax).toBe(40 | (48 << 8))
  })

  it('shows OSXSAVE as CR4 has it', () => {
    state.set64('cr4', 1n << 18n)
    expect(model.cpuid(1, 0, state).ecx & (1 << 27)).not.toBe(0)
    state.set64('cr4', 0n)
    expect(model.cpuid(1, 0, state).ecx & (1 << 27)).toBe(0)
  })

  it('allows exactly the control bits of its features', () => {
    expect(model.cr4Allowed & ((1n << 16n) | (1n << 20n) | (1n << 21n))).toBe((1n << 16n) | (1n << 20n) | (1n << 21n))
    expect(model.cr4Allowed & (1n << 13n)).toBe(0n)
    expect(model.eferAllowed & 0xd01n).toBe(0x901n)
    expect(model.xcr0Allowed).toBe(model.has('xsave') ? 3n : 0n)
  })
})

describe('nestbox32', () => {
  it('has no long mode and nothing that needs it', () => {
    const model = createCpuModel('nestbox32', topology)
    expect(model.cpuid(0x8000_0001, 0, state).edx >>> 29 & 1).toBe(0)
    expect([model.has('lm'), model.has('syscall'), model.has('cx16'), model.has('pae')]).toEqual([false, false, false, true])
    expect(model.eferAllowed & 0x101n).toBe(0n)
    expect(model.cr4Allowed & (1n << 17n)).toBe(0n)
  })
})

it('several processors are numbered', () => {
  const model = createCpuModel('nestbox64', { tscKHz: 1, apicId: 3, cpuCount: 6 })
  expect(model.cpuid(1, 0, state).ebx >>> 24).toBe(3)
  expect(model.cpuid(0xb, 1, state)).toEqual({ eax: 3, ebx: 6, ecx: 0x201, edx: 3 })
  expect(model.cpuid(0x8000_001e, 0, state).eax).toBe(3)
})

it('an unknown model is refused by name', () => {
  expect(() => createCpuModel('pentium', topology)).toThrow(/'pentium' does not exist/)
})

/** Features that are gates of rows: each must have at least one. */
const GATES = ['clflush', 'clflushopt', 'cx16', 'fsgsbase', 'invpcid', 'lzcnt', 'mmx', 'movbe', 'popcnt', 'rdpid', 'rdrand', 'rdseed', 'rdtscp',
  'sep', 'smap', 'sse', 'sse2', 'sse3', 'sse4.1', 'sse4.2', 'ssse3', 'syscall', 'xsave']

it('every announced instruction set extension has instructions', () => {
  const present = new Set(isaRows.map(({ cpuid }) => cpuid))
  for (const profile of CPU_PROFILES) {
    const missing = profile.features.filter((name) => GATES.includes(name) && !present.has(name))
    expect(missing, profile.name).toEqual([])
  }
})
