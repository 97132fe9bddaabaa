/** What the MMX and SSE families share: lifting 64-bit values into vectors, the x87 state MMX leaves, immediates as lane numbers. */
import { Vector } from '../core/context'
import type { Emitter, Val, Vec } from '../emit/emitter'
import type { InsnRow, Meaning, RowOptions } from './types'
import { row } from './types'

export type VecUnary = (e: Emitter, a: Vec) => Vec
export type VecBinary = (e: Emitter, a: Vec, b: Vec) => Vec

const range = (n: number): number[] => Array.from({ length: n }, (_, i) => i)
export const IOTA: readonly number[] = range(16)

/** Sixteen bytes from lanes of 16, 32 or 64 bits. */
export function laneBytes(width: 8 | 16 | 32 | 64, lanes: readonly (number | bigint)[]): number[] {
  return lanes.flatMap((lane) => range(width / 8).map((i) => Number((BigInt.asUintN(width, BigInt(lane)) >> BigInt(8 * i)) & 0xffn)))
}

export const zeroVec = (e: Emitter): Vec => e.vecConst(new Array<number>(16).fill(0))
/** A value in the lowest lane, zeros above. */
export const lift = (e: Emitter, value: Val): Vec => e.vecReplace(64, 0, zeroVec(e), value.width === 64 ? value : e.zext(value, 64))
export const lowHalf = (e: Emitter, v: Vec): Val => e.vecExtract(64, 0, v)
export const highHalf = (e: Emitter, v: Vec): Val => e.vecExtract(64, 1, v)

/** A 16-byte source: memory must be aligned. */
export function alignedSource(e: Emitter, n: number): Vec {
  e.requireAligned(n, 16)
  return e.operandVec(n)
}

// ── MMX and the x87 state ───────────────────────────────────────────────────────────────────────────────────────────

const CR0_NE = 0x20

/**
 * A pending x87 exception comes before anything an MMX or waiting x87 instruction does. Without CR0.NE it would go out on
 * FERR#, which leads nowhere here.
 */
export function mmxBegin(e: Emitter): void {
  e.if(e.bit(e.field('fsw'), 7), () => {
    const native = e.ne(e.and(e.trunc(e.field('cr0'), 32), e.const(32, CR0_NE)), e.const(32, 0))
    e.if(native, () => e.raise(Vector.MF))
  })
}

/** Every MMX instruction but EMMS makes all registers valid and TOP zero. */
export function mmxEnd(e: Emitter): void {
  e.setField('fsw', e.and(e.field('fsw'), e.const(32, 0xc7ff)))
  e.setField('ftw', e.const(32, 0xff))
}

/** Writes an MMX register: sign and exponent of the x87 register become all ones. */
export function setMmx(e: Emitter, n: number, value: Val): void {
  e.setOperandVec(n, e.vecReplace(64, 0, e.vecConst(laneBytes(64, [0, 0xffff])), value))
}

/** MMX instruction from an operation on vectors; `half` is the half of the result that counts. */
export const mmxBinary = (compute: VecBinary, half: 0 | 1 = 0, sourceWidth: 32 | 64 = 64): Meaning => (e) => {
  mmxBegin(e)
  const b = lift(e, e.operand(1, sourceWidth))
  const a = lift(e, e.operand(0, 64))
  setMmx(e, 0, e.vecExtract(64, half, compute(e, a, b)))
  mmxEnd(e)
}

/** As `mmxBinary`, for operations whose two sources together fill one vector. */
export const mmxPair = (compute: VecUnary): Meaning => (e) => {
  mmxBegin(e)
  const b = e.operand(1, 64)
  const a = e.operand(0, 64)
  setMmx(e, 0, lowHalf(e, compute(e, e.vecReplace(64, 1, lift(e, a), b))))
  mmxEnd(e)
}

export const xmmBinary = (compute: VecBinary): Meaning => (e) => {
  const b = alignedSource(e, 1)
  e.setOperandVec(0, compute(e, e.operandVec(0), b))
}

export const xmmUnary = (compute: VecUnary): Meaning => (e) => e.setOperandVec(0, compute(e, alignedSource(e, 1)))

/** Vector instruction by its wasm name. */
export const wasm = (op: string): VecBinary => (e, a, b) => e.vec(op, a, b)
/** The same with the operands exchanged: x86 `gt`, `andnot` and `pack` orders. */
export const wasmSwapped = (op: string): VecBinary => (e, a, b) => e.vec(op, b, a)

export const SSE = { unit: 'sse', cpuid: 'sse' } as const satisfies RowOptions
export const SSE2 = { unit: 'sse', cpuid: 'sse2' } as const satisfies RowOptions
export const SSE3 = { unit: 'sse', cpuid: 'sse3' } as const satisfies RowOptions
export const SSSE3 = { unit: 'sse', cpuid: 'ssse3' } as const satisfies RowOptions
export const SSE41 = { unit: 'sse', cpuid: 'sse4.1' } as const satisfies RowOptions
export const SSE42 = { unit: 'sse', cpuid: 'sse4.2' } as const satisfies RowOptions
export const MMX = { unit: 'mmx', cpuid: 'mmx' } as const satisfies RowOptions

