/** SSE and SSE2 data movement. SDM vol. 2. */
import { row, type InsnRow, type Meaning, type RowOptions } from './types'

const sse: RowOptions = { unit: 'sse', cpuid: 'sse' }
const sse2: RowOptions = { unit: 'sse', cpuid: 'sse2' }
const sse3: RowOptions = { unit: 'sse', cpuid: 'sse3' }
const sse41: RowOptions = { unit: 'sse', cpuid: 'sse4.1' }

const move: Meaning = (e) => e.setOperandVec(0, e.operandVec(1))
const moveAligned: Meaning = (e) => {
  e.requireAligned(0, 16)
  e.requireAligned(1, 16)
  e.setOperandVec(0, e.operandVec(1))
}

/** Scalar load clears the rest of the register; register to register keeps it. */
const moveScalar = (width: 32 | 64): Meaning => (e, form) => {
  const value = e.operand(1, width)
  if (form.rm === 'mem') e.setOperandVec(0, e.vecReplace(width, 0, e.vecConst(ZERO), value))
  else e.setOperand(0, value)
}
const storeScalar = (width: 32 | 64): Meaning => (e) => e.setOperand(0, e.operand(1, width))
const ZERO = new Array<number>(16).fill(0)

const loadLow: Meaning = (e) => e.setOperand(0, e.operand(1, 64))
const loadHigh: Meaning = (e) => e.setOperandVec(0, e.vecReplace(64, 1, e.operandVec(0), e.operand(1, 64)))
const highToLow: Meaning = (e) => e.setOperandVec(0, e.vecReplace(64, 0, e.operandVec(0), e.vecExtract(64, 1, e.operandVec(1))))
const lowToHigh: Meaning = (e) => e.setOperandVec(0, e.vecReplace(64, 1, e.operandVec(0), e.vecExtract(64, 0, e.operandVec(1))))
const storeHigh: Meaning = (e) => e.setOperand(0, e.vecExtract(64, 1, e.operandVec(1)))

/** General register or memory to XMM, the rest cleared. */
const fromGeneral: Meaning = (e) => {
  const value = e.operand(1)
  e.setOperandVec(0, e.vecReplace(64, 0, e.vecConst(ZERO), e.zext(value, 64)))
}
const toGeneral: Meaning = (e, { size }) => e.setOperand(0, e.operand(1, size as 32 | 64))
const loadQuad: Meaning = (e) => e.setOperandVec(0, e.vecReplace(64, 0, e.vecConst(ZERO), e.operand(1, 64)))
/** MOVQ to a register clears the upper half too. */
const storeQuad: Meaning = (e, form) => {
  const value = e.operand(1, 64)
  if (form.rm === 'mem') e.setOperand(0, value)
  else e.setOperandVec(0, e.vecReplace(64, 0, e.vecConst(ZERO), value))
}

const mask = (op: string): Meaning => (e, { size }) => {
  const bits = e.vecTest(op, e.operandVec(1))
  e.setOperand(0, size === 64 ? e.zext(bits, 64) : bits)
}

const duplicate = (lanes: readonly number[]): Meaning => (e) => {
  e.requireAligned(1, 16)
  const v = e.operandVec(1)
  e.setOperandVec(0, e.vecShuffle(lanes, v, v))
}
const bytesOf = (lanes: readonly number[], bytes: number): number[] =>
  lanes.flatMap((lane) => Array.from({ length: bytes }, (_, i) => lane * bytes + i))

const duplicateLow: Meaning = (e) => e.setOperandVec(0, e.vecSplat(64, e.operand(1, 64)))

const pairs: readonly [string, string, RowOptions][] = [['NP', 'PS', sse], ['66', 'PD', sse2]]

