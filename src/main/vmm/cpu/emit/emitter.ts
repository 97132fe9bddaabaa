/**
 * The abstract emitter: the vocabulary instruction meanings are written in. One meaning, several consumers:
 * the interpreter builder and the translator turn the calls into wasm, the oracle evaluates them at once with BigInt.
 *
 * Values are bit vectors of a fixed width. Arithmetic wraps to that width; both operands of a binary operation have
 * the same width. A value read from a register or from memory is the value at that point of the meaning, whatever
 * is written later. Meanings must not look at values (`if (v === …)` in TypeScript): use `e.if`, `e.select`.
 */
import type { CpuContext } from '../core/context'
import type { FieldName } from '../state/layout'

export type Width = 1 | 8 | 16 | 32 | 64
/** Operand and address sizes. */
export type Size = 8 | 16 | 32 | 64

/** An integer bit vector. Opaque: each consumer has its own representation. */
export interface Val { readonly width: Width }
/** A 128-bit vector. */
export interface Vec { readonly width: 128 }
/** An IEEE 754 value. */
export interface Flt { readonly width: 'f32' | 'f64' }
/** A place in memory: segment (already resolved) and effective address. */
export interface MemRef { readonly mem: true }

/** A mutable value that outlives `if` arms and loop turns. */
export interface Var { readonly width: Width; get(): Val; set(value: Val): void }

export interface LoopControl { break(): void; continue(): void }

export type BinaryOp = 'add' | 'sub' | 'mul' | 'and' | 'or' | 'xor' | 'shl' | 'shr' | 'sar' | 'rotl' | 'rotr'
export type CompareOp = 'eq' | 'ne' | 'ltu' | 'lts' | 'leu' | 'les'
export type UnaryOp = 'not' | 'neg' | 'clz' | 'ctz' | 'popcnt' | 'bswap'

/** How `setFlags` derives CF, OF and AF. ZF, SF and PF always come from the result. */
export type FlagsKind =
  /** result = a + b (+ carry in). */
  | 'add'
  /** result = a - b (- borrow in). */
  | 'sub'
  /** CF = OF = AF = 0. */
  | 'logic'
  /** As add and sub by one, CF kept. */
  | 'inc' | 'dec'

export type ArithFlag = 'cf' | 'pf' | 'af' | 'zf' | 'sf' | 'of'
/** Condition codes in encoding order, SDM vol. 1 appendix B. */
export const CONDITIONS = ['o', 'no', 'b', 'ae', 'e', 'ne', 'be', 'a', 's', 'ns', 'p', 'np', 'l', 'ge', 'le', 'g'] as const
export type Condition = (typeof CONDITIONS)[number]

/** Wire types of helper arguments: i32 as number (unsigned), i64 as bigint (unsigned). */
export type HelperType = 'i32' | 'i64'

/**
 * A piece of an instruction's meaning written in TypeScript over the state block: cold or system work.
 * `run` sees `rip` and `nextRip` in the state. It may throw CpuFault when `faults` is set, and it must not have changed
 * architectural state before it throws.
 */
export interface Helper {
  readonly name: string
  readonly args: readonly HelperType[]
  readonly returns?: HelperType
  readonly faults: boolean
  /**
   * It neither reads nor changes general registers, flags, `rip`, modes, mappings or code: callers keep what they hold in wasm
   * locals over the call. `run` does not see `rip` and `nextRip`.
   */
  readonly isolated?: true
  /** What it mostly comes to, for generated code: with it the helper is a wasm function, and only the rest calls `run`. */
  readonly common?: (e: HelperEmitter) => void
  run(cpu: CpuContext, ...args: never[]): number | bigint | void
}

/** The vocabulary of a helper's common case: integers, floats, and fields of the state block. Every way through it ends in `finish` or `fallBack`. */
export interface HelperEmitter extends Pick<Emitter, 'const' | 'binary' | 'compare' | 'unary' | 'add' | 'sub' | 'mul' | 'and' | 'or' | 'xor' |
'shl' | 'shr' | 'sar' | 'not' | 'neg' | 'eq' | 'ne' | 'ltu' | 'lts' | 'isZero' | 'divu' | 'remu' | 'mulHiU' | 'select' | 'zext' | 'sext' | 'trunc' |
'bit' | 'if' | 'loop' | 'variable' | 'choose' | 'field' | 'setField' | 'bitsToFlt' | 'fltToBits' | 'flt' | 'fltToInt' | 'vec' | 'vecConst' |
'vecSplat' | 'vecReplace' | 'vecTest'> {
  /** Argument of the helper: width 32 or 64. */
  argument(index: number): Val
  /** `width` bits from byte `at` of an element of a field; `index` has width 32 and is known only when the code runs. */
  element(name: FieldName, index: Val, width: Width, at?: number): Val
  setElement(name: FieldName, index: Val, value: Val, at?: number): void
  /**
   * Host address (width 32) of the byte at a linear address (width 64), good up to the end of its page, where the TLB allows
   * the access in the view in force; 0 where it does not.
   */
  hostOf(linear: Val, write: boolean): Val
  /** Host address (width 32) of a field. */
  placeOf(name: FieldName, index?: number): Val
  /** `width` bits at a host address and a constant distance from it. */
  hostLoad(width: Width, at: Val, offset?: number): Val
  hostStore(at: Val, value: Val, offset?: number): void
  /** Moves 8 to 4096 bytes between host addresses, as if by way of a buffer. All have width 32. */
  moveBytes(to: Val, from: Val, length: Val): void
  /** Repeats a pattern (width 64) over 8 to 4096 bytes at a host address; `length` must be a multiple of the pattern's period. */
  fillBytes(at: Val, pattern: Val, length: Val): void
  /** Has `run` do it all: nothing was changed before. What follows in the same arm is dead. */
  fallBack(): void
  /** Ends the helper, with its result where it has one. */
  finish(result?: Val): void
}

