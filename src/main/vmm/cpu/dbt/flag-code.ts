/** How flags are told without computing them: a code for the operation, and its operands. */
import type { Val, Width } from '../emit/emitter'
import { FunctionBuilder, type Node } from '../emit/wasm/function'
import { FlagEmitter } from '../emit/wasm/flag-emitter'
import { BugError } from '../../errors'
import { offsetOf } from '../state/layout'

export const FlagCode = {
  /** The operands are `ccCarry` and `ccResult` themselves. */
  RAW: 0,
  /** First of four each: 8, 16, 32 and 64 bits. The second operand of INC and DEC: `ccCarry` before. */
  ADD: 4, SUB: 8, INC: 12, DEC: 16,
} as const

const WIDTHS: readonly Width[] = [8, 16, 32, 64]
const FIRST = { add: FlagCode.ADD, sub: FlagCode.SUB, inc: FlagCode.INC, dec: FlagCode.DEC } as const
type Operation = keyof typeof FIRST
/** What is compared first is found first. */
const OPERATIONS: readonly Operation[] = ['sub', 'add', 'dec', 'inc']

/** Where the code stands beside the record's place in the word `buildLeave` is given. */
export const LEAVE_FLAGS_SHIFT = 16

export function flagCode(kind: Operation, width: Width): number {
  return FIRST[kind] + WIDTHS.indexOf(width)
}

/** The formulas of the flag emitter over a code and two operands. */
class OperandFlags extends FlagEmitter {
  constructor(protected readonly f: FunctionBuilder, private readonly code: Node, private readonly a: Node, private readonly b: Node) {
    super()
  }

  field(): never {
    throw new BugError('flags are computed from operands alone')
  }

  setField(): never {
    throw new BugError('flags are computed from operands alone')
  }

  private operand(node: Node, width: Width): Val {
    return this.trunc(this.wrap(64, node, true), width)
  }

  private resultOf(kind: Operation, width: Width): Val {
    const [a, b] = [this.operand(this.a, width), kind === 'inc' || kind === 'dec' ? this.const(width, 1) : this.operand(this.b, width)]
    return kind === 'add' || kind === 'inc' ? this.add(a, b) : this.sub(a, b)
  }

  carry(kind: Operation, width: Width): Node {
    const a = this.operand(this.a, width)
    const result = this.resultOf(kind, width)
    if (kind === 'inc' || kind === 'dec') return this.stepCarry(kind, a, result, this.b)
    return this.carries(kind, a, this.operand(this.b, width), result)
  }

  result(kind: Operation, width: Width): Node {
    return this.raw(this.sext(this.resultOf(kind, width), 64))
  }

  /** Builds an arm for each operation and width. */
  cases(build: (kind: Operation, width: Width) => void): void {
    const { f } = this
    for (const kind of OPERATIONS) {
      for (const width of WIDTHS) f.if(f.pure('i32.eq', 'i32', [this.code, f.i32(flagCode(kind, width))]), () => build(kind, width))
    }
  }
}

function buildOne(one: (flags: OperandFlags, kind: Operation, width: Width) => Node, raw: 1 | 2): Uint8Array {
  const f = new FunctionBuilder(['i32', 'i64', 'i64'])
  const flags = new OperandFlags(f, f.param(0), f.param(1), f.param(2))
  f.if(f.pure('i32.eqz', 'i32', [f.param(0)]), () => f.return(f.param(raw)))
  flags.cases((kind, width) => f.return(one(flags, kind, width)))
  f.return(f.i64(0n))
  return f.encode()
}

/** (code, a, b) → `ccCarry`. */
export const buildFlagCarry = (): Uint8Array => buildOne((flags, kind, width) => flags.carry(kind, width), 1)

/** (code, a, b) → `ccResult`. */
export const buildFlagResult = (): Uint8Array => buildOne((flags, kind, width) => flags.result(kind, width), 2)

/** (cpu, code, a, b) → 0: stores the flags of an operation. */
export function buildStoreFlags(): Uint8Array {
  const f = new FunctionBuilder(['i32', 'i32', 'i64', 'i64'])
  const [cpu, code, a, b] = [0, 1, 2, 3].map((n) => f.param(n))
  const flags = new OperandFlags(f, code, a, b)
  const store = (carry: Node, result: Node): void => {
    f.store('i64.store', cpu, carry, offsetOf('ccCarry'))
    f.store('i64.store', cpu, result, offsetOf('ccResult'))
    f.return(f.i32(0))
  }
  f.if(f.pure('i32.eqz', 'i32', [code]), () => store(a, b))
  flags.cases((kind, width) => store(flags.carry(kind, width), flags.result(kind, width)))
  f.return(f.i32(0))
  return f.encode()
}

/**
 * (cpu, head, record | code << LEAVE_FLAGS_SHIFT, a, b) → exit: computes and stores the flags of an operation, then goes on
 * as `fault` at the record that many bytes behind the head.
 * @param storeFlags index of `buildStoreFlags`' function
 */
export function buildLeave(fault: number, storeFlags: number): Uint8Array {
  const f = new FunctionBuilder(['i32', 'i32', 'i32', 'i64', 'i64'])
  const [cpu, head, packed, a, b] = [0, 1, 2, 3, 4].map((n) => f.param(n))
  f.call(storeFlags, 'i32', [cpu, f.pure('i32.shr_u', 'i32', [packed, f.i32(LEAVE_FLAGS_SHIFT)]), a, b])
  f.tailCall(fault, [cpu, f.pure('i32.add', 'i32', [head, f.pure('i32.and', 'i32', [packed, f.i32((1 << LEAVE_FLAGS_SHIFT) - 1)])])])
  return f.encode()
}
