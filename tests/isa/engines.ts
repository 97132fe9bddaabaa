/** The engines the instruction tests run on, besides the oracle. Plug a new one in with one line. */
import type { IsaEngine } from './engine'
import { createVcpuTestEngine } from './vcpu-engine'

export function testEngines(): readonly IsaEngine[] {
  return [createVcpuTestEngine(0), createVcpuTestEngine(0, true), createVcpuTestEngine(1), createVcpuTestEngine(2)]
}
