/** Instructions without effect, hints, fences and the defined undefined opcodes. SDM vol. 2. */
import { Vector } from '../core/context'
import { row, type InsnRow, type Meaning } from './types'

const nothing: Meaning = () => undefined
/** A cache line is flushed only if the byte can be read. */
const touch: Meaning = (e) => { e.load(8, e.memOperand(0)) }
const undefinedOpcode: Meaning = (e) => e.raise(Vector.UD)
const hex = (n: number): string => n.toString(16).toUpperCase().padStart(2, '0')

/** 0F 18 – 0F 1F: prefetches, hint NOPs (ENDBR among them) and the multi-byte NOP. */
const hintRows = [0x18, 0x19, 0x1a, 0x1b, 0x1c, 0x1d, 0x1e, 0x1f]
  .map((opcode) => row(opcode === 0x18 ? 'PREFETCH' : 'NOP', `0F ${hex(opcode)} /r`, 'Ev,Gv', 'n,n', nothing))

export const miscRows: readonly InsnRow[] = [
  row('PAUSE', 'F3 90', '', '', nothing),
  row('NOP', '90', '', '', nothing),
  ...hintRows,
  row('PREFETCHW', '0F 0D /r mod=m', 'Ev,Gv', 'n,n', nothing),
  row('LFENCE', 'NP 0F AE /5 mod=3', 'Rd', 'n', nothing, { cpuid: 'sse2' }),
  row('MFENCE', 'NP 0F AE /6 mod=3', 'Rd', 'n', nothing, { cpuid: 'sse2' }),
  row('SFENCE', 'NP 0F AE /7 mod=3', 'Rd', 'n', nothing, { cpuid: 'sse' }),
  row('CLFLUSH', 'NP 0F AE /7 mod=m', 'M', 'n', touch, { cpuid: 'clflush' }),
  row('CLFLUSHOPT', '66 0F AE /7 mod=m', 'M', 'n', touch, { cpuid: 'clflushopt' }),
  row('UD2', '0F 0B', '', '', undefinedOpcode),
  row('UD1', '0F B9 /r', 'Gv,Ev', 'n,n', undefinedOpcode),
  row('UD0', '0F FF /r', 'Gv,Ev', 'n,n', undefinedOpcode),
  // There is no system-management mode to come back from.
  row('RSM', '0F AA', '', '', undefinedOpcode),
]
