/** The helpers behind the x87 rows. Each is told what to do by small integers; memory operands come as bits. */
import type { CpuContext } from '../../core/context'
import type { Helper } from '../../emit/emitter'
import { ARITH_FLAGS, packRflags, unpackRflags } from '../../state/flags'
import {
  add, compare, divide, multiply, remainder, roundToInteger, scale, squareRoot, subtract, type FpMode, type Ordering,
} from './arithmetic'
import {
  BIAS, DEFAULT_NAN, DOUBLE, Fx, SINGLE, exactOf, bitLength, fromDouble, fromInteger, fromSingle, infinity, isDenormal, isNaN80, kindOf,
  quieten, toFloat80, toIeee, toInteger, zero, type Float80,
} from './float80'
import { DECIMAL_INDEFINITE, toDecimal } from './decimal'
import type { FastOp } from './fast'
import { C0, C1, C2, C3, X87 } from './unit'

export { loadDecimalHelper } from './decimal'
export { loadEnvironmentHelper, noteOpcodeHelper, probeStoreHelper, storeEnvironmentHelper } from './environment'
export { TRANSCENDENTAL, transcendentalHelper, type Transcendental } from './transcendental'

/** Formats of a memory operand. */
export const Kind = { SINGLE: 0, DOUBLE: 1, INTEGER: 2 } as const

function fromMemory(kind: number, bits: bigint): Float80 {
  if (kind === Kind.SINGLE) return fromSingle(Number(bits & 0xffff_ffffn))
  return kind === Kind.DOUBLE ? fromDouble(bits) : fromInteger(BigInt.asIntN(64, bits))
}

/** Loading a signalling NaN of a narrower format quiets it, and a denormal is reported. */
function loadNarrow(unit: X87, kind: number, bits: bigint): Float80 | undefined {
  const raw = fromMemory(kind, bits)
  if (kind === Kind.INTEGER) return raw
  const status = { flags: 0, roundedUp: false }
  const exponent = kind === Kind.SINGLE ? (bits >> 23n) & 0xffn : (bits >> 52n) & 0x7ffn
  if (kindOf(raw) === 'signalling') status.flags |= Fx.IE
  else if (exponent === 0n && kindOf(raw) === 'finite') status.flags |= Fx.DE
  if (status.flags === 0) return raw
  return unit.raise(status.flags) ? kindOf(raw) === 'signalling' ? quieten(raw) : raw : undefined
}

/** Memory operands come as words: a bigint for each would cost more than the common case's arithmetic. */
const joined = (lo: number, hi: number): bigint => (BigInt(hi) << 32n) | BigInt(lo)

export const loadHelper: Helper = {
  name: 'x87Load', args: ['i32', 'i32', 'i32'], faults: false,
  run(cpu: CpuContext, kind: number, lo: number, hi: number): void {
    if (kind !== Kind.INTEGER && cpu.fastX87?.load(kind === Kind.DOUBLE, lo, hi)) return
    const bits = joined(lo, hi)
    const unit = new X87(cpu.state)
    if (!unit.isEmpty(7)) return unit.push(DEFAULT_NAN)
    const value = loadNarrow(unit, kind, bits)
    if (value) unit.push(value)
  },
}

export const loadExtendedHelper: Helper = {
  name: 'x87LoadExtended', args: ['i64', 'i32'], faults: false,
  run(cpu: CpuContext, sig: bigint, top: number): void {
    new X87(cpu.state).push({ sign: ((top >> 15) & 1) as 0 | 1, exp: top & 0x7fff, sig })
  },
}

/** FLD st(i). */
export const loadRegisterHelper: Helper = {
  name: 'x87LoadRegister', args: ['i32'], faults: false,
  run(cpu: CpuContext, i: number): void {
    const unit = new X87(cpu.state)
    if (!unit.isEmpty(i)) return unit.push(unit.read(i))
    if (unit.stackFault(false)) {
      unit.top = unit.top - 1
      unit.write(0, DEFAULT_NAN)
    }
  },
}

