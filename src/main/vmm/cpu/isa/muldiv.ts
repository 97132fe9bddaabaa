/** MUL, IMUL, DIV, IDIV and the sign-extending conversions. SDM vol. 2. */
import { Vector } from '../core/context'
import type { Emitter, Val, Width } from '../emit/emitter'
import { divideWideHelper } from '../helpers/wide-division'
import { Gpr } from '../state/layout'
import { row, type InsnRow, type Meaning } from './types'

const wider = (w: Width): 16 | 32 | 64 => (w === 8 ? 16 : w === 16 ? 32 : 64)

/** Double-width product, as low and high halves. */
function product(e: Emitter, signed: boolean, a: Val, b: Val): { low: Val; high: Val } {
  const w = a.width
  if (w === 64) return { low: e.mul(a, b), high: signed ? e.mulHiS(a, b) : e.mulHiU(a, b) }
  const W = wider(w)
  const extend = (v: Val): Val => (signed ? e.sext(v, W) : e.zext(v, W))
  const full = e.mul(extend(a), extend(b))
  return { low: e.trunc(full, w), high: e.trunc(e.shr(full, e.const(W, w)), w) }
}

/** CF = OF = the upper half carries information. The other flags are undefined; they follow the low half here. */
function multiplyFlags(e: Emitter, signed: boolean, low: Val, high: Val): void {
  const w = low.width
  const expected = signed ? e.sar(low, e.const(w, w - 1)) : e.const(w, 0)
  const overflow = e.ne(high, expected)
  e.setFlagsExplicit(low, { cf: overflow, of: overflow })
}

const multiply = (signed: boolean): Meaning => (e) => {
  const b = e.operand(0)
  const a = e.reg(Gpr.RAX, b.width)
  const { low, high } = product(e, signed, a, b)
  if (b.width === 8) e.setReg(Gpr.RAX, e.or(e.zext(low, 16), e.shl(e.zext(high, 16), e.const(16, 8))))
  else {
    e.setReg(Gpr.RAX, low)
    e.setReg(Gpr.RDX, high)
  }
  multiplyFlags(e, signed, low, high)
}

const multiplyInto = (sources: readonly [number, number]): Meaning => (e) => {
  const { low, high } = product(e, true, e.operand(sources[0]), e.operand(sources[1]))
  e.setOperand(0, low)
  multiplyFlags(e, true, low, high)
}

const MASK64 = (1n << 64n) - 1n

/** Narrow division runs in the next wider size, which holds every dividend. */
function divideNarrow(e: Emitter, signed: boolean, d: Val): void {
  const w = d.width as 8 | 16 | 32
  const W = wider(w)
  const wide = W === 16 ? 32 : W
  const low = w === 8 ? e.reg(Gpr.RAX, 16) : e.reg(Gpr.RAX, w)
  const joined = w === 8 ? low : e.or(e.zext(low, W), e.shl(e.zext(e.reg(Gpr.RDX, w), W), e.const(W, w)))
  const n = signed ? e.sext(joined, wide) : e.zext(joined, wide)
  const by = signed ? e.sext(d, wide) : e.zext(d, wide)
  e.if(e.isZero(d), () => e.raise(Vector.DE))
  if (signed && w !== 8) {
    // MIN / -1 does not fit in the wide size either; wasm would trap.
    const overflow = e.and(e.eq(n, e.const(wide, 1n << BigInt(wide - 1))), e.eq(by, e.const(wide, -1n)))
    e.if(overflow, () => e.raise(Vector.DE))
  }
  const quotient = signed ? e.divs(n, by) : e.divu(n, by)
  const remainder = signed ? e.rems(n, by) : e.remu(n, by)
  const q = e.trunc(quotient, w)
  const back = signed ? e.sext(q, wide) : e.zext(q, wide)
  e.if(e.ne(back, quotient), () => e.raise(Vector.DE))
  if (w === 8) e.setReg(Gpr.RAX, e.or(e.zext(q, 16), e.shl(e.zext(e.trunc(remainder, 8), 16), e.const(16, 8))))
  else {
    e.setReg(Gpr.RAX, q)
    e.setReg(Gpr.RDX, e.trunc(remainder, w))
  }
}

