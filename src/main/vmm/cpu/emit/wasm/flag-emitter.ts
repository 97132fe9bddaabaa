/**
 * Lazy flags over wasm nodes: how `ccResult` and `ccCarry` (see `cpu/state/layout.ts`) are written and read.
 * The same formulas as `cpu/state/flags.ts`, in the vocabulary of the emitter.
 */
import type { ArithFlag, Condition, FlagsKind, Val } from '../emitter'
import type { FieldName } from '../../state/layout'
import { IntEmitter, type WVal } from './int-emitter'
import type { Node } from './function'

const CF_BIT = 1n << 63n
const OF_BIT = 1n << 62n

export abstract class FlagEmitter extends IntEmitter {
  abstract field(name: FieldName, index?: number): Val
  abstract setField(name: FieldName, value: Val, index?: number): void

  protected op64(name: string, a: Node, b: Node): Node {
    return this.f.pure(`i64.${name}`, 'i64', [a, b])
  }

  /** Carry-out vector of an addition or subtraction, moved so that the top carry is bit 63 and AF stays at bit 3. */
  protected carries(kind: 'add' | 'sub', a: Val, b: Val, result: Val): Node {
    const { width } = result
    const t = width === 64 ? 'i64' : 'i32'
    const op = (name: string, x: Node, y: Node): Node => this.f.pure(`${t}.${name}`, t, [x, y])
    const ones = t === 'i64' ? this.f.i64(-1n) : this.f.i32(-1)
    const [x, y, r] = [this.raw(a), this.raw(b), this.raw(result)]
    // A bit that differs in the operands borrows where it is set in the second, one that does not hands on what it borrowed: `r`.
    const vector = kind === 'add'
      ? op('or', op('and', x, y), op('and', op('or', x, y), op('xor', r, ones)))
      : op('xor', r, op('and', op('xor', x, y), op('xor', y, r)))
    if (t === 'i64') return this.op64('and', vector, this.f.i64(CF_BIT | OF_BIT | 8n))
    const wide = this.f.pure('i64.extend_i32_u', 'i64', [vector])
    return this.op64('or', this.op64('shl', wide, this.f.i64(BigInt(64 - width))), this.op64('and', wide, this.f.i64(8n)))
  }

  protected setResult(result: Val): void {
    this.setField('ccResult', this.sext(result, 64))
  }

  protected setCarry(node: Node): void {
    this.setField('ccCarry', this.wrap(64, node, true))
  }

  setFlags(kind: FlagsKind, a: Val, b: Val, result: Val): void {
    if (kind === 'logic') this.setCarry(this.f.i64(0n))
    else if (kind === 'add' || kind === 'sub') this.setCarry(this.carries(kind, a, b, result))
    else this.setStepFlags(kind, a, result)
    this.setResult(result)
  }

  /** INC and DEC: CF survives, OF is new, so bit 62 is CF xor OF. */
  private setStepFlags(kind: 'inc' | 'dec', a: Val, result: Val): void {
    this.setCarry(this.stepCarry(kind, a, result, this.raw(this.field('ccCarry'))))
  }

  /** @param old `ccCarry` before the instruction */
  protected stepCarry(kind: 'inc' | 'dec', a: Val, result: Val, old: Node): Node {
    const { f } = this
    const fresh = this.carries(kind === 'inc' ? 'add' : 'sub', a, this.const(a.width, 1), result)
    const of63 = this.op64('xor', fresh, this.op64('shl', fresh, f.i64(1n)))
    const cf63 = this.op64('and', old, f.i64(CF_BIT))
    const bit62 = this.op64('and', this.op64('shr_u', this.op64('xor', of63, cf63), f.i64(1n)), f.i64(OF_BIT))
    return this.op64('or', this.op64('or', cf63, bit62), this.op64('and', fresh, f.i64(8n)))
  }

  protected carryFrom(cf: Val, of: Val, af: Val | undefined): Node {
    const at = (v: Val, shift: number): Node => this.op64('shl', this.asI64(v), this.f.i64(BigInt(shift)))
    const both = this.op64('or', at(cf, 63), at(this.xor(cf, of), 62))
    return af ? this.op64('or', both, at(af, 3)) : both
  }

  setFlagsExplicit(result: Val, flags: { cf: Val; of: Val; af?: Val }): void {
    this.setCarry(this.carryFrom(flags.cf, flags.of, flags.af))
    this.setResult(result)
  }

