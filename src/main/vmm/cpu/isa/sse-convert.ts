/** SSE conversions between integers and floats. SDM vol. 2, CVT*. Fast paths: see `float-guards.ts`. */
import type { Emitter, Val, Vec } from '../emit/emitter'
import { convertCode, sseConvertHelper, type NumberShape } from '../helpers/sse/lanes'
import {
  all, everyLane, isFloatZero, plain, plainLanes, quietMode, quietUnlessInexact, surelyNormal, surelyNormalLanes, zeroLanes, type FloatWidth,
} from './float-guards'
import { scratchVec } from './sse-float'
import { SSE, SSE2, alignedSource, highHalf, laneBytes, lift, lowHalf, mmxBegin, mmxEnd, setMmx } from './simd'
import { row, type Form, type InsnRow, type Meaning } from './types'

function slow(e: Emitter, code: number, source: Vec): Vec {
  e.call(sseConvertHelper, e.const(32, code), lowHalf(e, source), highHalf(e, source))
  return scratchVec(e)
}
const slowValue = (e: Emitter, code: number, source: Val, width: 32 | 64): Val => {
  e.call(sseConvertHelper, e.const(32, code), source.width === 64 ? source : e.zext(source, 64), e.const(64, 0))
  const low = lowHalf(e, scratchVec(e))
  return width === 64 ? low : e.trunc(low, 32)
}

const generalWidth = ({ size }: Form): 32 | 64 => (size === 64 ? 64 : 32)
const intShape = (w: 32 | 64): NumberShape => (w === 64 ? 'i64' : 'i32')
const floatShape = (w: FloatWidth): NumberShape => (w === 64 ? 'f64' : 'f32')

// ── scalar ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** CVTSI2SS, CVTSI2SD. A 32-bit integer always fits into a double. */
const fromGeneral = (w: FloatWidth): Meaning => (e, form) => {
  const from = generalWidth(form)
  const value = e.operand(1, from)
  const direct = (): void => e.setOperand(0, e.fltToBits(e.flt(`f${w}.convert_i${from}_s`, value)))
  if (w === 64 && from === 32) return direct()
  const magnitude = e.select(e.lts(value, e.const(from, 0)), e.neg(value), value)
  const small = (): Val => e.ltu(magnitude, e.const(from, w === 64 ? 1n << 53n : 1n << 24n))
  e.if(quietUnlessInexact(e, small), direct, () => e.setOperand(0, slowValue(e, convertCode(intShape(from), floatShape(w), 1), value, w)))
}

/** Bits of 2^31 and 2^63: the first magnitudes that do not fit. */
const LIMITS = { 32: { 32: 0x4f00_0000n, 64: 0x5f00_0000n }, 64: { 32: 0x41e0_0000_0000_0000n, 64: 0x43e0_0000_0000_0000n } } as const

const toGeneral = (w: FloatWidth, truncate: boolean): Meaning => (e, form) => {
  const to = generalWidth(form)
  const bits = e.operand(1, w)
  const value = truncate ? e.bitsToFlt(bits) : e.flt(`f${w}.nearest`, e.bitsToFlt(bits))
  const fits = e.fltToInt(`f${w}.lt`, e.flt(`f${w}.abs`, value), e.bitsToFlt(e.const(w, LIMITS[w][to])))
  const isWhole = (): Val => e.fltToInt(`f${w}.eq`, e.flt(`f${w}.trunc`, e.bitsToFlt(bits)), e.bitsToFlt(bits))
  e.if(e.and(quietUnlessInexact(e, isWhole), fits), () => e.setOperand(0, e.fltToInt(`i${to}.trunc_sat_f${w}_s`, value)),
    () => e.setOperand(0, slowValue(e, convertCode(floatShape(w), intShape(to), 1, truncate), bits, to)))
}

