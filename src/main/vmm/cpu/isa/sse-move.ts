/** SSE data transfer: MOVAPS … MOVNTDQ, lane moves, masks; MMX moves. SDM vol. 2. */
import type { Emitter, Val } from '../emit/emitter'
import { Gpr } from '../state/layout'
import { MMX, SSE, SSE2, SSE3, SSE41, alignedSource, highHalf, lift, lowHalf, mmxBegin, mmxEnd, setMmx } from './simd'
import { row, type Form, type InsnRow, type Meaning, type RowOptions } from './types'

const loadAligned: Meaning = (e) => e.setOperandVec(0, alignedSource(e, 1))
const loadAny: Meaning = (e) => e.setOperandVec(0, e.operandVec(1))
const storeAligned: Meaning = (e) => { e.requireAligned(0, 16); e.setOperandVec(0, e.operandVec(1)) }
const storeAny: Meaning = (e) => e.setOperandVec(0, e.operandVec(1))

/** MOVSS, MOVSD: from memory the rest is cleared, from a register it is kept. */
const loadScalar = (width: 32 | 64): Meaning => (e) => {
  const value = e.operand(1, width)
  if (e.isMemory(1)) e.setOperandVec(0, lift(e, value))
  else e.setOperand(0, value)
}
const storeScalar = (width: 32 | 64): Meaning => (e) => e.setOperand(0, e.operand(1, width))

const wide = (form: Form): 32 | 64 => (form.size === 64 ? 64 : 32)
const toXmm: Meaning = (e, form) => e.setOperandVec(0, lift(e, e.operand(1, wide(form))))
const fromXmm: Meaning = (e, form) => e.setOperand(0, e.operand(1, wide(form)))
/** MOVQ: the upper half of a register destination is cleared. */
const moveQuad: Meaning = (e) => {
  const value = e.operand(1, 64)
  if (e.isMemory(0)) e.setOperand(0, value)
  else e.setOperandVec(0, lift(e, value))
}

const loadLow: Meaning = (e) => e.setOperand(0, e.operand(1, 64))
const loadHigh: Meaning = (e) => {
  const value = e.operand(1, 64)
  e.setOperandVec(0, e.vecReplace(64, 1, e.operandVec(0), value))
}
const storeLow: Meaning = (e) => e.setOperand(0, e.operand(1, 64))
const storeHigh: Meaning = (e) => e.setOperand(0, highHalf(e, e.operandVec(1)))
const highToLow: Meaning = (e) => e.setOperand(0, highHalf(e, e.operandVec(1)))
const lowToHigh: Meaning = (e) => e.setOperandVec(0, e.vecReplace(64, 1, e.operandVec(0), lowHalf(e, e.operandVec(1))))

const shuffled = (lanes: readonly number[]): Meaning => (e) => {
  const v = alignedSource(e, 1)
  e.setOperandVec(0, e.vecShuffle(lanes, v, v))
}
const duplicateLow: Meaning = (e) => e.setOperandVec(0, e.vecSplat(64, e.operand(1, 64)))

const moveMask = (op: string): Meaning => (e) => e.setOperand(0, e.vecTest(op, e.operandVec(1)))

// ── MMX transfers ───────────────────────────────────────────────────────────────────────────────────────────────────

const mmx = (body: Meaning): Meaning => (e, form) => { mmxBegin(e); body(e, form); mmxEnd(e) }
const toMmx: Meaning = mmx((e, form) => {
  const value = e.operand(1, wide(form))
  setMmx(e, 0, value.width === 64 ? value : e.zext(value, 64))
})
const fromMmx: Meaning = mmx((e, form) => e.setOperand(0, e.operand(1, wide(form))))
const mmxLoad: Meaning = mmx((e) => setMmx(e, 0, e.operand(1, 64)))
const mmxStore: Meaning = mmx((e) => { if (e.isMemory(0)) e.setOperand(0, e.operand(1, 64)); else setMmx(e, 0, e.operand(1, 64)) })
const xmmToMmx: Meaning = mmx((e) => setMmx(e, 0, e.operand(1, 64)))
const mmxToXmm: Meaning = mmx((e) => e.setOperandVec(0, lift(e, e.operand(1, 64))))
const mmxMoveMask: Meaning = mmx((e) => e.setOperand(0, e.vecTest('i8x16.bitmask', lift(e, e.operand(1, 64)))))