/** An integer operation in its MMX and its XMM form. `opcode` includes the map. */
export function mmxAndXmm(name: string, opcode: string, compute: VecBinary, mmxFeature = 'mmx', xmmFeature = 'sse2'): InsnRow[] {
  return [
    row(name, `NP ${opcode} /r`, 'Pq,Qq', 'rw,r', mmxBinary(compute), { unit: 'mmx', cpuid: mmxFeature }),
    row(name, `66 ${opcode} /r`, 'Vx,Wx', 'rw,r', xmmBinary(compute), { unit: 'sse', cpuid: xmmFeature }),
  ]
}

// ── immediates that choose lanes ────────────────────────────────────────────────────────────────────────────────────

/** Immediate operand as a 32-bit value. */
export const immediate = (e: Emitter, n: number): Val => e.zext(e.operand(n, 8), 32)

/** Byte numbers (in every byte of each lane) that the immediate's four 2-bit fields choose, for `i8x16.swizzle`. */
export function dwordChoice(e: Emitter, imm: Val): Vec {
  const fields = e.vec('i32x4.mul', e.vecSplat(32, imm), e.vecConst(laneBytes(32, [64, 16, 4, 1])))
  const lane = e.vec('v128.and', e.vec('i32x4.shr_u', fields, e.const(32, 6)), e.vecConst(laneBytes(32, [3, 3, 3, 3])))
  const bytes = e.vec('i32x4.mul', lane, e.vecConst(laneBytes(32, new Array<number>(4).fill(0x0404_0404))))
  return e.vec('i8x16.add', bytes, e.vecConst([0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]))
}

/** As `dwordChoice` for words: the four fields choose among the words of the low half, in both halves of the result. */
export function wordChoice(e: Emitter, imm: Val): Vec {
  const fields = e.vec('i16x8.mul', e.vecSplat(16, e.trunc(imm, 16)), e.vecConst(laneBytes(16, [64, 16, 4, 1, 64, 16, 4, 1])))
  const lane = e.vec('v128.and', e.vec('i16x8.shr_u', fields, e.const(32, 6)), e.vecConst(laneBytes(16, new Array<number>(8).fill(3))))
  const bytes = e.vec('i16x8.mul', lane, e.vecConst(laneBytes(16, new Array<number>(8).fill(0x0202))))
  return e.vec('i8x16.add', bytes, e.vecConst(laneBytes(16, new Array<number>(8).fill(0x0100))))
}

/** All ones in the lanes whose bit is set in `bits`: bit i for lane i. */
export function bitsToLanes(e: Emitter, width: 16 | 32 | 64, bits: Val): Vec {
  const count = 128 / width
  const select = e.vecConst(laneBytes(width, range(count).map((i) => 2 ** i)))
  const value = width === 64 ? e.zext(bits, 64) : e.trunc(bits, width)
  const picked = e.vec('v128.and', e.vecSplat(width, value), select)
  return e.vec(`i${width}x${count}.eq`, picked, select)
}

const least = (e: Emitter, value: Val, limit: number): Val =>
  e.select(e.ltu(e.const(32, limit), value), e.const(32, limit), value)

const byteSplat = (e: Emitter, value: Val): Vec => e.vecSplat(8, e.trunc(value, 8))

/** Whole vector shifted by bytes, 16 and more give zero. */
export function shiftBytesLeft(e: Emitter, a: Vec, count: Val): Vec {
  return e.vec('i8x16.swizzle', a, e.vec('i8x16.sub', e.vecConst(IOTA), byteSplat(e, least(e, count, 16))))
}

export function shiftBytesRight(e: Emitter, a: Vec, count: Val): Vec {
  return e.vec('i8x16.swizzle', a, e.vec('i8x16.add', e.vecConst(IOTA), byteSplat(e, least(e, count, 16))))
}

/** Bytes `count` … `count`+15 of the 32 bytes high:low. */
export function alignRight(e: Emitter, high: Vec, low: Vec, count: Val): Vec {
  const index = e.vec('i8x16.add', e.vecConst(IOTA), byteSplat(e, least(e, count, 32)))
  const upper = e.vec('i8x16.sub', index, e.vecConst(new Array<number>(16).fill(16)))
  return e.vec('v128.or', e.vec('i8x16.swizzle', low, index), e.vec('i8x16.swizzle', high, upper))
}

/** Lane `index` (a value below the lane count) moved to lane 0. */
export function laneToFront(e: Emitter, width: 8 | 16 | 32, v: Vec, index: Val): Vec {
  const bytes = e.mul(index, e.const(32, width / 8))
  return e.vec('i8x16.swizzle', v, e.vec('i8x16.add', e.vecConst(IOTA), byteSplat(e, bytes)))
}

/** Lane `index` replaced. */
export function replaceLaneAt(e: Emitter, width: 8 | 16 | 32 | 64, v: Vec, index: Val, value: Val): Vec {
  const count = 128 / width
  const lanes = e.vecConst(laneBytes(width, range(count)))
  const wanted = width === 64 ? e.zext(index, 64) : e.trunc(index, width)
  return e.vec('v128.bitselect', e.vecSplat(width, value), v, e.vec(`i${width}x${count}.eq`, lanes, e.vecSplat(width, wanted)))
}
