/** MMX, SSE2 and SSSE3 integer arithmetic: PADDB … PALIGNR, in MMX and XMM forms. SDM vol. 2. */
import type { Emitter, Val, Vec } from '../emit/emitter'
import {
  MMX, SSE, SSE2, SSSE3, alignRight, alignedSource, dwordChoice, immediate, laneBytes, laneToFront, lift, lowHalf, mmxAndXmm,
  mmxBegin, mmxBinary, mmxEnd, mmxPair, replaceLaneAt, setMmx, shiftBytesLeft, shiftBytesRight, wasm, wasmSwapped, wordChoice, xmmBinary,
  zeroVec, type VecBinary,
} from './simd'
import { row, type InsnRow, type Meaning } from './types'

const splatConst = (e: Emitter, width: 8 | 16 | 32, value: number): Vec => e.vecConst(laneBytes(width, new Array<number>(128 / width).fill(value)))

// ── multiplication and sums ─────────────────────────────────────────────────────────────────────────────────────────

/** Upper words of the products. */
const mulHigh = (sign: 's' | 'u'): VecBinary => (e, a, b) => {
  const low = e.vec(`i32x4.extmul_low_i16x8_${sign}`, a, b)
  const high = e.vec(`i32x4.extmul_high_i16x8_${sign}`, a, b)
  return e.vecShuffle([2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31], low, high)
}

/** Products of the even doublewords. */
export const mulEven = (sign: 's' | 'u'): VecBinary => (e, a, b) => {
  const even = (v: Vec): Vec => e.vecShuffle([0, 1, 2, 3, 8, 9, 10, 11, 0, 1, 2, 3, 8, 9, 10, 11], v, v)
  return e.vec(`i64x2.extmul_low_i32x4_${sign}`, even(a), even(b))
}

const sumOfDifferences: VecBinary = (e, a, b) => {
  const difference = e.vec('v128.or', e.vec('i8x16.sub_sat_u', a, b), e.vec('i8x16.sub_sat_u', b, a))
  const words = e.vec('i16x8.extadd_pairwise_i8x16_u', difference)
  const dwords = e.vec('i32x4.extadd_pairwise_i16x8_u', words)
  const sums = e.vec('i64x2.add', dwords, e.vec('i64x2.shr_u', dwords, e.const(32, 32)))
  return e.vec('v128.and', sums, e.vecConst(laneBytes(64, [0xffff_ffff, 0xffff_ffff])))
}

/** Unsigned bytes of a times signed bytes of b; both products of a word fit, their sum saturates. */
const multiplyAddBytes: VecBinary = (e, a, b) => {
  const eight = e.const(32, 8)
  const even = e.vec('i16x8.mul', e.vec('v128.and', a, splatConst(e, 16, 0xff)), e.vec('i16x8.shr_s', e.vec('i16x8.shl', b, eight), eight))
  const odd = e.vec('i16x8.mul', e.vec('i16x8.shr_u', a, eight), e.vec('i16x8.shr_s', b, eight))
  return e.vec('i16x8.add_sat_s', even, odd)
}

/** q15mulr saturates -1 * -1; x86 wraps it. */
const mulHighRounded: VecBinary = (e, a, b) => {
  const least = splatConst(e, 16, 0x8000)
  const wraps = e.vec('v128.and', e.vec('i16x8.eq', a, least), e.vec('i16x8.eq', b, least))
  return e.vec('v128.xor', e.vec('i16x8.q15mulr_sat_s', a, b), wraps)
}

const sign = (shape: 'i8x16' | 'i16x8' | 'i32x4'): VecBinary => (e, a, b) => {
  const negative = e.vec(`${shape}.lt_s`, b, zeroVec(e))
  const applied = e.vec('v128.bitselect', e.vec(`${shape}.neg`, a), a, negative)
  return e.vec('v128.andnot', applied, e.vec(`${shape}.eq`, b, zeroVec(e)))
}

const absolute = (shape: string): VecBinary => (e, _a, b) => e.vec(`${shape}.abs`, b)

