/** Instruction and port breakpoints of the debug registers. SDM vol. 3, 18.2 and 18.3.1.1. */
import type { CpuState } from '../state/access'

const FLAG_RF = 0x1_0000
const ENABLE_BITS = 0xff

/**
 * Breakpoint conditions that hold for the instruction about to be executed, as DR6 bits 3:0; 0 if none is enabled for it.
 * RFLAGS.RF suppresses them; whoever runs the instruction clears it when the instruction is over (`endResume`).
 * @param linear linear address of the instruction
 */
export function instructionBreakpoints(state: CpuState, linear: bigint): number {
  const dr7 = state.lo('dr', 7)
  if ((dr7 & ENABLE_BITS) === 0) return 0
  if ((state.lo('rflags') & FLAG_RF) !== 0) return 0
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

const PREFIXES: ReadonlySet<number> = new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3])
const STRINGS: ReadonlySet<number> = new Set([0x6c, 0x6d, 0x6e, 0x6f, 0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf])

/** INS, OUTS, MOVS, CMPS, STOS, LODS or SCAS with a repeat prefix: the only instructions left in the middle of their work. */
export function isRepeatedString(code: Uint8Array, is64: boolean): boolean {
  let at = 0
  let repeats = false
  for (; at < code.length && (PREFIXES.has(code[at]) || (is64 && (code[at] & 0xf0) === 0x40)); at++) {
    if (code[at] >= 0xf2) repeats = true
  }
  return repeats && at < code.length && STRINGS.has(code[at])
}

const CR4_DE = 1 << 3
const PORTS = 2

/** Notes breakpoints on these ports: a #DB trap follows the instruction. They exist with CR4.DE only. */
export function notePortBreakpoints(state: CpuState, port: number, size: number): void {
  const dr7 = state.lo('dr', 7)
  if ((dr7 & ENABLE_BITS) === 0 || (state.lo('cr4') & CR4_DE) === 0) return
  for (let i = 0; i < 4; i++) {
    const enabled = ((dr7 >>> (i * 2)) & 3) !== 0
    if (!enabled || ((dr7 >>> (16 + i * 4)) & 3) !== PORTS) continue
    const length = PORT_LENGTHS[(dr7 >>> (18 + i * 4)) & 3]
    const first = (state.lo('dr', i) & ~(length - 1)) >>> 0
    if (first < port + size && port < first + length) state.set('pendingDebug', state.get('pendingDebug') | (1 << i))
  }
}

/** By LEN field; 8 does not exist for ports. */
const PORT_LENGTHS = [1, 2, 1, 4]
