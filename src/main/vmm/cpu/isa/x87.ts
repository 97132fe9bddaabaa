/** x87 floating point: loads, stores, arithmetic, comparison, stack. SDM vol. 2; encodings in appendix B.17. */
import type { Condition, Emitter, Helper, Val } from '../emit/emitter'
import {
  After, CONSTANTS, Compare, HIGH_CELL, How, TRANSCENDENTAL, UNARY, angleHelper, compareHelper, compareMemoryHelpers, examineHelper, exchangeHelper,
  exponentialHelper, freeHelper, loadDecimalHelper, loadEnvironmentHelper, loadExtendedHelper, loadHelpers, loadRegisterHelper, logarithmHelper, memoryHelpers, moveHelper,
  noteOpcodeHelper, probeStoreHelper, registerHelpers, remainderHelper, roundHelper, scaleHelper, signHelper, squareRootHelper,
  storeDecimalHelper, storeEnvironmentHelper, storeExtendedHelper, storeHelpers, storeIntegerHelper, storeRegisterHelper,
  transcendentalHelper, unaryHelper, type Kind, type Operation, type Transcendental, type Unary,
} from '../helpers/x87'
import { Seg } from '../state/layout'
import { mmxBegin } from './simd'
import { row, type Form, type InsnRow, type Meaning } from './types'

const x87 = { unit: 'x87', cpuid: 'x87' } as const
const hex = (n: number): string => n.toString(16).toUpperCase().padStart(2, '0')
const number = (e: Emitter, n: number): Val => e.const(32, n)

const DATA_SEGMENTS = [Seg.ES, Seg.CS, Seg.SS, Seg.FS, Seg.GS]

/** Reports an exception that is pending unmasked. */
const checked = (meaning: Meaning): Meaning => (e, form) => {
  mmxBegin(e)
  meaning(e, form)
}

/** The instruction leaves its address and its operand's: in force before anything keeps the opcode. */
function leavePointers(e: Emitter, form: Form): void {
  e.setField('fpIp', e.currentRip())
  e.setField('fpCs', e.field('segSelector', Seg.CS))
  if (form.rm !== 'mem') return
  const at = e.segmentNumber(e.memOperand(0))
  e.setField('fpDp', e.effectiveAddress(0))
  e.setField('fpDs', DATA_SEGMENTS.reduce(
    (rest, seg) => e.select(e.eq(at, number(e, seg)), e.field('segSelector', seg), rest), e.field('segSelector', Seg.DS)))
}

/** Operands are read, then a helper does the rest: it cannot fault. */
const computed = (helper: Helper, operands: (e: Emitter) => readonly Val[]): Meaning => checked((e, form) => {
  const args = operands(e)
  leavePointers(e, form)
  e.call(helper, ...args)
})

/** The same with numbers alone. */
const withNumbers = (helper: Helper, ...values: readonly number[]): Meaning => computed(helper, (e) => values.map((value) => number(e, value)))

/** A memory operand as a helper takes it: floats as they are, integers sign-extended to 64 bits. */
const bits = (e: Emitter, kind: Kind): Val => (kind === 'integer' ? e.sext(e.operand(0), 64) : e.operand(0))

const load = (kind: Kind): Meaning => computed(loadHelpers[kind], (e) => [bits(e, kind)])
const loadTen = (helper: Helper): Meaning =>
  computed(helper, (e) => [e.load(64, e.memOperand(0)), e.zext(e.load(16, e.memOperand(0, e.const(64, 8))), 32)])

const probe = (e: Emitter, bytes: number): void => {
  e.call(probeStoreHelper, e.segmentNumber(e.memOperand(0)), e.effectiveAddress(0), number(e, bytes))
}

/**
 * What a helper has prepared goes to memory, then the state follows. An unmasked exception keeps memory as it is; that it could be
 * written is checked all the same.
 */