  setFlag(flag: ArithFlag, value: Val): void {
    if (flag === 'cf' || flag === 'of' || flag === 'af') {
      const cf = flag === 'cf' ? value : this.flag('cf')
      const of = flag === 'of' ? value : this.flag('of')
      const af = flag === 'af' ? value : this.flag('af')
      const kept = this.op64('and', this.raw(this.field('ccCarry')), this.f.i64(0xff01n))
      return this.setCarry(this.op64('or', this.carryFrom(cf, of, af), kept))
    }
    const bit = { pf: 2, zf: 6, sf: 7 }[flag]
    const cleared = this.and(this.rflags(), this.const(64, ~(1n << BigInt(bit))))
    this.setArithFlags(this.or(cleared, this.shl(this.zext(value, 64), this.const(64, bit))))
  }

  private negative(node: Node): WVal {
    return this.wrap(1, this.f.pure('i64.lt_s', 'i32', [node, this.f.i64(0n)]), true)
  }

  flag(flag: ArithFlag): WVal {
    const { f } = this
    const carry = (): Node => this.raw(this.field('ccCarry'))
    const result = (): Node => this.raw(this.field('ccResult'))
    switch (flag) {
      case 'cf': return this.negative(carry())
      case 'of': {
        const c = carry()
        return this.negative(this.op64('xor', c, this.op64('shl', c, f.i64(1n))))
      }
      case 'zf': return this.wrap(1, f.pure('i64.eqz', 'i32', [result()]), true)
      case 'sf': return this.negative(this.op64('xor', result(), this.op64('shl', carry(), f.i64(63n))))
      case 'af': return this.bit(this.wrap(64, carry(), true), 3)
      case 'pf': {
        const byte = this.op64('and', this.op64('xor', result(), this.op64('shr_u', carry(), f.i64(8n))), f.i64(0xffn))
        const count = f.pure('i32.wrap_i64', 'i32', [f.pure('i64.popcnt', 'i64', [byte])])
        return this.wrap(1, f.pure('i32.eqz', 'i32', [f.pure('i32.and', 'i32', [count, f.i32(1)])]), true)
      }
    }
  }

  condition(cc: Condition): WVal {
    const not = (v: Val): WVal => this.isZero(v)
    switch (cc) {
      case 'o': return this.flag('of')
      case 'no': return not(this.flag('of'))
      case 'b': return this.flag('cf')
      case 'ae': return not(this.flag('cf'))
      case 'e': return this.flag('zf')
      case 'ne': return not(this.flag('zf'))
      case 'be': return this.or(this.flag('cf'), this.flag('zf'))
      case 'a': return not(this.or(this.flag('cf'), this.flag('zf')))
      case 's': return this.flag('sf')
      case 'ns': return not(this.flag('sf'))
      case 'p': return this.flag('pf')
      case 'np': return not(this.flag('pf'))
      case 'l': return this.xor(this.flag('sf'), this.flag('of'))
      case 'ge': return not(this.xor(this.flag('sf'), this.flag('of')))
      case 'le': return this.or(this.flag('zf'), this.xor(this.flag('sf'), this.flag('of')))
      case 'g': return not(this.or(this.flag('zf'), this.xor(this.flag('sf'), this.flag('of'))))
    }
  }

  rflags(): WVal {
    const at = (flag: ArithFlag, bit: number): WVal => this.shl(this.zext(this.flag(flag), 64), this.const(64, bit))
    const bits = [at('cf', 0), at('pf', 2), at('af', 4), at('zf', 6), at('sf', 7), at('of', 11)]
    return bits.reduce((all, b) => this.or(all, b), this.or(this.field('rflags'), this.const(64, 2)))
  }

  setArithFlags(rflags: Val): void {
    this.setCarry(this.carryOfRflags(rflags))
    this.setResult(this.resultOfRflags(rflags))
  }

  /** `ccCarry` for the flags in RFLAGS bits. */
  protected carryOfRflags(rflags: Val): Node {
    const is = (bit: number): WVal => this.bit(rflags, bit)
    const parityDelta = this.ne(is(6), is(2))
    const low = this.or(this.zext(is(7), 64), this.shl(this.zext(parityDelta, 64), this.const(64, 8)))
    return this.op64('or', this.carryFrom(is(0), is(11), is(4)), this.raw(low))
  }

  /** `ccResult` for the same. */
  protected resultOfRflags(rflags: Val): Val {
    return this.zext(this.isZero(this.bit(rflags, 6)), 64)
  }
}
