/** x87 floating point: loads, stores, arithmetic, comparison, stack. SDM vol. 2; encodings in appendix B.17. */
import type { Condition, Emitter, Helper, Val } from '../emit/emitter'
import {
  ARITHMETIC, Compare, Kind, Stack, Store, UNARY, arithmeticHelper, arithmeticMemoryHelper, commitStoreHelper, compareHelper, compareMemoryHelper,
  constantHelper, loadDecimalHelper, loadEnvironmentHelper, loadExtendedHelper, loadHelper, loadRegisterHelper, noteOpcodeHelper,
  prepareStoreHelper, probeStoreHelper, stackHelper, storeEnvironmentHelper, storeRegisterHelper, TRANSCENDENTAL, transcendentalHelper, unaryHelper,
  type Arithmetic, type Transcendental, type Unary,
} from '../helpers/x87'
import { Seg } from '../state/layout'
import { mmxBegin } from './simd'
import { row, type InsnRow, type Meaning } from './types'

const x87 = { unit: 'x87', cpuid: 'x87' } as const
const hex = (n: number): string => n.toString(16).toUpperCase().padStart(2, '0')
const number = (e: Emitter, n: number): Val => e.const(32, n)

const DATA_SEGMENTS = [Seg.ES, Seg.CS, Seg.SS, Seg.FS, Seg.GS]

/** Reports an exception that is pending unmasked. */
const checked = (meaning: Meaning): Meaning => (e, form) => {
  mmxBegin(e)
  meaning(e, form)
}

/** As `checked`, and the instruction leaves its address, its operand's and, with an unmasked exception, its opcode. */
const waiting = (meaning: Meaning): Meaning => checked((e, form) => {
  meaning(e, form)
  e.setField('fpIp', e.currentRip())
  e.setField('fpCs', e.field('segSelector', Seg.CS))
  if (form.rm === 'mem') {
    const at = e.segmentNumber(e.memOperand(0))
    e.setField('fpDp', e.effectiveAddress(0))
    e.setField('fpDs', DATA_SEGMENTS.reduce(
      (rest, seg) => e.select(e.eq(at, number(e, seg)), e.field('segSelector', seg), rest), e.field('segSelector', Seg.DS)))
  }
  e.if(e.bit(e.field('fsw'), 7), () => e.call(noteOpcodeHelper))
})
/** A memory operand as 64 bits: floats as they are, integers sign-extended. */
const bits = (kind: number) => (e: Emitter): Val => (kind === Kind.INTEGER ? e.sext(e.operand(0), 64) : e.zext(e.operand(0), 64))

/** The same as two words, low first. */
const words = (e: Emitter, kind: number): readonly [Val, Val] => {
  const whole = bits(kind)(e)
  return [e.trunc(whole, 32), e.trunc(e.shr(whole, e.const(64, 32)), 32)]
}

const load = (kind: number): Meaning => waiting((e) => e.call(loadHelper, number(e, kind), ...words(e, kind)))
const loadTen = (helper: Helper): Meaning => waiting((e) => {
  const low = e.load(64, e.memOperand(0))
  e.call(helper, low, e.zext(e.load(16, e.memOperand(0, e.const(64, 8))), 32))
})

const WIDTHS = { [Store.SINGLE]: 32, [Store.DOUBLE]: 64, [Store.INT16]: 16, [Store.INT32]: 32, [Store.INT64]: 64 } as const

const probe = (e: Emitter, bytes: number): void => {
  e.call(probeStoreHelper, e.segmentNumber(e.memOperand(0)), e.effectiveAddress(0), number(e, bytes))
}

const store = (kind: keyof typeof WIDTHS, pop: boolean, truncate = false): Meaning => waiting((e) => {
  const value = e.call(prepareStoreHelper, number(e, kind), number(e, truncate ? 1 : 0))
  // An unmasked exception keeps memory as it is; that it could be written is checked all the same.
  e.if(e.bit(e.field('scratch', 6), 0), () => e.setOperand(0, e.trunc(value, WIDTHS[kind])), () => probe(e, WIDTHS[kind] / 8))
  e.call(commitStoreHelper, number(e, pop ? 1 : 0))
})

