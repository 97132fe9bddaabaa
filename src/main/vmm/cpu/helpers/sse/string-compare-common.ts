/**
 * The string comparisons as generated code: the elements' comparisons are masks with a bit for each element of b. SDM vol. 2, 4.1.
 * Arguments and result are `compareStringsHelper`'s.
 */
import type { HelperEmitter, Val, Vec } from '../../emit/emitter'

/** Bits of imm8, and the helper's own. */
const WORDS = 0
const SIGNED = 1
const EXPLICIT = 8

class StringComparison {
  private readonly control: Val
  private readonly wide: Val
  /** Elements of a register, a bit for each, and an element's bits. */
  private readonly count: Val
  private readonly all: Val
  private readonly bits: Val

  constructor(private readonly e: HelperEmitter) {
    this.control = e.argument(0)
    this.wide = e.bit(this.control, WORDS)
    this.count = e.select(this.wide, e.const(32, 8), e.const(32, 16))
    this.all = e.select(this.wide, e.const(32, 0xff), e.const(32, 0xffff))
    this.bits = e.select(this.wide, e.const(64, 16), e.const(64, 8))
  }

  private vector(low: Val, high: Val): Vec {
    return this.e.vecReplace(64, 1, this.e.vecSplat(64, low), high)
  }

  /** A bit for each element for which a comparison of lanes holds. @param b a vector, or an element to compare all with (width 32) */
  private mask(op: 'eq' | 'ge_u' | 'le_u', a: Vec, b: Vec | Val): Val {
    const { e } = this
    const lanes = (width: 8 | 16, shape: string): Val => {
      const other = b.width === 128 ? b : e.vecSplat(width, b as Val)
      return e.vecTest(`${shape}.bitmask`, e.vec(`${shape}.${op}`, a, other))
    }
    return e.choose(this.wide, () => lanes(16, 'i16x8'), () => lanes(8, 'i8x16'))
  }

  /** Elements before the first zero, or |length| if that is less than a register's. */
  private lengthOf(v: Vec, length: Val): Val {
    const { e } = this
    const size = e.select(e.lts(length, e.const(64, 0)), e.neg(length), length)
    const given = e.select(e.ltu(size, e.zext(this.count, 64)), e.trunc(size, 32), this.count)
    const ended = e.or(this.mask('eq', v, e.const(32, 0)), e.add(this.all, e.const(32, 1)))
    return e.select(e.bit(this.control, EXPLICIT), given, e.unary('ctz', ended))
  }

  private below(length: Val): Val {
    return this.e.sub(this.e.shl(this.e.const(32, 1), length), this.e.const(32, 1))
  }

  /** Calls `use` with the elements of a, in order, and their numbers (width 32). @param step elements at a time; `use` gets the first two */
  private eachOfA(low: Val, high: Val, lengthA: Val, step: 1 | 2, use: (element: Val, i: Val, second: Val) => void): void {
    const { e } = this
    const [lo, hi, i] = [e.variable(64, low), e.variable(64, high), e.variable(32, e.const(32, 0))]
    const by = step === 1 ? this.bits : e.add(this.bits, this.bits)
    e.loop((control) => {
      e.if(e.ltu(e.add(i.get(), e.const(32, step - 1)), lengthA), () => {
        use(e.trunc(lo.get(), 32), i.get(), e.trunc(e.shr(lo.get(), this.bits), 32))
        lo.set(e.or(e.shr(lo.get(), by), e.shl(hi.get(), e.sub(e.const(64, 64), by))))
        hi.set(e.shr(hi.get(), by))
        i.set(e.add(i.get(), e.const(32, step)))
        control.continue()
      })
      control.break()
    })
  }

  /** IntRes1. Elements of signed comparisons come with their top bits turned over. */
  private aggregate(low: Val, high: Val, b: Vec, lengthA: Val, lengthB: Val): Val {
    const { e } = this
    const [validA, validB] = [this.below(lengthA), this.below(lengthB)]
    const kind = e.and(e.shr(this.control, e.const(32, 2)), e.const(32, 3))
    const found = e.variable(32, e.const(32, 0))
    const is = (value: number, then: () => void): void => e.if(e.eq(kind, e.const(32, value)), then)
    is(0, () => {
      this.eachOfA(low, high, lengthA, 1, (element) => found.set(e.or(found.get(), this.mask('eq', b, element))))
      found.set(e.and(found.get(), validB))
    })
    is(1, () => {
      this.eachOfA(low, high, lengthA, 2, (least, _, most) => {
        found.set(e.or(found.get(), e.and(this.mask('ge_u', b, least), this.mask('le_u', b, most))))
      })
      found.set(e.and(found.get(), validB))
    })
    is(2, () => {
      const equal = e.and(this.mask('eq', b, this.vector(low, high)), e.and(validA, validB))
      found.set(e.or(equal, e.and(this.all, e.not(e.or(validA, validB)))))
    })
    // As far as b's register goes: what lies behind it is not compared.
    is(3, () => {
      found.set(this.all)
      this.eachOfA(low, high, lengthA, 1, (element, i) => {
        const starts = e.shr(e.and(this.mask('eq', b, element), validB), i)
        found.set(e.and(found.get(), e.or(starts, e.not(e.shr(this.all, i)))))
      })
    })
    return found.get()
  }

  /** IntRes2. */
  private polarity(found: Val, lengthB: Val): Val {
    const { e } = this
    const turned = e.select(e.bit(this.control, 5), this.below(lengthB), this.all)
    return e.select(e.bit(this.control, 4), e.xor(found, turned), found)
  }

  build(): void {
    const { e } = this
    const [aLow, aHigh, bLow, bHigh] = [1, 2, 3, 4].map((n) => e.argument(n))
    const lengthA = this.lengthOf(this.vector(aLow, aHigh), e.argument(5))
    const lengthB = this.lengthOf(this.vector(bLow, bHigh), e.argument(6))
    const top = e.select(this.wide, e.const(64, 0x8000_8000_8000_8000n), e.const(64, 0x8080_8080_8080_8080n))
    const turn = e.select(e.bit(this.control, SIGNED), top, e.const(64, 0))
    const b = this.vector(e.xor(bLow, turn), e.xor(bHigh, turn))
    const mask = this.polarity(this.aggregate(e.xor(aLow, turn), e.xor(aHigh, turn), b, lengthA, lengthB), lengthB)
    const none = e.isZero(mask)
    const flag = (condition: Val, at: number): Val => e.shl(e.zext(condition, 32), e.const(32, at))
    const ends = e.or(flag(e.ltu(lengthB, this.count), 6), flag(e.ltu(lengthA, this.count), 7))
    e.setField('scratch', e.zext(e.or(ends, e.or(flag(e.not(none), 0), flag(e.bit(mask, 0), 11))), 64), 2)
    const least = e.select(none, this.count, e.unary('ctz', mask))
    const greatest = e.select(none, this.count, e.sub(e.const(32, 31), e.unary('clz', mask)))
    e.finish(e.or(mask, e.or(e.shl(least, e.const(32, 16)), e.shl(greatest, e.const(32, 24)))))
  }
}

export const compareStringsCommon = (e: HelperEmitter): void => new StringComparison(e).build()