/** 1, log2 10, log2 e, pi, log10 2, ln 2, 0: 64 significant bits and the two values a rounding mode may choose between. */
const CONSTANTS: readonly { readonly exp: number; readonly down: bigint; readonly nearest: bigint; readonly up: bigint }[] = [
  { exp: BIAS, down: 0x8000000000000000n, nearest: 0x8000000000000000n, up: 0x8000000000000000n },
  { exp: BIAS + 1, down: 0xd49a784bcd1b8afen, nearest: 0xd49a784bcd1b8afen, up: 0xd49a784bcd1b8affn },
  { exp: BIAS, down: 0xb8aa3b295c17f0bbn, nearest: 0xb8aa3b295c17f0bcn, up: 0xb8aa3b295c17f0bcn },
  { exp: BIAS + 1, down: 0xc90fdaa22168c234n, nearest: 0xc90fdaa22168c235n, up: 0xc90fdaa22168c235n },
  { exp: BIAS - 2, down: 0x9a209a84fbcff798n, nearest: 0x9a209a84fbcff799n, up: 0x9a209a84fbcff799n },
  { exp: BIAS - 1, down: 0xb17217f7d1cf79abn, nearest: 0xb17217f7d1cf79acn, up: 0xb17217f7d1cf79acn },
  { exp: 0, down: 0n, nearest: 0n, up: 0n },
]

export const constantHelper: Helper = {
  name: 'x87Constant', args: ['i32'], faults: false,
  run(cpu: CpuContext, which: number): void {
    const unit = new X87(cpu.state)
    const { exp, down, nearest, up } = CONSTANTS[which]
    const { rounding } = unit.mode()
    unit.push({ sign: 0, exp, sig: rounding === 0 ? nearest : rounding === 2 ? up : down })
  },
}

// ── arithmetic ──────────────────────────────────────────────────────────────────────────────────────────────────

/** In the order of the encodings; compare and compare-and-pop have helpers of their own. */
export const ARITHMETIC = ['add', 'multiply', 'subtract', 'subtractReverse', 'divide', 'divideReverse'] as const
export type Arithmetic = (typeof ARITHMETIC)[number]

/** Those that have a common case without bigint. */
const FAST: readonly (FastOp | undefined)[] = ARITHMETIC.map((name) => (name === 'divide' || name === 'divideReverse' ? undefined : name))

function calculate(op: number, a: Float80, b: Float80, mode: FpMode): Float80 {
  switch (ARITHMETIC[op]) {
    case 'add': return add(a, b, mode)
    case 'multiply': return multiply(a, b, mode)
    case 'subtract': return subtract(a, b, mode)
    case 'subtractReverse': return subtract(b, a, mode)
    case 'divide': return divide(a, b, mode)
    default: return divide(b, a, mode)
  }
}

/** st(destination) = st(destination) op st(source). */
export const arithmeticHelper: Helper = {
  name: 'x87Arithmetic', args: ['i32', 'i32', 'i32', 'i32'], faults: false,
  run(cpu: CpuContext, op: number, destination: number, source: number, pop: number): void {
    const unit = new X87(cpu.state)
    const fast = FAST[op]
    if (fast && cpu.fastX87?.registers(fast, destination, source)) {
      if (pop) unit.pop()
      return
    }
    if (unit.isEmpty(destination) || unit.isEmpty(source)) {
      if (!unit.stackFault(false)) return
      unit.write(destination, DEFAULT_NAN)
    } else {
      const mode = unit.mode()
      const result = calculate(op, unit.read(destination), unit.read(source), mode)
      if (!unit.settle(mode.status)) return
      unit.write(destination, result)
    }
    if (pop) unit.pop()
  },
}

/** st(0) = st(0) op memory. */
export const arithmeticMemoryHelper: Helper = {
  name: 'x87ArithmeticMemory', args: ['i32', 'i32', 'i32', 'i32'], faults: false,
  run(cpu: CpuContext, op: number, kind: number, lo: number, hi: number): void {
    const fast = FAST[op]
    if (fast && kind !== Kind.INTEGER && cpu.fastX87?.memory(fast, kind === Kind.DOUBLE, lo, hi)) return
    const bits = joined(lo, hi)
    const unit = new X87(cpu.state)
    if (unit.isEmpty(0)) {
      if (unit.stackFault(false)) unit.write(0, DEFAULT_NAN)
      return
    }
    const mode = unit.mode()
    noteNarrowDenormal(kind, bits, unit.read(0), mode)
    const result = calculate(op, unit.read(0), fromMemory(kind, bits), mode)
    dropDenormalOfInvalid(mode)
    if (unit.settle(mode.status)) unit.write(0, result)
  },
}

