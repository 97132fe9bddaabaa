/** SSE, SSE2 and SSE3 float arithmetic and comparison. SDM vol. 2. Fast paths: see `float-guards.ts`. */
import type { Emitter, Flt, Val, Vec } from '../emit/emitter'
import { RESULT_HIGH, RESULT_LOW, laneCode, sseCompareHelper, sseLanesHelper, type LaneOperationName } from '../helpers/sse/lanes'
import {
  all, everyLane, exactProductLanes, exactSumLanes, isFloatZero, keepsDenormals, plain, plainLanes, productIsExact, quietMode, quietUnlessInexact, quietUnlessInexactLanes, sumIsExact, surelyNormal,
  surelyNormalLanes, zeroLanes, type FloatWidth,
} from './float-guards'
import { SSE, SSE2, SSE3, alignedSource, highHalf, laneBytes, lift, lowHalf } from './simd'
import { row, type InsnRow, type Meaning, type RowOptions } from './types'

/** Operand of a scalar helper call, as 64 bits. */
const wide = (e: Emitter, x: Val): Val => (x.width === 64 ? x : e.zext(x, 64))
const scratchLow = (e: Emitter, width: FloatWidth): Val => {
  const low = e.field('scratch', RESULT_LOW)
  return width === 64 ? low : e.trunc(low, 32)
}
export const scratchVec = (e: Emitter): Vec => e.vecReplace(64, 1, lift(e, e.field('scratch', RESULT_LOW)), e.field('scratch', RESULT_HIGH))

export function slowScalar(e: Emitter, name: LaneOperationName, width: FloatWidth, a: Val, b: Val, parameter = e.const(32, 0)): Val {
  const none = e.const(64, 0)
  e.call(sseLanesHelper, e.const(32, laneCode(name, width, 1)), parameter, wide(e, a), none, wide(e, b), none)
  return scratchLow(e, width)
}

export function slowPacked(e: Emitter, name: LaneOperationName, width: FloatWidth, a: Vec, b: Vec, parameter = e.const(32, 0)): Vec {
  const code = e.const(32, laneCode(name, width, 128 / width))
  e.call(sseLanesHelper, code, parameter, lowHalf(e, a), highHalf(e, a), lowHalf(e, b), highHalf(e, b))
  return scratchVec(e)
}

// ── add, sub, mul, div, sqrt ────────────────────────────────────────────────────────────────────────────────────────

type Arithmetic = 'add' | 'sub' | 'mul' | 'div' | 'sqrt'

/** Zero results that are exact. */
function exactZero(e: Emitter, name: Arithmetic, a: Val, b: Val, result: Val): Val {
  switch (name) {
    case 'add': case 'sub': return isFloatZero(e, result)
    case 'mul': return e.or(isFloatZero(e, a), isFloatZero(e, b))
    case 'div': return e.and(isFloatZero(e, a), e.isZero(isFloatZero(e, b)))
    case 'sqrt': return isFloatZero(e, b)
  }
}

function exactZeroLanes(e: Emitter, name: Arithmetic, w: FloatWidth, a: Vec, b: Vec, result: Vec): Vec {
  switch (name) {
    case 'add': case 'sub': return zeroLanes(e, w, result)
    case 'mul': return e.vec('v128.or', zeroLanes(e, w, a), zeroLanes(e, w, b))
    case 'div': return e.vec('v128.andnot', zeroLanes(e, w, a), zeroLanes(e, w, b))
    case 'sqrt': return zeroLanes(e, w, b)
  }
}

