/** INC, DEC, NEG, NOT and the shifts and rotates. SDM vol. 2. A count of zero (after masking) changes no flag. */
import type { Emitter, Val, Width } from '../emit/emitter'
import { Gpr } from '../state/layout'
import { row, type Form, type InsnRow, type Meaning } from './types'

const step = (kind: 'inc' | 'dec'): Meaning => (e) => {
  const a = e.operand(0)
  const one = e.const(a.width, 1)
  const r = kind === 'inc' ? e.add(a, one) : e.sub(a, one)
  e.setOperand(0, r)
  e.setFlags(kind, a, one, r)
}
const neg: Meaning = (e) => {
  const a = e.operand(0)
  const zero = e.const(a.width, 0)
  const r = e.sub(zero, a)
  e.setOperand(0, r)
  e.setFlags('sub', zero, a, r)
}
const not: Meaning = (e) => e.setOperand(0, e.not(e.operand(0)))

/** Shift count as the manual masks it: 5 bits, 6 for 64-bit operands. Width 8. */
function maskedCount(e: Emitter, form: Form, width: Width): Val {
  const raw = form.row.operands.endsWith(',1') ? e.const(8, 1) : form.row.operands.endsWith(',CL') ? e.reg(Gpr.RCX, 8) : e.operand(1, 8)
  return e.and(raw, e.const(8, width === 64 ? 63 : 31))
}

const top = (e: Emitter, v: Val): Val => e.bit(v, v.width - 1)

type ShiftKind = 'shl' | 'shr' | 'sar'

/**
 * Works in 64 bits for narrow operands, so that counts up to 31 shift bits out as they should; 64-bit operands have
 * counts below their width. CF is the last bit out.
 */
function shiftParts(e: Emitter, kind: ShiftKind, a: Val, count: Val): { r: Val; cf: Val } {
  const w = a.width
  const n = e.zext(count, 64)
  const before = e.sub(n, e.const(64, 1))
  if (w === 64) {
    const almost = e.binary(kind, a, before)
    return { r: e.binary(kind, almost, e.const(64, 1)), cf: kind === 'shl' ? top(e, almost) : e.bit(almost, 0) }
  }
  const wide = kind === 'sar' ? e.sext(a, 64) : e.zext(a, 64)
  const almost = e.binary(kind, wide, before)
  const cf = kind === 'shl' ? e.bit(almost, w - 1) : e.bit(almost, 0)
  return { r: e.trunc(e.binary(kind, almost, e.const(64, 1)), w), cf }
}

function shiftOverflow(e: Emitter, kind: ShiftKind, a: Val, r: Val, cf: Val): Val {
  if (kind === 'shl') return e.xor(top(e, r), cf)
  return kind === 'shr' ? top(e, a) : e.const(1, 0)
}

const shift = (kind: ShiftKind): Meaning => (e, form) => {
  const a = e.operand(0)
  const count = maskedCount(e, form, a.width)
  const zero = e.isZero(count)
  // The destination is written even for count 0: a 32-bit register loses its upper half.
  const one = e.select(zero, e.const(8, 1), count)
  const { r, cf } = shiftParts(e, kind, a, one)
  e.setOperand(0, e.select(zero, a, r))
  e.if(e.isZero(zero), () => e.setFlagsExplicit(r, { cf, of: shiftOverflow(e, kind, a, r, cf) }))
}

/** ROL and ROR touch CF and OF only. */
const rotate = (kind: 'rotl' | 'rotr'): Meaning => (e, form) => {
  const a = e.operand(0)
  const w = a.width
  const count = maskedCount(e, form, w)
  const by = e.and(count, e.const(8, w - 1))
  const r = e.binary(kind, a, w === 8 ? by : e.zext(by, w))
  e.setOperand(0, r)
  e.if(e.ne(count, e.const(8, 0)), () => {
    const cf = kind === 'rotl' ? e.bit(r, 0) : top(e, r)
    const of = kind === 'rotl' ? e.xor(top(e, r), cf) : e.xor(top(e, r), e.bit(r, w - 2))
    e.setFlag('cf', cf)
    e.setFlag('of', of)
  })
}

