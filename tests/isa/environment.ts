/** A CPU's outside for single-instruction tests: nothing answers, every feature is there. */
import type { CpuModel, CpuPlatform } from '../../src/main/vmm/cpu/core/context'

export const silentPlatform: CpuPlatform = {
  portIn: () => 0xffff_ffff, portOut: () => {}, readTsc: () => 0n, readTscInto: (view, low, high) => {
    view.setUint32(low, 0)
    view.setUint32(high, 0)
  },
  writeTsc: () => {}, readMsr: () => undefined, writeMsr: () => false,
  readTpr: () => 0, writeTpr: () => {}, random64: () => 0n,
}

export const fullModel: CpuModel = {
  cpuid: () => ({ eax: 0, ebx: 0, ecx: 0, edx: 0 }), has: () => true,
  cr4Allowed: ~0n, eferAllowed: ~0n, xcr0Allowed: 7n, physicalAddressBits: 48,
}
