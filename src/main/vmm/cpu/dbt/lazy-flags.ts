/**
 * Flags of translated code: kept as thunks until something needs them in the state block. Most flag writes are
 * overwritten unseen and cost nothing then; a compare and the branch behind it become one wasm comparison.
 *
 * What is not stored yet must be stored (`spillFlags`) on every way out: side exits, faults, helper calls.
 */
import type { ArithFlag, Condition, FlagsKind, Val, Width } from '../emit/emitter'
import type { Node } from '../emit/wasm/function'
import type { WVal } from '../emit/wasm/int-emitter'
import { MemoryEmitter } from '../interp/memory-emitter'
import { offsetOf } from '../state/layout'
import { FlagCode, flagCode } from './flag-code'

/**
 * What `ccCarry` or `ccResult` will be once stored. `make` may give a node made before; `anew` makes one that holds wherever
 * the instruction that set the flags has been executed.
 */
interface Pending { readonly make: () => Node; readonly anew: () => Node }

/** The instruction that set the flags, where a condition can be read off its operands. */
export interface FlagSource {
  /** `rflags`: `result` holds the flags themselves, at their places in RFLAGS. */
  readonly kind: FlagsKind | 'result' | 'rflags'
  readonly a: Val
  readonly b: Val
  readonly result: Val
  /** `ccCarry` before INC or DEC. */
  readonly old?: Pending
}

/** undefined: the state block holds the truth. */
export interface FlagState {
  readonly carry: Pending | undefined
  readonly result: Pending | undefined
  readonly source: FlagSource | undefined
}

/** Places of the arithmetic flags in RFLAGS. */
const RFLAGS_BITS: Readonly<Record<ArithFlag, number>> = { cf: 0, pf: 2, af: 4, zf: 6, sf: 7, of: 11 }

/** The same node, or one as good, every time. */
const known = (make: () => Node): Pending => ({ make, anew: make })

export const FLAGS_IN_MEMORY: FlagState = { carry: undefined, result: undefined, source: undefined }

export abstract class LazyFlagEmitter extends MemoryEmitter {
  protected flagState: FlagState = FLAGS_IN_MEMORY
  /** Depth of arms and loops around the code being built. */
  protected depth = 0
  /** Flags were changed inside an arm: the code before it must have stored what was pending. */
  protected flagsTouched = false

  // ── what generated code sees as ccCarry and ccResult ──────────────────────────────────────────────────────────

  /** The truth where nothing is pending. */
  protected stored(name: 'ccCarry' | 'ccResult'): Node {
    return this.stateLoad('i64.load', 'i64', name)
  }

  protected carryNode(): Node {
    return this.flagState.carry?.make() ?? this.stored('ccCarry')
  }

  protected resultNode(): Node {
    return this.flagState.result?.make() ?? this.stored('ccResult')
  }

  /** Thunks run in one arm must not be reused in another, so only values made at depth 0 are kept. */
  private once(make: () => Node): Pending {
    let made: Node | undefined
    return {
      anew: make,
      make: () => {
        if (made) return made
        const node = make()
        if (this.depth === 0) made = node
        return node
      },
    }
  }

  private setState(state: FlagState): void {
    if (this.depth === 0) {
      this.flagState = state
      return
    }
    // Inside an arm the state block is the only place both ways out can agree on.
    this.flagState = state
    this.spillFlags()
    this.flagState = FLAGS_IN_MEMORY
    this.flagsTouched = true
  }

  protected spillFlags(): void {
    const { carry, result } = this.flagState
    const carryValue = carry?.make()
    const resultValue = result?.make()
    if (carryValue) this.f.store('i64.store', this.cpu, carryValue, offsetOf('ccCarry'))
    if (resultValue) this.f.store('i64.store', this.cpu, resultValue, offsetOf('ccResult'))
  }

  /** As `spillFlags`, for code that is put where less had been computed than by now. */
  protected spillFlagsAnew(): void {
    const { carry, result } = this.flagState
    this.flagState = { carry: carry && known(carry.anew), result: result && known(result.anew), source: undefined }
    this.spillFlags()
  }

  /** What is pending as a code and two operands, from which it can be computed (`flag-code`); undefined: nothing. */
  protected packedFlags(): { readonly code: number; readonly a: Node; readonly b: Node } | undefined {
    const { carry, result, source } = this.flagState
    if (!carry && !result) return undefined
    const operands = carry && result && source && this.flagOperands(source)
    return operands ?? { code: FlagCode.RAW, a: this.carryNode(), b: this.resultNode() }
  }

  /** Undefined where the result does not follow from the operands alone. */
  private flagOperands(source: FlagSource): { code: number; a: Node; b: Node } | undefined {
    const { kind, a, b, result, old } = source
    if (kind === 'logic') return { code: FlagCode.RAW, a: this.f.i64(0n), b: this.resultNode() }
    if (kind === 'result' || kind === 'rflags') return undefined
    const code = flagCode(kind, result.width as Width)
    if (old) return { code, a: this.asI64(a), b: old.make() }
    const node = this.raw(result)
    const plain = node.op.endsWith(`.${kind}`) && node.args[0] === this.raw(a) && node.args[1] === this.raw(b)
    return plain ? { code, a: this.asI64(a), b: this.asI64(b) } : undefined
  }