/** RCL and RCR: one bit a turn through CF, as the manual's pseudo-code. */
const rotateCarry = (kind: 'rcl' | 'rcr'): Meaning => (e, form) => {
  const a = e.operand(0)
  const w = a.width
  const count = maskedCount(e, form, w)
  // Counts wrap at width + 1 (9 and 17 for bytes and words).
  const turns = w <= 16 ? e.trunc(e.remu(e.zext(count, 32), e.const(32, w + 1)), 8) : count
  const value = e.variable(w, a)
  const cf = e.variable(1, e.flag('cf'))
  const left = e.variable(8, turns)
  e.loop((control) => {
    e.if(e.isZero(left.get()), () => control.break())
    left.set(e.sub(left.get(), e.const(8, 1)))
    const v = value.get()
    const carry = e.zext(cf.get(), w)
    if (kind === 'rcl') {
      cf.set(top(e, v))
      value.set(e.or(e.shl(v, e.const(w, 1)), carry))
    } else {
      cf.set(e.bit(v, 0))
      value.set(e.or(e.shr(v, e.const(w, 1)), e.shl(carry, e.const(w, w - 1))))
    }
  })
  const r = value.get()
  e.setOperand(0, r)
  e.if(e.ne(count, e.const(8, 0)), () => {
    const carry = cf.get()
    e.setFlag('cf', carry)
    e.setFlag('of', kind === 'rcl' ? e.xor(top(e, r), carry) : e.xor(top(e, r), e.bit(r, w - 2)))
  })
}

/** SHLD and SHRD; 16-bit counts above 16 are undefined in the manual and treated as the concatenation r:b:r. */
const shiftDouble = (kind: 'shld' | 'shrd'): Meaning => (e, form) => {
  const a = e.operand(0)
  const b = e.operand(1)
  const w = a.width
  const raw = form.row.operands.endsWith('CL') ? e.reg(Gpr.RCX, 8) : e.operand(2, 8)
  const count = e.and(raw, e.const(8, w === 64 ? 63 : 31))
  const zero = e.isZero(count)
  const by = e.select(zero, e.const(8, 1), count)
  const { r, cf } = w === 64 ? double64(e, kind, a, b, by) : doubleNarrow(e, kind, a, b, by)
  e.setOperand(0, e.select(zero, a, r))
  e.if(e.isZero(zero), () => e.setFlagsExplicit(r, { cf, of: e.xor(top(e, r), top(e, a)) }))
}

function double64(e: Emitter, kind: 'shld' | 'shrd', a: Val, b: Val, by: Val): { r: Val; cf: Val } {
  const n = e.zext(by, 64)
  const rest = e.sub(e.const(64, 64), n)
  const before = e.sub(n, e.const(64, 1))
  if (kind === 'shld') return { r: e.or(e.shl(a, n), e.shr(b, rest)), cf: top(e, e.shl(a, before)) }
  return { r: e.or(e.shr(a, n), e.shl(b, rest)), cf: e.bit(e.shr(a, before), 0) }
}

function doubleNarrow(e: Emitter, kind: 'shld' | 'shrd', a: Val, b: Val, by: Val): { r: Val; cf: Val } {
  const w = a.width
  const n = e.zext(by, 64)
  const before = e.sub(n, e.const(64, 1))
  const high = e.shl(e.zext(kind === 'shld' ? a : b, 64), e.const(64, w))
  let joined = e.or(high, e.zext(kind === 'shld' ? b : a, 64))
  if (w === 16) {
    const again = e.zext(a, 64)
    joined = kind === 'shld' ? e.or(e.shl(joined, e.const(64, 16)), again) : e.or(joined, e.shl(again, e.const(64, 32)))
  }
  if (kind === 'shrd') {
    const almost = e.shr(joined, before)
    return { r: e.trunc(e.shr(almost, e.const(64, 1)), w), cf: e.bit(almost, 0) }
  }
  const almost = e.shl(joined, before)
  const topBit = w === 16 ? 47 : 2 * w - 1
  return { r: e.trunc(e.shr(e.shl(almost, e.const(64, 1)), e.const(64, topBit - w + 1)), w), cf: e.bit(almost, topBit) }
}