/** wasm SIMD instruction names (lane shape and operation); semantics are exactly wasm's. */
export type VecOp = string
/** wasm float instruction names: `f32.add`, `f64.sqrt`, `f64.promote_f32`, `i32.trunc_sat_f64_s`, … */
export type FltOp = string

export interface Emitter {
  // ── constants and integer operations ──────────────────────────────────────────────────────────────────────────
  const(width: Width, value: number | bigint): Val
  binary(op: BinaryOp, a: Val, b: Val): Val
  compare(op: CompareOp, a: Val, b: Val): Val
  unary(op: UnaryOp, a: Val): Val
  /** Shift and rotate counts have the value's width and must be below it: mask them first. */
  add(a: Val, b: Val): Val
  sub(a: Val, b: Val): Val
  mul(a: Val, b: Val): Val
  and(a: Val, b: Val): Val
  or(a: Val, b: Val): Val
  xor(a: Val, b: Val): Val
  shl(a: Val, count: Val): Val
  shr(a: Val, count: Val): Val
  sar(a: Val, count: Val): Val
  not(a: Val): Val
  neg(a: Val): Val
  eq(a: Val, b: Val): Val
  ne(a: Val, b: Val): Val
  ltu(a: Val, b: Val): Val
  lts(a: Val, b: Val): Val
  isZero(a: Val): Val
  /** Unsigned and signed division of 32- and 64-bit values. The caller has excluded a zero divisor and MIN / -1. */
  divu(a: Val, b: Val): Val
  divs(a: Val, b: Val): Val
  remu(a: Val, b: Val): Val
  rems(a: Val, b: Val): Val
  /** Upper 64 bits of the 128-bit product of 64-bit values. */
  mulHiU(a: Val, b: Val): Val
  mulHiS(a: Val, b: Val): Val
  /** `cond` has width 1. Both values are computed. */
  select(cond: Val, a: Val, b: Val): Val
  zext(a: Val, width: Width): Val
  sext(a: Val, width: Width): Val
  trunc(a: Val, width: Width): Val
  /** Bit `index` (constant) of a value, as width 1. */
  bit(a: Val, index: number): Val

  // ── operands of the row, by position ──────────────────────────────────────────────────────────────────────────
  /**
   * Reads operand `n` at the width its code says (immediates: sign-extended to the operand size where the code says so).
   * Reading a memory operand whose access is `rw` also checks that it can be written, as the CPU does.
   * For V/W/P/Q operands: the low `width` bits (default 64).
   * S, C and D operands give the register's number (width 32): a helper makes the access. A far pointer (ptr16:16/32)
   * gives its offset; `farSelector` gives the rest.
   */
  operand(n: number, width?: Width): Val
  /** 32-bit general register writes clear bits 63:32; 8- and 16-bit ones keep the rest. XMM: low bits written, rest kept; MMX: whole register. */
  setOperand(n: number, value: Val): void
  operandVec(n: number): Vec
  setOperandVec(n: number, value: Vec): void
  /** Selector of an immediate far pointer operand (code A), width 16. */
  farSelector(n: number): Val
  /** True (when the meaning is built) where operand `n` is memory in this form. */
  isMemory(n: number): boolean
  /** Effective address of memory operand `n` after address-size wrap, without segment base. Width 64. */
  effectiveAddress(n: number): Val
  /** Memory operand `n`, moved by `byteOffset` (width 64, wraps with the address size). */
  memOperand(n: number, byteOffset?: Val): MemRef
  /** Raises #GP(0) unless memory operand `n` is aligned to `bytes`. */
  requireAligned(n: number, bytes: number): void

  // ── registers and state ───────────────────────────────────────────────────────────────────────────────────────
  /** General register by encoding number: low `width` bits. Width 8 gives AL, CL, … SPL, never AH. */
  reg(index: number, width: Width): Val
  setReg(index: number, value: Val): void
  /** Bits 15:8 of RAX/RCX/RDX/RBX. */
  regHigh8(index: number): Val
  setRegHigh8(index: number, value: Val): void
  field(name: FieldName, index?: number): Val
  setField(name: FieldName, value: Val, index?: number): void
  xmm(index: number): Vec
  setXmm(index: number, value: Vec): void