/** Exact for plain numbers, whatever MXCSR says. */
const widen: Meaning = (e) => {
  const bits = e.operand(1, 32)
  e.if(plain(e, bits), () => e.setOperand(0, e.fltToBits(e.flt('f64.promote_f32', e.bitsToFlt(bits)))),
    () => e.setOperand(0, slowValue(e, convertCode('f32', 'f64', 1), bits, 64)))
}
const narrow: Meaning = (e) => {
  const bits = e.operand(1, 64)
  const result = e.fltToBits(e.flt('f32.demote_f64', e.bitsToFlt(bits)))
  const settled = e.or(surelyNormal(e, result), isFloatZero(e, bits))
  const fitsExactly = (): Val => e.eq(e.fltToBits(e.flt('f64.promote_f32', e.bitsToFlt(result))), bits)
  e.if(all(e, quietUnlessInexact(e, fitsExactly), plain(e, bits), settled), () => e.setOperand(0, result),
    () => e.setOperand(0, slowValue(e, convertCode('f64', 'f32', 1), bits, 32)))
}

// ── packed ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Two 32-bit lanes from the low half of the source: memory operands are 8 bytes. */
const lowPair = (e: Emitter): Vec => lift(e, e.operand(1, 64))

const widenPacked: Meaning = (e) => {
  const v = lowPair(e)
  e.if(everyLane(e, 32, plainLanes(e, 32, v)), () => e.setOperandVec(0, e.vec('f64x2.promote_low_f32x4', v)),
    () => e.setOperandVec(0, slow(e, convertCode('f32', 'f64', 2), v)))
}
const narrowPacked: Meaning = (e) => {
  const v = alignedSource(e, 1)
  const result = e.vec('f32x4.demote_f64x2_zero', v)
  const zeroSource = zeroLanes(e, 64, v)
  // Lanes of the sources as wide as those of the result, to be combined: doubles are zero where both their halves say so.
  const zeros = e.vecShuffle([0, 1, 2, 3, 8, 9, 10, 11, 16, 16, 16, 16, 16, 16, 16, 16], zeroSource, e.vecConst(new Array<number>(16).fill(0xff)))
  const settled = e.vec('v128.or', surelyNormalLanes(e, 32, result), zeros)
  e.if(all(e, quietMode(e), everyLane(e, 64, plainLanes(e, 64, v)), everyLane(e, 32, settled)), () => e.setOperandVec(0, result),
    () => e.setOperandVec(0, slow(e, convertCode('f64', 'f32', 2), v)))
}

const integersToSingles: Meaning = (e) => {
  const v = alignedSource(e, 1)
  e.if(quietMode(e), () => e.setOperandVec(0, e.vec('f32x4.convert_i32x4_s', v)), () => e.setOperandVec(0, slow(e, convertCode('i32', 'f32', 4), v)))
}
const integersToDoubles: Meaning = (e) => e.setOperandVec(0, e.vec('f64x2.convert_low_i32x4_s', lowPair(e)))

/** Packed floats to doublewords; `fetch` brings unused lanes as zeros. */
const toIntegers = (w: FloatWidth, truncate: boolean, lanes: 2 | 4, fetch: (e: Emitter) => Vec, put: (e: Emitter, v: Vec) => void): Meaning => (e) => {
  const v = fetch(e)
  const shape = w === 32 ? 'f32x4' : 'f64x2'
  const value = truncate ? v : e.vec(`${shape}.nearest`, v)
  const limit = e.vecConst(laneBytes(w, new Array<bigint>(128 / w).fill(LIMITS[w][32])))
  const fits = everyLane(e, w, e.vec(`${shape}.lt`, e.vec(`${shape}.abs`, value), limit))
  const op = w === 32 ? 'i32x4.trunc_sat_f32x4_s' : 'i32x4.trunc_sat_f64x2_s_zero'
  e.if(e.and(quietMode(e), fits), () => put(e, e.vec(op, value)),
    () => put(e, slow(e, convertCode(floatShape(w), 'i32', lanes, truncate), v)))
}
const wholeSource = (e: Emitter): Vec => alignedSource(e, 1)
const toXmm = (e: Emitter, v: Vec): void => e.setOperandVec(0, v)
const toMmx = (e: Emitter, v: Vec): void => setMmx(e, 0, lowHalf(e, v))

// ── with MMX registers ──────────────────────────────────────────────────────────────────────────────────────────────

const mmx = (body: Meaning): Meaning => (e, form) => { mmxBegin(e); body(e, form); mmxEnd(e) }

