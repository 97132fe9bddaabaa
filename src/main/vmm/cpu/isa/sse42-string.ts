/** SSE4.2: PCMPGTQ and the string comparisons. SDM vol. 2. */
import type { Emitter, Val, Vec } from '../emit/emitter'
import { compareStringsHelper } from '../helpers/sse/string-compare'
import { Gpr } from '../state/layout'
import { SSE42, bitsToLanes, highHalf, immediate, laneBytes, lift, lowHalf, wasm, xmmBinary } from './simd'
import { row, type Form, type InsnRow, type Meaning } from './types'

/** RAX and RDX with REX.W, else EAX and EDX, sign-extended. */
const length = (e: Emitter, register: number, { size }: Form): Val => (size === 64 ? e.reg(register, 64) : e.sext(e.reg(register, 32), 64))

/** Runs the comparison and sets the flags. The memory operand need not be aligned. */
function compare(e: Emitter, form: Form, isExplicit: boolean): Val {
  const b = e.operandVec(1)
  const a = e.operandVec(0)
  const none = e.const(64, 0)
  const control = e.or(immediate(e, 2), e.const(32, isExplicit ? 0x100 : 0))
  const result = e.call(
    compareStringsHelper, control, lowHalf(e, a), highHalf(e, a), lowHalf(e, b), highHalf(e, b),
    isExplicit ? length(e, Gpr.RAX, form) : none, isExplicit ? length(e, Gpr.RDX, form) : none,
  )
  e.setArithFlags(e.field('scratch', 2))
  return result
}

const toIndex = (isExplicit: boolean): Meaning => (e, form) => {
  const result = compare(e, form, isExplicit)
  const byte = (at: number): Val => e.and(e.shr(result, e.const(32, at)), e.const(32, 0xff))
  e.setReg(Gpr.RCX, e.select(e.bit(immediate(e, 2), 6), byte(24), byte(16)))
}

/** Bit i of the mask fills byte i. */
function byteMask(e: Emitter, bits: Val): Vec {
  const spread = e.vecShuffle([0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1], lift(e, bits), lift(e, bits))
  const select = e.vecConst(laneBytes(8, [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128]))
  return e.vec('i8x16.eq', e.vec('v128.and', spread, select), select)
}

const toMask = (isExplicit: boolean): Meaning => (e, form) => {
  const bits = e.and(compare(e, form, isExplicit), e.const(32, 0xffff))
  const imm = immediate(e, 2)
  e.if(e.bit(imm, 6), () => {
    e.if(e.bit(imm, 0), () => e.setXmm(0, bitsToLanes(e, 16, bits)), () => e.setXmm(0, byteMask(e, bits)))
  }, () => e.setXmm(0, lift(e, bits)))
}

const FLAGS = { ...SSE42, flags: { writes: 'oszapc' } }

/** REX.W widens the explicit lengths: a row of its own, since no operand shows it. */
function explicitRows(name: string, opcode: string, meaning: Meaning): InsnRow[] {
  return [
    row(name, `66 W0 0F 3A ${opcode} /r`, 'Vx,Wx,Ib', 'r,r,r', meaning, { ...FLAGS, size: 32 }),
    row(name, `66 W1 0F 3A ${opcode} /r`, 'Vx,Wx,Ib', 'r,r,r', meaning, { ...FLAGS, size: 64, modes: 'only64' }),
  ]
}

export const sse42Rows: readonly InsnRow[] = [
  row('PCMPGTQ', '66 0F 38 37 /r', 'Vx,Wx', 'rw,r', xmmBinary(wasm('i64x2.gt_s')), SSE42),
  ...explicitRows('PCMPESTRM', '60', toMask(true)), ...explicitRows('PCMPESTRI', '61', toIndex(true)),
  row('PCMPISTRM', '66 0F 3A 62 /r', 'Vx,Wx,Ib', 'r,r,r', toMask(false), FLAGS),
  row('PCMPISTRI', '66 0F 3A 63 /r', 'Vx,Wx,Ib', 'r,r,r', toIndex(false), FLAGS),
]
