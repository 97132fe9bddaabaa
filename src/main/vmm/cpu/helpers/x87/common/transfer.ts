/** The common case of loads, stores and moves: registers that are full or empty as they should be, normal numbers and zeros. */
import type { HelperEmitter, Val } from '../../../emit/emitter'
import { BIAS } from '../float80'
import { C0, C1, C2, C3 } from '../unit'
import type { Widen } from './operands'
import { inexactUnmasked, roundInteger } from './rounding'
import { RegisterStack, SIGN, exponentOf, isNormal, isZero, type Operand } from './stack'

/** Bits of `scratch[AFTER]`: what a store leaves once memory has been written. Status word in 0–15, tags from TAGS on. */
export const After = { CELL: 2, TAGS: 16, WRITE: 32 } as const

// ── loads ───────────────────────────────────────────────────────────────────────────────────────────────────────

function push(e: HelperEmitter, value: (stack: RegisterStack) => Operand): void {
  const stack = new RegisterStack(e)
  const to = stack.physical(7)
  stack.needEmpty(to)
  stack.push(to, value(stack))
  e.finish()
}

/** Argument: the operand's bits. */
export const loadMemory = (widen: Widen) => (e: HelperEmitter): void => push(e, () => widen(e, e.argument(0)))

/** Arguments: significand, and sign with exponent. */
export const loadExtended = (e: HelperEmitter): void => push(e, () => ({ sig: e.argument(0), top: e.argument(1) }))

/** Argument: st(i). */
export const loadRegister = (e: HelperEmitter): void => push(e, (stack) => {
  const from = stack.physical(e.argument(0))
  stack.needFull([from])
  return stack.read(from)
})

// ── moves between registers ─────────────────────────────────────────────────────────────────────────────────────

/** Arguments: st(i), and 1 where st(0) is popped. */
export const storeRegister = (e: HelperEmitter): void => {
  const stack = new RegisterStack(e)
  const [from, to] = [stack.physical(0), stack.physical(e.argument(0))]
  stack.needFull([from])
  stack.write(to, stack.read(from))
  const after = stack.popped(stack.statusWith(), e.argument(1))
  e.setField('fsw', after.status)
  const filled = e.or(stack.tags, e.shl(e.const(32, 1), to))
  e.setField('ftw', e.and(filled, e.not(e.shl(e.argument(1), from))))
  e.finish()
}

/** Argument: st(i). */
export const exchange = (e: HelperEmitter): void => {
  const stack = new RegisterStack(e)
  const [first, second] = [stack.physical(0), stack.physical(e.argument(0))]
  stack.needFull([first, second])
  const [a, b] = [stack.read(first), stack.read(second)]
  stack.write(first, b)
  stack.write(second, a)
  stack.settle(stack.statusWith())
  e.finish()
}

/** FCMOVcc. Arguments: st(i), and 1 where the condition holds. */
export const moveIf = (e: HelperEmitter): void => {
  const stack = new RegisterStack(e)
  const [to, from] = [stack.physical(0), stack.physical(e.argument(0))]
  stack.needFull([to, from])
  e.if(e.ne(e.argument(1), e.const(32, 0)), () => stack.write(to, stack.read(from)))
  e.finish()
}

/** FCHS and FABS. Arguments: what the sign is ANDed with, and what it is XORed with, as bits of the register's upper half. */
export const changeSign = (e: HelperEmitter): void => {
  const stack = new RegisterStack(e)
  const at = stack.physical(0)
  stack.needFull([at])
  const { top, sig } = stack.read(at)
  stack.write(at, { top: e.xor(e.and(top, e.argument(0)), e.argument(1)), sig })
  stack.settle(stack.statusWith())
  e.finish()
}

/** FXAM: an empty register too, and every kind of value. */
export const examine = (e: HelperEmitter): void => {
  const stack = new RegisterStack(e)
  const at = stack.physical(0)
  stack.needFull([at])
  const v = stack.read(at)
  e.if(e.isZero(e.or(isNormal(e, v), isZero(e, v))), () => e.fallBack())
  const sign = e.select(e.bit(v.top, 15), e.const(32, C1), e.const(32, 0))
  const kind = e.select(isZero(e, v), e.const(32, C3), e.const(32, C2))
  stack.settle(e.or(e.and(stack.status, e.const(32, ~(C0 | C1 | C2 | C3))), e.or(sign, kind)))
  e.finish()
}

// ── stores: what goes to memory; the state changes only once that has been written ──────────────────────────────

function prepared(e: HelperEmitter, stack: RegisterStack, status: Val, pops: Val, bits: Val): void {
  const after = stack.popped(status, pops)
  const word = e.zext(e.or(after.status, e.shl(after.tags, e.const(32, After.TAGS))), 64)
  e.setField('scratch', e.or(word, e.const(64, 1n << BigInt(After.WRITE))), After.CELL)
  e.finish(bits)
}

