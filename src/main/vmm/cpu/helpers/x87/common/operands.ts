/** Memory operands as register values: normal numbers and zeros. */
import type { HelperEmitter, Val } from '../../../emit/emitter'
import { BIAS } from '../float80'
import { INTEGER_BIT, SIGN, type Operand } from './stack'

/** How a memory operand comes: an argument of the helper. */
export type Widen = (e: HelperEmitter, bits: Val) => Operand

/** @param fraction bits of the format's fraction @param maxExp its highest exponent, which infinities and NaNs have */
const widen = (width: 32 | 64, fraction: number, maxExp: number): Widen => (e, bits) => {
  const bias = maxExp >> 1
  const high = width === 64 ? e.trunc(e.shr(bits, e.const(64, 32)), 32) : bits
  const inHigh = fraction % 32
  const exponent = e.and(e.shr(high, e.const(32, inHigh)), e.const(32, maxExp))
  const sign = e.and(e.shr(high, e.const(32, 16)), e.const(32, SIGN))
  const top = e.variable(32, e.or(sign, e.add(exponent, e.const(32, BIAS - bias))))
  const sig = e.variable(64, e.or(e.shl(e.zext(bits, 64), e.const(64, 63 - fraction)), e.const(64, INTEGER_BIT)))
  e.if(e.isZero(e.ltu(e.sub(exponent, e.const(32, 1)), e.const(32, maxExp - 1))), () => {
    e.if(e.ne(e.shl(bits, e.const(width, 1)), e.const(width, 0)), () => e.fallBack())
    top.set(sign)
    sig.set(e.const(64, 0))
  })
  return { top: top.get(), sig: sig.get() }
}

export const widenSingle = widen(32, 23, 0xff)
export const widenDouble = widen(64, 52, 0x7ff)

/** A signed integer of 64 bits. */
export const widenInteger: Widen = (e, bits) => {
  const negative = e.lts(bits, e.const(64, 0))
  const magnitude = e.select(negative, e.neg(bits), bits)
  const zeros = e.unary('clz', magnitude)
  const exponent = e.sub(e.const(32, BIAS + 63), e.trunc(zeros, 32))
  const top = e.or(e.select(negative, e.const(32, SIGN), e.const(32, 0)), exponent)
  return {
    top: e.select(e.isZero(bits), e.const(32, 0), top),
    // A shift by 64 is one by 0, and leaves the zero it is.
    sig: e.shl(magnitude, zeros),
  }
}