function packedMoves([prefix, suffix, options]: [string, string, RowOptions]): InsnRow[] {
  return [
    row(`MOVU${suffix}`, `${prefix} 0F 10 /r`, 'Vx,Wx', 'w,r', move, options),
    row(`MOVU${suffix}`, `${prefix} 0F 11 /r`, 'Wx,Vx', 'w,r', move, options),
    row(`MOVA${suffix}`, `${prefix} 0F 28 /r`, 'Vx,Wx', 'w,r', moveAligned, options),
    row(`MOVA${suffix}`, `${prefix} 0F 29 /r`, 'Wx,Vx', 'w,r', moveAligned, options),
    row(`MOVNT${suffix}`, `${prefix} 0F 2B /r`, 'Mx,Vx', 'w,r', moveAligned, options),
    row(`MOVL${suffix}`, `${prefix} 0F 12 /r mod=m`, 'Vx,Mq', 'rw,r', loadLow, options),
    row(`MOVL${suffix}`, `${prefix} 0F 13 /r mod=m`, 'Mq,Vx', 'w,r', storeScalar(64), options),
    row(`MOVH${suffix}`, `${prefix} 0F 16 /r mod=m`, 'Vx,Mq', 'rw,r', loadHigh, options),
    row(`MOVH${suffix}`, `${prefix} 0F 17 /r mod=m`, 'Mq,Vx', 'w,r', storeHigh, options),
    row(`MOVMSK${suffix}`, `${prefix} 0F 50 /r mod=3`, 'Gd,Ux', 'w,r', mask(suffix === 'PS' ? 'i32x4.bitmask' : 'i64x2.bitmask'), { ...options, size: 32 }),
  ]
}

export const sseMoveRows: readonly InsnRow[] = [
  ...pairs.flatMap((p) => packedMoves([...p])),
  row('MOVSS', 'F3 0F 10 /r', 'Vss,Wss', 'rw,r', moveScalar(32), sse),
  row('MOVSS', 'F3 0F 11 /r', 'Wss,Vss', 'w,r', storeScalar(32), sse),
  row('MOVSD', 'F2 0F 10 /r', 'Vsd,Wsd', 'rw,r', moveScalar(64), sse2),
  row('MOVSD', 'F2 0F 11 /r', 'Wsd,Vsd', 'w,r', storeScalar(64), sse2),
  row('MOVHLPS', 'NP 0F 12 /r mod=3', 'Vx,Ux', 'rw,r', highToLow, sse),
  row('MOVLHPS', 'NP 0F 16 /r mod=3', 'Vx,Ux', 'rw,r', lowToHigh, sse),
  row('MOVDQA', '66 0F 6F /r', 'Vx,Wx', 'w,r', moveAligned, sse2),
  row('MOVDQA', '66 0F 7F /r', 'Wx,Vx', 'w,r', moveAligned, sse2),
  row('MOVDQU', 'F3 0F 6F /r', 'Vx,Wx', 'w,r', move, sse2),
  row('MOVDQU', 'F3 0F 7F /r', 'Wx,Vx', 'w,r', move, sse2),
  row('MOVNTDQ', '66 0F E7 /r', 'Mx,Vx', 'w,r', moveAligned, sse2),
  row('MOVNTDQA', '66 0F 38 2A /r', 'Vx,Mx', 'w,r', moveAligned, sse41),
  row('LDDQU', 'F2 0F F0 /r', 'Vx,Mx', 'w,r', move, sse3),
  row('MOVD', '66 0F 6E /r', 'Vx,Ey', 'w,r', fromGeneral, sse2),
  row('MOVD', '66 0F 7E /r', 'Ey,Vx', 'w,r', toGeneral, sse2),
  row('MOVQ', 'F3 0F 7E /r', 'Vx,Wq', 'w,r', loadQuad, sse2),
  row('MOVQ', '66 0F D6 /r', 'Wq,Vx', 'w,r', storeQuad, sse2),
  row('PMOVMSKB', '66 0F D7 /r mod=3', 'Gd,Ux', 'w,r', mask('i8x16.bitmask'), { ...sse2, size: 32 }),
  row('MOVDDUP', 'F2 0F 12 /r', 'Vx,Wq', 'w,r', duplicateLow, sse3),
  row('MOVSLDUP', 'F3 0F 12 /r', 'Vx,Wx', 'w,r', duplicate(bytesOf([0, 0, 2, 2], 4)), sse3),
  row('MOVSHDUP', 'F3 0F 16 /r', 'Vx,Wx', 'w,r', duplicate(bytesOf([1, 1, 3, 3], 4)), sse3),
]