/** Whether the rounded result is the true one. Plain operands and a settled result are looked at elsewhere. */
function isExact(e: Emitter, name: Arithmetic, w: FloatWidth, a: Val, b: Val, result: Val): Val {
  const [x, y, r] = [e.bitsToFlt(a), e.bitsToFlt(b), e.bitsToFlt(result)]
  const equals = (product: Flt, whole: Flt): Val => e.fltToInt(`f${w}.eq`, product, whole)
  switch (name) {
    case 'add': return sumIsExact(e, x, y, r)
    case 'sub': return sumIsExact(e, x, e.flt(`f${w}.neg`, y), r)
    case 'mul': return productIsExact(e, a, b)
    case 'div': return e.and(productIsExact(e, result, b), equals(e.flt(`f${w}.mul`, r, y), x))
    case 'sqrt': return e.and(productIsExact(e, result, result), equals(e.flt(`f${w}.mul`, r, r), y))
  }
}

const scalar = (name: Arithmetic, w: FloatWidth): Meaning => (e) => {
  const b = e.operand(1, w)
  const a = name === 'sqrt' ? b : e.operand(0, w)
  const operands = name === 'sqrt' ? [e.bitsToFlt(b)] : [e.bitsToFlt(a), e.bitsToFlt(b)]
  const result = e.fltToBits(e.flt(`f${w}.${name}`, ...operands))
  const settled = e.or(surelyNormal(e, result), exactZero(e, name, a, b, result))
  const inputs = name === 'sqrt' ? [plain(e, b)] : [plain(e, a), plain(e, b)]
  const quiet = quietUnlessInexact(e, () => isExact(e, name, w, a, b, result))
  e.if(all(e, quiet, ...inputs, settled), () => e.setOperand(0, result), () => e.setOperand(0, slowScalar(e, name, w, a, b)))
}

/** Lanes whose rounded result is the true one. Sums that are zero are found by their error, other zeros by their operands. */
function exactLanes(e: Emitter, name: Arithmetic, w: FloatWidth, a: Vec, b: Vec, result: Vec): Vec {
  const shape = w === 32 ? 'f32x4' : 'f64x2'
  const isProduct = (x: Vec, y: Vec, whole: Vec): Vec => {
    const product = e.vec(`${shape}.mul`, x, y)
    return e.vec('v128.and', e.vec(`${shape}.eq`, product, whole), exactProductLanes(e, w, x, y, product))
  }
  switch (name) {
    case 'add': return exactSumLanes(e, w, a, b, result)
    case 'sub': return exactSumLanes(e, w, a, e.vec(`${shape}.neg`, b), result)
    case 'mul': return e.vec('v128.or', exactZeroLanes(e, name, w, a, b, result), exactProductLanes(e, w, a, b, result))
    case 'div': return e.vec('v128.or', exactZeroLanes(e, name, w, a, b, result), isProduct(result, b, a))
    case 'sqrt': return e.vec('v128.or', exactZeroLanes(e, name, w, a, b, result), isProduct(result, result, b))
  }
}

/** Packed arithmetic on vectors already fetched. */
function packedArithmetic(e: Emitter, name: Arithmetic, w: FloatWidth, a: Vec, b: Vec): void {
  const shape = w === 32 ? 'f32x4' : 'f64x2'
  const result = name === 'sqrt' ? e.vec(`${shape}.sqrt`, b) : e.vec(`${shape}.${name}`, a, b)
  const settled = e.vec('v128.or', surelyNormalLanes(e, w, result), exactZeroLanes(e, name, w, a, b, result))
  const inputs = name === 'sqrt' ? plainLanes(e, w, b) : e.vec('v128.and', plainLanes(e, w, a), plainLanes(e, w, b))
  const quiet = quietUnlessInexactLanes(e, w, () => exactLanes(e, name, w, a, b, result))
  const fast = e.and(quiet, everyLane(e, w, e.vec('v128.and', inputs, settled)))
  e.if(fast, () => e.setOperandVec(0, result), () => e.setOperandVec(0, slowPacked(e, name, w, a, b)))
}

const packed = (name: Arithmetic, w: FloatWidth): Meaning => (e) => {
  const b = alignedSource(e, 1)
  packedArithmetic(e, name, w, name === 'sqrt' ? b : e.operandVec(0), b)
}

