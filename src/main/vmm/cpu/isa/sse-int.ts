/** SSE2 and SSSE3 integer vectors: arithmetic, comparison, logic, shifts, shuffles, packing. SDM vol. 2. */
import type { Emitter, Val, Vec } from '../emit/emitter'
import { row, type InsnRow, type Meaning, type RowOptions } from './types'

const sse: RowOptions = { unit: 'sse', cpuid: 'sse' }
const sse2: RowOptions = { unit: 'sse', cpuid: 'sse2' }
const ssse3: RowOptions = { unit: 'sse', cpuid: 'ssse3' }

/** A 128-bit memory operand of a legacy SSE instruction must be aligned. */
const source = (e: Emitter, n: number): Vec => {
  e.requireAligned(n, 16)
  return e.operandVec(n)
}

type Combine = (e: Emitter, a: Vec, b: Vec) => Vec
const combine = (f: Combine): Meaning => (e) => {
  const b = source(e, 1)
  e.setOperandVec(0, f(e, e.operandVec(0), b))
}
const direct = (op: string): Meaning => combine((e, a, b) => e.vec(op, a, b))
const swapped = (op: string): Meaning => combine((e, a, b) => e.vec(op, b, a))

const lanes = (numbers: readonly number[], bytes: number): number[] =>
  numbers.flatMap((lane) => Array.from({ length: bytes }, (_, i) => lane * bytes + i))

/** Interleaves the low or high halves of both operands. */
function unpackLanes(bytes: number, high: boolean): number[] {
  const count = 16 / bytes
  const start = high ? count / 2 : 0
  return lanes(Array.from({ length: count }, (_, i) => (i % 2 === 0 ? 0 : count) + start + (i >> 1)), bytes)
}
const unpack = (bytes: number, high: boolean): Meaning => combine((e, a, b) => e.vecShuffle(unpackLanes(bytes, high), a, b))

/** Shifts by a 64-bit count: at or above the lane width the result is zero, or all sign bits. */
function shiftBy(e: Emitter, kind: 'shl' | 'shr_u' | 'shr_s', width: 16 | 32 | 64, v: Vec, count: Val): Vec {
  const shape = { 16: 'i16x8', 32: 'i32x4', 64: 'i64x2' }[width]
  const tooFar = e.isZero(e.ltu(count, e.const(64, width)))
  if (kind === 'shr_s') return e.vec(`${shape}.shr_s`, v, e.trunc(e.select(tooFar, e.const(64, width - 1), count), 32))
  const shifted = e.vec(`${shape}.${kind}`, v, e.trunc(e.and(count, e.const(64, width - 1)), 32))
  const keep = e.select(tooFar, e.const(64, 0), e.const(64, 0xffff_ffff_ffff_ffffn))
  return e.vec('v128.and', shifted, e.vecSplat(64, keep))
}
const shiftByVector = (kind: 'shl' | 'shr_u' | 'shr_s', width: 16 | 32 | 64): Meaning => (e) => {
  const count = e.vecExtract(64, 0, source(e, 1))
  e.setOperandVec(0, shiftBy(e, kind, width, e.operandVec(0), count))
}
const shiftByImmediate = (kind: 'shl' | 'shr_u' | 'shr_s', width: 16 | 32 | 64): Meaning => (e) =>
  e.setOperandVec(0, shiftBy(e, kind, width, e.operandVec(0), e.zext(e.operand(1, 8), 64)))

const BYTE_NUMBERS = Array.from({ length: 16 }, (_, i) => i)

/** PSLLDQ and PSRLDQ: a swizzle whose out-of-range indices give zero. */
const shiftBytes = (left: boolean): Meaning => (e) => {
  const count = e.operand(1, 8)
  const by = e.vecSplat(8, e.select(e.ltu(e.const(8, 15), count), e.const(8, 16), count))
  const indices = e.vec(left ? 'i8x16.sub' : 'i8x16.add', e.vecConst(BYTE_NUMBERS), by)
  e.setOperandVec(0, e.vec('i8x16.swizzle', e.operandVec(0), indices))
}

