/** SSE4.1: blends, insertions, extensions, rounding, dot products, PTEST. SDM vol. 2. */
import type { Emitter, Val, Vec } from '../emit/emitter'
import { all, everyLane, keepsDenormals, plain, plainLanes } from './float-guards'
import { slowPacked, slowScalar } from './sse-float'
import { mulEven } from './sse-int'
import {
  SSE41, alignedSource, bitsToLanes, immediate, laneBytes, laneToFront, lift, replaceLaneAt, wasm, xmmBinary, xmmUnary, zeroVec,
  type VecBinary,
} from './simd'
import { row, type InsnRow, type Meaning } from './types'

// ── blends ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Lanes of the second source where the sign of XMM0's lane is set. */
const blendBySign = (shape: string, signShift: number): VecBinary => (e, a, b) =>
  e.vec('v128.bitselect', b, a, e.vec(`${shape}.shr_s`, e.xmm(0), e.const(32, signShift)))

const blendImmediate = (width: 16 | 32 | 64): Meaning => (e) => {
  const b = alignedSource(e, 1)
  e.setOperandVec(0, e.vec('v128.bitselect', b, e.operandVec(0), bitsToLanes(e, width, immediate(e, 2))))
}

// ── extensions: memory operands are only as long as what is extended ────────────────────────────────────────────────

const extend = (sourceWidth: 16 | 32 | 64, steps: readonly string[]): Meaning => (e) => {
  let v = lift(e, e.operand(1, sourceWidth))
  for (const op of steps) v = e.vec(op, v)
  e.setOperandVec(0, v)
}

function extensionRows(name: string, first: number, sign: 's' | 'u'): InsnRow[] {
  const [words, dwords, quads] = [`i16x8.extend_low_i8x16_${sign}`, `i32x4.extend_low_i16x8_${sign}`, `i64x2.extend_low_i32x4_${sign}`]
  const forms: readonly [string, string, 16 | 32 | 64, readonly string[]][] = [
    ['BW', 'Wq', 64, [words]], ['BD', 'Wd', 32, [words, dwords]], ['BQ', 'Ww', 16, [words, dwords, quads]],
    ['WD', 'Wq', 64, [dwords]], ['WQ', 'Wd', 32, [dwords, quads]], ['DQ', 'Wq', 64, [quads]],
  ]
  return forms.map(([suffix, source, width, steps], i) =>
    row(`${name}${suffix}`, `66 0F 38 ${(first + i).toString(16).toUpperCase()} /r`, `Vx,${source}`, 'w,r', extend(width, steps), SSE41))
}

// ── insertion and extraction ────────────────────────────────────────────────────────────────────────────────────────

const extractLane = (width: 8 | 16 | 32): Meaning => (e) => {
  const index = e.and(immediate(e, 2), e.const(32, 128 / width - 1))
  const value = e.vecExtract(width, 0, laneToFront(e, width, e.operandVec(1), index))
  e.setOperand(0, width === 32 || e.isMemory(0) ? value : e.zext(value, 32))
}
const extractByOperandSize: Meaning = (e, form) => {
  if (form.size !== 64) return extractLane(32)(e, form)
  const v = e.operandVec(1)
  e.setOperand(0, e.select(e.bit(immediate(e, 2), 0), e.vecExtract(64, 1, v), e.vecExtract(64, 0, v)))
}

const insertLane = (width: 8 | 32 | 64): Meaning => (e) => {
  const value = e.operand(1, width)
  const index = e.and(immediate(e, 2), e.const(32, 128 / width - 1))
  e.setOperandVec(0, replaceLaneAt(e, width, e.operandVec(0), index, value))
}
const insertByOperandSize: Meaning = (e, form) => insertLane(form.size === 64 ? 64 : 32)(e, form)

/** INSERTPS: imm[7:6] chooses the source lane (registers only), imm[5:4] the place, imm[3:0] lanes to clear. */
const insertSingle: Meaning = (e) => {
  const imm = immediate(e, 2)
  const field = (at: number): Val => e.and(e.shr(imm, e.const(32, at)), e.const(32, 3))
  const value = e.isMemory(1) ? e.operand(1, 32) : e.vecExtract(32, 0, laneToFront(e, 32, e.operandVec(1), field(6)))
  const inserted = replaceLaneAt(e, 32, e.operandVec(0), field(4), value)
  e.setOperandVec(0, e.vec('v128.andnot', inserted, bitsToLanes(e, 32, imm)))
}

