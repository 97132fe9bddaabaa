/** The instruction table's row. One file per family exports an array of rows; `index.ts` joins them. */
import type { Emitter, Size } from '../emit/emitter'

/** What is fixed when a meaning is built: consumers call it once per variant. */
export interface Form {
  readonly row: InsnRow
  /** Operand size. For rows without v/y/z operands: the row's `size`, else the mode's default. */
  readonly size: Size
  /** Address size; exact for rows marked `addressSized`, else unspecified. */
  readonly addressSize: 16 | 32 | 64
  /** 'reg' or 'mem' for rows with a ModRM r/m operand, by ModRM.mod; otherwise 'none'. */
  readonly rm: 'reg' | 'mem' | 'none'
  /** REP prefix in force, on rows marked `rep`. */
  readonly rep: 'none' | 'rep' | 'repne'
}

export type Meaning = (e: Emitter, form: Form) => void

/**
 * Encoding, in the manual's notation: opcode bytes in hex, then at most one of `/r`, `/0`…`/7`, `+r`.
 * - a leading `NP`, `66`, `F3` or `F2` is a mandatory prefix (the row exists only with it; NP: with none of them);
 *   NFx: 66 is the operand size, F2 and F3 make it another instruction or none;
 *   rows without one accept 66 as operand size and ignore F2/F3 unless `rep` is set.
 * - `W0`/`W1` fix REX.W. A second byte such as `0F 01 D0` is a fixed ModRM byte and wins over `/digit` rows.
 * - `mod=3` or `mod=m` restricts the r/m form to register or memory.
 */
export type Encoding = string

/**
 * Operands in the codes of the SDM's appendix A, comma separated, destination first:
 * E r/m general · G reg general · Z register in the opcode's low 3 bits · M memory only · R register only (r/m)
 * I immediate · J relative · O moffs · S segment register · C control · D debug register
 * V xmm (reg) · W xmm or memory · U xmm (r/m, register only) · P mmx (reg) · Q mmx or memory · N mmx (r/m, register only)
 * A far pointer immediate (ptr16:16/32) · fixed registers AL CL DX eAX rAX 1 and so on · sizes:
 * b 8 · w 16 · d 32 · q 64 · v 16/32/64 by operand size · z 16/32 (immediate: sign-extended to 64) · y 32/64 by REX.W
 * bs: byte immediate sign-extended to the operand size · dq/x/ps/pd/ss/sd/pi: vector forms (16 bytes; ss 4, sd/pi 8)
 * p far pointer in memory (m16:16/32/64) · a BOUND pair · s pseudo-descriptor · none: address only (LEA, INVLPG, FXSAVE)
 * Examples: `Ev,Gv`  `Gv,Eb`  `Ev,Ibs`  `Zv,Iv`  `Vx,Wx`  `Vss,Wss`  `M`.
 */
export type Operands = string

export type FlagLetters = string

export interface InsnRow {
  /** Upper-case mnemonic of the manual. */
  readonly mnemonic: string
  readonly encoding: Encoding
  readonly operands: Operands
  /** Access of each operand: r, w, rw or n (not touched: LEA, NOP, INVLPG), comma separated, as many as operands. */
  readonly access: string
  readonly meaning: Meaning
  /** Arithmetic flags read, written, left undefined — letters of `oszapc`; default none. `d` direction, `i` interrupt. */
  readonly flags?: { readonly reads?: FlagLetters; readonly writes?: FlagLetters; readonly undefined?: FlagLetters }
  /** Fixed operand size of the meaning where operands do not say. */
  readonly size?: Size
  /** Operand size in 64-bit mode: d64 = 64 by default, 66 gives 16; f64 = always 64. */
  readonly size64?: 'd64' | 'f64'
  /** Where the encoding exists. Default everywhere. `protected`: #UD in real and virtual-8086 mode. */
  readonly modes?: 'not64' | 'only64' | 'protected'
  /** #GP(0) unless CPL is 0 (checked before anything else). */
  readonly privileged?: boolean
  /** LOCK is legal with a memory destination. */
  readonly lock?: boolean
  /** Takes REP: `rep` (MOVS, STOS, LODS, INS, OUTS) or `repz` (CMPS, SCAS: REPE/REPNE). */
  readonly rep?: 'rep' | 'repz'
  /** The meaning depends on the address size (string operations, LOOP, JCXZ, XLAT, MASKMOV). */
  readonly addressSized?: boolean
  /**
   * How the instruction ends a block: `branch` (uses branchRelative/jumpRelative/jumpTo on every path, or falls through),
   * `leave` (helper sets `rip`, meaning calls e.leave()), `after` (continues at the next instruction, but decoding must
   * stop: mode, mapping or interrupt state may have changed), `changed` (only where the mode key has changed, or somebody asked
   * generated code to come back: mostly neither, and the block goes on).
   */
  readonly ends?: 'branch' | 'leave' | 'after' | 'changed'
  /** Feature the CPU model must have, else #UD: `sse`, `sse2`, `sse3`, `ssse3`, `sse4.1`, `sse4.2`, `popcnt`, `mmx`, `cx16`, `x87`, `movbe`, … */
  readonly cpuid?: string
  /**
   * x87, MMX and SSE availability checks, made by the consumer before the meaning:
   * x87: #NM if CR0.EM or CR0.TS · mmx: #UD if EM, #NM if TS · sse: #UD if EM or !CR4.OSFXSR, #NM if TS.
   */
  readonly unit?: 'x87' | 'mmx' | 'sse'
  /** Cannot be compared on the real CPU in user mode (system state, timing, memory layout). Say why in a comment. */
  readonly noNative?: boolean
}

export type RowOptions = Omit<InsnRow, 'mnemonic' | 'encoding' | 'operands' | 'access' | 'meaning'>

/** Builds a row; keeps the family files one line a row. */
export function row(
  mnemonic: string, encoding: Encoding, operands: Operands, access: string, meaning: Meaning, options: RowOptions = {},
): InsnRow {
  return { mnemonic, encoding, operands, access, meaning, ...options }
}
