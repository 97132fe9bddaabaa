/** The common case of addition, multiplication and division: normal operands and zeros, a normal result, inexact results masked. */
import type { HelperEmitter, Val, Var } from '../../../emit/emitter'
import { digit } from '../../wide-division'
import { BIAS } from '../float80'
import type { Widen } from './operands'
import { inexactUnmasked, roundSignificand } from './rounding'
import { INTEGER_BIT, RegisterStack, SIGN, exponentOf, inRange, isNormal, isZero, signOf, type Operand } from './stack'

/** Bits of an arithmetic helper's last argument. */
export const How = {
  POP: 1,
  /** The other operand is divided by the destination. */
  REVERSE: 2,
  /** Of a sum, the sign of the other operand, or of the destination, is turned round first. */
  NEGATE_OTHER: 0x8000,
  NEGATE_FIRST: 0x8000_0000,
} as const

const ROUND_DOWN = 0x400

/** A result before rounding, and how results are given. */
export class Result {
  /** 0 or SIGN, width 32. */
  readonly sign: Var
  readonly exponent: Var
  /** 128 bits, the highest of them set. */
  readonly hi: Var
  readonly lo: Var

  constructor(private readonly e: HelperEmitter, private readonly stack: RegisterStack, private readonly destination: Val, private readonly pops: Val | undefined) {
    const local = (width: 32 | 64): Var => e.variable(width, e.const(width, 0))
    this.sign = local(32)
    this.exponent = local(32)
    this.hi = local(64)
    this.lo = local(64)
  }

  set(sign: Val, exponent: Val, hi: Val, lo: Val): void {
    this.sign.set(sign)
    this.exponent.set(exponent)
    this.hi.set(hi)
    this.lo.set(lo)
  }

  /** The result is a zero, exactly. */
  zero(sign: Val): void {
    const { e, stack } = this
    stack.write(this.destination, { top: sign, sig: e.const(64, 0) })
    stack.settle(stack.statusWith(), this.pops)
    e.finish()
  }

  /** @param full see `roundSignificand` */
  round(full = false): void {
    const { e, stack } = this
    const sign = this.sign.get()
    const { sig, exponent, up, inexact } = roundSignificand(e, e.bit(sign, 15), this.exponent.get(), this.hi.get(), this.lo.get(), full)
    e.if(e.isZero(inRange(e, exponent)), () => e.fallBack())
    stack.write(this.destination, { top: e.or(sign, exponent), sig })
    stack.settle(stack.statusWith(up, inexact), this.pops)
    e.finish()
  }
}

/** Puts into `result` what comes of two operands. @param how the helper's last argument */
type Operation = (e: HelperEmitter, a: Operand, b: Operand, result: Result, how: Val) => void

/** y × 2^-by in 128 bits, with whatever falls off in the lowest one. `by` has width 32. */
function shiftRight(e: HelperEmitter, y: Val, by: Val): { readonly hi: Val; readonly lo: Val } {
  const count = e.zext(e.and(by, e.const(32, 63)), 64)
  const kept = e.shr(y, count)
  const lost = e.shl(e.shl(y, e.sub(e.const(64, 63), count)), e.const(64, 1))
  const sticky = e.or(kept, e.zext(e.ne(lost, e.const(64, 0)), 64))
  const within = e.ltu(by, e.const(32, 64))
  const far = e.select(e.ltu(by, e.const(32, 128)), sticky, e.const(64, 1))
  return { hi: e.select(within, kept, e.const(64, 0)), lo: e.select(within, lost, far) }
}