const ARITH_STEP = { writes: 'oszap' }
const SHIFTS: readonly { name: string; digit: number; meaning: Meaning; flags: InsnRow['flags'] }[] = [
  { name: 'ROL', digit: 0, meaning: rotate('rotl'), flags: { writes: 'oc', undefined: 'o' } },
  { name: 'ROR', digit: 1, meaning: rotate('rotr'), flags: { writes: 'oc', undefined: 'o' } },
  { name: 'RCL', digit: 2, meaning: rotateCarry('rcl'), flags: { reads: 'c', writes: 'oc', undefined: 'o' } },
  { name: 'RCR', digit: 3, meaning: rotateCarry('rcr'), flags: { reads: 'c', writes: 'oc', undefined: 'o' } },
  { name: 'SHL', digit: 4, meaning: shift('shl'), flags: { writes: 'oszapc', undefined: 'oac' } },
  { name: 'SHR', digit: 5, meaning: shift('shr'), flags: { writes: 'oszapc', undefined: 'oac' } },
  { name: 'SAL', digit: 6, meaning: shift('shl'), flags: { writes: 'oszapc', undefined: 'oac' } },
  { name: 'SAR', digit: 7, meaning: shift('sar'), flags: { writes: 'oszapc', undefined: 'oac' } },
]

/** OF is defined for a count of 1 only, so the by-one rows leave nothing but AF undefined. */
const byOne = (flags: InsnRow['flags']): InsnRow['flags'] => ({ ...flags, undefined: flags?.writes?.includes('a') ? 'a' : '' })

export const shiftRows: readonly InsnRow[] = [
  row('INC', 'FE /0', 'Eb', 'rw', step('inc'), { lock: true, flags: ARITH_STEP }),
  row('INC', 'FF /0', 'Ev', 'rw', step('inc'), { lock: true, flags: ARITH_STEP }),
  row('DEC', 'FE /1', 'Eb', 'rw', step('dec'), { lock: true, flags: ARITH_STEP }),
  row('DEC', 'FF /1', 'Ev', 'rw', step('dec'), { lock: true, flags: ARITH_STEP }),
  row('INC', '40+r', 'Zv', 'rw', step('inc'), { modes: 'not64', flags: ARITH_STEP }),
  row('DEC', '48+r', 'Zv', 'rw', step('dec'), { modes: 'not64', flags: ARITH_STEP }),
  row('NOT', 'F6 /2', 'Eb', 'rw', not, { lock: true }),
  row('NOT', 'F7 /2', 'Ev', 'rw', not, { lock: true }),
  row('NEG', 'F6 /3', 'Eb', 'rw', neg, { lock: true, flags: { writes: 'oszapc' } }),
  row('NEG', 'F7 /3', 'Ev', 'rw', neg, { lock: true, flags: { writes: 'oszapc' } }),
  ...SHIFTS.flatMap(({ name, digit, meaning, flags }) => [
    row(name, `C0 /${digit}`, 'Eb,Ib', 'rw,r', meaning, { flags }),
    row(name, `C1 /${digit}`, 'Ev,Ib', 'rw,r', meaning, { flags }),
    row(name, `D0 /${digit}`, 'Eb,1', 'rw,r', meaning, { flags: byOne(flags) }),
    row(name, `D1 /${digit}`, 'Ev,1', 'rw,r', meaning, { flags: byOne(flags) }),
    row(name, `D2 /${digit}`, 'Eb,CL', 'rw,r', meaning, { flags }),
    row(name, `D3 /${digit}`, 'Ev,CL', 'rw,r', meaning, { flags }),
  ]),
  row('SHLD', '0F A4 /r', 'Ev,Gv,Ib', 'rw,r,r', shiftDouble('shld'), { flags: { writes: 'oszapc', undefined: 'oszapc' } }),
  row('SHLD', '0F A5 /r', 'Ev,Gv,CL', 'rw,r,r', shiftDouble('shld'), { flags: { writes: 'oszapc', undefined: 'oszapc' } }),
  row('SHRD', '0F AC /r', 'Ev,Gv,Ib', 'rw,r,r', shiftDouble('shrd'), { flags: { writes: 'oszapc', undefined: 'oszapc' } }),
  row('SHRD', '0F AD /r', 'Ev,Gv,CL', 'rw,r,r', shiftDouble('shrd'), { flags: { writes: 'oszapc', undefined: 'oszapc' } }),
]
