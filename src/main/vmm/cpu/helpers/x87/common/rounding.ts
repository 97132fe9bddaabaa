/** Rounding as the control word says. SDM vol. 1, 8.1.5. */
import type { HelperEmitter, Val, Var } from '../../../emit/emitter'
import { Fx } from '../float80'
import { INTEGER_BIT } from './stack'

const PRECISION_ROUNDING = 0xf00
/** 64 bits, to nearest. */
const USUAL = 0x300
const ROUNDING = 0xc00
const DOWN = 0x400
const UP = 0x800
const HALF = 1n << 63n

/** Nonzero where an inexact result is not masked. */
export const inexactUnmasked = (e: HelperEmitter): Val => e.and(e.not(e.field('fcw')), e.const(32, Fx.PE))

/** To nearest, ties to even: 0 or 1. @param odd lowest bit of what is kept, width 64 @param rest what is lost, of 2^64 */
const nearest = (e: HelperEmitter, odd: Val, rest: Val): Val => e.zext(e.ltu(e.sub(e.const(64, HALF), odd), rest), 32)

/** Whether the kept part grows, by the rounding in `control`: 0 or 1. @param negative width 1 */
function growth(e: HelperEmitter, control: Val, negative: Val, odd: Val, rest: Val): Val {
  const mode = e.and(control, e.const(32, ROUNDING))
  const away = e.or(e.and(e.eq(mode, e.const(32, DOWN)), negative), e.and(e.eq(mode, e.const(32, UP)), e.isZero(negative)))
  const directed = e.and(e.zext(away, 32), e.zext(e.ne(rest, e.const(64, 0)), 32))
  return e.select(e.isZero(mode), nearest(e, odd, rest), directed)
}

/**
 * Rounds kept + rest / 2^64 to an integer. Precision control does not count.
 * @param truncate width 1: towards zero whatever the control word says; undefined: never
 */
export function roundInteger(e: HelperEmitter, negative: Val, kept: Val, rest: Val, truncate?: Val): { readonly up: Val; readonly inexact: Val } {
  const odd = e.and(kept, e.const(64, 1))
  const control = e.field('fcw')
  const chosen = truncate ? e.or(control, e.select(truncate, e.const(32, ROUNDING), e.const(32, 0))) : control
  return { up: growth(e, chosen, negative, odd, rest), inexact: e.zext(e.ne(rest, e.const(64, 0)), 32) }
}

export interface Rounded { readonly sig: Val; readonly exponent: Val; readonly up: Val; readonly inexact: Val }

/** Cuts the significand to the precision in force; what is cut off goes to the top of `rest`. Returns the lowest kept bit. */
function cut(e: HelperEmitter, control: Val, sig: Var, rest: Var): Val {
  const code = e.and(e.shr(control, e.const(32, 8)), e.const(32, 3))
  const shift = e.select(e.eq(code, e.const(32, 2)), e.const(64, 11), e.select(e.isZero(code), e.const(64, 40), e.const(64, 0)))
  e.if(e.ne(shift, e.const(64, 0)), () => {
    const whole = sig.get()
    const sticky = e.zext(e.ne(rest.get(), e.const(64, 0)), 64)
    rest.set(e.or(e.shl(whole, e.sub(e.const(64, 64), shift)), sticky))
    sig.set(e.shl(e.shr(whole, shift), shift))
  })
  return e.shl(e.const(64, 1), shift)
}

/**
 * A significand of 128 bits, the highest of them set, to the precision and rounding in force. The exponent is not checked.
 * @param sig upper half @param rest lower half, its lowest bits possibly sticky @param negative width 1
 * @param full to 64 bits, whatever the precision in force
 */
export function roundSignificand(e: HelperEmitter, negative: Val, exponent: Val, sig: Val, rest: Val, full = false): Rounded {
  const control = full ? e.or(e.field('fcw'), e.const(32, USUAL)) : e.field('fcw')
  const kept = e.variable(64, sig)
  const lost = e.variable(64, rest)
  const step = e.variable(64, e.const(64, 0))
  e.if(e.eq(e.and(control, e.const(32, PRECISION_ROUNDING)), e.const(32, USUAL)), () => {
    step.set(e.zext(nearest(e, e.and(sig, e.const(64, 1)), rest), 64))
  }, () => {
    const unit = cut(e, control, kept, lost)
    const odd = e.zext(e.ne(e.and(kept.get(), unit), e.const(64, 0)), 64)
    const up = growth(e, control, negative, odd, lost.get())
    step.set(e.select(e.ne(up, e.const(32, 0)), unit, e.const(64, 0)))
  })
  const grown = e.add(kept.get(), step.get())
  // All ones and one more: the next power of two.
  const carried = e.isZero(grown)
  return {
    sig: e.or(grown, e.select(carried, e.const(64, INTEGER_BIT), e.const(64, 0))),
    exponent: e.add(exponent, e.zext(carried, 32)),
    up: e.zext(e.ne(step.get(), e.const(64, 0)), 32),
    inexact: e.zext(e.ne(lost.get(), e.const(64, 0)), 32),
  }
}