function storePrepared(e: Emitter, form: Form, bytes: number, write: () => void): void {
  const after = e.field('scratch', After.CELL)
  e.if(e.bit(after, After.WRITE), write, () => probe(e, bytes))
  leavePointers(e, form)
  const low = e.trunc(after, 32)
  e.setField('fsw', e.and(low, number(e, 0xffff)))
  e.setField('ftw', e.shr(low, number(e, After.TAGS)))
  e.if(e.bit(low, 7), () => e.call(noteOpcodeHelper))
}

const store = (helper: Helper, width: 16 | 32 | 64, ...values: readonly number[]): Meaning => checked((e, form) => {
  const value = e.call(helper, ...values.map((v) => number(e, v)))
  storePrepared(e, form, width / 8, () => e.setOperand(0, e.trunc(value, width)))
})
const storeInteger = (width: 16 | 32 | 64, pop: boolean, truncate = false): Meaning =>
  store(storeIntegerHelper, width, width, truncate ? 1 : 0, pop ? 1 : 0)

/** Ten bytes: FSTP m80 and FBSTP. Both parts are checked before either is written: they may lie in different pages. */
const storeTen = (helper: Helper): Meaning => checked((e, form) => {
  const low = e.call(helper)
  const high = e.trunc(e.field('scratch', HIGH_CELL), 16)
  storePrepared(e, form, 10, () => e.update(64, e.memOperand(0), () => {
    e.store(e.memOperand(0, e.const(64, 8)), high)
    return low
  }))
})

type Arithmetic = 'add' | 'multiply' | 'subtract' | 'subtractReverse' | 'divide' | 'divideReverse'
const ARITHMETIC: Readonly<Record<Arithmetic, readonly [Operation, number]>> = {
  add: ['Sum', 0], multiply: ['Product', 0], subtract: ['Sum', How.NEGATE_OTHER], subtractReverse: ['Sum', How.NEGATE_FIRST],
  divide: ['Quotient', 0], divideReverse: ['Quotient', How.REVERSE],
}

const arithmeticMemory = (op: Arithmetic, kind: Kind): Meaning => {
  const [operation, how] = ARITHMETIC[op]
  return computed(memoryHelpers[operation][kind], (e) => [bits(e, kind), number(e, how)])
}
const compareMemory = (kind: Kind, options: number): Meaning =>
  computed(compareMemoryHelpers[kind], (e) => [bits(e, kind), number(e, options)])

/** Names of the eight operations of a group, by /digit. */
const DIGITS: readonly (readonly [string, Arithmetic | 'compare' | 'comparePop'])[] = [
  ['ADD', 'add'], ['MUL', 'multiply'], ['COM', 'compare'], ['COMP', 'comparePop'], ['SUB', 'subtract'], ['SUBR', 'subtractReverse'],
  ['DIV', 'divide'], ['DIVR', 'divideReverse'],
]

function memoryGroup(opcode: string, operand: string, kind: Kind): InsnRow[] {
  const prefix = kind === 'integer' ? 'FI' : 'F'
  return DIGITS.map(([name, op], digit) => {
    const meaning = op === 'compare' ? compareMemory(kind, 0) : op === 'comparePop' ? compareMemory(kind, Compare.POP) : arithmeticMemory(op, kind)
    return row(`${prefix}${name}`, `${opcode} /${digit} mod=m`, operand, 'r', meaning, x87)
  })
}

/** One row for each of the eight stack registers. */
const perRegister = (mnemonic: string, opcode: string, first: number, meaning: (i: number) => Meaning): InsnRow[] =>
  Array.from({ length: 8 }, (_, i) => row(mnemonic, `${opcode} ${hex(first + i)}`, '', '', meaning(i), x87))

