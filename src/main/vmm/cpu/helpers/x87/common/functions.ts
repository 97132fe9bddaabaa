/** The common case of FSQRT, FSCALE and FPREM: normal numbers, and results that are normal numbers or zeros. */
import type { HelperEmitter, Val } from '../../../emit/emitter'
import { BIAS } from '../float80'
import { C0, C1, C2, C3 } from '../unit'
import { Result } from './arithmetic'
import { inexactUnmasked } from './rounding'
import { RegisterStack, SIGN, exponentOf, inRange, isNormal, isZero, signOf, type Operand } from './stack'

/** n − r² in 128 bits. */
function remains(e: HelperEmitter, high: Val, low: Val, r: Val): { readonly hi: Val; readonly lo: Val } {
  const square = e.mul(r, r)
  const lo = e.sub(low, square)
  return { lo, hi: e.sub(e.sub(high, e.mulHiU(r, r)), e.zext(e.ltu(low, square), 64)) }
}

/**
 * Integer square root of 2^126 ≤ n < 2^128, and what n has above its square. The host's square root gives 53 bits, one step of
 * Newton's method the others, but for an error of one.
 */
function integerRoot(e: HelperEmitter, high: Val, low: Val): { readonly root: Val; readonly hi: Val; readonly lo: Val } {
  const two32 = e.bitsToFlt(e.const(64, 0x41f0_0000_0000_0000n))
  const two64 = e.bitsToFlt(e.const(64, 0x43f0_0000_0000_0000n))
  const half = e.bitsToFlt(e.const(64, 0x3fe0_0000_0000_0000n))
  const guess = e.flt('f64.mul', e.flt('f64.sqrt', e.flt('f64.convert_i64_u', high)), two32)
  const first = e.fltToInt('i64.trunc_sat_f64_u', guess)
  const rest = remains(e, high, low, first)
  const error = e.flt('f64.add', e.flt('f64.mul', e.flt('f64.convert_i64_s', rest.hi), two64), e.flt('f64.convert_i64_u', rest.lo))
  const step = e.flt('f64.floor', e.flt('f64.div', e.flt('f64.mul', error, half), e.flt('f64.convert_i64_u', first)))
  const near = e.add(first, e.fltToInt('i64.trunc_sat_f64_s', step))
  const root = e.variable(64, near)
  const again = remains(e, high, low, near)
  e.if(e.lts(again.hi, e.const(64, 0)), () => root.set(e.sub(near, e.const(64, 1))), () => {
    // More than 2 · root: the next root fits too.
    const twice = e.shl(near, e.const(64, 1))
    const over = e.shr(near, e.const(64, 63))
    const more = e.or(e.ltu(over, again.hi), e.and(e.eq(over, again.hi), e.ltu(twice, again.lo)))
    e.if(more, () => root.set(e.add(near, e.const(64, 1))))
  })
  return { root: root.get(), ...remains(e, high, low, root.get()) }
}

export const squareRoot = (e: HelperEmitter): void => {
  const stack = new RegisterStack(e)
  const at = stack.physical(0)
  stack.needFull([at], inexactUnmasked(e))
  const v = stack.read(at)
  e.if(isZero(e, v), () => {
    stack.settle(stack.statusWith())
    e.finish()
  })
  e.if(e.isZero(e.and(isNormal(e, v), e.isZero(signOf(e, v)))), () => e.fallBack())
  // The exponent is made even.
  const odd = e.isZero(e.bit(v.top, 0))
  const high = e.select(odd, v.sig, e.shr(v.sig, e.const(64, 1)))
  const low = e.select(odd, e.const(64, 0), e.shl(v.sig, e.const(64, 63)))
  const { root, hi, lo } = integerRoot(e, high, low)
  // Never exactly half of a unit: that square would have a fraction.
  const beyond = e.or(e.ne(hi, e.const(64, 0)), e.ltu(root, lo))
  const rest = e.select(e.isZero(e.or(hi, lo)), e.const(64, 0), e.select(beyond, e.const(64, 3n << 62n), e.const(64, 1n << 62n)))
  const result = new Result(e, stack, at, undefined)
  const exponent = e.shr(e.add(exponentOf(e, v), e.const(32, BIAS)), e.const(32, 1))
  result.set(e.const(32, 0), exponent, root, rest)
  result.round()
}