// ── packing, unpacking, horizontal operations ───────────────────────────────────────────────────────────────────────

function interleaveLanes(bytes: number, high: boolean): number[] {
  const lanes: number[] = []
  for (let at = high ? 8 : 0; lanes.length < 16; at += bytes) {
    for (const source of [0, 16]) for (let i = 0; i < bytes; i++) lanes.push(source + at + i)
  }
  return lanes
}
const interleave = (bytes: number, high: boolean): VecBinary => (e, a, b) => e.vecShuffle(interleaveLanes(bytes, high), a, b)

function unpackRows(name: string, opcodeLow: string, opcodeHigh: string, bytes: number): InsnRow[] {
  const [low, high] = [interleave(bytes, false), interleave(bytes, true)]
  return [
    // The low form reads only half of an MMX memory operand. An MMX register's upper half lies in the low half of the vectors.
    row(`PUNPCKL${name}`, `NP 0F ${opcodeLow} /r`, 'Pq,Qd', 'rw,r', mmxBinary(low, 0, 32), MMX),
    row(`PUNPCKL${name}`, `66 0F ${opcodeLow} /r`, 'Vx,Wx', 'rw,r', xmmBinary(low), SSE2),
    row(`PUNPCKH${name}`, `NP 0F ${opcodeHigh} /r`, 'Pq,Qq', 'rw,r', mmxBinary(low, 1), MMX),
    row(`PUNPCKH${name}`, `66 0F ${opcodeHigh} /r`, 'Vx,Wx', 'rw,r', xmmBinary(high), SSE2),
  ]
}

function packRows(name: string, opcode: string, op: string): InsnRow[] {
  return [
    row(name, `NP 0F ${opcode} /r`, 'Pq,Qq', 'rw,r', mmxPair((e, v) => e.vec(op, v, v)), MMX),
    row(name, `66 0F ${opcode} /r`, 'Vx,Wx', 'rw,r', xmmBinary(wasm(op)), SSE2),
  ]
}

function everyOther(width: 16 | 32, odd: boolean): number[] {
  const bytes = width / 8
  return Array.from({ length: 16 }, (_, i) => Math.floor(i / bytes) * 2 * bytes + (odd ? bytes : 0) + (i % bytes))
}
const horizontal = (width: 16 | 32, op: string): VecBinary => (e, a, b) =>
  e.vec(op, e.vecShuffle(everyOther(width, false), a, b), e.vecShuffle(everyOther(width, true), a, b))

function horizontalRows(name: string, opcode: string, width: 16 | 32, op: string): InsnRow[] {
  const compute = horizontal(width, op)
  return [
    row(name, `NP 0F 38 ${opcode} /r`, 'Pq,Qq', 'rw,r', mmxPair((e, v) => compute(e, v, v)), { unit: 'mmx', cpuid: 'ssse3' }),
    row(name, `66 0F 38 ${opcode} /r`, 'Vx,Wx', 'rw,r', xmmBinary(compute), SSSE3),
  ]
}

// ── shifts ──────────────────────────────────────────────────────────────────────────────────────────────────────────

type LaneWidth = 16 | 32 | 64

/** @param count 64 bits; counts of the lane width and more give zero, or the sign for `shr_s` */
function shift(e: Emitter, lane: LaneWidth, op: 'shl' | 'shr_u' | 'shr_s', a: Vec, count: Val): Vec {
  const shape = `i${lane}x${128 / lane}`
  const tooMany = e.ltu(e.const(64, lane - 1), count)
  if (op === 'shr_s') return e.vec(`${shape}.shr_s`, a, e.trunc(e.select(tooMany, e.const(64, lane - 1), count), 32))
  const shifted = e.vec(`${shape}.${op}`, a, e.and(e.trunc(count, 32), e.const(32, lane - 1)))
  return e.vec('v128.and', shifted, e.vecSplat(32, e.select(tooMany, e.const(32, 0), e.const(32, -1))))
}