// ── the rest ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** ZF: no bit in common; CF: b has no bit outside a. The others become zero. */
const test: Meaning = (e) => {
  const b = alignedSource(e, 1)
  const a = e.operandVec(0)
  const none = (v: Vec): Val => e.zext(e.isZero(e.vecTest('v128.any_true', v)), 64)
  const zf = e.shl(none(e.vec('v128.and', a, b)), e.const(64, 6))
  e.setArithFlags(e.or(zf, none(e.vec('v128.andnot', b, a))))
}

/** Least word and its number: words above their numbers in doublewords, then the least of those. */
const leastWord: VecBinary = (e, _a, b) => {
  const keyed = (op: string, first: number): Vec => {
    const words = e.vec('i32x4.shl', e.vec(op, b), e.const(32, 16))
    return e.vec('v128.or', words, e.vecConst(laneBytes(32, [0, 1, 2, 3].map((i) => first + i))))
  }
  let least = e.vec('i32x4.min_u', keyed('i32x4.extend_low_i16x8_u', 0), keyed('i32x4.extend_high_i16x8_u', 4))
  least = e.vec('i32x4.min_u', least, e.vecShuffle([8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7], least, least))
  least = e.vec('i32x4.min_u', least, e.vecShuffle([4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3], least, least))
  const key = e.vecExtract(32, 0, least)
  const swapped = e.or(e.shr(key, e.const(32, 16)), e.shl(e.and(key, e.const(32, 7)), e.const(32, 16)))
  return lift(e, swapped)
}

/** MPSADBW: eight sums over four bytes, of a from imm[2]*4 on against four bytes of b at imm[1:0]*4. */
const sumsOfDifferences: Meaning = (e) => {
  const b = alignedSource(e, 1)
  const a = e.operandVec(0)
  const imm = immediate(e, 2)
  const start = e.and(imm, e.const(32, 4))
  const block = e.shl(e.and(imm, e.const(32, 3)), e.const(32, 2))
  let sums = zeroVec(e)
  for (let k = 0; k < 4; k++) {
    // Word i: byte start + k + i of a, zero-extended by an index that is out of range.
    const places = e.vecConst(Array.from({ length: 16 }, (_, i) => (i % 2 === 0 ? i / 2 + k : 0x80)))
    const words = e.vec('i8x16.swizzle', a, e.vec('i8x16.add', places, e.vecSplat(8, e.trunc(start, 8))))
    const one = laneToFront(e, 8, b, e.add(block, e.const(32, k)))
    const other = e.vecSplat(16, e.zext(e.vecExtract(8, 0, one), 16))
    sums = e.vec('i16x8.add', sums, e.vec('i16x8.abs', e.vec('i16x8.sub', words, other)))
  }
  e.setOperandVec(0, sums)
}

/** The four ways to round, chosen by imm[1:0]. */
function rounded(e: Emitter, width: 32 | 64, v: Vec, imm: Val): Vec {
  const shape = width === 32 ? 'f32x4' : 'f64x2'
  const mask = (bit: number): Vec => e.vecSplat(32, e.sub(e.const(32, 0), e.zext(e.bit(imm, bit), 32)))
  const pick = (yes: string, no: string): Vec => e.vec('v128.bitselect', e.vec(`${shape}.${yes}`, v), e.vec(`${shape}.${no}`, v), mask(0))
  return e.vec('v128.bitselect', pick('trunc', 'ceil'), pick('floor', 'nearest'), mask(1))
}

/** No flag can change: plain numbers, rounding given by the immediate, inexactness suppressed or masked and already told. */
function roundsQuietly(e: Emitter, imm: Val): Val {
  const precisionMaskedAndSet = e.eq(e.and(e.field('mxcsr'), e.const(32, 0x1020)), e.const(32, 0x1020))
  return all(e, keepsDenormals(e), e.isZero(e.bit(imm, 2)), e.or(e.bit(imm, 3), precisionMaskedAndSet))
}

const roundPacked = (width: 32 | 64): Meaning => (e) => {
  const b = alignedSource(e, 1)
  const imm = immediate(e, 2)
  e.if(e.and(roundsQuietly(e, imm), everyLane(e, width, plainLanes(e, width, b))), () => e.setOperandVec(0, rounded(e, width, b, imm)),
    () => e.setOperandVec(0, slowPacked(e, 'round', width, b, b, imm)))
}
const roundScalar = (width: 32 | 64): Meaning => (e) => {
  const b = e.operand(1, width)
  const imm = immediate(e, 2)
  e.if(e.and(roundsQuietly(e, imm), plain(e, b)), () => e.setOperand(0, e.vecExtract(width, 0, rounded(e, width, lift(e, b), imm))),
    () => e.setOperand(0, slowScalar(e, 'round', width, b, b, imm)))
}
const dotProduct = (width: 32 | 64): Meaning => (e) => {
  const b = alignedSource(e, 1)
  e.setOperandVec(0, slowPacked(e, 'dot', width, e.operandVec(0), b, immediate(e, 2)))
}