/** Byte numbers of lanes picked by the two-bit fields of an immediate; the other lanes stay. */
function immediateIndices(e: Emitter, width: 16 | 32, first: number, immediate: Val): Vec {
  let indices = e.vecConst(BYTE_NUMBERS)
  const bytes = width / 8
  for (let lane = 0; lane < 4; lane++) {
    const field = e.and(e.shr(e.zext(immediate, 32), e.const(32, 2 * lane)), e.const(32, 3))
    const from = e.add(e.mul(field, e.const(32, bytes)), e.const(32, first * bytes))
    // Byte numbers of the chosen lane, packed: from, from + 1, …
    const ramp = width === 32 ? 0x03020100 : 0x0100
    const packed = e.add(e.mul(from, e.const(32, width === 32 ? 0x01010101 : 0x0101)), e.const(32, ramp))
    indices = e.vecReplace(width, first + lane, indices, e.trunc(packed, width))
  }
  return indices
}
const shuffleImmediate = (width: 16 | 32, first: number): Meaning => (e) => {
  const v = source(e, 1)
  e.setOperandVec(0, e.vec('i8x16.swizzle', v, immediateIndices(e, width, first, e.operand(2, 8))))
}

/** SHUFPS and SHUFPD: low lanes from the destination, high lanes from the source. */
const shufflePacked = (width: 32 | 64): Meaning => (e) => {
  const b = source(e, 1)
  const a = e.operandVec(0)
  const immediate = e.zext(e.operand(2, 8), 32)
  let result = a
  const count = 128 / width
  for (let lane = 0; lane < count; lane++) {
    const bits = width === 32 ? 2 : 1
    const field = e.and(e.shr(immediate, e.const(32, bits * lane)), e.const(32, count - 1))
    const from = lane < count / 2 ? a : b
    let value = e.vecExtract(width, 0, from)
    for (let i = 1; i < count; i++) value = e.select(e.eq(field, e.const(32, i)), e.vecExtract(width, i, from), value)
    result = e.vecReplace(width, lane, result, value)
  }
  e.setOperandVec(0, result)
}

/** PSHUFB: bit 7 of an index gives zero, otherwise its low four bits count. */
const shuffleBytes: Meaning = combine((e, a, b) =>
  e.vec('i8x16.swizzle', a, e.vec('v128.and', b, e.vecConst(new Array<number>(16).fill(0x8f)))))

/** PALIGNR: bytes of destination:source, moved right by the immediate; beyond 32 it is all zero. */
const alignRight: Meaning = (e) => {
  const low = source(e, 1)
  const high = e.operandVec(0)
  const count = e.operand(2, 8)
  const far = e.ltu(e.const(8, 31), count)
  const by = e.vecSplat(8, e.select(far, e.const(8, 32), count))
  const indices = e.vec('i8x16.add', e.vecConst(BYTE_NUMBERS), by)
  const fromHigh = e.vec('i8x16.swizzle', high, e.vec('i8x16.sub', indices, e.vecConst(new Array<number>(16).fill(16))))
  e.setOperandVec(0, e.vec('v128.or', e.vec('i8x16.swizzle', low, indices), fromHigh))
}

const EVEN32 = lanes([0, 2, 1, 3], 4)
/** PMULUDQ: products of the even 32-bit lanes. */
const multiplyEven: Meaning = combine((e, a, b) =>
  e.vec('i64x2.extmul_low_i32x4_u', e.vecShuffle(EVEN32, a, a), e.vecShuffle(EVEN32, b, b)))

/** Upper halves of 16-bit products. */
const multiplyHigh = (sign: 's' | 'u'): Meaning => combine((e, a, b) => {
  const low = e.vec(`i32x4.extmul_low_i16x8_${sign}`, a, b)
  const high = e.vec(`i32x4.extmul_high_i16x8_${sign}`, a, b)
  return e.vecShuffle([2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31], low, high)
})

/** PSADBW: sums of absolute byte differences, one per half. */
const sumDifferences: Meaning = combine((e, a, b) => {
  const difference = e.vec('i8x16.sub', e.vec('i8x16.max_u', a, b), e.vec('i8x16.min_u', a, b))
  const quads = e.vec('i32x4.extadd_pairwise_i16x8_u', e.vec('i16x8.extadd_pairwise_i8x16_u', difference))
  const sum = (lane: number): Val => e.zext(e.add(e.vecExtract(32, lane, quads), e.vecExtract(32, lane + 1, quads)), 64)
  return e.vecReplace(64, 1, e.vecSplat(64, sum(0)), sum(2))
})