function shiftRows(name: string, opcode: string, group: string, lane: LaneWidth, op: 'shl' | 'shr_u' | 'shr_s'): InsnRow[] {
  const byVector: VecBinary = (e, a, b) => shift(e, lane, op, a, lowHalf(e, b))
  const xmmImmediate: Meaning = (e) => e.setOperandVec(0, shift(e, lane, op, e.operandVec(0), e.zext(e.operand(1, 8), 64)))
  const mmxImmediate: Meaning = (e) => {
    mmxBegin(e)
    setMmx(e, 0, lowHalf(e, shift(e, lane, op, lift(e, e.operand(0, 64)), e.zext(e.operand(1, 8), 64))))
    mmxEnd(e)
  }
  return [
    ...mmxAndXmm(name, `0F ${opcode}`, byVector),
    row(name, `NP 0F ${group} mod=3`, 'Nq,Ib', 'rw,r', mmxImmediate, MMX),
    row(name, `66 0F ${group} mod=3`, 'Ux,Ib', 'rw,r', xmmImmediate, SSE2),
  ]
}

// ── shuffles ────────────────────────────────────────────────────────────────────────────────────────────────────────

const shuffleDwords: Meaning = (e) => e.setOperandVec(0, e.vec('i8x16.swizzle', alignedSource(e, 1), dwordChoice(e, immediate(e, 2))))
const LOW_AND_OTHER_HIGH = [0, 1, 2, 3, 4, 5, 6, 7, 24, 25, 26, 27, 28, 29, 30, 31]
const shuffleLowWords: Meaning = (e) => {
  const v = alignedSource(e, 1)
  e.setOperandVec(0, e.vecShuffle(LOW_AND_OTHER_HIGH, e.vec('i8x16.swizzle', v, wordChoice(e, immediate(e, 2))), v))
}
const shuffleHighWords: Meaning = (e) => {
  const v = alignedSource(e, 1)
  const index = e.vec('i8x16.add', wordChoice(e, immediate(e, 2)), splatConst(e, 8, 8))
  e.setOperandVec(0, e.vecShuffle(LOW_AND_OTHER_HIGH, v, e.vec('i8x16.swizzle', v, index)))
}
const shuffleMmxWords: Meaning = (e) => {
  mmxBegin(e)
  setMmx(e, 0, lowHalf(e, e.vec('i8x16.swizzle', lift(e, e.operand(1, 64)), wordChoice(e, immediate(e, 2)))))
  mmxEnd(e)
}
const shuffleSingles: Meaning = (e) => {
  const b = alignedSource(e, 1)
  const index = dwordChoice(e, immediate(e, 2))
  e.setOperandVec(0, e.vecShuffle(LOW_AND_OTHER_HIGH, e.vec('i8x16.swizzle', e.operandVec(0), index), e.vec('i8x16.swizzle', b, index)))
}
const shuffleDoubles: Meaning = (e) => {
  const b = alignedSource(e, 1)
  const a = e.operandVec(0)
  const imm = immediate(e, 2)
  const half = (v: Vec, bit: number): Val => e.select(e.bit(imm, bit), e.vecExtract(64, 1, v), e.vecExtract(64, 0, v))
  e.setOperandVec(0, e.vecReplace(64, 1, lift(e, half(a, 0)), half(b, 1)))
}

/** An index with its top bit set gives zero; swizzle does so for anything above 15. */
const shuffleBytes = (indexMask: number): VecBinary => (e, a, b) => e.vec('i8x16.swizzle', a, e.vec('v128.and', b, splatConst(e, 8, indexMask)))

const alignXmm: Meaning = (e) => {
  const b = alignedSource(e, 1)
  e.setOperandVec(0, alignRight(e, e.operandVec(0), b, immediate(e, 2)))
}
const alignMmx: Meaning = (e) => {
  mmxBegin(e)
  const b = e.operand(1, 64)
  const both = e.vecReplace(64, 1, lift(e, b), e.operand(0, 64))
  setMmx(e, 0, lowHalf(e, shiftBytesRight(e, both, immediate(e, 2))))
  mmxEnd(e)
}