const binaryRow = (name: string, opcode: string, compute: VecBinary): InsnRow => row(name, `66 0F 38 ${opcode} /r`, 'Vx,Wx', 'rw,r', xmmBinary(compute), SSE41)
function immediateRow(name: string, opcode: string, meaning: Meaning, operands = 'Vx,Wx,Ib', access = 'rw,r,r'): InsnRow {
  const mod = /(^|,)R/.test(operands) ? ' mod=3' : /(^|,)M/.test(operands) ? ' mod=m' : ''
  return row(name, `66 0F 3A ${opcode} /r${mod}`, operands, access, meaning, SSE41)
}

export const sse41Rows: readonly InsnRow[] = [
  binaryRow('PBLENDVB', '10', blendBySign('i8x16', 7)), binaryRow('BLENDVPS', '14', blendBySign('i32x4', 31)),
  binaryRow('BLENDVPD', '15', blendBySign('i64x2', 63)),
  immediateRow('BLENDPS', '0C', blendImmediate(32)), immediateRow('BLENDPD', '0D', blendImmediate(64)), immediateRow('PBLENDW', '0E', blendImmediate(16)),
  row('PTEST', '66 0F 38 17 /r', 'Vx,Wx', 'r,r', test, { ...SSE41, flags: { writes: 'oszapc' } }),
  ...extensionRows('PMOVSX', 0x20, 's'), ...extensionRows('PMOVZX', 0x30, 'u'),
  binaryRow('PMULDQ', '28', mulEven('s')), binaryRow('PCMPEQQ', '29', wasm('i64x2.eq')), binaryRow('PACKUSDW', '2B', wasm('i16x8.narrow_i32x4_u')),
  binaryRow('PMINSB', '38', wasm('i8x16.min_s')), binaryRow('PMINSD', '39', wasm('i32x4.min_s')), binaryRow('PMINUW', '3A', wasm('i16x8.min_u')),
  binaryRow('PMINUD', '3B', wasm('i32x4.min_u')), binaryRow('PMAXSB', '3C', wasm('i8x16.max_s')), binaryRow('PMAXSD', '3D', wasm('i32x4.max_s')),
  binaryRow('PMAXUW', '3E', wasm('i16x8.max_u')), binaryRow('PMAXUD', '3F', wasm('i32x4.max_u')), binaryRow('PMULLD', '40', wasm('i32x4.mul')),
  row('PHMINPOSUW', '66 0F 38 41 /r', 'Vx,Wx', 'w,r', xmmUnary((e, v) => leastWord(e, v, v)), SSE41),
  immediateRow('ROUNDPS', '08', roundPacked(32), 'Vx,Wx,Ib', 'w,r,r'), immediateRow('ROUNDPD', '09', roundPacked(64), 'Vx,Wx,Ib', 'w,r,r'),
  immediateRow('ROUNDSS', '0A', roundScalar(32), 'Vss,Wss,Ib'), immediateRow('ROUNDSD', '0B', roundScalar(64), 'Vsd,Wsd,Ib'),
  immediateRow('PEXTRB', '14', extractLane(8), 'Rd,Vx,Ib', 'w,r,r'), immediateRow('PEXTRB', '14', extractLane(8), 'Mb,Vx,Ib', 'w,r,r'),
  immediateRow('PEXTRW', '15', extractLane(16), 'Rd,Vx,Ib', 'w,r,r'), immediateRow('PEXTRW', '15', extractLane(16), 'Mw,Vx,Ib', 'w,r,r'),
  immediateRow('PEXTRD', '16', extractByOperandSize, 'Ey,Vx,Ib', 'w,r,r'), immediateRow('EXTRACTPS', '17', extractLane(32), 'Ed,Vx,Ib', 'w,r,r'),
  immediateRow('PINSRB', '20', insertLane(8), 'Vx,Rd,Ib'), immediateRow('PINSRB', '20', insertLane(8), 'Vx,Mb,Ib'),
  immediateRow('INSERTPS', '21', insertSingle, 'Vx,Wss,Ib'), immediateRow('PINSRD', '22', insertByOperandSize, 'Vx,Ey,Ib'),
  immediateRow('DPPS', '40', dotProduct(32)), immediateRow('DPPD', '41', dotProduct(64)), immediateRow('MPSADBW', '42', sumsOfDifferences),
]