/** Argument: 1 where st(0) is popped. */
export const storeFloat = (width: 32 | 64) => (e: HelperEmitter): void => {
  const fraction = width === 64 ? 52 : 23
  const maxExp = width === 64 ? 0x7ff : 0xff
  const stack = new RegisterStack(e)
  const from = stack.physical(0)
  stack.needFull([from], inexactUnmasked(e))
  const v = stack.read(from)
  const sign = e.shl(e.zext(e.shr(v.top, e.const(32, 15)), 64), e.const(64, width - 1))
  e.if(isZero(e, v), () => prepared(e, stack, stack.statusWith(), e.argument(0), sign))
  const exponent = e.sub(exponentOf(e, v), e.const(32, BIAS - (maxExp >> 1)))
  const fits = e.and(e.ltu(e.sub(exponent, e.const(32, 1)), e.const(32, maxExp - 1)), isNormal(e, v))
  e.if(e.isZero(fits), () => e.fallBack())
  const kept = e.shr(v.sig, e.const(64, 63 - fraction))
  const { up, inexact } = roundInteger(e, e.bit(v.top, 15), kept, e.shl(v.sig, e.const(64, fraction + 1)))
  // The significand's highest bit is no part of the fraction, and adds one to the exponent.
  const scaled = e.shl(e.zext(e.sub(exponent, e.const(32, 1)), 64), e.const(64, fraction))
  const magnitude = e.add(scaled, e.add(kept, e.zext(up, 64)))
  // Rounding may go up to the next power of two, where the format ends.
  e.if(e.isZero(e.ltu(magnitude, e.const(64, BigInt(maxExp) << BigInt(fraction)))), () => e.fallBack())
  prepared(e, stack, stack.statusWith(up, inexact), e.argument(0), e.or(sign, magnitude))
}

/** Arguments: the integer's width, 1 where it is truncated whatever the control word says, 1 where st(0) is popped. */
export const storeInteger = (e: HelperEmitter): void => {
  const stack = new RegisterStack(e)
  const from = stack.physical(0)
  stack.needFull([from], inexactUnmasked(e))
  const v = stack.read(from)
  const pops = e.argument(2)
  e.if(isZero(e, v), () => prepared(e, stack, stack.statusWith(), pops, e.const(64, 0)))
  const { negative, kept, rest } = integerPart(e, v)
  const { up, inexact } = roundInteger(e, negative, kept, rest, e.ne(e.argument(1), e.const(32, 0)))
  const magnitude = e.add(kept, e.zext(up, 64))
  const value = e.select(negative, e.neg(magnitude), magnitude)
  const spare = e.zext(e.sub(e.const(32, 64), e.argument(0)), 64)
  const overflows = e.or(e.ne(e.sar(e.shl(value, spare), spare), value), e.lts(magnitude, e.const(64, 0)))
  e.if(overflows, () => e.fallBack())
  prepared(e, stack, stack.statusWith(up, inexact), pops, value)
}

/** A normal number's integer part and fraction; below 2^63, else TypeScript does it. */
function integerPart(e: HelperEmitter, v: Operand): { readonly negative: Val; readonly kept: Val; readonly rest: Val } {
  // How far the significand goes to the right, less one: below 2^63 at least 0.
  const shift = e.sub(e.const(32, BIAS + 62), exponentOf(e, v))
  e.if(e.isZero(e.and(isNormal(e, v), e.isZero(e.lts(shift, e.const(32, 0))))), () => e.fallBack())
  const count = e.zext(e.and(shift, e.const(32, 63)), 64)
  const halved = e.shr(v.sig, e.const(64, 1))
  const within = e.ltu(shift, e.const(32, 64))
  const kept = e.select(within, e.shr(halved, count), e.const(64, 0))
  const lost = e.shl(v.sig, e.sub(e.const(64, 63), count))
  // Farther down than the point: less than a half, and not nothing.
  return { negative: e.bit(v.top, 15), kept, rest: e.select(within, lost, e.const(64, 1)) }
}

/** FSTP m80. Leaves sign and exponent in `scratch[3]`. */
export const storeExtended = (e: HelperEmitter): void => {
  const stack = new RegisterStack(e)
  const from = stack.physical(0)
  stack.needFull([from])
  const { top, sig } = stack.read(from)
  e.setField('scratch', e.zext(top, 64), 3)
  prepared(e, stack, stack.statusWith(), e.const(32, 1), sig)
}

/** FRNDINT. */
export const roundToInteger = (e: HelperEmitter): void => {
  const stack = new RegisterStack(e)
  const at = stack.physical(0)
  stack.needFull([at], inexactUnmasked(e))
  const v = stack.read(at)
  // No fraction: nothing to do.
  const whole = e.and(e.isZero(e.ltu(exponentOf(e, v), e.const(32, BIAS + 63))), isNormal(e, v))
  e.if(e.or(whole, isZero(e, v)), () => {
    stack.settle(stack.statusWith())
    e.finish()
  })
  const { negative, kept, rest } = integerPart(e, v)
  const { up, inexact } = roundInteger(e, negative, kept, rest)
  const value = e.add(kept, e.zext(up, 64))
  const zeros = e.unary('clz', value)
  const exponent = e.select(e.isZero(value), e.const(32, 0), e.sub(e.const(32, BIAS + 63), e.trunc(zeros, 32)))
  stack.write(at, { top: e.or(e.and(v.top, e.const(32, SIGN)), exponent), sig: e.shl(value, zeros) })
  stack.settle(stack.statusWith(up, inexact))
  e.finish()
}
