/**
 * Integer part of the emitter over wasm nodes. Widths 1, 8, 16 and 32 live in i32, 64 in i64.
 * The bits of an i32 above the width are garbage unless `clean`; operations that look at them clean or extend first.
 */
import type { BinaryOp, CompareOp, LoopControl, UnaryOp, Val, Var, Width } from '../emitter'
import type { FunctionBuilder, Node } from './function'
import type { ValType } from './opcodes'

export interface WVal extends Val { readonly node: Node; readonly clean: boolean }

export const wasmType = (width: Width): 'i32' | 'i64' => (width === 64 ? 'i64' : 'i32')
const maskOf = (width: Width): number => (width === 32 ? -1 : 2 ** width - 1)

export abstract class IntEmitter {
  protected abstract readonly f: FunctionBuilder

  protected wrap(width: Width, node: Node, clean: boolean): WVal {
    return { width, node, clean: clean || width >= 32 } as WVal
  }

  /** Node of a value with the bits above its width cleared. */
  protected clean(v: Val): Node {
    const w = v as WVal
    return w.clean ? w.node : this.f.pure('i32.and', 'i32', [w.node, this.f.i32(maskOf(w.width))])
  }

  /** Node of a value as it is; garbage above the width allowed. */
  protected raw(v: Val): Node {
    return (v as WVal).node
  }

  /** Node of a value sign-extended to its wasm type. */
  protected signed(v: Val): Node {
    if (v.width === 8 || v.width === 16) return this.f.pure(`i32.extend${v.width}_s`, 'i32', [this.raw(v)])
    return this.raw(v)
  }

  /** As an unsigned i64. */
  protected asI64(v: Val): Node {
    return v.width === 64 ? this.raw(v) : this.f.pure('i64.extend_i32_u', 'i64', [this.clean(v)])
  }

  const(width: Width, value: number | bigint): WVal {
    if (width === 64) return this.wrap(64, this.f.i64(BigInt(value)), true)
    const masked = Number(BigInt.asUintN(width, BigInt(value)))
    return this.wrap(width, this.f.i32(masked), true)
  }

  binary(op: BinaryOp, a: Val, b: Val): WVal {
    const { width } = a
    const t = wasmType(width)
    const plain = (name: string, x: Node, y: Node, clean: boolean): WVal => this.wrap(width, this.f.pure(`${t}.${name}`, t, [x, y]), clean)
    const bothClean = (a as WVal).clean && (b as WVal).clean
    switch (op) {
      case 'add': case 'sub': case 'mul': return plain(op, this.raw(a), this.raw(b), false)
      case 'and': return plain(op, this.raw(a), this.raw(b), (a as WVal).clean || (b as WVal).clean)
      case 'or': case 'xor': return plain(op, this.raw(a), this.raw(b), bothClean)
      case 'shl': return plain('shl', this.raw(a), this.clean(b), false)
      case 'shr': return plain('shr_u', this.clean(a), this.clean(b), true)
      case 'sar': return plain('shr_s', this.signed(a), this.clean(b), false)
      case 'rotl': case 'rotr': return this.rotate(op, a, b)
    }
  }

  private rotate(op: 'rotl' | 'rotr', a: Val, count: Val): WVal {
    const { width } = a
    const t = wasmType(width)
    if (width >= 32) return this.wrap(width, this.f.pure(`${t}.${op}`, t, [this.raw(a), this.raw(count)]), true)
    const value = this.clean(a)
    const by = this.clean(count)
    const rest = this.f.pure('i32.sub', 'i32', [this.f.i32(width), by])
    const left = op === 'rotl' ? by : rest
    const right = op === 'rotl' ? rest : by
    const parts = [this.f.pure('i32.shl', 'i32', [value, left]), this.f.pure('i32.shr_u', 'i32', [value, right])]
    return this.wrap(width, this.f.pure('i32.or', 'i32', parts), false)
  }

  compare(op: CompareOp, a: Val, b: Val): WVal {
    const t = wasmType(a.width)
    const signed = op === 'lts' || op === 'les'
    const name = { eq: 'eq', ne: 'ne', ltu: 'lt_u', lts: 'lt_s', leu: 'le_u', les: 'le_s' }[op]
    const args = signed ? [this.signed(a), this.signed(b)] : [this.clean(a), this.clean(b)]
    return this.wrap(1, this.f.pure(`${t}.${name}`, 'i32', args), true)
  }