// ── min, max, comparisons: exact, so rounding does not matter ───────────────────────────────────────────────────────

const scalarMinMax = (name: 'min' | 'max', w: FloatWidth): Meaning => (e) => {
  const b = e.operand(1, w)
  const a = e.operand(0, w)
  const [x, y] = [e.bitsToFlt(a), e.bitsToFlt(b)]
  const takeFirst = name === 'min' ? e.fltToInt(`f${w}.lt`, x, y) : e.fltToInt(`f${w}.gt`, x, y)
  e.if(all(e, keepsDenormals(e), plain(e, a), plain(e, b)),
    () => e.setOperand(0, e.select(takeFirst, a, b)), () => e.setOperand(0, slowScalar(e, name, w, a, b)))
}

const packedMinMax = (name: 'min' | 'max', w: FloatWidth): Meaning => (e) => {
  const b = alignedSource(e, 1)
  const a = e.operandVec(0)
  // Pseudo-minimum takes its first operand unless the second is smaller: exchanged, that is x86's rule.
  const result = e.vec(`${w === 32 ? 'f32x4' : 'f64x2'}.p${name}`, b, a)
  const fast = e.and(keepsDenormals(e), everyLane(e, w, e.vec('v128.and', plainLanes(e, w, a), plainLanes(e, w, b))))
  e.if(fast, () => e.setOperandVec(0, result), () => e.setOperandVec(0, slowPacked(e, name, w, a, b)))
}

/** The predicate is an immediate: its two low bits choose among four results, bit 2 negates. Only bits 2:0 count. */
function comparedLanes(e: Emitter, w: FloatWidth, a: Vec, b: Vec, imm: Val): Vec {
  const shape = w === 32 ? 'f32x4' : 'f64x2'
  const mask = (bit: number): Vec => e.vecSplat(32, e.sub(e.const(32, 0), e.zext(e.bit(imm, bit), 32)))
  const [bit0, bit1, bit2] = [mask(0), mask(1), mask(2)]
  // Both operands are ordered here: predicate 3, unordered, is never true.
  const never = e.vecConst(new Array<number>(16).fill(0))
  const low = e.vec('v128.bitselect', e.vec(`${shape}.lt`, a, b), e.vec(`${shape}.eq`, a, b), bit0)
  const high = e.vec('v128.bitselect', never, e.vec(`${shape}.le`, a, b), bit0)
  return e.vec('v128.xor', e.vec('v128.bitselect', high, low, bit1), bit2)
}

const predicateOf = (e: Emitter): Val => e.and(e.zext(e.operand(2, 8), 32), e.const(32, 7))

const packedCompare = (w: FloatWidth): Meaning => (e) => {
  const b = alignedSource(e, 1)
  const a = e.operandVec(0)
  const imm = predicateOf(e)
  const fast = e.and(keepsDenormals(e), everyLane(e, w, e.vec('v128.and', plainLanes(e, w, a), plainLanes(e, w, b))))
  e.if(fast, () => e.setOperandVec(0, comparedLanes(e, w, a, b, imm)), () => e.setOperandVec(0, slowPacked(e, 'compare', w, a, b, imm)))
}

const scalarCompare = (w: FloatWidth): Meaning => (e) => {
  const b = e.operand(1, w)
  const a = e.operand(0, w)
  const imm = predicateOf(e)
  const lanes = (x: Val): Vec => lift(e, x)
  e.if(all(e, keepsDenormals(e), plain(e, a), plain(e, b)), () => {
    e.setOperand(0, e.vecExtract(w, 0, comparedLanes(e, w, lanes(a), lanes(b), imm)))
  }, () => e.setOperand(0, slowScalar(e, 'compare', w, a, b, imm)))
}

