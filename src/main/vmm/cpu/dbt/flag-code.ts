/** How regions carry flags over jumps: a code for the operation, and its operands. */
import type { FlagsKind, Width } from '../emit/emitter'
import { FunctionBuilder, type Node } from '../emit/wasm/function'
import { FlagEmitter } from '../emit/wasm/flag-emitter'
import { BugError } from '../../errors'

export const FlagCode = {
  /** `fa` is `ccCarry` itself. */
  RAW: 0,
  /** CF = OF = AF = 0. */
  LOGIC: 1,
  /** First of four each: 8, 16, 32 and 64 bits. `fa`, `fb` operands; INC and DEC: `fb` is `ccCarry` before. */
  ADD: 4, SUB: 8, INC: 12, DEC: 16,
} as const

const WIDTHS: readonly Width[] = [8, 16, 32, 64]
const FIRST = { add: FlagCode.ADD, sub: FlagCode.SUB, inc: FlagCode.INC, dec: FlagCode.DEC } as const

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