  unary(op: UnaryOp, a: Val): WVal {
    const { width } = a
    const t = wasmType(width)
    const { f } = this
    switch (op) {
      case 'not': return this.wrap(width, f.pure(`${t}.xor`, t, [this.raw(a), width === 64 ? f.i64(-1n) : f.i32(maskOf(width))]), (a as WVal).clean)
      case 'neg': return this.wrap(width, f.pure(`${t}.sub`, t, [width === 64 ? f.i64(0n) : f.i32(0), this.raw(a)]), false)
      case 'popcnt': return this.wrap(width, f.pure(`${t}.popcnt`, t, [this.clean(a)]), true)
      case 'clz': {
        const node = f.pure(`${t}.clz`, t, [this.clean(a)])
        return this.wrap(width, width < 32 ? f.pure('i32.sub', 'i32', [node, f.i32(32 - width)]) : node, true)
      }
      case 'ctz': {
        const bounded = width < 32 ? f.pure('i32.or', 'i32', [this.raw(a), f.i32(2 ** width)]) : this.raw(a)
        return this.wrap(width, f.pure(`${t}.ctz`, t, [bounded]), true)
      }
      case 'bswap': return this.bswap(a)
    }
  }

  private bswap(a: Val): WVal {
    const { f } = this
    const swap32 = (n: Node): Node => {
      const inner = f.pure('i32.and', 'i32', [f.pure('i32.rotl', 'i32', [n, f.i32(8)]), f.i32(0x00ff00ff)])
      const outer = f.pure('i32.and', 'i32', [f.pure('i32.rotr', 'i32', [n, f.i32(8)]), f.i32(0xff00ff00 | 0)])
      return f.pure('i32.or', 'i32', [inner, outer])
    }
    if (a.width === 64) {
      const low = f.pure('i32.wrap_i64', 'i32', [this.raw(a)])
      const high = f.pure('i32.wrap_i64', 'i32', [f.pure('i64.shr_u', 'i64', [this.raw(a), f.i64(32n)])])
      const newHigh = f.pure('i64.shl', 'i64', [f.pure('i64.extend_i32_u', 'i64', [swap32(low)]), f.i64(32n)])
      return this.wrap(64, f.pure('i64.or', 'i64', [newHigh, f.pure('i64.extend_i32_u', 'i64', [swap32(high)])]), true)
    }
    if (a.width === 32) return this.wrap(32, swap32(this.raw(a)), true)
    return this.rotate('rotl', a, this.const(a.width, 8))
  }

  add(a: Val, b: Val): WVal { return this.binary('add', a, b) }
  sub(a: Val, b: Val): WVal { return this.binary('sub', a, b) }
  mul(a: Val, b: Val): WVal { return this.binary('mul', a, b) }
  and(a: Val, b: Val): WVal { return this.binary('and', a, b) }
  or(a: Val, b: Val): WVal { return this.binary('or', a, b) }
  xor(a: Val, b: Val): WVal { return this.binary('xor', a, b) }
  shl(a: Val, c: Val): WVal { return this.binary('shl', a, c) }
  shr(a: Val, c: Val): WVal { return this.binary('shr', a, c) }
  sar(a: Val, c: Val): WVal { return this.binary('sar', a, c) }
  not(a: Val): WVal { return this.unary('not', a) }
  neg(a: Val): WVal { return this.unary('neg', a) }
  eq(a: Val, b: Val): WVal { return this.compare('eq', a, b) }
  ne(a: Val, b: Val): WVal { return this.compare('ne', a, b) }
  ltu(a: Val, b: Val): WVal { return this.compare('ltu', a, b) }
  lts(a: Val, b: Val): WVal { return this.compare('lts', a, b) }
  isZero(a: Val): WVal { return this.wrap(1, this.f.pure(`${wasmType(a.width)}.eqz`, 'i32', [this.clean(a)]), true) }

  private divide(op: string, a: Val, b: Val): WVal {
    const t = wasmType(a.width)
    return this.wrap(a.width, this.f.ordered(`${t}.${op}`, t, [this.raw(a), this.raw(b)]), true)
  }

  divu(a: Val, b: Val): WVal { return this.divide('div_u', a, b) }
  divs(a: Val, b: Val): WVal { return this.divide('div_s', a, b) }
  remu(a: Val, b: Val): WVal { return this.divide('rem_u', a, b) }
  rems(a: Val, b: Val): WVal { return this.divide('rem_s', a, b) }

