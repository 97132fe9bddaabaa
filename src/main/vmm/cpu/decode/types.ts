/** The decoder's result: one instruction, its row and form, and its operands resolved to registers, memory or constants. */
import type { Form, InsnRow } from '../isa/types'

/** Parts of a memory operand. Register numbers in encoding order; -1 = none. */
export interface MemoryOperand {
  readonly kind: 'mem'
  /** Bytes accessed; 0 where only the address matters. */
  readonly bytes: number
  /** Segment used (override applied), Seg index. */
  readonly segment: number
  readonly base: number
  readonly index: number
  /** log2 of the scale: 0 … 3. */
  readonly scale: number
  /** Sign-extended displacement; 64-bit moffs may use all 64 bits. */
  readonly displacement: bigint
  readonly ripRelative: boolean
  /** 16, 32 or 64: the sum wraps to this size. */
  readonly addressSize: 16 | 32 | 64
}

export type DecodedOperand =
  /** General register; `high8` = AH, CH, DH, BH (then `index` is 0 … 3). */
  | { readonly kind: 'gpr'; readonly index: number; readonly width: 8 | 16 | 32 | 64; readonly high8: boolean }
  | MemoryOperand
  /** Immediate, already extended to `width` and masked to it. */
  | { readonly kind: 'imm'; readonly value: bigint; readonly width: 8 | 16 | 32 | 64 }
  /** Branch displacement, sign-extended. */
  | { readonly kind: 'rel'; readonly displacement: bigint }
  | { readonly kind: 'far'; readonly selector: number; readonly offset: bigint }
  | { readonly kind: 'xmm' | 'mmx' | 'segment' | 'control' | 'debug'; readonly index: number }

export interface DecodedInsn {
  readonly row: InsnRow
  /** Position of the row in `isaRows`. */
  readonly rowIndex: number
  readonly form: Form
  /** Bytes, 1 … 15. */
  readonly length: number
  readonly operands: readonly DecodedOperand[]
  readonly lock: boolean
  /** Segment of DS-by-default implicit operands (string sources, XLAT): override or DS. */
  readonly dataSegment: number
}

/** Why bytes are not an instruction. */
export type DecodeFailure =
  /** No row: #UD. `name` identifies the opcode for the log, e.g. `0F 3A CC`. */
  | { readonly kind: 'undefined'; readonly name: string }
  /** More than 15 bytes: #GP(0). */
  | { readonly kind: 'too-long' }
  /** Ran out of bytes: the instruction goes on past what was given. */
  | { readonly kind: 'truncated' }
  /** LOCK where it is not allowed: #UD. */
  | { readonly kind: 'bad-lock' }

export type DecodeResult = { readonly ok: true; readonly insn: DecodedInsn } | ({ readonly ok: false } & DecodeFailure)

/**
 * Decodes one instruction at `bytes[at]`, looking at no more than `limit` bytes.
 * @param modeKey see `cpu/state/mode.ts`; CODE32, CODE64, PROTECTED and V86 matter here
 * @param hasFeature rows whose `cpuid` feature is absent do not exist
 */
export type Decode = (bytes: Uint8Array, at: number, limit: number, modeKey: number) => DecodeResult