/** Ten bytes: FSTP m80 and FBSTP. */
const storeTen = (kind: number): Meaning => waiting((e) => {
  const low = e.call(prepareStoreHelper, number(e, kind), number(e, 0))
  const high = e.trunc(e.field('scratch', 3), 16)
  // The whole is checked before either part is written: the two may lie in different pages.
  probe(e, 10)
  e.if(e.bit(e.field('scratch', 6), 0), () => {
    e.store(e.memOperand(0, e.const(64, 8)), high)
    e.store(e.memOperand(0), low)
  })
  e.call(commitStoreHelper, number(e, 1))
})

const arithmeticMemory = (op: Arithmetic, kind: number): Meaning =>
  waiting((e) => e.call(arithmeticMemoryHelper, number(e, ARITHMETIC.indexOf(op)), number(e, kind), ...words(e, kind)))
const compareMemory = (kind: number, options: number): Meaning =>
  waiting((e) => e.call(compareMemoryHelper, number(e, kind), bits(kind)(e), number(e, options)))

/** Names of the eight operations of a group, by /digit. */
const DIGITS: readonly (readonly [string, Arithmetic | 'compare' | 'comparePop'])[] = [
  ['ADD', 'add'], ['MUL', 'multiply'], ['COM', 'compare'], ['COMP', 'comparePop'], ['SUB', 'subtract'], ['SUBR', 'subtractReverse'],
  ['DIV', 'divide'], ['DIVR', 'divideReverse'],
]

function memoryGroup(opcode: string, operand: string, kind: number): InsnRow[] {
  const prefix = kind === Kind.INTEGER ? 'FI' : 'F'
  return DIGITS.map(([name, op], digit) => {
    const meaning = op === 'compare' ? compareMemory(kind, 0) : op === 'comparePop' ? compareMemory(kind, Compare.POP) : arithmeticMemory(op, kind)
    return row(`${prefix}${name}`, `${opcode} /${digit} mod=m`, operand, 'r', meaning, x87)
  })
}

/** One row for each of the eight stack registers. */
const perRegister = (mnemonic: string, opcode: string, first: number, meaning: (i: number) => Meaning): InsnRow[] =>
  Array.from({ length: 8 }, (_, i) => row(mnemonic, `${opcode} ${hex(first + i)}`, '', '', meaning(i), x87))

const toTop = (op: Arithmetic) => (i: number): Meaning =>
  waiting((e) => e.call(arithmeticHelper, number(e, ARITHMETIC.indexOf(op)), number(e, 0), number(e, i), number(e, 0)))
const toRegister = (op: Arithmetic, pop: boolean) => (i: number): Meaning =>
  waiting((e) => e.call(arithmeticHelper, number(e, ARITHMETIC.indexOf(op)), number(e, i), number(e, 0), number(e, pop ? 1 : 0)))
const compareWith = (options: number) => (i: number): Meaning => waiting((e) => e.call(compareHelper, number(e, i), number(e, options)))
const stack = (op: number) => (i: number): Meaning => waiting((e) => e.call(stackHelper, number(e, op), number(e, i), number(e, 1)))
const conditional = (cc: Condition) => (i: number): Meaning =>
  waiting((e) => e.call(stackHelper, number(e, Stack.MOVE), number(e, i), e.zext(e.condition(cc), 32)))
const storeRegister = (pop: boolean) => (i: number): Meaning => waiting((e) => e.call(storeRegisterHelper, number(e, i), number(e, pop ? 1 : 0)))

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
  row(mnemonic, `D9 ${byte}`, '', '', waiting((e) => e.call(unaryHelper, number(e, UNARY.indexOf(op)))), x87)

/** CPUs of different makers differ in the last bit: tests/isa/x87-transcendental.test.ts compares within one. */
const transcendental = (mnemonic: string, byte: string, op: Transcendental): InsnRow =>
  row(mnemonic, `D9 ${byte}`, '', '', waiting((e) => e.call(transcendentalHelper, number(e, TRANSCENDENTAL.indexOf(op)))), { ...x87, noNative: true })

