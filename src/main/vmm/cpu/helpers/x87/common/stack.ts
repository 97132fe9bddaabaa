/** The register stack as the common cases see it: full registers, nothing pending. SDM vol. 1, 8.1. */
import type { HelperEmitter, Val } from '../../../emit/emitter'
import { BIAS, Fx } from '../float80'
import { C1 } from '../unit'

/** Sign and exponent as they lie in a register, width 32, and the significand. */
export interface Operand { readonly top: Val; readonly sig: Val }

export const SIGN = 0x8000
export const MAX_EXP = 0x7fff
export const INTEGER_BIT = 1n << 63n
/** Exponent of the power of two that the significand's lowest bit counts, at biased exponent 0. */
export const LOWEST = BIAS + 63

const TOP_SHIFT = 11
const TOP_FIELD = 7 << TOP_SHIFT
const SUMMARY = 0x80
const C1_BIT = Math.log2(C1)
const PE_BIT = Math.log2(Fx.PE)

export const exponentOf = (e: HelperEmitter, { top }: Operand): Val => e.and(top, e.const(32, MAX_EXP))
export const signOf = (e: HelperEmitter, { top }: Operand): Val => e.and(top, e.const(32, SIGN))
/** True for 1 … 0x7ffe, which normal numbers have. */
export const inRange = (e: HelperEmitter, exponent: Val): Val => e.ltu(e.sub(exponent, e.const(32, 1)), e.const(32, MAX_EXP - 1))
/** True for normal numbers: neither zero nor denormal, infinity, NaN, unsupported. */
export const isNormal = (e: HelperEmitter, v: Operand): Val => e.and(inRange(e, exponentOf(e, v)), e.lts(v.sig, e.const(64, 0)))
export const isZero = (e: HelperEmitter, v: Operand): Val => e.isZero(e.or(v.sig, e.zext(exponentOf(e, v), 64)))

/** A condition as 0 or 1 of width 32. */
export const flag = (e: HelperEmitter, cond: Val): Val => e.zext(cond, 32)

export class RegisterStack {
  readonly status: Val
  readonly tags: Val

  constructor(private readonly e: HelperEmitter) {
    this.status = e.field('fsw')
    this.tags = e.field('ftw')
  }

  /** Number of the register that is st(i); i constant or not. */
  physical(i: number | Val): Val {
    const { e } = this
    const top = e.shr(this.status, e.const(32, TOP_SHIFT))
    return e.and(typeof i === 'number' && i === 0 ? top : e.add(top, typeof i === 'number' ? e.const(32, i) : i), e.const(32, 7))
  }

  private isFull(physical: Val): Val {
    const { e } = this
    return e.and(e.shr(this.tags, physical), e.const(32, 1))
  }

  /**
   * Leaves it to TypeScript where one of the registers is empty, or where an unmasked exception is pending: then the opcode is to
   * be kept. @param more nonzero for other reasons, width 32
   */
  needFull(registers: readonly Val[], more?: Val): void {
    const { e } = this
    const full = registers.map((physical) => this.isFull(physical)).reduce((all, one) => e.and(all, one))
    this.need(e.xor(full, e.const(32, 1)), more)
  }

  /** As `needFull`, for the register a push goes to. */
  needEmpty(physical: Val): void {
    this.need(this.isFull(physical))
  }

  private need(reason: Val, more?: Val): void {
    const { e } = this
    const pending = e.and(this.status, e.const(32, SUMMARY))
    const all = e.or(e.or(reason, pending), more ?? e.const(32, 0))
    e.if(e.ne(all, e.const(32, 0)), () => e.fallBack())
  }

  read(physical: Val): Operand {
    const { e } = this
    return { top: e.zext(e.element('fpr', physical, 16, 8), 32), sig: e.element('fpr', physical, 64) }
  }

  write(physical: Val, { top, sig }: Operand): void {
    const { e } = this
    e.setElement('fpr', physical, sig)
    e.setElement('fpr', physical, e.trunc(top, 16), 8)
  }

  /** Pushes onto a register known to be empty, st(7). */
  push(physical: Val, value: Operand): void {
    const { e } = this
    this.write(physical, value)
    e.setField('ftw', e.or(this.tags, e.shl(e.const(32, 1), physical)))
    e.setField('fsw', e.or(e.and(this.status, e.const(32, ~(TOP_FIELD | C1))), e.shl(physical, e.const(32, TOP_SHIFT))))
  }

  /** Status word with C1 as given (0 or 1) and PE where the result was inexact (0 or 1). */
  statusWith(up?: Val, inexact?: Val): Val {
    const { e } = this
    let word = e.and(this.status, e.const(32, ~C1))
    if (up) word = e.or(word, e.shl(up, e.const(32, C1_BIT)))
    return inexact ? e.or(word, e.shl(inexact, e.const(32, PE_BIT))) : word
  }

  /** Status and tags after `pops` (0 or 1). */
  popped(status: Val, pops: Val): { readonly status: Val; readonly tags: Val } {
    const { e } = this
    const top = e.and(e.add(status, e.shl(pops, e.const(32, TOP_SHIFT))), e.const(32, TOP_FIELD))
    return {
      status: e.or(e.and(status, e.const(32, ~TOP_FIELD)), top),
      tags: e.and(this.tags, e.not(e.shl(pops, this.physical(0)))),
    }
  }

  /** Sets the status word, and pops where `pops` is 1. */
  settle(status: Val, pops?: Val): void {
    const { e } = this
    if (!pops) return e.setField('fsw', status)
    const after = this.popped(status, pops)
    e.setField('fsw', after.status)
    e.setField('ftw', after.tags)
  }
}