  /** Stores what is pending; from here on the state block is right. */
  protected settleFlags(): void {
    this.spillFlags()
    this.flagState = { carry: undefined, result: undefined, source: this.flagState.source }
  }

  /** Something may change the flags in the state block. */
  protected forgetFlags(): void {
    this.flagState = FLAGS_IN_MEMORY
    if (this.depth > 0) this.flagsTouched = true
  }

  // ── writers ───────────────────────────────────────────────────────────────────────────────────────────────────

  override setFlags(kind: FlagsKind, a: Val, b: Val, result: Val): void {
    const extended = this.once(() => this.raw(this.sext(result, 64)))
    if (kind !== 'inc' && kind !== 'dec') {
      return this.setState({ carry: this.carryOf(kind, a, b, result), result: extended, source: { kind, a, b, result } })
    }
    const before = this.flagState.carry
    const stored = before ? undefined : this.stored('ccCarry')
    const old = before ?? known(() => stored as Node)
    const carry = { ...this.once(() => this.stepCarry(kind, a, result, old.make())), anew: () => this.stepCarry(kind, a, result, old.anew()) }
    this.setState({ carry, result: extended, source: { kind, a, b, result, old } })
  }

  private carryOf(kind: 'add' | 'sub' | 'logic', a: Val, b: Val, result: Val): Pending {
    if (kind === 'logic') return known(() => this.f.i64(0n))
    return this.once(() => this.carries(kind, a, b, result))
  }

  override setFlagsExplicit(result: Val, flags: { cf: Val; of: Val; af?: Val }): void {
    const carry = this.once(() => this.carryFrom(flags.cf, flags.of, flags.af))
    const extended = this.once(() => this.raw(this.sext(result, 64)))
    this.setState({ carry, result: extended, source: { kind: 'result', a: result, b: result, result } })
  }

  protected override setCarry(node: Node): void {
    this.setState({ carry: known(() => node), result: this.flagState.result, source: undefined })
  }

  protected override setResult(result: Val): void {
    const node = this.raw(this.sext(result, 64))
    this.setState({ carry: this.flagState.carry, result: known(() => node), source: undefined })
  }

  override setArithFlags(rflags: Val): void {
    const carry = this.once(() => this.carryOfRflags(rflags))
    const result = this.once(() => this.raw(this.resultOfRflags(rflags)))
    this.setState({ carry, result, source: { kind: 'rflags', a: rflags, b: rflags, result: rflags } })
  }

  // ── readers ───────────────────────────────────────────────────────────────────────────────────────────────────

  override flag(flag: ArithFlag): WVal {
    const fused = this.fusedFlag(flag)
    return fused ?? super.flag(flag)
  }

  private fusedFlag(flag: ArithFlag): WVal | undefined {
    const { source } = this.flagState
    if (!source) return undefined
    if (source.kind === 'rflags') return this.bit(source.result, RFLAGS_BITS[flag])
    if (flag === 'zf') return this.isZero(source.result)
    if (flag === 'sf') return this.lts(source.result, this.const(source.result.width, 0))
    if (source.kind === 'logic' && (flag === 'cf' || flag === 'of')) return this.const(1, 0)
    if (flag === 'cf' && this.isCompare(source)) return this.ltu(source.a, source.b)
    return undefined
  }

  override condition(cc: Condition): WVal {
    return this.fusedCondition(cc) ?? super.condition(cc)
  }

  private fusedCondition(cc: Condition): WVal | undefined {
    const { source } = this.flagState
    if (!source) return undefined
    const { a, b, result } = source
    const zero = this.const(result.width, 0)
    if (this.isCompare(source)) return this.comparison(cc, a, b)
    // AND, OR, XOR, TEST leave CF = OF = 0: the result compares with zero.
    return source.kind === 'logic' ? this.comparison(cc, result, zero) : undefined
  }

  /** True for r = a - b without borrow in: then the conditions are comparisons of a and b. */
  private isCompare({ kind, a, b, result }: FlagSource): boolean {
    if (kind !== 'sub') return false
    const node = this.raw(result)
    // Subtracting a constant 0 was folded away.
    if (node === this.raw(a)) return this.raw(b).op === 'const' && Number(this.raw(b).imm) === 0
    return node.op.endsWith('.sub') && node.args[0] === this.raw(a) && node.args[1] === this.raw(b)
  }

  private comparison(cc: Condition, a: Val, b: Val): WVal | undefined {
    switch (cc) {
      case 'e': return this.eq(a, b)
      case 'ne': return this.ne(a, b)
      case 'b': return this.ltu(a, b)
      case 'ae': return this.compare('leu', b, a)
      case 'be': return this.compare('leu', a, b)
      case 'a': return this.ltu(b, a)
      case 'l': return this.lts(a, b)
      case 'ge': return this.compare('les', b, a)
      case 'le': return this.compare('les', a, b)
      case 'g': return this.lts(b, a)
      default: return undefined
    }
  }
}