/** Sum of magnitudes: one bit may carry out, and the lowest then counts for rounding only. */
function sum(e: HelperEmitter, x: Val, y: { readonly hi: Val; readonly lo: Val }, exponent: Val, sign: Val, result: Result): void {
  const hi = e.add(x, y.hi)
  const carried = e.ltu(hi, x)
  const one = e.const(64, 1)
  const lower = e.or(e.or(e.shl(hi, e.const(64, 63)), e.shr(y.lo, one)), e.and(y.lo, one))
  result.set(sign, e.add(exponent, e.zext(carried, 32)),
    e.select(carried, e.or(e.shr(hi, one), e.const(64, INTEGER_BIT)), hi), e.select(carried, lower, y.lo))
}

/** Difference of magnitudes, x the larger. */
function difference(e: HelperEmitter, x: Val, y: { readonly hi: Val; readonly lo: Val }, exponent: Val, sign: Val, result: Result): void {
  const zero = e.const(64, 0)
  const lo = e.neg(y.lo)
  const hi = e.sub(e.sub(x, y.hi), e.zext(e.ne(lo, zero), 64))
  e.if(e.isZero(e.or(hi, lo)), () => result.zero(zeroSign(e)))
  // All of the upper half may cancel out, but for one bit of the lower: the operands were next to each other.
  const high = e.isZero(hi)
  const upper = e.select(high, lo, hi)
  const lower = e.select(high, zero, lo)
  const zeros = e.unary('clz', upper)
  const carried = e.shr(e.shr(lower, e.const(64, 1)), e.sub(e.const(64, 63), zeros))
  const lost = e.add(e.trunc(zeros, 32), e.select(high, e.const(32, 64), e.const(32, 0)))
  result.set(sign, e.sub(exponent, lost), e.or(e.shl(upper, zeros), carried), e.shl(lower, zeros))
}

/** Sign of a sum that is zero though its operands are not. */
function zeroSign(e: HelperEmitter): Val {
  const mode = e.and(e.field('fcw'), e.const(32, 0xc00))
  return e.select(e.eq(mode, e.const(32, ROUND_DOWN)), e.const(32, SIGN), e.const(32, 0))
}

/** One operand is zero, or both. */
function sumWithZero(e: HelperEmitter, a: Operand, b: Operand, result: Result): void {
  const [aZero, bZero] = [isZero(e, a), isZero(e, b)]
  e.if(e.and(aZero, bZero), () => {
    const same = e.eq(signOf(e, a), signOf(e, b))
    result.zero(e.select(same, signOf(e, a), zeroSign(e)))
  })
  const one = e.or(e.and(aZero, isNormal(e, b)), e.and(bZero, isNormal(e, a)))
  e.if(e.isZero(one), () => e.fallBack())
  const top = e.select(aZero, b.top, a.top)
  result.set(e.and(top, e.const(32, SIGN)), exponentOf(e, { ...a, top }), e.select(aZero, b.sig, a.sig), e.const(64, 0))
}

const turned = (e: HelperEmitter, v: Operand, bit: Val): Operand => ({ ...v, top: e.xor(v.top, e.and(bit, e.const(32, SIGN))) })

export const addition: Operation = (e, first, second, result, how) => {
  const a = turned(e, first, e.shr(how, e.const(32, 16)))
  const b = turned(e, second, how)
  e.if(e.and(isNormal(e, a), isNormal(e, b)), () => {
    const distance = e.sub(exponentOf(e, a), exponentOf(e, b))
    const smaller = e.or(e.lts(distance, e.const(32, 0)), e.and(e.isZero(distance), e.ltu(a.sig, b.sig)))
    const large = { top: e.select(smaller, b.top, a.top), sig: e.select(smaller, b.sig, a.sig) }
    const y = shiftRight(e, e.select(smaller, a.sig, b.sig), e.select(smaller, e.neg(distance), distance))
    const [exponent, sign] = [exponentOf(e, large), signOf(e, large)]
    e.if(e.eq(signOf(e, a), signOf(e, b)), () => sum(e, large.sig, y, exponent, sign, result), () => difference(e, large.sig, y, exponent, sign, result))
  }, () => sumWithZero(e, a, b, result))
}