const orderedCompare = (w: FloatWidth, signals: boolean): Meaning => (e) => {
  const b = e.operand(1, w)
  const a = e.operand(0, w)
  const [x, y] = [e.bitsToFlt(a), e.bitsToFlt(b)]
  const fast = all(e, keepsDenormals(e), plain(e, a), plain(e, b))
  const code = e.const(32, (w === 64 ? 1 : 0) | (signals ? 2 : 0))
  const flags = e.choose(fast, () => {
    const equal = e.shl(e.zext(e.fltToInt(`f${w}.eq`, x, y), 32), e.const(32, 6))
    return e.or(equal, e.zext(e.fltToInt(`f${w}.lt`, x, y), 32))
  }, () => e.call(sseCompareHelper, code, wide(e, a), wide(e, b)))
  e.setArithFlags(e.zext(flags, 64))
}

// ── SSE3 ────────────────────────────────────────────────────────────────────────────────────────────────────────────

const lanesOf = (numbers: readonly number[], bytes: number): number[] =>
  numbers.flatMap((lane) => Array.from({ length: bytes }, (_, i) => lane * bytes + i))

const horizontal = (name: 'add' | 'sub', w: FloatWidth): Meaning => (e) => {
  const b = alignedSource(e, 1)
  const a = e.operandVec(0)
  const [even, odd] = w === 32 ? [[0, 2, 4, 6], [1, 3, 5, 7]] : [[0, 2], [1, 3]]
  packedArithmetic(e, name, w, e.vecShuffle(lanesOf(even, w / 8), a, b), e.vecShuffle(lanesOf(odd, w / 8), a, b))
}

const addSubtract = (w: FloatWidth): Meaning => (e) => {
  const b = alignedSource(e, 1)
  const a = e.operandVec(0)
  const sign = 1n << BigInt(w - 1)
  const signs = e.vecConst(laneBytes(w, w === 32 ? [sign, 0n, sign, 0n] : [sign, 0n]))
  const result = e.vec(`${w === 32 ? 'f32x4' : 'f64x2'}.add`, a, e.vec('v128.xor', b, signs))
  const settled = e.vec('v128.or', surelyNormalLanes(e, w, result), zeroLanes(e, w, result))
  const inputs = e.vec('v128.and', plainLanes(e, w, a), plainLanes(e, w, b))
  const fast = e.and(quietMode(e), everyLane(e, w, e.vec('v128.and', inputs, settled)))
  e.if(fast, () => e.setOperandVec(0, result), () => e.setOperandVec(0, slowPacked(e, 'addsub', w, a, b)))
}

/** RCPPS and RSQRTPS have no exceptions, and no result all makers share. */
const approximatePacked = (name: 'reciprocal' | 'reciprocalRoot'): Meaning => (e) => {
  const b = alignedSource(e, 1)
  e.setOperandVec(0, slowPacked(e, name, 32, b, b))
}
const approximateScalar = (name: 'reciprocal' | 'reciprocalRoot'): Meaning => (e) => {
  const b = e.operand(1, 32)
  e.setOperand(0, slowScalar(e, name, 32, b, b))
}

// ── rows ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** PS, PD, SS and SD forms of one opcode. */
function fourForms(name: string, opcode: string, access: string, whole: (w: FloatWidth) => Meaning, single: (w: FloatWidth) => Meaning): InsnRow[] {
  return [
    row(`${name}PS`, `NP 0F ${opcode} /r`, 'Vx,Wx', access, whole(32), SSE),
    row(`${name}PD`, `66 0F ${opcode} /r`, 'Vx,Wx', access, whole(64), SSE2),
    row(`${name}SS`, `F3 0F ${opcode} /r`, 'Vss,Wss', 'rw,r', single(32), SSE),
    row(`${name}SD`, `F2 0F ${opcode} /r`, 'Vsd,Wsd', 'rw,r', single(64), SSE2),
  ]
}
const arithmeticRows = (name: string, opcode: string, op: Arithmetic): InsnRow[] =>
  fourForms(name, opcode, op === 'sqrt' ? 'w,r' : 'rw,r', (w) => packed(op, w), (w) => scalar(op, w))
