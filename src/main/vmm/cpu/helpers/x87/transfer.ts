/** The helpers behind x87 loads and moves between registers. */
import {
  changeSign, exchange, loadExtended, loadMemory, loadRegister, moveIf, storeRegister,
} from './common/transfer'
import { DEFAULT_NAN, Fx, kindOf, quieten, type Float80 } from './float80'
import { x87Helper } from './helper'
import { FORMATS, fromMemory, isNarrowDenormal, perKind, type Kind } from './memory'
import { C1, type X87 } from './unit'

/** Loading a signalling NaN of a narrower format quiets it, and a denormal is reported. Undefined where that is not masked. */
function loadNarrow(unit: X87, kind: Kind, bits: number | bigint): Float80 | undefined {
  const raw = fromMemory(kind, bits)
  const signalling = kindOf(raw) === 'signalling'
  const flags = signalling ? Fx.IE : isNarrowDenormal(kind, bits) ? Fx.DE : 0
  if (flags === 0) return raw
  return unit.raise(flags) ? signalling ? quieten(raw) : raw : undefined
}

/** FLD and FILD from memory. Argument: the operand's bits. */
export const loadHelpers = perKind((kind) => x87Helper(`x87Load${FORMATS[kind].suffix}`, [FORMATS[kind].type], (unit, bits: number | bigint) => {
  if (!unit.isEmpty(7)) return unit.push(DEFAULT_NAN)
  const value = loadNarrow(unit, kind, bits)
  if (value) unit.push(value)
}, loadMemory(FORMATS[kind].widen)))

/** FLD m80 and the constants. Arguments: significand, and sign with exponent. */
export const loadExtendedHelper = x87Helper('x87LoadExtended', ['i64', 'i32'], (unit, sig: bigint, top: number) => {
  unit.push({ sign: ((top >> 15) & 1) as 0 | 1, exp: top & 0x7fff, sig })
}, loadExtended)

/** FLD st(i). */
export const loadRegisterHelper = x87Helper('x87LoadRegister', ['i32'], (unit, i: number) => {
  if (!unit.isEmpty(i)) return unit.push(unit.read(i))
  if (unit.stackFault(false)) {
    unit.top = unit.top - 1
    unit.write(0, DEFAULT_NAN)
  }
}, loadRegister)

/** FST and FSTP to a register. */
export const storeRegisterHelper = x87Helper('x87StoreRegister', ['i32', 'i32'], (unit, i: number, pop: number) => {
  if (unit.isEmpty(0)) {
    if (!unit.stackFault(false)) return
    unit.write(i, DEFAULT_NAN)
  } else {
    unit.setCondition(C1, 0)
    unit.write(i, unit.read(0))
  }
  if (pop) unit.pop()
}, storeRegister)

/** The values of st(0) and st(i), NaNs for empty registers; undefined where that is not masked. */
function pair(unit: X87, i: number): readonly [Float80, Float80] | undefined {
  const empty = [unit.isEmpty(0), unit.isEmpty(i)]
  if (empty.includes(true) && !unit.stackFault(false)) return undefined
  return [empty[0] ? DEFAULT_NAN : unit.read(0), empty[1] ? DEFAULT_NAN : unit.read(i)]
}

export const exchangeHelper = x87Helper('x87Exchange', ['i32'], (unit, i: number) => {
  if (!unit.isEmpty(0) && !unit.isEmpty(i)) unit.setCondition(C1, 0)
  const values = pair(unit, i)
  if (!values) return
  unit.write(0, values[1])
  unit.write(i, values[0])
}, exchange)

/** FCMOVcc. An empty register is reported whether the condition holds or not. */
export const moveHelper = x87Helper('x87Move', ['i32', 'i32'], (unit, i: number, take: number) => {
  if (unit.isEmpty(0) || unit.isEmpty(i)) {
    if (unit.stackFault(false)) unit.write(0, DEFAULT_NAN)
  } else if (take) unit.write(0, unit.read(i))
}, moveIf)

/** FFREE and FFREEP. */
export const freeHelper = x87Helper('x87Free', ['i32', 'i32'], (unit, i: number, pop: number) => {
  unit.setCondition(C1, 0)
  unit.setEmpty(i, true)
  if (pop) unit.pop()
})

/** FCHS and FABS. Arguments: what sign and exponent are ANDed with, and then XORed with. */
export const signHelper = x87Helper('x87Sign', ['i32', 'i32'], (unit, keep: number, turn: number) => {
  if (unit.isEmpty(0)) {
    if (unit.stackFault(false)) unit.write(0, DEFAULT_NAN)
    return
  }
  const v = unit.read(0)
  unit.setCondition(C1, 0)
  unit.write(0, { ...v, sign: (((v.sign & (keep >> 15)) ^ (turn >> 15)) & 1) as 0 | 1 })
}, changeSign)
