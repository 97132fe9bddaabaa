/** What the instruction tests compare: anything that runs single instructions over records. */
import type { DecodedInsn } from '../../src/main/vmm/cpu/decode/types'
import type { Form } from '../../src/main/vmm/cpu/isa/types'
import type { CpuMode, IsaRecord } from './records'

export interface IsaCase {
  readonly mode: CpuMode
  readonly input: IsaRecord
  /** Bytes of the instruction in `input.code`. */
  readonly length: number
  readonly form: Form
  /** What the decoder makes of the bytes; undefined where the case is meant to be refused (#UD). */
  readonly insn: DecodedInsn | undefined
}

/**
 * Runs each case from its own state: exactly one instruction (a REP string instruction to its end), at CPL 3, with the
 * three pages of `records.ts` mapped and nothing else. The code pages hold INT3 (CC) outside the instruction; the data
 * page is zero outside the window. A fault leaves `vector`, `error` (0 where it has none) and `cr2` (#PF) in the result
 * with RIP at the instruction; otherwise `vector` is NO_VECTOR and RIP where execution goes on, not yet fetched.
 */
export interface IsaEngine {
  readonly name: string
  run(cases: readonly IsaCase[]): readonly IsaRecord[]
}
