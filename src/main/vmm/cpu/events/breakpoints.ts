/** Instruction breakpoints of the debug registers. SDM vol. 3, 18.2 and 18.3.1.1. */
import type { CpuState } from '../state/access'

const FLAG_RF = 0x1_0000
const ENABLE_BITS = 0xff

/**
 * Breakpoint conditions that hold for the instruction about to be executed, as DR6 bits 3:0; 0 if none is enabled for it.
 * RFLAGS.RF suppresses them for one instruction: it is cleared here, so that the next one is looked at again.
 * @param linear linear address of the instruction
 */
export function instructionBreakpoints(state: CpuState, linear: bigint): number {
  const dr7 = state.lo('dr', 7)
  if ((dr7 & ENABLE_BITS) === 0) return 0
  const rflags = state.lo('rflags')
  if ((rflags & FLAG_RF) !== 0) {
    state.setLoHi('rflags', rflags & ~FLAG_RF, 0)
    return 0
  }
  let hits = 0
  let enabled = false
  for (let i = 0; i < 4; i++) {
    // R/W field 0 is execution; its LEN must be 0 (one byte).
    if (((dr7 >>> (16 + i * 4)) & 0xf) !== 0 || state.get64('dr', i) !== linear) continue
    hits |= 1 << i
    if (((dr7 >>> (i * 2)) & 3) !== 0) enabled = true
  }
  return enabled ? hits : 0
}