const withRegisters = (op: Arithmetic, destination: number, source: number, pop: boolean): Meaning => {
  const [operation, how] = ARITHMETIC[op]
  return withNumbers(registerHelpers[operation], destination, source, how + (pop ? How.POP : 0))
}
const toTop = (op: Arithmetic) => (i: number): Meaning => withRegisters(op, 0, i, false)
const toRegister = (op: Arithmetic, pop: boolean) => (i: number): Meaning => withRegisters(op, i, 0, pop)
const compareWith = (options: number) => (i: number): Meaning => withNumbers(compareHelper, i, options)
const compareToFlags = (options: number) => (i: number): Meaning => checked((e, form) => {
  leavePointers(e, form)
  e.setArithFlags(e.zext(e.call(compareHelper, number(e, i), number(e, options | Compare.EFLAGS)), 64))
})
const conditional = (cc: Condition) => (i: number): Meaning => computed(moveHelper, (e) => [number(e, i), e.zext(e.condition(cc), 32)])
const storeRegister = (pop: boolean) => (i: number): Meaning => withNumbers(storeRegisterHelper, i, pop ? 1 : 0)

/** With st(i) as destination the reversed operations have the lower opcodes. */
function registerGroup(): InsnRow[] {
  const reversed: readonly (readonly [string, number, Arithmetic])[] = [
    ['ADD', 0xc0, 'add'], ['MUL', 0xc8, 'multiply'], ['SUBR', 0xe0, 'subtractReverse'], ['SUB', 0xe8, 'subtract'],
    ['DIVR', 0xf0, 'divideReverse'], ['DIV', 0xf8, 'divide'],
  ]
  return [
    ...DIGITS.flatMap(([name, op], digit) => perRegister(`F${name}`, 'D8', 0xc0 + 8 * digit,
      op === 'compare' ? compareWith(0) : op === 'comparePop' ? compareWith(Compare.POP) : toTop(op))),
    ...reversed.flatMap(([name, first, op]) => [
      ...perRegister(`F${name}`, 'DC', first, toRegister(op, false)),
      ...perRegister(`F${name}P`, 'DE', first, toRegister(op, true)),
    ]),
  ]
}

const unary = (mnemonic: string, byte: string, op: Unary): InsnRow =>
  row(mnemonic, `D9 ${byte}`, '', '', withNumbers(unaryHelper, UNARY.indexOf(op)), x87)

/** CPUs of different makers differ in the last bit: tests/isa/x87-transcendental.test.ts compares within one. */
const approximate = (mnemonic: string, byte: string, meaning: Meaning): InsnRow => row(mnemonic, `D9 ${byte}`, '', '', meaning, { ...x87, noNative: true })
const transcendental = (mnemonic: string, byte: string, op: Transcendental): InsnRow =>
  approximate(mnemonic, byte, withNumbers(transcendentalHelper, TRANSCENDENTAL.indexOf(op)))

/** Environment and whole state; the loads wait for pending exceptions, the stores do not. */
const environment = (helper: Helper, whole: boolean): Meaning => (e, { size }) => {
  e.call(helper, e.segmentNumber(e.memOperand(0)), e.effectiveAddress(0), number(e, size === 16 ? 16 : 32), number(e, whole ? 1 : 0))
}

const CONSTANT_NAMES = ['FLD1', 'FLDL2T', 'FLDL2E', 'FLDPI', 'FLDLG2', 'FLDLN2', 'FLDZ']
const ROUND_SHIFT = 10
const ROUND_UP = 2

/** The rounding in force chooses between the two neighbours of the true value. */
function constant(e: Emitter, which: number): readonly [Val, Val] {
  const { exp, down, nearest, up } = CONSTANTS[which]
  const top = number(e, exp)
  if (down === up) return [e.const(64, down), top]
  const mode = e.and(e.shr(e.field('fcw'), number(e, ROUND_SHIFT)), number(e, 3))
  const directed = e.select(e.eq(mode, number(e, ROUND_UP)), e.const(64, up), e.const(64, down))
  return [e.select(e.isZero(mode), e.const(64, nearest), directed), top]
}

const constants = CONSTANT_NAMES.map((name, i) =>
  row(name, `D9 ${hex(0xe8 + i)}`, '', '', computed(loadExtendedHelper, (e) => constant(e, i)), x87))

