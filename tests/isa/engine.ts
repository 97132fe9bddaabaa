/** What the instruction tests compare: anything that runs single instructions over records. */
import type { DecodedInsn } from '../../src/main/vmm/cpu/decode/types'
import type { Form } from '../../src/main/vmm/cpu/isa/types'
import type { CpuMode, IsaRecord, Segments } from './records'

export interface IsaCase {
  readonly mode: CpuMode
  readonly segments?: Segments
  readonly input: IsaRecord
  /** Bytes of the instruction, or of the whole program, in `input.code`. */
  readonly length: number
  /** Several instructions in a row, run until RIP leaves them or one faults; `form` and `insn` are the first's. */
  readonly program?: readonly Form[]
  /** RFLAGS bits nothing can be said about after the program, or at a fault on the way. */
  readonly undefinedFlags?: bigint
  readonly form: Form
  /** What the decoder makes of the bytes; undefined where the case is meant to be refused (#UD). */
  readonly insn: DecodedInsn | undefined
}

/**
 * Runs each case from its own state: one instruction (a REP string instruction to its end) or a program, at CPL 3, with the
 * three pages of `records.ts` mapped and nothing else. The code pages hold INT3 (CC) outside the instruction; the data
 * page is zero outside the window. A fault leaves `vector`, `error` (0 where it has none) and `cr2` (#PF) in the result
 * with RIP at the instruction; otherwise `vector` is NO_VECTOR and RIP where execution goes on, not yet fetched.
 */
export interface IsaEngine {
  readonly name: string
  /** It is slow to prepare, and runs a share of the cases. */
  readonly sampled?: boolean
  run(cases: readonly IsaCase[]): readonly IsaRecord[]
}