/** Environment and whole state; the loads wait for pending exceptions, the stores do not. */
const environment = (helper: Helper, whole: boolean): Meaning => (e, { size }) => {
  e.call(helper, e.segmentNumber(e.memOperand(0)), e.effectiveAddress(0), number(e, size === 16 ? 16 : 32), number(e, whole ? 1 : 0))
}

const CONSTANT_NAMES = ['FLD1', 'FLDL2T', 'FLDL2E', 'FLDPI', 'FLDLG2', 'FLDLN2', 'FLDZ']
const constants = CONSTANT_NAMES.map((name, i) =>
  row(name, `D9 ${hex(0xe8 + i)}`, '', '', waiting((e) => e.call(constantHelper, number(e, i))), x87))

const MOVES: readonly (readonly [string, string, number, Condition])[] = [
  ['FCMOVB', 'DA', 0xc0, 'b'], ['FCMOVE', 'DA', 0xc8, 'e'], ['FCMOVBE', 'DA', 0xd0, 'be'], ['FCMOVU', 'DA', 0xd8, 'p'],
  ['FCMOVNB', 'DB', 0xc0, 'ae'], ['FCMOVNE', 'DB', 0xc8, 'ne'], ['FCMOVNBE', 'DB', 0xd0, 'a'], ['FCMOVNU', 'DB', 0xd8, 'np'],
]

const COMPARISONS: readonly (readonly [string, string, number, number])[] = [
  ['FUCOM', 'DD', 0xe0, Compare.QUIET], ['FUCOMP', 'DD', 0xe8, Compare.QUIET | Compare.POP],
  ['FUCOMI', 'DB', 0xe8, Compare.QUIET | Compare.EFLAGS], ['FCOMI', 'DB', 0xf0, Compare.EFLAGS],
  ['FUCOMIP', 'DF', 0xe8, Compare.QUIET | Compare.EFLAGS | Compare.POP], ['FCOMIP', 'DF', 0xf0, Compare.EFLAGS | Compare.POP],
]

const nothing: Meaning = waiting(() => undefined)