/** A denormal of a memory format is normal once widened; it is reported all the same, unless a NaN decides the result. */
function noteNarrowDenormal(kind: number, bits: bigint, other: Float80, mode: FpMode): void {
  if (kind === Kind.INTEGER || isNaN80(other) || kindOf(other) === 'unsupported') return
  const [exponent, fraction] = kind === Kind.SINGLE ? [(bits >> 23n) & 0xffn, bits & 0x7f_ffffn] : [(bits >> 52n) & 0x7ffn, bits & 0xf_ffff_ffff_ffffn]
  if (exponent === 0n && fraction !== 0n) mode.status.flags |= Fx.DE
}

/** An invalid operation, a NaN result included, reports nothing else. */
function dropDenormalOfInvalid(mode: FpMode): void {
  if ((mode.status.flags & (Fx.IE | Fx.ZE)) !== 0) mode.status.flags &= ~Fx.DE
}

// ── comparison ──────────────────────────────────────────────────────────────────────────────────────────────────

const CONDITIONS: Readonly<Record<Ordering, number>> = { less: C0, equal: C3, greater: 0, unordered: C0 | C2 | C3 }
const EFLAGS: Readonly<Record<Ordering, bigint>> = { less: 1n, equal: 0x40n, greater: 0n, unordered: 0x45n }

function report(cpu: CpuContext, unit: X87, ordering: Ordering, toEflags: boolean): void {
  if (!toEflags) return unit.setCondition(C0 | C1 | C2 | C3, CONDITIONS[ordering])
  unpackRflags(cpu.state, (packRflags(cpu.state) & ~ARITH_FLAGS) | EFLAGS[ordering])
}

/** Options of a comparison. */
export const Compare = { QUIET: 1, EFLAGS: 2, POP: 4, POP_TWICE: 8 } as const

function compareAndReport(cpu: CpuContext, other: (unit: X87) => Float80 | undefined, options: number, narrow?: (mode: FpMode, top: Float80) => void): void {
  const unit = new X87(cpu.state)
  const b = other(unit)
  const toEflags = (options & Compare.EFLAGS) !== 0
  if (unit.isEmpty(0) || !b) {
    const masked = unit.stackFault(false)
    report(cpu, unit, 'unordered', toEflags)
    if (!masked) return
  } else {
    const mode = unit.mode()
    narrow?.(mode, unit.read(0))
    const ordering = compare(unit.read(0), b, (options & Compare.QUIET) !== 0, mode)
    dropDenormalOfInvalid(mode)
    if (ordering === 'unordered') mode.status.flags &= ~Fx.DE
    // The forms that set RFLAGS leave C1 alone.
    const masked = toEflags ? unit.settleKeepingC1(mode.status) : unit.settle(mode.status)
    // The ordering is reported even where the exception is not masked; only the pop is then left out.
    report(cpu, unit, ordering, toEflags)
    if (!masked) return
  }
  if ((options & (Compare.POP | Compare.POP_TWICE)) !== 0) unit.pop()
  if ((options & Compare.POP_TWICE) !== 0) unit.pop()
}

export const compareHelper: Helper = {
  name: 'x87Compare', args: ['i32', 'i32'], faults: false,
  run(cpu: CpuContext, i: number, options: number): void {
    compareAndReport(cpu, (unit) => (unit.isEmpty(i) ? undefined : unit.read(i)), options)
  },
}

export const compareMemoryHelper: Helper = {
  name: 'x87CompareMemory', args: ['i32', 'i64', 'i32'], faults: false,
  run(cpu: CpuContext, kind: number, bits: bigint, options: number): void {
    compareAndReport(cpu, () => fromMemory(kind, bits), options, (mode, top) => noteNarrowDenormal(kind, bits, top, mode))
  },
}

// ── storing ─────────────────────────────────────────────────────────────────────────────────────────────────────

/** What a store writes. */
export const Store = { SINGLE: 0, DOUBLE: 1, INT16: 2, INT32: 3, INT64: 4, EXTENDED: 5, DECIMAL: 6 } as const
const INTEGER_BITS: Readonly<Record<number, number>> = { [Store.INT16]: 16, [Store.INT32]: 32, [Store.INT64]: 64 }
const TRUNCATE = 3
/** Values handed to the second half of a store, in scratch cells no memory access uses. */
const Cell = { FLAGS: 2, HIGH: 3, WRITE: 6 } as const