const productSign = (e: HelperEmitter, a: Operand, b: Operand): Val => e.and(e.xor(a.top, b.top), e.const(32, SIGN))

export const multiplication: Operation = (e, a, b, result) => {
  const sign = productSign(e, a, b)
  e.if(e.isZero(e.and(isNormal(e, a), isNormal(e, b))), () => {
    const [aZero, bZero] = [isZero(e, a), isZero(e, b)]
    const fine = e.or(e.and(aZero, e.or(bZero, isNormal(e, b))), e.and(bZero, isNormal(e, a)))
    e.if(fine, () => result.zero(sign), () => e.fallBack())
  })
  const hi = e.mulHiU(a.sig, b.sig)
  const lo = e.mul(a.sig, b.sig)
  const short = e.xor(e.shr(hi, e.const(64, 63)), e.const(64, 1))
  const carried = e.and(e.shr(lo, e.const(64, 63)), short)
  const exponent = e.sub(e.add(exponentOf(e, a), exponentOf(e, b)), e.add(e.const(32, BIAS - 1), e.trunc(short, 32)))
  result.set(sign, exponent, e.or(e.shl(hi, short), carried), e.shl(lo, short))
}

export const division: Operation = (e, first, second, result, how) => {
  const swap = e.bit(how, 1)
  const a = { top: e.select(swap, second.top, first.top), sig: e.select(swap, second.sig, first.sig) }
  const b = { top: e.select(swap, first.top, second.top), sig: e.select(swap, first.sig, second.sig) }
  const sign = productSign(e, a, b)
  e.if(e.isZero(e.and(isNormal(e, a), isNormal(e, b))), () => {
    e.if(e.and(isZero(e, a), isNormal(e, b)), () => result.zero(sign), () => e.fallBack())
  })
  // The dividend, below the divisor, has one bit more where the significand must be halved for that.
  const whole = e.isZero(e.ltu(a.sig, b.sig))
  const u = e.select(whole, e.shr(a.sig, e.const(64, 1)), a.sig)
  const next = e.select(whole, e.shl(e.and(a.sig, e.const(64, 1)), e.const(64, 31)), e.const(64, 0))
  const high = digit(e, u, next, b.sig)
  const low = digit(e, high.rest, e.const(64, 0), b.sig)
  const exponent = e.add(e.sub(exponentOf(e, a), exponentOf(e, b)), e.add(e.zext(whole, 32), e.const(32, BIAS - 1)))
  // Never exactly half of a unit: the quotient would have 65 bits, and the dividend more than it has.
  const over = e.ltu(low.rest, e.sub(b.sig, low.rest))
  const rest = e.select(over, e.const(64, 1n << 62n), e.const(64, 3n << 62n))
  result.set(sign, exponent, e.or(e.shl(high.q, e.const(64, 32)), low.q), e.select(e.isZero(low.rest), e.const(64, 0), rest))
}

/** Arguments: destination and source as st(i), and `How`. */
export const withRegister = (operation: Operation) => (e: HelperEmitter): void => {
  const stack = new RegisterStack(e)
  const how = e.argument(2)
  const [to, from] = [stack.physical(e.argument(0)), stack.physical(e.argument(1))]
  stack.needFull([to, from], inexactUnmasked(e))
  const result = new Result(e, stack, to, e.and(how, e.const(32, How.POP)))
  operation(e, stack.read(to), stack.read(from), result, how)
  result.round()
}

/** Arguments: the operand's bits, and `How`; st(0) is the destination. */
export const withMemory = (operation: Operation, widen: Widen) => (e: HelperEmitter): void => {
  const stack = new RegisterStack(e)
  const how = e.argument(1)
  const to = stack.physical(0)
  stack.needFull([to], inexactUnmasked(e))
  const result = new Result(e, stack, to, undefined)
  operation(e, stack.read(to), widen(e, e.argument(0)), result, how)
  result.round()
}
