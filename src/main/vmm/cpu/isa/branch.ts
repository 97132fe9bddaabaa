/** Near branches: Jcc, JMP, CALL, RET, LOOPcc, JCXZ. SDM vol. 2. */
import { Vector } from '../core/context'
import { CONDITIONS, type Condition, type Emitter, type Val } from '../emit/emitter'
import { Gpr, Seg } from '../state/layout'
import { CONDITION_READS } from './mov'
import { row, type Form, type InsnRow, type Meaning } from './types'

type Wide = 16 | 32 | 64

const jcc = (cc: Condition): Meaning => (e) => e.branchRelative(e.condition(cc))
const jmpRelative: Meaning = (e) => e.jumpRelative('jump')

const returnAddress = (e: Emitter, size: Form['size']): Val => e.trunc(e.nextRip(), size as Wide)

const callRelative: Meaning = (e, { size }) => {
  e.push(returnAddress(e, size))
  e.jumpRelative('call')
}
/** #GP(0) for a target outside the code segment, or non-canonical, before anything has changed. */
function checkTarget(e: Emitter, size: Form['size'], target: Val): void {
  const bad = size === 64
    ? e.ne(e.sar(e.shl(target, e.const(64, 16)), e.const(64, 16)), target)
    : e.ltu(e.zext(e.field('segLimit', Seg.CS), 64), target)
  e.if(bad, () => e.raise(Vector.GP, 0))
}

const jmpIndirect: Meaning = (e, { size }) => {
  const target = e.zext(e.operand(0), 64)
  if (size !== 64) checkTarget(e, size, target)
  e.jumpTo(target, 'jump')
}
const callIndirect: Meaning = (e, { size }) => {
  const target = e.zext(e.operand(0), 64)
  checkTarget(e, size, target)
  e.push(returnAddress(e, size))
  e.jumpTo(target, 'call')
}
/** Return address on top of the stack, checked. */
function returnTarget(e: Emitter, size: Form['size']): Val {
  const top = e.and(e.reg(Gpr.RSP, 64), e.field('stackMask'))
  const target = e.zext(e.load(size as Wide, e.memSeg(Seg.SS, top)), 64)
  checkTarget(e, size, target)
  return target
}

const ret: Meaning = (e, { size }) => {
  const target = returnTarget(e, size)
  const mask = e.field('stackMask')
  const rsp = e.reg(Gpr.RSP, 64)
  e.setReg(Gpr.RSP, e.or(e.and(rsp, e.not(mask)), e.and(e.add(rsp, e.const(64, size / 8)), mask)))
  e.jumpTo(target, 'return')
}
const retImmediate: Meaning = (e, { size }) => {
  const target = returnTarget(e, size)
  const mask = e.field('stackMask')
  const rsp = e.reg(Gpr.RSP, 64)
  const moved = e.add(e.add(rsp, e.const(64, size / 8)), e.zext(e.operand(0), 64))
  e.setReg(Gpr.RSP, e.or(e.and(rsp, e.not(mask)), e.and(moved, mask)))
  e.jumpTo(target, 'return')
}

const loop = (cc: Condition | undefined): Meaning => (e, { addressSize }) => {
  const count = e.sub(e.reg(Gpr.RCX, addressSize), e.const(addressSize, 1))
  e.setReg(Gpr.RCX, count)
  const more = e.ne(count, e.const(addressSize, 0))
  e.branchRelative(cc ? e.and(more, e.condition(cc)) : more)
}
const jcxz: Meaning = (e, { addressSize }) => e.branchRelative(e.isZero(e.reg(Gpr.RCX, addressSize)))

const hex = (n: number): string => n.toString(16).toUpperCase().padStart(2, '0')

function jccRows(cc: Condition, i: number): InsnRow[] {
  const options = { size64: 'f64', ends: 'branch', flags: { reads: CONDITION_READS[cc] } } as const
  return [
    row(`J${cc.toUpperCase()}`, hex(0x70 + i), 'Jb', 'r', jcc(cc), options),
    row(`J${cc.toUpperCase()}`, `0F ${hex(0x80 + i)}`, 'Jz', 'r', jcc(cc), options),
  ]
}

const near = { size64: 'f64', ends: 'branch' } as const
const counted = { size64: 'f64', ends: 'branch', addressSized: true } as const

export const branchRows: readonly InsnRow[] = [
  ...CONDITIONS.flatMap(jccRows),
  row('JMP', 'EB', 'Jb', 'r', jmpRelative, near),
  row('JMP', 'E9', 'Jz', 'r', jmpRelative, near),
  row('JMP', 'FF /4', 'Ev', 'r', jmpIndirect, near),
  row('CALL', 'E8', 'Jz', 'r', callRelative, near),
  row('CALL', 'FF /2', 'Ev', 'r', callIndirect, near),
  row('RET', 'C3', '', '', ret, near),
  row('RET', 'C2', 'Iw', 'r', retImmediate, near),
  row('LOOPNE', 'E0', 'Jb', 'r', loop('ne'), { ...counted, flags: { reads: 'z' } }),
  row('LOOPE', 'E1', 'Jb', 'r', loop('e'), { ...counted, flags: { reads: 'z' } }),
  row('LOOP', 'E2', 'Jb', 'r', loop(undefined), counted),
  row('JRCXZ', 'E3', 'Jb', 'r', jcxz, counted),
]