interface Stored { readonly bits: bigint; readonly high?: number }

function convert(value: Float80, kind: number, truncate: boolean, mode: FpMode): Stored {
  const rounding = truncate ? TRUNCATE : mode.rounding
  if (kind === Store.EXTENDED) return { bits: value.sig, high: (value.sign << 15) | value.exp }
  if (kind === Store.DECIMAL) return toDecimal(value, rounding, mode.status)
  if (kind === Store.SINGLE) return { bits: toIeee(value, SINGLE, rounding, mode.status) }
  if (kind === Store.DOUBLE) return { bits: toIeee(value, DOUBLE, rounding, mode.status) }
  const bits = INTEGER_BITS[kind]
  return { bits: toInteger(value, bits, rounding, mode.status) ?? 1n << BigInt(bits - 1) }
}

function indefinite(kind: number): Stored {
  switch (kind) {
    case Store.EXTENDED: return { bits: DEFAULT_NAN.sig, high: 0xffff }
    case Store.DECIMAL: return DECIMAL_INDEFINITE
    case Store.SINGLE: return { bits: 0xffc0_0000n }
    case Store.DOUBLE: return { bits: 0xfff8_0000_0000_0000n }
    default: return { bits: 1n << BigInt(INTEGER_BITS[kind] - 1) }
  }
}

const RANGE = Fx.OE | Fx.UE

/** An unmasked overflow or underflow is all there is to say, and a tiny value underflows even where it is exact. */
function noteUnmaskedRange({ bits }: Stored, kind: number, { status, unmasked }: FpMode): void {
  if (kind !== Store.SINGLE && kind !== Store.DOUBLE) return
  const fraction = kind === Store.SINGLE ? 23n : 52n
  const magnitude = bits & ((1n << (kind === Store.SINGLE ? 31n : 63n)) - 1n)
  if ((unmasked & Fx.UE) !== 0 && magnitude !== 0n && magnitude >> fraction === 0n) status.flags |= Fx.UE
  if ((status.flags & unmasked & RANGE) === 0) return
  status.flags &= ~Fx.PE
  status.roundedUp = false
}

/**
 * First half of a store: what goes to memory. Nothing architectural changes yet, for the store may fault.
 * `scratch[6]` tells whether memory is to be written at all.
 */
export const prepareStoreHelper: Helper = {
  name: 'x87PrepareStore', args: ['i32', 'i32'], returns: 'i64', faults: false,
  run(cpu: CpuContext, kind: number, truncate: number): bigint {
    const { state, fastX87 } = cpu
    if ((kind === Store.DOUBLE || kind === Store.SINGLE) && fastX87?.narrow(kind === Store.DOUBLE)) {
      state.setLoHi('scratch', (fastX87.storedInexact ? Fx.PE : 0) | (fastX87.storedUp ? 0x100 : 0), 0, Cell.FLAGS)
      state.setLoHi('scratch', 1, 0, Cell.WRITE)
      state.setLoHi('scratch', fastX87.storedLo, fastX87.storedHi, Cell.HIGH)
      return state.get64('scratch', Cell.HIGH)
    }
    const unit = new X87(state)
    const mode = unit.mode()
    let stored: Stored
    if (unit.isEmpty(0)) {
      mode.status.flags = Fx.IE | Fx.SF
      stored = indefinite(kind)
    } else {
      stored = convert(unit.read(0), kind, truncate !== 0, mode)
      noteUnmaskedRange(stored, kind, mode)
    }
    const unmasked = mode.status.flags & ~state.get('fcw') & (Fx.IE | Fx.OE | Fx.UE)
    state.set64('scratch', BigInt(mode.status.flags | (mode.status.roundedUp ? 0x100 : 0)), Cell.FLAGS)
    state.set64('scratch', BigInt(stored.high ?? 0), Cell.HIGH)
    state.set64('scratch', unmasked === 0 ? 1n : 0n, Cell.WRITE)
    return BigInt.asUintN(64, stored.bits)
  },
}

/** Second half: exceptions and pop, once memory has been written. */
export const commitStoreHelper: Helper = {
  name: 'x87CommitStore', args: ['i32'], faults: false,
  run(cpu: CpuContext, pop: number): void {
    const { state } = cpu
    const unit = new X87(state)
    const packed = state.lo('scratch', Cell.FLAGS)
    unit.setCondition(C1, (packed & 0x100) !== 0 ? C1 : 0)
    unit.raise(packed & 0x7f)
    if (pop && state.lo('scratch', Cell.WRITE) !== 0) unit.pop()
  },
}