const HORIZONTAL: Readonly<Record<16 | 32, readonly [number[], number[]]>> = {
  16: [lanes([0, 2, 4, 6, 8, 10, 12, 14], 2), lanes([1, 3, 5, 7, 9, 11, 13, 15], 2)],
  32: [lanes([0, 2, 4, 6], 4), lanes([1, 3, 5, 7], 4)],
}
const horizontal = (width: 16 | 32, op: string): Meaning => combine((e, a, b) => {
  const [even, odd] = HORIZONTAL[width]
  return e.vec(op, e.vecShuffle(even, a, b), e.vecShuffle(odd, a, b))
})

/** PSIGN: by the sign of the source, negated, kept or cleared. */
const applySign = (shape: string): Meaning => combine((e, a, b) => {
  const zero = e.vecConst(new Array<number>(16).fill(0))
  const negative = e.vec(`${shape}.lt_s`, b, zero)
  const signed = e.vec('v128.bitselect', e.vec(`${shape}.neg`, a), a, negative)
  return e.vec('v128.andnot', signed, e.vec(`${shape}.eq`, b, zero))
})

const absolute = (shape: string): Meaning => (e) => e.setOperandVec(0, e.vec(`${shape}.abs`, source(e, 1)))

/** PMADDUBSW: unsigned by signed bytes, adjacent products added with saturation. */
const multiplyAddBytes: Meaning = combine((e, a, b) => {
  const even = e.vec('i16x8.mul', evenBytes(e, a, 'u'), evenBytes(e, b, 's'))
  const odd = e.vec('i16x8.mul', oddBytes(e, a, 'u'), oddBytes(e, b, 's'))
  return e.vec('i16x8.add_sat_s', even, odd)
})
const eight = (e: Emitter): Val => e.const(32, 8)
const evenBytes = (e: Emitter, v: Vec, sign: 's' | 'u'): Vec => e.vec(`i16x8.shr_${sign}`, e.vec('i16x8.shl', v, eight(e)), eight(e))
const oddBytes = (e: Emitter, v: Vec, sign: 's' | 'u'): Vec => e.vec(`i16x8.shr_${sign}`, v, eight(e))

/** PMULHRSW: (a × b + 0x4000) >> 15 without the saturation wasm's q15mulr has: only -1 × -1 differs, and wraps. */
const multiplyRound: Meaning = combine((e, a, b) => {
  const saturated = e.vec('i16x8.q15mulr_sat_s', a, b)
  const minimum = e.vecConst(Array.from({ length: 16 }, (_, i) => (i % 2 === 0 ? 0 : 0x80)))
  const both = e.vec('v128.and', e.vec('i16x8.eq', a, minimum), e.vec('i16x8.eq', b, minimum))
  return e.vec('v128.bitselect', minimum, saturated, both)
})

/** PINSRW and PEXTRW. */
const insertWord: Meaning = (e) => {
  const value = e.trunc(e.operand(1, 16), 16)
  const lane = e.and(e.zext(e.operand(2, 8), 32), e.const(32, 7))
  let result = e.operandVec(0)
  for (let i = 0; i < 8; i++) {
    const old = e.vecExtract(16, i, result)
    result = e.vecReplace(16, i, result, e.select(e.eq(lane, e.const(32, i)), value, old))
  }
  e.setOperandVec(0, result)
}
const extractWord: Meaning = (e) => {
  const v = e.operandVec(1)
  const lane = e.and(e.zext(e.operand(2, 8), 32), e.const(32, 7))
  const moved = e.vec('i8x16.swizzle', v, e.vec('i8x16.add', e.vecConst(BYTE_NUMBERS), e.vecSplat(8, e.trunc(e.mul(lane, e.const(32, 2)), 8))))
  e.setOperand(0, e.zext(e.vecExtract(16, 0, moved), 32))
}

