/** The engines the instruction tests run on, besides the oracle. Plug a new one in with one line. */
import type { Decode } from '../../src/main/vmm/cpu/decode/types'
import type { IsaEngine } from './engine'

export async function testEngines(decode: Decode): Promise<readonly IsaEngine[]> {
  const engines: (IsaEngine | Promise<IsaEngine>)[] = []
  void decode
  return Promise.all(engines)
}