/** FST and FSTP to a register. */
export const storeRegisterHelper: Helper = {
  name: 'x87StoreRegister', args: ['i32', 'i32'], faults: false,
  run(cpu: CpuContext, i: number, pop: number): void {
    const unit = new X87(cpu.state)
    if (unit.isEmpty(0)) {
      if (!unit.stackFault(false)) return
      unit.write(i, DEFAULT_NAN)
    } else {
      unit.setCondition(C1, 0)
      unit.write(i, unit.read(0))
    }
    if (pop) unit.pop()
  },
}

// ── one operand ─────────────────────────────────────────────────────────────────────────────────────────────────

export const UNARY = ['changeSign', 'absolute', 'test', 'examine', 'squareRoot', 'round', 'scale', 'extract', 'remainder', 'remainderNearest', 'stepDown', 'stepUp'] as const
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

const NEEDS_TWO: readonly Unary[] = ['scale', 'remainder', 'remainderNearest']

export const unaryHelper: Helper = {
  name: 'x87Unary', args: ['i32'], faults: false,
  run(cpu: CpuContext, which: number): void {
    const unit = new X87(cpu.state)
    const op = UNARY[which]
    if (op === 'examine') return examine(unit)
    if (op === 'stepDown' || op === 'stepUp') {
      unit.setCondition(C1, 0)
      unit.top = unit.top + (op === 'stepUp' ? 1 : -1)
      return
    }
    if (unit.isEmpty(0) || (NEEDS_TWO.includes(op) && unit.isEmpty(1))) {
      const masked = unit.stackFault(false)
      if (op === 'test') return unit.setCondition(C0 | C2 | C3, C0 | C2 | C3)
      if (op === 'remainder' || op === 'remainderNearest') unit.setCondition(C2, 0)
      if (!masked) return
      unit.write(0, DEFAULT_NAN)
      if (op === 'extract') {
        unit.top = unit.top - 1
        unit.write(0, DEFAULT_NAN)
      }
      return
    }
    unaryOn(cpu, unit, op)
  },
}

function unaryOn(cpu: CpuContext, unit: X87, op: Unary): void {
  const v = unit.read(0)
  switch (op) {
    case 'changeSign': case 'absolute':
      unit.setCondition(C1, 0)
      return unit.write(0, { ...v, sign: op === 'absolute' ? 0 : v.sign ? 0 : 1 })
    case 'test': return compareAndReport(cpu, () => zero(0), 0)
    case 'squareRoot': return rounded(unit, (mode) => squareRoot(v, mode))
    case 'round': return rounded(unit, (mode) => roundToInteger(v, mode))
    case 'scale': return rounded(unit, (mode) => scale(v, unit.read(1), mode))
    case 'extract': return extract(unit)
    default: return partialRemainder(unit, op === 'remainderNearest')
  }
}

/** FXCH, FFREE, FFREEP, FCMOVcc. */
export const Stack = { EXCHANGE: 0, FREE: 1, FREE_POP: 2, MOVE: 3 } as const

export const stackHelper: Helper = {
  name: 'x87Stack', args: ['i32', 'i32', 'i32'], faults: false,
  /** @param take FCMOVcc: whether the condition holds; an empty register is reported either way */
  run(cpu: CpuContext, op: number, i: number, take: number): void {
    const unit = new X87(cpu.state)
    if (op === Stack.FREE || op === Stack.FREE_POP) {
      unit.setCondition(C1, 0)
      unit.setEmpty(i, true)
      if (op === Stack.FREE_POP) unit.pop()
      return
    }
    const [emptyA, emptyB] = [unit.isEmpty(0), unit.isEmpty(i)]
    if (emptyA || emptyB) {
      if (!unit.stackFault(false)) return
      if (op === Stack.MOVE) return unit.write(0, DEFAULT_NAN)
    } else if (op === Stack.EXCHANGE) unit.setCondition(C1, 0)
    else if (!take) return
    const a = emptyA ? DEFAULT_NAN : unit.read(0)
    const b = emptyB ? DEFAULT_NAN : unit.read(i)
    unit.write(0, b)
    if (op === Stack.EXCHANGE) unit.write(i, a)
  },
}
