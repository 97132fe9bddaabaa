/** How flags are told without computing them: a code for the operation, and its operands. */
import type { FlagsKind, Width } from '../emit/emitter'
import { FunctionBuilder, type Node } from '../emit/wasm/function'
import { FlagEmitter } from '../emit/wasm/flag-emitter'
import { BugError } from '../../errors'
import { offsetOf } from '../state/layout'

export const FlagCode = {
  /** `fa` is `ccCarry` itself. In `buildLeave` the other operand is `ccResult`. */
  RAW: 0,
  /** CF = OF = AF = 0. */
  LOGIC: 1,
  /** First of four each: 8, 16, 32 and 64 bits. `fa`, `fb` operands; INC and DEC: `fb` is `ccCarry` before. */
  ADD: 4, SUB: 8, INC: 12, DEC: 16,
} as const

const WIDTHS: readonly Width[] = [8, 16, 32, 64]
const FIRST = { add: FlagCode.ADD, sub: FlagCode.SUB, inc: FlagCode.INC, dec: FlagCode.DEC } as const

/** Where the code stands beside the record's place in the word `buildLeave` is given. */
export const LEAVE_FLAGS_SHIFT = 16

export function flagCode(kind: FlagsKind, width: Width): number {
  return kind === 'logic' ? FlagCode.LOGIC : FIRST[kind] + WIDTHS.indexOf(width)
}

/** The formulas of the flag emitter over the parameters of one function. */
class CarryEmitter extends FlagEmitter {
  constructor(protected readonly f: FunctionBuilder) {
    super()
  }

  field(): never {
    throw new BugError('carries are computed from operands alone')
  }

  setField(): never {
    throw new BugError('carries are computed from operands alone')
  }

  carry(kind: keyof typeof FIRST, width: Width): Node {
    const operand = (n: number): ReturnType<CarryEmitter['trunc']> => this.trunc(this.wrap(64, this.f.param(n), true), width)
    if (kind === 'inc' || kind === 'dec') return this.stepCarry(kind, operand(1), operand(3), this.f.param(2))
    return this.carries(kind, operand(1), operand(2), operand(3))
  }
}

/** (fk, fa, fb, fr) → `ccCarry`. */
export function buildFlagCarry(): Uint8Array {
  const f = new FunctionBuilder(['i32', 'i64', 'i64', 'i64'])
  const e = new CarryEmitter(f)
  const when = (code: number, result: () => Node): void => {
    f.if(f.pure('i32.eq', 'i32', [f.param(0), f.i32(code)]), () => f.return(result()))
  }
  when(FlagCode.RAW, () => f.param(1))
  when(FlagCode.LOGIC, () => f.i64(0n))
  for (const kind of ['sub', 'add', 'inc', 'dec'] as const) {
    for (const width of WIDTHS) when(flagCode(kind, width), () => e.carry(kind, width))
  }
  f.return(f.i64(0n))
  return f.encode()
}

/**
 * (cpu, head, record | code << LEAVE_FLAGS_SHIFT, a, b) → exit: computes and stores the flags of an operation, then goes on
 * as `fault` at the record that many bytes behind the head.
 * @param flagCarry index of `buildFlagCarry`'s function
 */
export function buildLeave(fault: number, flagCarry: number): Uint8Array {
  const f = new FunctionBuilder(['i32', 'i32', 'i32', 'i64', 'i64'])
  const [cpu, head, packed, a, b] = [0, 1, 2, 3, 4].map((n) => f.param(n))
  const code = f.pure('i32.shr_u', 'i32', [packed, f.i32(LEAVE_FLAGS_SHIFT)])
  const result = f.newLocal('i64')
  const from = (first: number, make: () => Node): void => {
    f.if(f.pure('i32.ge_u', 'i32', [code, f.i32(first)]), () => f.setLocal(result, make()))
  }
  f.setLocal(result, b)
  from(FlagCode.ADD, () => f.pure('i64.add', 'i64', [a, b]))
  from(FlagCode.SUB, () => f.pure('i64.sub', 'i64', [a, b]))
  from(FlagCode.INC, () => f.pure('i64.add', 'i64', [a, f.i64(1n)]))
  from(FlagCode.DEC, () => f.pure('i64.sub', 'i64', [a, f.i64(1n)]))
  f.store('i64.store', cpu, f.call(flagCarry, 'i64', [code, a, b, f.getLocal(result)]), offsetOf('ccCarry'))
  // Codes with a width go from 8 to 64 bits: the result is sign-extended from there.
  from(FlagCode.ADD, () => {
    const width = f.pure('i32.shl', 'i32', [f.i32(8), f.pure('i32.and', 'i32', [code, f.i32(3)])])
    const unused = f.pure('i64.extend_i32_u', 'i64', [f.pure('i32.sub', 'i32', [f.i32(64), width])])
    return f.pure('i64.shr_s', 'i64', [f.pure('i64.shl', 'i64', [f.getLocal(result), unused]), unused])
  })
  f.store('i64.store', cpu, f.getLocal(result), offsetOf('ccResult'))
  f.tailCall(fault, [cpu, f.pure('i32.add', 'i32', [head, f.pure('i32.and', 'i32', [packed, f.i32((1 << LEAVE_FLAGS_SHIFT) - 1)])])])
  return f.encode()
}