/** [mnemonic, opcode byte, meaning] of `66 0F xx /r`. */
const PLAIN: readonly [string, string, Meaning][] = [
  ['PUNPCKLBW', '60', unpack(1, false)], ['PUNPCKLWD', '61', unpack(2, false)], ['PUNPCKLDQ', '62', unpack(4, false)],
  ['PACKSSWB', '63', direct('i8x16.narrow_i16x8_s')], ['PCMPGTB', '64', direct('i8x16.gt_s')], ['PCMPGTW', '65', direct('i16x8.gt_s')],
  ['PCMPGTD', '66', direct('i32x4.gt_s')], ['PACKUSWB', '67', direct('i8x16.narrow_i16x8_u')],
  ['PUNPCKHBW', '68', unpack(1, true)], ['PUNPCKHWD', '69', unpack(2, true)], ['PUNPCKHDQ', '6A', unpack(4, true)],
  ['PACKSSDW', '6B', direct('i16x8.narrow_i32x4_s')], ['PUNPCKLQDQ', '6C', unpack(8, false)], ['PUNPCKHQDQ', '6D', unpack(8, true)],
  ['PCMPEQB', '74', direct('i8x16.eq')], ['PCMPEQW', '75', direct('i16x8.eq')], ['PCMPEQD', '76', direct('i32x4.eq')],
  ['PSRLW', 'D1', shiftByVector('shr_u', 16)], ['PSRLD', 'D2', shiftByVector('shr_u', 32)], ['PSRLQ', 'D3', shiftByVector('shr_u', 64)],
  ['PADDQ', 'D4', direct('i64x2.add')], ['PMULLW', 'D5', direct('i16x8.mul')], ['PSUBUSB', 'D8', direct('i8x16.sub_sat_u')],
  ['PSUBUSW', 'D9', direct('i16x8.sub_sat_u')], ['PMINUB', 'DA', direct('i8x16.min_u')], ['PAND', 'DB', direct('v128.and')],
  ['PADDUSB', 'DC', direct('i8x16.add_sat_u')], ['PADDUSW', 'DD', direct('i16x8.add_sat_u')], ['PMAXUB', 'DE', direct('i8x16.max_u')],
  ['PANDN', 'DF', swapped('v128.andnot')], ['PAVGB', 'E0', direct('i8x16.avgr_u')], ['PSRAW', 'E1', shiftByVector('shr_s', 16)],
  ['PSRAD', 'E2', shiftByVector('shr_s', 32)], ['PAVGW', 'E3', direct('i16x8.avgr_u')], ['PMULHUW', 'E4', multiplyHigh('u')],
  ['PMULHW', 'E5', multiplyHigh('s')], ['PSUBSB', 'E8', direct('i8x16.sub_sat_s')], ['PSUBSW', 'E9', direct('i16x8.sub_sat_s')],
  ['PMINSW', 'EA', direct('i16x8.min_s')], ['POR', 'EB', direct('v128.or')], ['PADDSB', 'EC', direct('i8x16.add_sat_s')],
  ['PADDSW', 'ED', direct('i16x8.add_sat_s')], ['PMAXSW', 'EE', direct('i16x8.max_s')], ['PXOR', 'EF', direct('v128.xor')],
  ['PSLLW', 'F1', shiftByVector('shl', 16)], ['PSLLD', 'F2', shiftByVector('shl', 32)], ['PSLLQ', 'F3', shiftByVector('shl', 64)],
  ['PMULUDQ', 'F4', multiplyEven], ['PMADDWD', 'F5', direct('i32x4.dot_i16x8_s')], ['PSADBW', 'F6', sumDifferences],
  ['PSUBB', 'F8', direct('i8x16.sub')], ['PSUBW', 'F9', direct('i16x8.sub')], ['PSUBD', 'FA', direct('i32x4.sub')],
  ['PSUBQ', 'FB', direct('i64x2.sub')], ['PADDB', 'FC', direct('i8x16.add')], ['PADDW', 'FD', direct('i16x8.add')], ['PADDD', 'FE', direct('i32x4.add')],
]

const SSSE3: readonly [string, string, Meaning][] = [
  ['PSHUFB', '00', shuffleBytes], ['PHADDW', '01', horizontal(16, 'i16x8.add')], ['PHADDD', '02', horizontal(32, 'i32x4.add')],
  ['PHADDSW', '03', horizontal(16, 'i16x8.add_sat_s')], ['PMADDUBSW', '04', multiplyAddBytes], ['PHSUBW', '05', horizontal(16, 'i16x8.sub')],
  ['PHSUBD', '06', horizontal(32, 'i32x4.sub')], ['PHSUBSW', '07', horizontal(16, 'i16x8.sub_sat_s')], ['PSIGNB', '08', applySign('i8x16')],
  ['PSIGNW', '09', applySign('i16x8')], ['PSIGND', '0A', applySign('i32x4')], ['PMULHRSW', '0B', multiplyRound],
  ['PABSB', '1C', absolute('i8x16')], ['PABSW', '1D', absolute('i16x8')], ['PABSD', '1E', absolute('i32x4')],
]

