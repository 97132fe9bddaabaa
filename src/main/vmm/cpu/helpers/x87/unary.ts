/** The helpers behind x87 operations on st(0), some of which need st(1) too. */
import { remainder, roundToInteger as roundExactly, scale, squareRoot, type FpMode } from './arithmetic'
import { remainder as remainderCommon, scale as scaleCommon, squareRoot as squareRootCommon } from './common/functions'
import { examine as examineCommon, roundToInteger } from './common/transfer'
import {
  DEFAULT_NAN, Fx, bitLength, exactOf, fromInteger, infinity, isDenormal, kindOf, quieten, toFloat80, type Float80,
} from './float80'
import { x87Helper } from './helper'
import { dropDenormalOfInvalid } from './memory'
import { C0, C1, C2, C3, type X87 } from './unit'

/** Operations without a common case of their own. */
export const UNARY = ['extract', 'remainderNearest', 'stepDown', 'stepUp'] as const
export type Unary = (typeof UNARY)[number]

function examine(unit: X87): void {
  const v = unit.read(0)
  const sign = v.sign ? C1 : 0
  if (unit.isEmpty(0)) return unit.setCondition(C0 | C1 | C2 | C3, C3 | C0 | sign)
  const classes = { unsupported: 0, quiet: C0, signalling: C0, finite: C2, infinity: C2 | C0, zero: C3 } as const
  const kind = kindOf(v)
  const bits = kind === 'finite' && isDenormal(v) ? C3 | C2 : classes[kind]
  unit.setCondition(C0 | C1 | C2 | C3, bits | sign)
}

/** FXTRACT: exponent to st(0), significand pushed above it. */
function extract(unit: X87): void {
  if (!unit.isEmpty(7)) {
    if (unit.stackFault(true)) {
      unit.write(0, DEFAULT_NAN)
      unit.top = unit.top - 1
      unit.write(0, DEFAULT_NAN)
    }
    return
  }
  const v = unit.read(0)
  const kind = kindOf(v)
  const mode = unit.mode()
  const finish = (exponent: Float80, significand: Float80): void => {
    if (!unit.settle(mode.status)) return
    unit.write(0, exponent)
    unit.push(significand)
  }
  if (kind === 'zero') {
    mode.status.flags |= Fx.ZE
    return finish(infinity(1), v)
  }
  if (kind === 'infinity') return finish(infinity(0), v)
  if (kind !== 'finite') {
    if (kind !== 'quiet') mode.status.flags |= Fx.IE
    const nan = kind === 'unsupported' ? DEFAULT_NAN : quieten(v)
    return finish(nan, nan)
  }
  if (isDenormal(v)) mode.status.flags |= Fx.DE
  const { m, e } = exactOf(v)
  const length = bitLength(m)
  const quiet = { flags: 0, roundedUp: false }
  finish(fromInteger(BigInt(e + length - 1)), toFloat80({ sign: v.sign, m, e: 1 - length }, 64, 0, quiet))
}

/** FPREM and FPREM1 need st(1) too. */
function partialRemainder(unit: X87, nearest: boolean): void {
  const mode = unit.mode()
  const { value, quotient, incomplete } = remainder(unit.read(0), unit.read(1), nearest, mode)
  dropDenormalOfInvalid(mode)
  unit.setCondition(C2, 0)
  if (!unit.settle(mode.status)) return
  unit.write(0, value)
  if (quotient === undefined) return unit.setCondition(C1 | C2, 0)
  if (incomplete) return unit.setCondition(C0 | C1 | C2 | C3, C2)
  unit.setCondition(C0 | C1 | C2 | C3, (quotient & 4 ? C0 : 0) | (quotient & 2 ? C3 : 0) | (quotient & 1 ? C1 : 0))
}

function rounded(unit: X87, compute: (mode: FpMode) => Float80): void {
  const mode = unit.mode()
  const result = compute(mode)
  dropDenormalOfInvalid(mode)
  if (unit.settle(mode.status)) unit.write(0, result)
}

/** st(0), or st(1) where it counts, is empty. True where there is nothing more to do. */
function underflow(unit: X87, operands: 1 | 2): boolean {
  if (!unit.isEmpty(0) && (operands === 1 || !unit.isEmpty(1))) return false
  if (unit.stackFault(false)) unit.write(0, DEFAULT_NAN)
  return true
}

/** Argument: place in `UNARY`. */
export const unaryHelper = x87Helper('x87Unary', ['i32'], (unit, which: number) => {
  const op = UNARY[which]
  if (op === 'remainderNearest') return remainderOf(unit, true)
  if (op === 'extract') return unit.isEmpty(0) ? extractOfNothing(unit) : extract(unit)
  unit.setCondition(C1, 0)
  unit.top = unit.top + (op === 'stepUp' ? 1 : -1)
})

function extractOfNothing(unit: X87): void {
  if (!underflow(unit, 1) || unit.isEmpty(0)) return
  unit.top = unit.top - 1
  unit.write(0, DEFAULT_NAN)
}

function remainderOf(unit: X87, nearest: boolean): void {
  if (!unit.isEmpty(0) && !unit.isEmpty(1)) return partialRemainder(unit, nearest)
  underflow(unit, 2)
  unit.setCondition(C2, 0)
}

/** FPREM. */
export const remainderHelper = x87Helper('x87Remainder', [], (unit) => remainderOf(unit, false), remainderCommon)

/** FSQRT. */
export const squareRootHelper = x87Helper('x87SquareRoot', [], (unit) => {
  if (!underflow(unit, 1)) rounded(unit, (mode) => squareRoot(unit.read(0), mode))
}, squareRootCommon)

/** FSCALE. */
export const scaleHelper = x87Helper('x87Scale', [], (unit) => {
  if (!underflow(unit, 2)) rounded(unit, (mode) => scale(unit.read(0), unit.read(1), mode))
}, scaleCommon)

/** FXAM. */
export const examineHelper = x87Helper('x87Examine', [], (unit) => examine(unit), examineCommon)

/** FRNDINT. */
export const roundHelper = x87Helper('x87Round', [], (unit) => {
  if (!underflow(unit, 1)) rounded(unit, (mode) => roundExactly(unit.read(0), mode))
}, roundToInteger)