const byteShift = (move: typeof shiftBytesLeft): Meaning => (e) => e.setOperandVec(0, move(e, e.operandVec(0), immediate(e, 1)))

// ── words in and out ────────────────────────────────────────────────────────────────────────────────────────────────

const extractWord = (lanes: 4 | 8): Meaning => (e) => {
  const isMmx = lanes === 4
  if (isMmx) mmxBegin(e)
  const v = isMmx ? lift(e, e.operand(1, 64)) : e.operandVec(1)
  const index = e.and(immediate(e, 2), e.const(32, lanes - 1))
  e.setOperand(0, e.zext(e.vecExtract(16, 0, laneToFront(e, 16, v, index)), 32))
  if (isMmx) mmxEnd(e)
}
const insertWord = (lanes: 4 | 8): Meaning => (e) => {
  const isMmx = lanes === 4
  if (isMmx) mmxBegin(e)
  const word = e.operand(1, 16)
  const index = e.and(immediate(e, 2), e.const(32, lanes - 1))
  const v = isMmx ? lift(e, e.operand(0, 64)) : e.operandVec(0)
  const result = replaceLaneAt(e, 16, v, index, word)
  if (!isMmx) return e.setOperandVec(0, result)
  setMmx(e, 0, lowHalf(e, result))
  mmxEnd(e)
}

const bitwise = (name: string, opcode: string, compute: VecBinary): InsnRow[] => mmxAndXmm(name, `0F ${opcode}`, compute)
/** Lane-wise operations that exist since MMX. */
const classic = (name: string, opcode: string, op: string): InsnRow[] => mmxAndXmm(name, `0F ${opcode}`, wasm(op))
/** MMX forms came with SSE. */
const withSse = (name: string, opcode: string, compute: VecBinary): InsnRow[] => mmxAndXmm(name, `0F ${opcode}`, compute, 'sse')
const withSse2 = (name: string, opcode: string, compute: VecBinary): InsnRow[] => mmxAndXmm(name, `0F ${opcode}`, compute, 'sse2')
const withSsse3 = (name: string, opcode: string, compute: VecBinary): InsnRow[] => mmxAndXmm(name, `0F 38 ${opcode}`, compute, 'ssse3', 'ssse3')

/** PAND and friends under their float names: the bits do not care. */
const floatLogic = (name: string, opcode: string, compute: VecBinary): InsnRow[] => [
  row(`${name}PS`, `NP 0F ${opcode} /r`, 'Vx,Wx', 'rw,r', xmmBinary(compute), SSE),
  row(`${name}PD`, `66 0F ${opcode} /r`, 'Vx,Wx', 'rw,r', xmmBinary(compute), SSE2),
]

