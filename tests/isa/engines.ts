/** The engines the instruction tests run on, besides the oracle. Plug a new one in with one line. */
import type { Decode } from '../../src/main/vmm/cpu/decode/types'
import type { IsaEngine } from './engine'
import { createVcpuTestEngine } from './vcpu-engine'

export function testEngines(decode: Decode): readonly IsaEngine[] {
  return [createVcpuTestEngine(decode, 0), createVcpuTestEngine(decode, 1), createVcpuTestEngine(decode, 2)]
}
