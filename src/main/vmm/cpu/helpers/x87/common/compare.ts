/** The common case of comparisons: normal numbers and zeros. */
import type { HelperEmitter, Val } from '../../../emit/emitter'
import { C0, C3 } from '../unit'
import type { Widen } from './operands'
import { RegisterStack, isNormal, isZero, type Operand } from './stack'

/** Options of a comparison. */
export const Compare = { QUIET: 1, EFLAGS: 2, POP: 4, POP_TWICE: 8 } as const
const CONDITIONS = 0x4700
const RFLAGS_ZF = 0x40
const RFLAGS_CF = 1

function ordering(e: HelperEmitter, a: Operand, b: Operand): { readonly equal: Val; readonly less: Val } {
  const bothZero = e.isZero(e.or(a.sig, b.sig))
  const equal = e.or(bothZero, e.and(e.eq(a.top, b.top), e.eq(a.sig, b.sig)))
  const magnitude = ({ top }: Operand): Val => e.and(top, e.const(32, 0x7fff))
  const [x, y] = [magnitude(a), magnitude(b)]
  const smaller = e.or(e.ltu(x, y), e.and(e.eq(x, y), e.ltu(a.sig, b.sig)))
  const [aNegative, bNegative] = [e.bit(a.top, 15), e.bit(b.top, 15)]
  const less = e.select(e.xor(aNegative, bNegative), aNegative, e.xor(smaller, aNegative))
  return { equal, less: e.and(less, e.isZero(equal)) }
}

/** Pops once or twice, or not at all, as `options` says. */
function popped(e: HelperEmitter, stack: RegisterStack, status: Val, options: Val): void {
  const twice = e.bit(options, 3)
  const pops = e.add(e.zext(e.bit(options, 2), 32), e.shl(e.zext(twice, 32), e.const(32, 1)))
  const after = stack.popped(status, pops)
  const second = e.shl(e.zext(twice, 32), stack.physical(1))
  const first = e.shl(e.zext(e.ne(pops, e.const(32, 0)), 32), stack.physical(0))
  e.setField('fsw', after.status)
  e.setField('ftw', e.and(stack.tags, e.not(e.or(first, second))))
}

function compare(e: HelperEmitter, stack: RegisterStack, a: Operand, b: Operand, options: Val): void {
  const fine = (v: Operand): Val => e.or(isNormal(e, v), isZero(e, v))
  e.if(e.isZero(e.and(fine(a), fine(b))), () => e.fallBack())
  const { equal, less } = ordering(e, a, b)
  const word = (equalBits: number, lessBits: number): Val =>
    e.or(e.select(equal, e.const(32, equalBits), e.const(32, 0)), e.select(less, e.const(32, lessBits), e.const(32, 0)))
  const reported = e.or(e.and(stack.status, e.const(32, ~CONDITIONS)), word(C3, C0))
  // The forms that set RFLAGS leave the condition bits alone.
  popped(e, stack, e.select(e.bit(options, 1), stack.status, reported), options)
  e.finish(word(RFLAGS_ZF, RFLAGS_CF))
}

/** Arguments: st(i) and options. Returns ZF, PF and CF as they stand in RFLAGS. */
export const compareRegister = (e: HelperEmitter): void => {
  const stack = new RegisterStack(e)
  const [first, second] = [stack.physical(0), stack.physical(e.argument(0))]
  stack.needFull([first, second])
  compare(e, stack, stack.read(first), stack.read(second), e.argument(1))
}

/** Arguments: the operand's bits and options. */
export const compareMemory = (widen: Widen) => (e: HelperEmitter): void => {
  const stack = new RegisterStack(e)
  const first = stack.physical(0)
  stack.needFull([first])
  compare(e, stack, stack.read(first), widen(e, e.argument(0)), e.argument(1))
}
