/** Single flags, LAHF, SAHF, and the decimal adjusts. SDM vol. 2. */
import { Vector } from '../core/context'
import type { Emitter, Val } from '../emit/emitter'
import { Gpr } from '../state/layout'
import { row, type InsnRow, type Meaning } from './types'

const setCarry = (value: 0 | 1): Meaning => (e) => e.setFlag('cf', e.const(1, value))
const complementCarry: Meaning = (e) => e.setFlag('cf', e.isZero(e.flag('cf')))
const DF = 0x400
const clearDirection: Meaning = (e) => e.setField('rflags', e.and(e.field('rflags'), e.const(64, ~BigInt(DF))))
const setDirection: Meaning = (e) => e.setField('rflags', e.or(e.field('rflags'), e.const(64, DF)))

/** SF ZF 0 AF 0 PF 1 CF. */
const LOW_FLAGS = 0xd5
const lahf: Meaning = (e) => {
  const low = e.or(e.and(e.rflags(), e.const(64, LOW_FLAGS)), e.const(64, 2))
  e.setRegHigh8(Gpr.RAX, e.trunc(low, 8))
}
const sahf: Meaning = (e) => {
  const low = e.and(e.zext(e.regHigh8(Gpr.RAX), 64), e.const(64, LOW_FLAGS))
  e.setArithFlags(e.or(low, e.and(e.rflags(), e.const(64, 0x800))))
}

/** Low decimal digit above 9, or a half carry. */
function needsLowAdjust(e: Emitter, al: Val): Val {
  return e.or(e.ltu(e.const(8, 9), e.and(al, e.const(8, 15))), e.flag('af'))
}

const decimalAdjust = (kind: 'add' | 'sub'): Meaning => (e) => {
  const al = e.reg(Gpr.RAX, 8)
  const cf = e.flag('cf')
  const low = needsLowAdjust(e, al)
  const high = e.or(e.ltu(e.const(8, 0x99), al), cf)
  const six = e.select(low, e.const(8, 6), e.const(8, 0))
  const sixty = e.select(high, e.const(8, 0x60), e.const(8, 0))
  const first = e.binary(kind, al, six)
  const r = e.binary(kind, first, sixty)
  // DAS also carries when the first step borrows out of AL.
  const borrowed = kind === 'sub' ? e.and(low, e.ltu(al, e.const(8, 6))) : e.const(1, 0)
  e.setReg(Gpr.RAX, r)
  e.setFlagsExplicit(r, { cf: e.or(high, borrowed), of: e.const(1, 0), af: low })
}

const asciiAdjust = (kind: 'add' | 'sub'): Meaning => (e) => {
  const ax = e.reg(Gpr.RAX, 16)
  const adjust = needsLowAdjust(e, e.trunc(ax, 8))
  const moved = e.binary(kind, ax, e.const(16, 0x106))
  const r = e.and(e.select(adjust, moved, ax), e.const(16, 0xff0f))
  e.setReg(Gpr.RAX, r)
  e.setFlagsExplicit(e.trunc(r, 8), { cf: adjust, of: e.const(1, 0), af: adjust })
}

const noCarry = (e: Emitter, result: Val): void =>
  e.setFlagsExplicit(result, { cf: e.const(1, 0), of: e.const(1, 0), af: e.const(1, 0) })

const aam: Meaning = (e) => {
  const base = e.zext(e.operand(0, 8), 32)
  e.if(e.isZero(base), () => e.raise(Vector.DE))
  const al = e.zext(e.reg(Gpr.RAX, 8), 32)
  const low = e.trunc(e.remu(al, base), 8)
  e.setReg(Gpr.RAX, e.or(e.zext(low, 16), e.shl(e.trunc(e.divu(al, base), 16), e.const(16, 8))))
  noCarry(e, low)
}
const aad: Meaning = (e) => {
  const r = e.add(e.reg(Gpr.RAX, 8), e.mul(e.regHigh8(Gpr.RAX), e.operand(0, 8)))
  e.setReg(Gpr.RAX, e.zext(r, 16))
  noCarry(e, r)
}

const legacy = { modes: 'not64' } as const

export const flagRows: readonly InsnRow[] = [
  row('CMC', 'F5', '', '', complementCarry, { flags: { reads: 'c', writes: 'c' } }),
  row('CLC', 'F8', '', '', setCarry(0), { flags: { writes: 'c' } }),
  row('STC', 'F9', '', '', setCarry(1), { flags: { writes: 'c' } }),
  row('CLD', 'FC', '', '', clearDirection, { flags: { writes: 'd' } }),
  row('STD', 'FD', '', '', setDirection, { flags: { writes: 'd' } }),
  row('LAHF', '9F', '', '', lahf, { flags: { reads: 'szapc' } }),
  row('SAHF', '9E', '', '', sahf, { flags: { writes: 'szapc' } }),
  row('DAA', '27', '', '', decimalAdjust('add'), { ...legacy, flags: { reads: 'ac', writes: 'oszapc', undefined: 'o' } }),
  row('DAS', '2F', '', '', decimalAdjust('sub'), { ...legacy, flags: { reads: 'ac', writes: 'oszapc', undefined: 'o' } }),
  row('AAA', '37', '', '', asciiAdjust('add'), { ...legacy, flags: { reads: 'a', writes: 'oszapc', undefined: 'oszp' } }),
  row('AAS', '3F', '', '', asciiAdjust('sub'), { ...legacy, flags: { reads: 'a', writes: 'oszapc', undefined: 'oszp' } }),
  row('AAM', 'D4', 'Ib', 'r', aam, { ...legacy, flags: { writes: 'oszapc', undefined: 'oac' } }),
  row('AAD', 'D5', 'Ib', 'r', aad, { ...legacy, flags: { writes: 'oszapc', undefined: 'oac' } }),
]