/** CVTPI2PS: the upper half stays. */
const integersToLowSingles: Meaning = (e) => {
  const v = lowPair(e)
  e.if(quietMode(e), () => e.setOperand(0, lowHalf(e, e.vec('f32x4.convert_i32x4_s', v))),
    () => e.setOperand(0, lowHalf(e, slow(e, convertCode('i32', 'f32', 2), v))))
}

/** CVTPI2PS and CVTPI2PD turn the x87 to MMX only where the source is a register. */
function fromMmxRows(name: string, prefix: string, operand: string, access: string, meaning: Meaning, options: typeof SSE | typeof SSE2): InsnRow[] {
  return [
    row(name, `${prefix} 0F 2A /r mod=3`, `${operand},Nq`, access, mmx(meaning), options),
    row(name, `${prefix} 0F 2A /r mod=m`, `${operand},Mq`, access, meaning, options),
  ]
}

export const sseConvertRows: readonly InsnRow[] = [
  row('CVTSI2SS', 'F3 0F 2A /r', 'Vss,Ey', 'rw,r', fromGeneral(32), SSE), row('CVTSI2SD', 'F2 0F 2A /r', 'Vsd,Ey', 'rw,r', fromGeneral(64), SSE2),
  row('CVTTSS2SI', 'F3 0F 2C /r', 'Gy,Wss', 'w,r', toGeneral(32, true), SSE), row('CVTTSD2SI', 'F2 0F 2C /r', 'Gy,Wsd', 'w,r', toGeneral(64, true), SSE2),
  row('CVTSS2SI', 'F3 0F 2D /r', 'Gy,Wss', 'w,r', toGeneral(32, false), SSE), row('CVTSD2SI', 'F2 0F 2D /r', 'Gy,Wsd', 'w,r', toGeneral(64, false), SSE2),
  row('CVTSS2SD', 'F3 0F 5A /r', 'Vsd,Wss', 'rw,r', widen, SSE2), row('CVTSD2SS', 'F2 0F 5A /r', 'Vss,Wsd', 'rw,r', narrow, SSE2),
  row('CVTPS2PD', 'NP 0F 5A /r', 'Vx,Wq', 'w,r', widenPacked, SSE2), row('CVTPD2PS', '66 0F 5A /r', 'Vx,Wx', 'w,r', narrowPacked, SSE2),
  row('CVTDQ2PS', 'NP 0F 5B /r', 'Vx,Wx', 'w,r', integersToSingles, SSE2),
  row('CVTPS2DQ', '66 0F 5B /r', 'Vx,Wx', 'w,r', toIntegers(32, false, 4, wholeSource, toXmm), SSE2),
  row('CVTTPS2DQ', 'F3 0F 5B /r', 'Vx,Wx', 'w,r', toIntegers(32, true, 4, wholeSource, toXmm), SSE2),
  row('CVTDQ2PD', 'F3 0F E6 /r', 'Vx,Wq', 'w,r', integersToDoubles, SSE2),
  row('CVTPD2DQ', 'F2 0F E6 /r', 'Vx,Wx', 'w,r', toIntegers(64, false, 2, wholeSource, toXmm), SSE2),
  row('CVTTPD2DQ', '66 0F E6 /r', 'Vx,Wx', 'w,r', toIntegers(64, true, 2, wholeSource, toXmm), SSE2),
  ...fromMmxRows('CVTPI2PS', 'NP', 'Vq', 'rw,r', integersToLowSingles, SSE),
  ...fromMmxRows('CVTPI2PD', '66', 'Vx', 'w,r', integersToDoubles, SSE2),
  row('CVTTPS2PI', 'NP 0F 2C /r', 'Pq,Wq', 'w,r', mmx(toIntegers(32, true, 2, lowPair, toMmx)), SSE),
  row('CVTPS2PI', 'NP 0F 2D /r', 'Pq,Wq', 'w,r', mmx(toIntegers(32, false, 2, lowPair, toMmx)), SSE),
  row('CVTTPD2PI', '66 0F 2C /r', 'Pq,Wx', 'w,r', mmx(toIntegers(64, true, 2, wholeSource, toMmx)), SSE2),
  row('CVTPD2PI', '66 0F 2D /r', 'Pq,Wx', 'w,r', mmx(toIntegers(64, false, 2, wholeSource, toMmx)), SSE2),
]