const IMMEDIATE_SHIFTS: readonly [string, string, Meaning][] = [
  ['PSRLW', '71 /2', shiftByImmediate('shr_u', 16)], ['PSRAW', '71 /4', shiftByImmediate('shr_s', 16)], ['PSLLW', '71 /6', shiftByImmediate('shl', 16)],
  ['PSRLD', '72 /2', shiftByImmediate('shr_u', 32)], ['PSRAD', '72 /4', shiftByImmediate('shr_s', 32)], ['PSLLD', '72 /6', shiftByImmediate('shl', 32)],
  ['PSRLQ', '73 /2', shiftByImmediate('shr_u', 64)], ['PSRLDQ', '73 /3', shiftBytes(false)], ['PSLLQ', '73 /6', shiftByImmediate('shl', 64)],
  ['PSLLDQ', '73 /7', shiftBytes(true)],
]

/** Bitwise float operations move bits, no more. */
function logicRows([prefix, suffix, options]: readonly [string, string, RowOptions]): InsnRow[] {
  const bitwise: readonly [string, string, Meaning][] = [
    ['AND', '54', direct('v128.and')], ['ANDN', '55', swapped('v128.andnot')], ['OR', '56', direct('v128.or')], ['XOR', '57', direct('v128.xor')],
  ]
  const bytes = suffix === 'PS' ? 4 : 8
  return [
    ...bitwise.map(([name, opcode, meaning]) => row(`${name}${suffix}`, `${prefix} 0F ${opcode} /r`, 'Vx,Wx', 'rw,r', meaning, options)),
    row(`UNPCKL${suffix}`, `${prefix} 0F 14 /r`, 'Vx,Wx', 'rw,r', unpack(bytes, false), options),
    row(`UNPCKH${suffix}`, `${prefix} 0F 15 /r`, 'Vx,Wx', 'rw,r', unpack(bytes, true), options),
    row(`SHUF${suffix}`, `${prefix} 0F C6 /r`, 'Vx,Wx,Ib', 'rw,r,r', shufflePacked(bytes === 4 ? 32 : 64), options),
  ]
}

export const sseIntRows: readonly InsnRow[] = [
  ...PLAIN.map(([name, opcode, meaning]) => row(name, `66 0F ${opcode} /r`, 'Vx,Wx', 'rw,r', meaning, sse2)),
  ...SSSE3.map(([name, opcode, meaning]) => row(name, `66 0F 38 ${opcode} /r`, 'Vx,Wx', 'rw,r', meaning, ssse3)),
  ...IMMEDIATE_SHIFTS.map(([name, opcode, meaning]) => row(name, `66 0F ${opcode} mod=3`, 'Ux,Ib', 'rw,r', meaning, sse2)),
  ...([['NP', 'PS', sse], ['66', 'PD', sse2]] as const).flatMap(logicRows),
  row('PSHUFD', '66 0F 70 /r', 'Vx,Wx,Ib', 'w,r,r', shuffleImmediate(32, 0), sse2),
  row('PSHUFHW', 'F3 0F 70 /r', 'Vx,Wx,Ib', 'w,r,r', shuffleImmediate(16, 4), sse2),
  row('PSHUFLW', 'F2 0F 70 /r', 'Vx,Wx,Ib', 'w,r,r', shuffleImmediate(16, 0), sse2),
  row('PALIGNR', '66 0F 3A 0F /r', 'Vx,Wx,Ib', 'rw,r,r', alignRight, ssse3),
  row('PINSRW', '66 0F C4 /r mod=3', 'Vx,Ed,Ib', 'rw,r,r', insertWord, { ...sse2, size: 32 }),
  row('PINSRW', '66 0F C4 /r mod=m', 'Vx,Ew,Ib', 'rw,r,r', insertWord, { ...sse2, size: 32 }),
  row('PEXTRW', '66 0F C5 /r mod=3', 'Gd,Ux,Ib', 'w,r,r', extractWord, { ...sse2, size: 32 }),
]
