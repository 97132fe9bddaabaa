/** The helpers behind x87 arithmetic and comparisons. */
import { add, compare, divide, multiply, subtract, type FpMode, type Ordering } from './arithmetic'
import { How, addition, division, multiplication, withMemory, withRegister } from './common/arithmetic'
import { Compare, compareMemory, compareRegister } from './common/compare'
import { DEFAULT_NAN, Fx, type Float80 } from './float80'
import { x87Function, x87Helper } from './helper'
import { FORMATS, dropDenormalOfInvalid, fromMemory, noteNarrowDenormal, perKind } from './memory'
import { C0, C1, C2, C3, type X87 } from './unit'

export { Compare, How }

/** What the helpers compute, with `How` in their last argument. */
export type Operation = 'Sum' | 'Product' | 'Quotient'

const COMMON = { Sum: addition, Product: multiplication, Quotient: division } as const

function calculate(operation: Operation, a: Float80, b: Float80, how: number, mode: FpMode): Float80 {
  if (operation === 'Product') return multiply(a, b, mode)
  if (operation === 'Quotient') return (how & How.REVERSE) !== 0 ? divide(b, a, mode) : divide(a, b, mode)
  if ((how & How.NEGATE_OTHER) !== 0) return subtract(a, b, mode)
  return how >= How.NEGATE_FIRST ? subtract(b, a, mode) : add(a, b, mode)
}

/** st(destination) = st(destination) op st(source). Arguments: destination, source, how. */
const registers = (operation: Operation): ReturnType<typeof x87Helper> =>
  x87Helper(`x87${operation}`, ['i32', 'i32', 'i32'], (unit, destination: number, source: number, how: number) => {
    if (unit.isEmpty(destination) || unit.isEmpty(source)) {
      if (!unit.stackFault(false)) return
      unit.write(destination, DEFAULT_NAN)
    } else {
      const mode = unit.mode()
      const result = calculate(operation, unit.read(destination), unit.read(source), how, mode)
      if (!unit.settle(mode.status)) return
      unit.write(destination, result)
    }
    if ((how & How.POP) !== 0) unit.pop()
  }, withRegister(COMMON[operation]))

/** st(0) = st(0) op memory, for each format. Arguments: the operand's bits, how. */
const memory = (operation: Operation) => perKind((kind) => {
  const { suffix, type, widen } = FORMATS[kind]
  return x87Helper(`x87${operation}${suffix}`, [type, 'i32'], (unit, bits: number | bigint, how: number) => {
    if (unit.isEmpty(0)) {
      if (unit.stackFault(false)) unit.write(0, DEFAULT_NAN)
      return
    }
    const mode = unit.mode()
    noteNarrowDenormal(kind, bits, unit.read(0), mode)
    const result = calculate(operation, unit.read(0), fromMemory(kind, bits), how, mode)
    dropDenormalOfInvalid(mode)
    if (unit.settle(mode.status)) unit.write(0, result)
  }, withMemory(COMMON[operation], widen))
})

export const registerHelpers = { Sum: registers('Sum'), Product: registers('Product'), Quotient: registers('Quotient') } as const
export const memoryHelpers = { Sum: memory('Sum'), Product: memory('Product'), Quotient: memory('Quotient') } as const

// ── comparison ──────────────────────────────────────────────────────────────────────────────────────────────────

const CONDITIONS: Readonly<Record<Ordering, number>> = { less: C0, equal: C3, greater: 0, unordered: C0 | C2 | C3 }
/** ZF, PF and CF as they stand in RFLAGS. */
const RFLAGS: Readonly<Record<Ordering, number>> = { less: 1, equal: 0x40, greater: 0, unordered: 0x45 }

/** Compares st(0) and reports. Returns ZF, PF and CF. @param b undefined where that register is empty */
function compareWith(unit: X87, b: Float80 | undefined, options: number, narrow?: (mode: FpMode, top: Float80) => void): number {
  const toRflags = (options & Compare.EFLAGS) !== 0
  const report = (ordering: Ordering): void => { if (!toRflags) unit.setCondition(C0 | C1 | C2 | C3, CONDITIONS[ordering]) }
  let ordering: Ordering = 'unordered'
  let masked: boolean
  if (unit.isEmpty(0) || !b) masked = unit.stackFault(false)
  else {
    const mode = unit.mode()
    narrow?.(mode, unit.read(0))
    ordering = compare(unit.read(0), b, (options & Compare.QUIET) !== 0, mode)
    dropDenormalOfInvalid(mode)
    if (ordering === 'unordered') mode.status.flags &= ~Fx.DE
    // The forms that set RFLAGS leave C1 alone.
    masked = toRflags ? unit.settleKeepingC1(mode.status) : unit.settle(mode.status)
  }
  // The ordering is reported even where the exception is not masked; only the pop is then left out.
  report(ordering)
  if (masked && (options & (Compare.POP | Compare.POP_TWICE)) !== 0) unit.pop()
  if (masked && (options & Compare.POP_TWICE) !== 0) unit.pop()
  return RFLAGS[ordering]
}

/** Arguments: st(i), options. */
export const compareHelper = x87Function('x87Compare', ['i32', 'i32'], (unit, i: number, options: number) =>
  compareWith(unit, unit.isEmpty(i) ? undefined : unit.read(i), options), compareRegister)

/** Arguments: the operand's bits, options. */
export const compareMemoryHelpers = perKind((kind) => x87Function(`x87Compare${FORMATS[kind].suffix}`, [FORMATS[kind].type, 'i32'],
  (unit, bits: number | bigint, options: number) =>
    compareWith(unit, fromMemory(kind, bits), options, (mode, top) => noteNarrowDenormal(kind, bits, top, mode)), compareMemory(FORMATS[kind].widen)))