export const x87Rows: readonly InsnRow[] = [
  row('FLD', 'D9 /0 mod=m', 'Md', 'r', load(Kind.SINGLE), x87),
  row('FLD', 'DD /0 mod=m', 'Mq', 'r', load(Kind.DOUBLE), x87),
  row('FLD', 'DB /5 mod=m', 'Mt', 'r', loadTen(loadExtendedHelper), x87),
  row('FILD', 'DF /0 mod=m', 'Mw', 'r', load(Kind.INTEGER), x87),
  row('FILD', 'DB /0 mod=m', 'Md', 'r', load(Kind.INTEGER), x87),
  row('FILD', 'DF /5 mod=m', 'Mq', 'r', load(Kind.INTEGER), x87),
  row('FST', 'D9 /2 mod=m', 'Md', 'w', store(Store.SINGLE, false), x87),
  row('FST', 'DD /2 mod=m', 'Mq', 'w', store(Store.DOUBLE, false), x87),
  row('FSTP', 'D9 /3 mod=m', 'Md', 'w', store(Store.SINGLE, true), x87),
  row('FSTP', 'DD /3 mod=m', 'Mq', 'w', store(Store.DOUBLE, true), x87),
  row('FSTP', 'DB /7 mod=m', 'Mt', 'w', storeTen(Store.EXTENDED), x87),
  row('FBLD', 'DF /4 mod=m', 'Mt', 'r', loadTen(loadDecimalHelper), x87),
  row('FBSTP', 'DF /6 mod=m', 'Mt', 'w', storeTen(Store.DECIMAL), x87),
  row('FIST', 'DF /2 mod=m', 'Mw', 'w', store(Store.INT16, false), x87),
  row('FIST', 'DB /2 mod=m', 'Md', 'w', store(Store.INT32, false), x87),
  row('FISTP', 'DF /3 mod=m', 'Mw', 'w', store(Store.INT16, true), x87),
  row('FISTP', 'DB /3 mod=m', 'Md', 'w', store(Store.INT32, true), x87),
  row('FISTP', 'DF /7 mod=m', 'Mq', 'w', store(Store.INT64, true), x87),
  row('FISTTP', 'DF /1 mod=m', 'Mw', 'w', store(Store.INT16, true, true), { ...x87, cpuid: 'sse3' }),
  row('FISTTP', 'DB /1 mod=m', 'Md', 'w', store(Store.INT32, true, true), { ...x87, cpuid: 'sse3' }),
  row('FISTTP', 'DD /1 mod=m', 'Mq', 'w', store(Store.INT64, true, true), { ...x87, cpuid: 'sse3' }),
  ...memoryGroup('D8', 'Md', Kind.SINGLE), ...memoryGroup('DC', 'Mq', Kind.DOUBLE),
  ...memoryGroup('DA', 'Md', Kind.INTEGER), ...memoryGroup('DE', 'Mw', Kind.INTEGER),
  ...registerGroup(),
  ...perRegister('FLD', 'D9', 0xc0, (i) => waiting((e) => e.call(loadRegisterHelper, number(e, i)))),
  ...perRegister('FXCH', 'D9', 0xc8, stack(Stack.EXCHANGE)),
  ...perRegister('FFREE', 'DD', 0xc0, stack(Stack.FREE)),
  ...perRegister('FFREEP', 'DF', 0xc0, stack(Stack.FREE_POP)),
  ...perRegister('FST', 'DD', 0xd0, storeRegister(false)),
  ...perRegister('FSTP', 'DD', 0xd8, storeRegister(true)),
  ...COMPARISONS.flatMap(([name, opcode, first, options]) => perRegister(name, opcode, first, compareWith(options))),
  ...MOVES.flatMap(([name, opcode, first, cc]) => perRegister(name, opcode, first, conditional(cc))),
  row('FCOMPP', 'DE D9', '', '', compareWith(Compare.POP_TWICE)(1), x87),
  row('FUCOMPP', 'DA E9', '', '', compareWith(Compare.POP_TWICE | Compare.QUIET)(1), x87),
  row('FNOP', 'D9 D0', '', '', nothing, x87),
  ...constants,
  unary('FCHS', 'E0', 'changeSign'), unary('FABS', 'E1', 'absolute'), unary('FTST', 'E4', 'test'), unary('FXAM', 'E5', 'examine'),
  unary('FSQRT', 'FA', 'squareRoot'), unary('FRNDINT', 'FC', 'round'), unary('FSCALE', 'FD', 'scale'), unary('FXTRACT', 'F4', 'extract'),
  unary('FPREM', 'F8', 'remainder'), unary('FPREM1', 'F5', 'remainderNearest'), unary('FDECSTP', 'F6', 'stepDown'), unary('FINCSTP', 'F7', 'stepUp'),
  transcendental('FSIN', 'FE', 'sine'), transcendental('FCOS', 'FF', 'cosine'), transcendental('FSINCOS', 'FB', 'sineCosine'),
  transcendental('FPTAN', 'F2', 'tangent'), transcendental('FPATAN', 'F3', 'angle'), transcendental('F2XM1', 'F0', 'exponential'),
  transcendental('FYL2X', 'F1', 'log'), transcendental('FYL2XP1', 'F9', 'logOnePlus'),
  // The image holds pointers, which are the runner's own; tests/isa/x87-environment.test.ts compares the rest.
  row('FNSTENV', 'D9 /6 mod=m', 'M', 'w', environment(storeEnvironmentHelper, false), { ...x87, noNative: true }),
  row('FNSAVE', 'DD /6 mod=m', 'M', 'w', environment(storeEnvironmentHelper, true), { ...x87, noNative: true }),
  row('FLDENV', 'D9 /4 mod=m', 'M', 'r', checked(environment(loadEnvironmentHelper, false)), { ...x87, noNative: true }),
  row('FRSTOR', 'DD /4 mod=m', 'M', 'r', checked(environment(loadEnvironmentHelper, true)), { ...x87, noNative: true }),
]