  /** Schoolbook 64 × 64 → high 64 over 32-bit halves. */
  mulHiU(a: Val, b: Val): WVal {
    const { f } = this
    const op = (name: string, x: Node, y: Node): Node => f.pure(`i64.${name}`, 'i64', [x, y])
    const low = (n: Node): Node => op('and', n, f.i64(0xffff_ffffn))
    const high = (n: Node): Node => op('shr_u', n, f.i64(32n))
    const [an, bn] = [this.raw(a), this.raw(b)]
    const ll = op('mul', low(an), low(bn))
    const lh = op('mul', low(an), high(bn))
    const hl = op('mul', high(an), low(bn))
    const middle = op('add', op('add', high(ll), low(lh)), low(hl))
    const sum = op('add', op('add', op('mul', high(an), high(bn)), high(lh)), op('add', high(hl), high(middle)))
    return this.wrap(64, sum, true)
  }

  mulHiS(a: Val, b: Val): WVal {
    const sign = (v: Val, other: Val): WVal => this.and(this.sar(v, this.const(64, 63)), other)
    return this.sub(this.sub(this.mulHiU(a, b), sign(a, b)), sign(b, a))
  }

  select(cond: Val, a: Val, b: Val): WVal {
    const clean = (a as WVal).clean && (b as WVal).clean
    return this.wrap(a.width, this.f.pure('select', wasmType(a.width), [this.raw(a), this.raw(b), this.clean(cond)]), clean)
  }

  zext(a: Val, width: Width): WVal {
    if (width === a.width) return a as WVal
    if (width === 64) return this.wrap(64, this.asI64(a), true)
    return this.wrap(width, this.clean(a), true)
  }

  sext(a: Val, width: Width): WVal {
    if (width === a.width) return a as WVal
    const narrow = a.width === 1 ? this.f.pure('i32.sub', 'i32', [this.f.i32(0), this.clean(a)]) : this.signed(a)
    if (width === 64) return this.wrap(64, this.f.pure('i64.extend_i32_s', 'i64', [narrow]), true)
    return this.wrap(width, narrow, false)
  }

  trunc(a: Val, width: Width): WVal {
    if (width === a.width) return a as WVal
    const node = a.width === 64 ? this.f.pure('i32.wrap_i64', 'i32', [this.raw(a)]) : this.raw(a)
    if (width === 1) return this.wrap(1, this.f.pure('i32.and', 'i32', [node, this.f.i32(1)]), true)
    return this.wrap(width, node, false)
  }

  bit(a: Val, index: number): WVal {
    const t = wasmType(a.width)
    const shift = t === 'i64' ? this.f.i64(BigInt(index)) : this.f.i32(index)
    const node = this.f.pure(`${t}.shr_u`, t, [this.raw(a), shift])
    const low = t === 'i64' ? this.f.pure('i32.wrap_i64', 'i32', [node]) : node
    return this.wrap(1, this.f.pure('i32.and', 'i32', [low, this.f.i32(1)]), true)
  }

  // ── control ───────────────────────────────────────────────────────────────────────────────────────────────────

  if(cond: Val, then: () => void, otherwise?: () => void): void {
    this.f.if(this.clean(cond), then, otherwise)
  }

  loop(body: (control: LoopControl) => void): void {
    this.f.loop((label) => body({ break: () => this.f.jump(label, 'break'), continue: () => this.f.jump(label, 'continue') }))
  }

  variable(width: Width, init: Val): Var {
    const local = this.f.newLocal(wasmType(width) as ValType)
    const set = (v: Val): void => this.f.setLocal(local, this.clean(v))
    set(init)
    return { width, get: () => this.wrap(width, this.f.getLocal(local), true), set }
  }

  choose(cond: Val, then: () => Val, otherwise: () => Val): Val {
    // Both arms are built before the width is known, so the variable is made from the first arm's value.
    let result: { local: number; width: Width } | undefined
    const arm = (build: () => Val) => (): void => {
      const v = build()
      result ??= { local: this.f.newLocal(wasmType(v.width)), width: v.width }
      this.f.setLocal(result.local, this.clean(v))
    }
    this.f.if(this.clean(cond), arm(then), arm(otherwise))
    const { local, width } = result as unknown as { local: number; width: Width }
    return this.wrap(width, this.f.getLocal(local), true)
  }
}