const MOVES: readonly (readonly [string, string, number, Condition])[] = [
  ['FCMOVB', 'DA', 0xc0, 'b'], ['FCMOVE', 'DA', 0xc8, 'e'], ['FCMOVBE', 'DA', 0xd0, 'be'], ['FCMOVU', 'DA', 0xd8, 'p'],
  ['FCMOVNB', 'DB', 0xc0, 'ae'], ['FCMOVNE', 'DB', 0xc8, 'ne'], ['FCMOVNBE', 'DB', 0xd0, 'a'], ['FCMOVNU', 'DB', 0xd8, 'np'],
]

const FLAG_COMPARISONS: readonly (readonly [string, string, number, number])[] = [
  ['FUCOMI', 'DB', 0xe8, Compare.QUIET], ['FCOMI', 'DB', 0xf0, 0], ['FUCOMIP', 'DF', 0xe8, Compare.QUIET | Compare.POP], ['FCOMIP', 'DF', 0xf0, Compare.POP],
]

const nothing: Meaning = checked((e, form) => {
  leavePointers(e, form)
  e.if(e.bit(e.field('fsw'), 7), () => e.call(noteOpcodeHelper))
})

/** Not even an exception that is pending is reported. */
const ignored: Meaning = () => undefined

export const x87Rows: readonly InsnRow[] = [
  row('FLD', 'D9 /0 mod=m', 'Md', 'r', load('single'), x87),
  row('FLD', 'DD /0 mod=m', 'Mq', 'r', load('double'), x87),
  row('FLD', 'DB /5 mod=m', 'Mt', 'r', loadTen(loadExtendedHelper), x87),
  row('FILD', 'DF /0 mod=m', 'Mw', 'r', load('integer'), x87),
  row('FILD', 'DB /0 mod=m', 'Md', 'r', load('integer'), x87),
  row('FILD', 'DF /5 mod=m', 'Mq', 'r', load('integer'), x87),
  row('FST', 'D9 /2 mod=m', 'Md', 'w', store(storeHelpers.single, 32, 0), x87),
  row('FST', 'DD /2 mod=m', 'Mq', 'w', store(storeHelpers.double, 64, 0), x87),
  row('FSTP', 'D9 /3 mod=m', 'Md', 'w', store(storeHelpers.single, 32, 1), x87),
  row('FSTP', 'DD /3 mod=m', 'Mq', 'w', store(storeHelpers.double, 64, 1), x87),
  row('FSTP', 'DB /7 mod=m', 'Mt', 'w', storeTen(storeExtendedHelper), x87),
  row('FBLD', 'DF /4 mod=m', 'Mt', 'r', loadTen(loadDecimalHelper), x87),
  row('FBSTP', 'DF /6 mod=m', 'Mt', 'w', storeTen(storeDecimalHelper), x87),
  row('FIST', 'DF /2 mod=m', 'Mw', 'w', storeInteger(16, false), x87),
  row('FIST', 'DB /2 mod=m', 'Md', 'w', storeInteger(32, false), x87),
  row('FISTP', 'DF /3 mod=m', 'Mw', 'w', storeInteger(16, true), x87),
  row('FISTP', 'DB /3 mod=m', 'Md', 'w', storeInteger(32, true), x87),
  row('FISTP', 'DF /7 mod=m', 'Mq', 'w', storeInteger(64, true), x87),
  row('FISTTP', 'DF /1 mod=m', 'Mw', 'w', storeInteger(16, true, true), { ...x87, cpuid: 'sse3' }),
  row('FISTTP', 'DB /1 mod=m', 'Md', 'w', storeInteger(32, true, true), { ...x87, cpuid: 'sse3' }),
  row('FISTTP', 'DD /1 mod=m', 'Mq', 'w', storeInteger(64, true, true), { ...x87, cpuid: 'sse3' }),
  ...memoryGroup('D8', 'Md', 'single'), ...memoryGroup('DC', 'Mq', 'double'),
  ...memoryGroup('DA', 'Md', 'integer'), ...memoryGroup('DE', 'Mw', 'integer'),
  ...registerGroup(),
  ...perRegister('FLD', 'D9', 0xc0, (i) => withNumbers(loadRegisterHelper, i)),
  ...perRegister('FXCH', 'D9', 0xc8, (i) => withNumbers(exchangeHelper, i)),
  ...perRegister('FFREE', 'DD', 0xc0, (i) => withNumbers(freeHelper, i, 0)),
  ...perRegister('FFREEP', 'DF', 0xc0, (i) => withNumbers(freeHelper, i, 1)),
  ...perRegister('FST', 'DD', 0xd0, storeRegister(false)),
  ...perRegister('FSTP', 'DD', 0xd8, storeRegister(true)),
  ...perRegister('FUCOM', 'DD', 0xe0, compareWith(Compare.QUIET)),
  ...perRegister('FUCOMP', 'DD', 0xe8, compareWith(Compare.QUIET | Compare.POP)),
  ...FLAG_COMPARISONS.flatMap(([name, opcode, first, options]) => perRegister(name, opcode, first, compareToFlags(options))),
  ...MOVES.flatMap(([name, opcode, first, cc]) => perRegister(name, opcode, first, conditional(cc))),
  row('FCOMPP', 'DE D9', '', '', compareWith(Compare.POP_TWICE)(1), x87),
  row('FUCOMPP', 'DA E9', '', '', compareWith(Compare.POP_TWICE | Compare.QUIET)(1), x87),
  row('FNOP', 'D9 D0', '', '', nothing, x87),
  // What the 8087 and 80287 had and later ones ignore (SDM vol. 3, 23.18.6).
  row('FNENI', 'DB E0', '', '', ignored, x87), row('FNDISI', 'DB E1', '', '', ignored, x87), row('FNSETPM', 'DB E4', '', '', ignored, x87),
  ...constants,
  row('FCHS', 'D9 E0', '', '', withNumbers(signHelper, 0xffff, 0x8000), x87),
  row('FABS', 'D9 E1', '', '', withNumbers(signHelper, 0x7fff, 0), x87),
  row('FTST', 'D9 E4', '', '', computed(compareMemoryHelpers.integer, (e) => [e.const(64, 0), number(e, 0)]), x87),
  row('FXAM', 'D9 E5', '', '', withNumbers(examineHelper), x87),
  row('FRNDINT', 'D9 FC', '', '', withNumbers(roundHelper), x87),
  row('FSQRT', 'D9 FA', '', '', withNumbers(squareRootHelper), x87),
  row('FSCALE', 'D9 FD', '', '', withNumbers(scaleHelper), x87),
  row('FPREM', 'D9 F8', '', '', withNumbers(remainderHelper), x87),
  unary('FXTRACT', 'F4', 'extract'), unary('FPREM1', 'F5', 'remainderNearest'), unary('FDECSTP', 'F6', 'stepDown'), unary('FINCSTP', 'F7', 'stepUp'),
  approximate('F2XM1', 'F0', withNumbers(exponentialHelper)), approximate('FYL2X', 'F1', withNumbers(logarithmHelper)),
  approximate('FPATAN', 'F3', withNumbers(angleHelper)),
  transcendental('FSIN', 'FE', 'sine'), transcendental('FCOS', 'FF', 'cosine'), transcendental('FSINCOS', 'FB', 'sineCosine'),
  transcendental('FPTAN', 'F2', 'tangent'), transcendental('FYL2XP1', 'F9', 'logOnePlus'),
  // The image holds pointers, which are the runner's own; tests/isa/x87-environment.test.ts compares the rest.
  row('FNSTENV', 'D9 /6 mod=m', 'M', 'w', environment(storeEnvironmentHelper, false), { ...x87, noNative: true }),
  row('FNSAVE', 'DD /6 mod=m', 'M', 'w', environment(storeEnvironmentHelper, true), { ...x87, noNative: true }),
  row('FLDENV', 'D9 /4 mod=m', 'M', 'r', checked(environment(loadEnvironmentHelper, false)), { ...x87, noNative: true }),
  row('FRSTOR', 'DD /4 mod=m', 'M', 'r', checked(environment(loadEnvironmentHelper, true)), { ...x87, noNative: true }),
]