// ── masked stores ───────────────────────────────────────────────────────────────────────────────────────────────────

/** Every chosen byte is checked for writing before any is written. */
function maskedStore(e: Emitter, { addressSize }: Form, bytes: number, mask: Val, data: (byte: number) => Val): void {
  const start = e.reg(Gpr.RDI, addressSize)
  const at = (byte: number): Val => {
    const moved = e.add(start, e.const(addressSize, byte))
    return addressSize === 64 ? moved : e.zext(moved, 64)
  }
  for (let byte = 0; byte < bytes; byte++) e.if(e.bit(mask, byte), () => e.update(8, e.memData(at(byte)), (old) => old))
  for (let byte = 0; byte < bytes; byte++) e.if(e.bit(mask, byte), () => e.store(e.memData(at(byte)), data(byte)))
}

const maskMoveXmm: Meaning = (e, form) => {
  const data = e.operandVec(0)
  maskedStore(e, form, 16, e.vecTest('i8x16.bitmask', e.operandVec(1)), (byte) => e.vecExtract(8, byte, data))
}
const maskMoveMmx: Meaning = mmx((e, form) => {
  const data = lift(e, e.operand(0, 64))
  maskedStore(e, form, 8, e.vecTest('i8x16.bitmask', lift(e, e.operand(1, 64))), (byte) => e.vecExtract(8, byte, data))
})

/** MOVAPS, MOVUPS and their kin: load and store of whole registers. */
function wholeMoves(name: string, prefix: string, load: string, store: string, isAligned: boolean, options: RowOptions): InsnRow[] {
  return [
    row(name, `${prefix} 0F ${load} /r`, 'Vx,Wx', 'w,r', isAligned ? loadAligned : loadAny, options),
    row(name, `${prefix} 0F ${store} /r`, 'Wx,Vx', 'w,r', isAligned ? storeAligned : storeAny, options),
  ]
}

function halfMoves(prefix: string, suffix: string, options: RowOptions): InsnRow[] {
  return [
    row(`MOVLP${suffix}`, `${prefix} 0F 12 /r mod=m`, 'Vq,Mq', 'rw,r', loadLow, options),
    row(`MOVLP${suffix}`, `${prefix} 0F 13 /r mod=m`, 'Mq,Vq', 'w,r', storeLow, options),
    row(`MOVHP${suffix}`, `${prefix} 0F 16 /r mod=m`, 'Vx,Mq', 'rw,r', loadHigh, options),
    row(`MOVHP${suffix}`, `${prefix} 0F 17 /r mod=m`, 'Mq,Vx', 'w,r', storeHigh, options),
  ]
}