export const sseIntRows: readonly InsnRow[] = [
  ...classic('PADDB', 'FC', 'i8x16.add'), ...classic('PADDW', 'FD', 'i16x8.add'), ...classic('PADDD', 'FE', 'i32x4.add'),
  ...withSse2('PADDQ', 'D4', wasm('i64x2.add')), ...classic('PADDSB', 'EC', 'i8x16.add_sat_s'), ...classic('PADDSW', 'ED', 'i16x8.add_sat_s'),
  ...classic('PADDUSB', 'DC', 'i8x16.add_sat_u'), ...classic('PADDUSW', 'DD', 'i16x8.add_sat_u'),
  ...classic('PSUBB', 'F8', 'i8x16.sub'), ...classic('PSUBW', 'F9', 'i16x8.sub'), ...classic('PSUBD', 'FA', 'i32x4.sub'),
  ...withSse2('PSUBQ', 'FB', wasm('i64x2.sub')), ...classic('PSUBSB', 'E8', 'i8x16.sub_sat_s'), ...classic('PSUBSW', 'E9', 'i16x8.sub_sat_s'),
  ...classic('PSUBUSB', 'D8', 'i8x16.sub_sat_u'), ...classic('PSUBUSW', 'D9', 'i16x8.sub_sat_u'),
  ...classic('PCMPEQB', '74', 'i8x16.eq'), ...classic('PCMPEQW', '75', 'i16x8.eq'), ...classic('PCMPEQD', '76', 'i32x4.eq'),
  ...classic('PCMPGTB', '64', 'i8x16.gt_s'), ...classic('PCMPGTW', '65', 'i16x8.gt_s'), ...classic('PCMPGTD', '66', 'i32x4.gt_s'),
  ...bitwise('PAND', 'DB', wasm('v128.and')), ...bitwise('PANDN', 'DF', wasmSwapped('v128.andnot')),
  ...bitwise('POR', 'EB', wasm('v128.or')), ...bitwise('PXOR', 'EF', wasm('v128.xor')),
  ...floatLogic('AND', '54', wasm('v128.and')), ...floatLogic('ANDN', '55', wasmSwapped('v128.andnot')),
  ...floatLogic('OR', '56', wasm('v128.or')), ...floatLogic('XOR', '57', wasm('v128.xor')),
  ...classic('PMULLW', 'D5', 'i16x8.mul'), ...bitwise('PMULHW', 'E5', mulHigh('s')), ...withSse('PMULHUW', 'E4', mulHigh('u')),
  ...withSse2('PMULUDQ', 'F4', mulEven('u')), ...classic('PMADDWD', 'F5', 'i32x4.dot_i16x8_s'), ...withSse('PSADBW', 'F6', sumOfDifferences),
  ...withSse('PAVGB', 'E0', wasm('i8x16.avgr_u')), ...withSse('PAVGW', 'E3', wasm('i16x8.avgr_u')),
  ...withSse('PMINUB', 'DA', wasm('i8x16.min_u')), ...withSse('PMAXUB', 'DE', wasm('i8x16.max_u')),
  ...withSse('PMINSW', 'EA', wasm('i16x8.min_s')), ...withSse('PMAXSW', 'EE', wasm('i16x8.max_s')),

  ...shiftRows('PSRLW', 'D1', '71 /2', 16, 'shr_u'), ...shiftRows('PSRAW', 'E1', '71 /4', 16, 'shr_s'), ...shiftRows('PSLLW', 'F1', '71 /6', 16, 'shl'),
  ...shiftRows('PSRLD', 'D2', '72 /2', 32, 'shr_u'), ...shiftRows('PSRAD', 'E2', '72 /4', 32, 'shr_s'), ...shiftRows('PSLLD', 'F2', '72 /6', 32, 'shl'),
  ...shiftRows('PSRLQ', 'D3', '73 /2', 64, 'shr_u'), ...shiftRows('PSLLQ', 'F3', '73 /6', 64, 'shl'),
  row('PSRLDQ', '66 0F 73 /3 mod=3', 'Ux,Ib', 'rw,r', byteShift(shiftBytesRight), SSE2),
  row('PSLLDQ', '66 0F 73 /7 mod=3', 'Ux,Ib', 'rw,r', byteShift(shiftBytesLeft), SSE2),

  ...packRows('PACKSSWB', '63', 'i8x16.narrow_i16x8_s'), ...packRows('PACKUSWB', '67', 'i8x16.narrow_i16x8_u'),
  ...packRows('PACKSSDW', '6B', 'i16x8.narrow_i32x4_s'),
  ...unpackRows('BW', '60', '68', 1), ...unpackRows('WD', '61', '69', 2), ...unpackRows('DQ', '62', '6A', 4),
  row('PUNPCKLQDQ', '66 0F 6C /r', 'Vx,Wx', 'rw,r', xmmBinary(interleave(8, false)), SSE2),
  row('PUNPCKHQDQ', '66 0F 6D /r', 'Vx,Wx', 'rw,r', xmmBinary(interleave(8, true)), SSE2),
  row('UNPCKLPS', 'NP 0F 14 /r', 'Vx,Wx', 'rw,r', xmmBinary(interleave(4, false)), SSE),
  row('UNPCKLPD', '66 0F 14 /r', 'Vx,Wx', 'rw,r', xmmBinary(interleave(8, false)), SSE2),
  row('UNPCKHPS', 'NP 0F 15 /r', 'Vx,Wx', 'rw,r', xmmBinary(interleave(4, true)), SSE),
  row('UNPCKHPD', '66 0F 15 /r', 'Vx,Wx', 'rw,r', xmmBinary(interleave(8, true)), SSE2),

  row('PSHUFW', 'NP 0F 70 /r', 'Pq,Qq,Ib', 'w,r,r', shuffleMmxWords, { unit: 'mmx', cpuid: 'sse' }),
  row('PSHUFD', '66 0F 70 /r', 'Vx,Wx,Ib', 'w,r,r', shuffleDwords, SSE2),
  row('PSHUFHW', 'F3 0F 70 /r', 'Vx,Wx,Ib', 'w,r,r', shuffleHighWords, SSE2),
  row('PSHUFLW', 'F2 0F 70 /r', 'Vx,Wx,Ib', 'w,r,r', shuffleLowWords, SSE2),
  row('SHUFPS', 'NP 0F C6 /r', 'Vx,Wx,Ib', 'rw,r,r', shuffleSingles, SSE),
  row('SHUFPD', '66 0F C6 /r', 'Vx,Wx,Ib', 'rw,r,r', shuffleDoubles, SSE2),
  row('PINSRW', 'NP 0F C4 /r mod=3', 'Pq,Rd,Ib', 'rw,r,r', insertWord(4), { unit: 'mmx', cpuid: 'sse' }),
  row('PINSRW', 'NP 0F C4 /r mod=m', 'Pq,Mw,Ib', 'rw,r,r', insertWord(4), { unit: 'mmx', cpuid: 'sse' }),
  row('PINSRW', '66 0F C4 /r mod=3', 'Vx,Rd,Ib', 'rw,r,r', insertWord(8), SSE2),
  row('PINSRW', '66 0F C4 /r mod=m', 'Vx,Mw,Ib', 'rw,r,r', insertWord(8), SSE2),
  row('PEXTRW', 'NP 0F C5 /r mod=3', 'Gd,Nq,Ib', 'w,r,r', extractWord(4), { unit: 'mmx', cpuid: 'sse' }),
  row('PEXTRW', '66 0F C5 /r mod=3', 'Gd,Ux,Ib', 'w,r,r', extractWord(8), SSE2),

  row('PSHUFB', 'NP 0F 38 00 /r', 'Pq,Qq', 'rw,r', mmxBinary(shuffleBytes(0x87)), { unit: 'mmx', cpuid: 'ssse3' }),
  row('PSHUFB', '66 0F 38 00 /r', 'Vx,Wx', 'rw,r', xmmBinary(shuffleBytes(0x8f)), SSSE3),
  ...horizontalRows('PHADDW', '01', 16, 'i16x8.add'), ...horizontalRows('PHADDD', '02', 32, 'i32x4.add'),
  ...horizontalRows('PHADDSW', '03', 16, 'i16x8.add_sat_s'), ...horizontalRows('PHSUBW', '05', 16, 'i16x8.sub'),
  ...horizontalRows('PHSUBD', '06', 32, 'i32x4.sub'), ...horizontalRows('PHSUBSW', '07', 16, 'i16x8.sub_sat_s'),
  ...withSsse3('PMADDUBSW', '04', multiplyAddBytes), ...withSsse3('PMULHRSW', '0B', mulHighRounded),
  ...withSsse3('PSIGNB', '08', sign('i8x16')), ...withSsse3('PSIGNW', '09', sign('i16x8')), ...withSsse3('PSIGND', '0A', sign('i32x4')),
  ...withSsse3('PABSB', '1C', absolute('i8x16')), ...withSsse3('PABSW', '1D', absolute('i16x8')), ...withSsse3('PABSD', '1E', absolute('i32x4')),
  row('PALIGNR', 'NP 0F 3A 0F /r', 'Pq,Qq,Ib', 'rw,r,r', alignMmx, { unit: 'mmx', cpuid: 'ssse3' }),
  row('PALIGNR', '66 0F 3A 0F /r', 'Vx,Wx,Ib', 'rw,r,r', alignXmm, SSSE3),
]