/** Quotient of unsigned values. #DE where it does not fit in 64 bits, as by zero. */
function wideQuotient(e: Emitter, high: Val, low: Val, d: Val): Val {
  e.if(e.isZero(e.ltu(high, d)), () => e.raise(Vector.DE))
  return e.call(divideWideHelper, high, low, d)
}

/** The same of signed values, by their magnitudes. */
function signedWideQuotient(e: Emitter, high: Val, low: Val, d: Val): Val {
  const zero = e.const(64, 0)
  const negative = e.lts(high, zero)
  const borrow = e.zext(e.ne(low, zero), 64)
  const magnitude = wideQuotient(e,
    e.select(negative, e.sub(e.neg(high), borrow), high), e.select(negative, e.neg(low), low), e.select(e.lts(d, zero), e.neg(d), d))
  const differ = e.lts(e.xor(high, d), zero)
  const quotient = e.select(differ, e.neg(magnitude), magnitude)
  // Zero has no sign; anything else must have the one it should.
  e.if(e.and(e.ne(magnitude, zero), e.ne(e.lts(quotient, zero), differ)), () => e.raise(Vector.DE))
  return quotient
}

/** A 64-bit dividend that fits in RAX alone, as almost all of them do, is divided on the spot. */
function divide64(e: Emitter, signed: boolean, d: Val): void {
  const low = e.reg(Gpr.RAX, 64)
  const high = e.reg(Gpr.RDX, 64)
  const short = e.eq(high, signed ? e.sar(low, e.const(64, 63)) : e.const(64, 0))
  const minusOne = e.eq(d, e.const(64, MASK64))
  const easy = e.and(short, e.isZero(e.or(e.isZero(d), signed ? minusOne : e.const(1, 0))))
  const q = e.choose(easy, () => (signed ? e.divs(low, d) : e.divu(low, d)),
    () => (signed ? signedWideQuotient : wideQuotient)(e, high, low, d))
  e.setReg(Gpr.RAX, q)
  e.setReg(Gpr.RDX, e.sub(low, e.mul(q, d)))
}

const divide = (signed: boolean): Meaning => (e) => {
  const d = e.operand(0)
  if (d.width === 64) divide64(e, signed, d)
  else divideNarrow(e, signed, d)
}

const convertWithinA: Meaning = (e, { size }) => {
  const half = (size / 2) as 8 | 16 | 32
  e.setReg(Gpr.RAX, e.sext(e.reg(Gpr.RAX, half), size as 16 | 32 | 64))
}
const convertToD: Meaning = (e, { size }) => {
  const width = size as 16 | 32 | 64
  e.setReg(Gpr.RDX, e.sar(e.reg(Gpr.RAX, width), e.const(width, width - 1)))
}

const PRODUCT = { writes: 'oszapc', undefined: 'szap' }
const QUOTIENT = { writes: '', undefined: 'oszapc' }

export const muldivRows: readonly InsnRow[] = [
  row('MUL', 'F6 /4', 'Eb', 'r', multiply(false), { flags: PRODUCT }),
  row('MUL', 'F7 /4', 'Ev', 'r', multiply(false), { flags: PRODUCT }),
  row('IMUL', 'F6 /5', 'Eb', 'r', multiply(true), { flags: PRODUCT }),
  row('IMUL', 'F7 /5', 'Ev', 'r', multiply(true), { flags: PRODUCT }),
  row('IMUL', '0F AF /r', 'Gv,Ev', 'rw,r', multiplyInto([0, 1]), { flags: PRODUCT }),
  row('IMUL', '69 /r', 'Gv,Ev,Iz', 'w,r,r', multiplyInto([1, 2]), { flags: PRODUCT }),
  row('IMUL', '6B /r', 'Gv,Ev,Ibs', 'w,r,r', multiplyInto([1, 2]), { flags: PRODUCT }),
  row('DIV', 'F6 /6', 'Eb', 'r', divide(false), { flags: QUOTIENT }),
  row('DIV', 'F7 /6', 'Ev', 'r', divide(false), { flags: QUOTIENT }),
  row('IDIV', 'F6 /7', 'Eb', 'r', divide(true), { flags: QUOTIENT }),
  row('IDIV', 'F7 /7', 'Ev', 'r', divide(true), { flags: QUOTIENT }),
  row('CBW', '98', '', '', convertWithinA),
  row('CWD', '99', '', '', convertToD),
]