/** Values below 2^15: what exponents can be moved by. */
const LARGEST_SCALE = BIAS + 15

export const scale = (e: HelperEmitter): void => {
  const stack = new RegisterStack(e)
  const [at, by] = [stack.physical(0), stack.physical(1)]
  stack.needFull([at, by])
  const [v, factor] = [stack.read(at), stack.read(by)]
  const size = exponentOf(e, factor)
  const fine = e.and(e.or(isNormal(e, factor), isZero(e, factor)), e.ltu(size, e.const(32, LARGEST_SCALE)))
  e.if(e.isZero(e.and(isNormal(e, v), fine)), () => e.fallBack())
  const count = e.zext(e.and(e.sub(e.const(32, BIAS + 63), size), e.const(32, 63)), 64)
  const whole = e.select(e.ltu(size, e.const(32, BIAS)), e.const(32, 0), e.trunc(e.shr(factor.sig, count), 32))
  const exponent = e.add(exponentOf(e, v), e.select(e.bit(factor.top, 15), e.neg(whole), whole))
  e.if(e.isZero(inRange(e, exponent)), () => e.fallBack())
  stack.write(at, { top: e.or(signOf(e, v), exponent), sig: v.sig })
  stack.settle(stack.statusWith())
  e.finish()
}

/** Long division, bit by bit: the rest of a × 2^distance by b, and the quotient's low bits. */
function longDivision(e: HelperEmitter, a: Val, b: Val, distance: Val): { readonly rest: Val; readonly quotient: Val } {
  const zero = e.const(64, 0)
  const fits = e.isZero(e.ltu(a, b))
  const rest = e.variable(64, e.sub(a, e.select(fits, b, zero)))
  const quotient = e.variable(64, e.zext(fits, 64))
  const left = e.variable(32, distance)
  e.loop((control) => {
    e.if(e.isZero(left.get()), () => control.break())
    left.set(e.sub(left.get(), e.const(32, 1)))
    const old = rest.get()
    const doubled = e.shl(old, e.const(64, 1))
    const taken = e.or(e.lts(old, zero), e.isZero(e.ltu(doubled, b)))
    rest.set(e.sub(doubled, e.select(taken, b, zero)))
    quotient.set(e.or(e.shl(quotient.get(), e.const(64, 1)), e.zext(taken, 64)))
    control.continue()
  })
  return { rest: rest.get(), quotient: quotient.get() }
}

/** FPREM, where it ends in one step. */
export const remainder = (e: HelperEmitter): void => {
  const stack = new RegisterStack(e)
  const [at, by] = [stack.physical(0), stack.physical(1)]
  stack.needFull([at, by])
  const [a, b] = [stack.read(at), stack.read(by)]
  e.if(e.isZero(e.and(isNormal(e, a), isNormal(e, b))), () => e.fallBack())
  const distance = e.sub(exponentOf(e, a), exponentOf(e, b))
  const settle = (quotient: Val): void => {
    const bit = (from: number, to: number): Val => e.select(e.bit(quotient, from), e.const(32, to), e.const(32, 0))
    const conditions = e.or(e.or(bit(2, C0), bit(1, C3)), bit(0, C1))
    stack.settle(e.or(e.and(stack.status, e.const(32, ~(C0 | C1 | C2 | C3))), conditions))
    e.finish()
  }
  e.if(e.lts(distance, e.const(32, 0)), () => settle(e.const(64, 0)))
  e.if(e.isZero(e.ltu(distance, e.const(32, 64))), () => e.fallBack())
  const { rest, quotient } = longDivision(e, a.sig, b.sig, distance)
  const value = normalized(e, rest, exponentOf(e, b))
  stack.write(at, { top: e.or(e.and(a.top, e.const(32, SIGN)), value.top), sig: value.sig })
  settle(quotient)
}

/** Moves a significand up until its highest bit is set. Falls back where the exponent does not allow that. */
function normalized(e: HelperEmitter, sig: Val, exponent: Val): Operand {
  const zeros = e.unary('clz', sig)
  const none = e.isZero(sig)
  const moved = e.sub(exponent, e.trunc(zeros, 32))
  e.if(e.isZero(e.or(inRange(e, moved), none)), () => e.fallBack())
  return { top: e.select(none, e.const(32, 0), moved), sig: e.shl(sig, zeros) }
}