export const sseMoveRows: readonly InsnRow[] = [
  ...wholeMoves('MOVAPS', 'NP', '28', '29', true, SSE), ...wholeMoves('MOVAPD', '66', '28', '29', true, SSE2),
  ...wholeMoves('MOVUPS', 'NP', '10', '11', false, SSE), ...wholeMoves('MOVUPD', '66', '10', '11', false, SSE2),
  ...wholeMoves('MOVDQA', '66', '6F', '7F', true, SSE2), ...wholeMoves('MOVDQU', 'F3', '6F', '7F', false, SSE2),
  row('MOVSS', 'F3 0F 10 /r', 'Vss,Wss', 'w,r', loadScalar(32), SSE), row('MOVSS', 'F3 0F 11 /r', 'Wss,Vss', 'w,r', storeScalar(32), SSE),
  row('MOVSD', 'F2 0F 10 /r', 'Vsd,Wsd', 'w,r', loadScalar(64), SSE2), row('MOVSD', 'F2 0F 11 /r', 'Wsd,Vsd', 'w,r', storeScalar(64), SSE2),
  ...halfMoves('NP', 'S', SSE), ...halfMoves('66', 'D', SSE2),
  row('MOVHLPS', 'NP 0F 12 /r mod=3', 'Vq,Ux', 'rw,r', highToLow, SSE), row('MOVLHPS', 'NP 0F 16 /r mod=3', 'Vx,Uq', 'rw,r', lowToHigh, SSE),
  row('MOVSLDUP', 'F3 0F 12 /r', 'Vx,Wx', 'w,r', shuffled([0, 1, 2, 3, 0, 1, 2, 3, 8, 9, 10, 11, 8, 9, 10, 11]), SSE3),
  row('MOVSHDUP', 'F3 0F 16 /r', 'Vx,Wx', 'w,r', shuffled([4, 5, 6, 7, 4, 5, 6, 7, 12, 13, 14, 15, 12, 13, 14, 15]), SSE3),
  row('MOVDDUP', 'F2 0F 12 /r', 'Vx,Wq', 'w,r', duplicateLow, SSE3), row('LDDQU', 'F2 0F F0 /r mod=m', 'Vx,Mx', 'w,r', loadAny, SSE3),
  row('MOVD', '66 0F 6E /r', 'Vy,Ey', 'w,r', toXmm, SSE2), row('MOVD', '66 0F 7E /r', 'Ey,Vy', 'w,r', fromXmm, SSE2),
  row('MOVQ', 'F3 0F 7E /r', 'Vq,Wq', 'w,r', moveQuad, SSE2), row('MOVQ', '66 0F D6 /r', 'Wq,Vq', 'w,r', moveQuad, SSE2),
  row('MOVMSKPS', 'NP 0F 50 /r', 'Gd,Ux', 'w,r', moveMask('i32x4.bitmask'), SSE),
  row('MOVMSKPD', '66 0F 50 /r', 'Gd,Ux', 'w,r', moveMask('i64x2.bitmask'), SSE2),
  row('PMOVMSKB', '66 0F D7 /r', 'Gd,Ux', 'w,r', moveMask('i8x16.bitmask'), SSE2),
  row('MOVNTPS', 'NP 0F 2B /r mod=m', 'Mx,Vx', 'w,r', storeAligned, SSE), row('MOVNTPD', '66 0F 2B /r mod=m', 'Mx,Vx', 'w,r', storeAligned, SSE2),
  row('MOVNTDQ', '66 0F E7 /r mod=m', 'Mx,Vx', 'w,r', storeAligned, SSE2), row('MOVNTDQA', '66 0F 38 2A /r mod=m', 'Vx,Mx', 'w,r', loadAligned, SSE41),
  row('MASKMOVDQU', '66 0F F7 /r mod=3', 'Vx,Ux', 'r,r', maskMoveXmm, { ...SSE2, addressSized: true }),

  row('MOVD', 'NP 0F 6E /r', 'Py,Ey', 'w,r', toMmx, MMX), row('MOVD', 'NP 0F 7E /r', 'Ey,Py', 'w,r', fromMmx, MMX),
  row('MOVQ', 'NP 0F 6F /r', 'Pq,Qq', 'w,r', mmxLoad, MMX), row('MOVQ', 'NP 0F 7F /r', 'Qq,Pq', 'w,r', mmxStore, MMX),
  row('MOVNTQ', 'NP 0F E7 /r mod=m', 'Mq,Pq', 'w,r', mmxStore, { unit: 'mmx', cpuid: 'sse' }),
  row('MASKMOVQ', 'NP 0F F7 /r mod=3', 'Pq,Nq', 'r,r', maskMoveMmx, { unit: 'mmx', cpuid: 'sse', addressSized: true }),
  row('PMOVMSKB', 'NP 0F D7 /r', 'Gd,Nq', 'w,r', mmxMoveMask, { unit: 'mmx', cpuid: 'sse' }),
  row('MOVDQ2Q', 'F2 0F D6 /r mod=3', 'Pq,Uq', 'w,r', xmmToMmx, { unit: 'mmx', cpuid: 'sse2' }),
  row('MOVQ2DQ', 'F3 0F D6 /r mod=3', 'Vx,Nq', 'w,r', mmxToXmm, { unit: 'mmx', cpuid: 'sse2' }),
]