const minMaxRows = (name: string, opcode: string, op: 'min' | 'max'): InsnRow[] =>
  fourForms(name, opcode, 'rw,r', (w) => packedMinMax(op, w), (w) => scalarMinMax(op, w))

const COMPARE_FLAGS = { writes: 'oszapc' }
// Results of RCP and RSQRT differ from maker to maker within the allowed error: the real CPU is no reference.
const APPROXIMATE: RowOptions = { ...SSE, noNative: true }

export const sseFloatRows: readonly InsnRow[] = [
  ...arithmeticRows('SQRT', '51', 'sqrt'), ...arithmeticRows('ADD', '58', 'add'), ...arithmeticRows('MUL', '59', 'mul'),
  ...arithmeticRows('SUB', '5C', 'sub'), ...arithmeticRows('DIV', '5E', 'div'), ...minMaxRows('MIN', '5D', 'min'), ...minMaxRows('MAX', '5F', 'max'),
  row('CMPPS', 'NP 0F C2 /r', 'Vx,Wx,Ib', 'rw,r,r', packedCompare(32), SSE), row('CMPPD', '66 0F C2 /r', 'Vx,Wx,Ib', 'rw,r,r', packedCompare(64), SSE2),
  row('CMPSS', 'F3 0F C2 /r', 'Vss,Wss,Ib', 'rw,r,r', scalarCompare(32), SSE),
  row('CMPSD', 'F2 0F C2 /r', 'Vsd,Wsd,Ib', 'rw,r,r', scalarCompare(64), SSE2),
  row('UCOMISS', 'NP 0F 2E /r', 'Vss,Wss', 'r,r', orderedCompare(32, false), { ...SSE, flags: COMPARE_FLAGS }),
  row('UCOMISD', '66 0F 2E /r', 'Vsd,Wsd', 'r,r', orderedCompare(64, false), { ...SSE2, flags: COMPARE_FLAGS }),
  row('COMISS', 'NP 0F 2F /r', 'Vss,Wss', 'r,r', orderedCompare(32, true), { ...SSE, flags: COMPARE_FLAGS }),
  row('COMISD', '66 0F 2F /r', 'Vsd,Wsd', 'r,r', orderedCompare(64, true), { ...SSE2, flags: COMPARE_FLAGS }),
  row('RSQRTPS', 'NP 0F 52 /r', 'Vx,Wx', 'w,r', approximatePacked('reciprocalRoot'), APPROXIMATE),
  row('RSQRTSS', 'F3 0F 52 /r', 'Vss,Wss', 'rw,r', approximateScalar('reciprocalRoot'), APPROXIMATE),
  row('RCPPS', 'NP 0F 53 /r', 'Vx,Wx', 'w,r', approximatePacked('reciprocal'), APPROXIMATE),
  row('RCPSS', 'F3 0F 53 /r', 'Vss,Wss', 'rw,r', approximateScalar('reciprocal'), APPROXIMATE),
  row('HADDPD', '66 0F 7C /r', 'Vx,Wx', 'rw,r', horizontal('add', 64), SSE3), row('HADDPS', 'F2 0F 7C /r', 'Vx,Wx', 'rw,r', horizontal('add', 32), SSE3),
  row('HSUBPD', '66 0F 7D /r', 'Vx,Wx', 'rw,r', horizontal('sub', 64), SSE3), row('HSUBPS', 'F2 0F 7D /r', 'Vx,Wx', 'rw,r', horizontal('sub', 32), SSE3),
  row('ADDSUBPD', '66 0F D0 /r', 'Vx,Wx', 'rw,r', addSubtract(64), SSE3), row('ADDSUBPS', 'F2 0F D0 /r', 'Vx,Wx', 'rw,r', addSubtract(32), SSE3),
]
