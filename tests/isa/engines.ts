/** The engines the instruction tests run on, besides the oracle. Plug a new one in with one line. */
import type { Decode } from '../../src/main/vmm/cpu/decode/types'
import type { IsaEngine } from './engine'
import { createTier0TestEngine } from './tier0-engine'

export function testEngines(decode: Decode): readonly IsaEngine[] {
  return [createTier0TestEngine(decode)]
}