  // ── flags ─────────────────────────────────────────────────────────────────────────────────────────────────────
  /** a, b and result have the operation's width. For `logic` a and b are ignored; for inc/dec b is ignored. */
  setFlags(kind: FlagsKind, a: Val, b: Val, result: Val): void
  /** Every arithmetic flag given separately: ZF SF PF from result, the others as width-1 values. */
  setFlagsExplicit(result: Val, flags: { cf: Val; of: Val; af?: Val }): void
  /** One flag, the others kept. */
  setFlag(flag: ArithFlag, value: Val): void
  flag(flag: ArithFlag): Val
  condition(cc: Condition): Val
  /** RFLAGS as the architecture shows it, width 64. */
  rflags(): Val
  /** Replaces the arithmetic flags from RFLAGS bits (width 64); other bits are left alone. */
  setArithFlags(rflags: Val): void

  // ── memory ────────────────────────────────────────────────────────────────────────────────────────────────────
  /** DS:ea, or the overriding segment's. ea width 64, already wrapped to the address size. */
  memData(ea: Val): MemRef
  /** Explicit segment (Seg index). */
  memSeg(seg: number, ea: Val): MemRef
  /** Linear address of a reference, without any check. Width 64. */
  linearAddress(at: MemRef): Val
  /** Seg index of a reference, width 32: for helpers that check an area themselves. */
  segmentNumber(at: MemRef): Val
  load(width: Width, at: MemRef): Val
  store(at: MemRef, value: Val): void
  /** Read, then write back: permissions for both are checked first. `change` returns the new value. */
  update(width: Width, at: MemRef, change: (old: Val) => Val): void
  loadVec(at: MemRef): Vec
  storeVec(at: MemRef, value: Vec): void
  /** Stack, by SS, the stack size in force and the value's width. RSP moves only if the access succeeded. */
  push(value: Val): void
  pop(width: Width): Val

  // ── control inside a meaning ──────────────────────────────────────────────────────────────────────────────────
  if(cond: Val, then: () => void, otherwise?: () => void): void
  /** Endless until `break`. */
  loop(body: (control: LoopControl) => void): void
  variable(width: Width, init: Val): Var
  /** Value of an `if` with two arms of the same width; only the taken one is computed. */
  choose(cond: Val, then: () => Val, otherwise: () => Val): Val
  call(helper: Helper, ...args: Val[]): Val
  /** Ends the instruction with an exception, RIP at this instruction. Code after it in the same arm is dead. */
  raise(vector: number, errorCode?: Val | number): void

  // ── where execution goes next ─────────────────────────────────────────────────────────────────────────────────
  /** Address of this and of the next instruction, width 64. */
  currentRip(): Val
  nextRip(): Val
  /** Taken to next RIP + the relative operand (wrapped to the operand size) where `cond` holds. */
  branchRelative(cond: Val): void
  jumpRelative(kind: 'jump' | 'call'): void
  /** Absolute target, width 64, already wrapped. In 64-bit mode a non-canonical target raises #GP(0). */
  jumpTo(target: Val, kind: 'jump' | 'call' | 'return'): void
  /** A helper has set `rip` (and perhaps the mode): leave the block there. */
  leave(): void
  /** Leave with RIP still at this instruction if the time slice is over (between turns of a REP). */
  checkpoint(): void

  // ── vectors and floats ────────────────────────────────────────────────────────────────────────────────────────
  vecConst(bytes: readonly number[]): Vec
  vec(op: VecOp, ...args: (Vec | Val)[]): Vec
  /** i8x16.shuffle with constant lane numbers 0 … 31. */
  vecShuffle(lanes: readonly number[], a: Vec, b: Vec): Vec
  vecSplat(lanes: 8 | 16 | 32 | 64, value: Val): Vec
  vecExtract(laneWidth: 8 | 16 | 32 | 64, lane: number, v: Vec): Val
  vecReplace(laneWidth: 8 | 16 | 32 | 64, lane: number, v: Vec, value: Val): Vec
  /** Vector to integer: `i8x16.bitmask`, `v128.any_true`, … Width 32. */
  vecTest(op: VecOp, v: Vec): Val
  /** Float lane (32: four, 64: two). */
  vecExtractFlt(laneWidth: 32 | 64, lane: number, v: Vec): Flt
  vecReplaceFlt(laneWidth: 32 | 64, lane: number, v: Vec, value: Flt): Vec
  bitsToFlt(value: Val): Flt
  fltToBits(value: Flt): Val
  flt(op: FltOp, ...args: (Flt | Val)[]): Flt
  /** Float comparison or conversion to an integer; comparisons have width 1, conversions the op's width. */
  fltToInt(op: FltOp, ...args: Flt[]): Val
}
