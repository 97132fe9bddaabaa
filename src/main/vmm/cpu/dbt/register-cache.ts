/**
 * General registers of a block under translation: written through to the state block, and remembered, so that a register
 * read twice is loaded once. Registers are i64 in 64-bit mode and i32 elsewhere, where nothing sees their upper half.
 */
import type { FunctionBuilder, Node } from '../emit/wasm/function'
import { offsetOf } from '../state/layout'

type Known = Map<number, Node>

/** What was known before arms began, and what they overwrote. */
export interface ArmScope { readonly known: Known; readonly written: Set<number>; readonly outer: ArmScope | undefined; all: boolean }

export class RegisterCache {
  private known: Known = new Map()
  private scope: ArmScope | undefined

  constructor(private readonly f: FunctionBuilder, private readonly cpu: Node, private readonly wide: boolean) {}

  /** Value of a register: i64 in 64-bit mode, else its low half as i32. */
  read(index: number): Node {
    let node = this.known.get(index)
    if (!node) {
      node = this.wide ? this.f.load('i64.load', 'i64', this.cpu, offsetOf('gpr', index)) : this.f.load('i32.load', 'i32', this.cpu, offsetOf('gpr', index))
      this.known.set(index, node)
    }
    return node
  }

  /** Whole register, as i64 with the upper half it is to have. */
  write(index: number, value: Node): void {
    this.f.store('i64.store', this.cpu, value, offsetOf('gpr', index))
    this.set(index, this.wide ? value : this.f.pure('i32.wrap_i64', 'i32', [value]))
  }

  /** 8 or 16 bits from bit `shift`; the rest stays. `value` is an i32 without bits above `width`. */
  writePart(index: number, shift: 0 | 8, width: 8 | 16, value: Node): void {
    const { f } = this
    f.store(width === 8 ? 'i32.store8' : 'i32.store16', this.cpu, value, offsetOf('gpr', index) + shift / 8)
    const old = this.known.get(index)
    this.known.delete(index)
    this.scope?.written.add(index)
    // Loading what was just stored in part stalls the host, so the whole is put together where the old value is at hand.
    if (old) this.known.set(index, this.merge(old, shift, width, value))
  }

  private merge(old: Node, shift: number, width: number, value: Node): Node {
    const { f } = this
    const moved = f.pure('i32.shl', 'i32', [value, f.i32(shift)])
    const hole = ((2 ** width - 1) << shift) >>> 0
    if (!this.wide) return f.pure('i32.or', 'i32', [f.pure('i32.and', 'i32', [old, f.i32(~hole)]), moved])
    const kept = f.pure('i64.and', 'i64', [old, f.i64(~BigInt(hole))])
    return f.pure('i64.or', 'i64', [kept, f.pure('i64.extend_i32_u', 'i64', [moved])])
  }

  private set(index: number, node: Node): void {
    this.known.set(index, node)
    this.scope?.written.add(index)
  }

  forgetAll(): void {
    this.known = new Map()
    if (this.scope) this.scope.all = true
  }

  // ── arms: what is known before them holds in each; what one of them writes is unknown behind them ─────────────

  beginArms(): ArmScope {
    this.scope = { known: this.known, written: new Set(), outer: this.scope, all: false }
    return this.scope
  }

  restore(scope: ArmScope): void {
    this.known = new Map(scope.known)
  }

  endArms(scope: ArmScope): void {
    const { outer } = scope
    this.scope = outer
    this.known = scope.all ? new Map() : new Map(scope.known)
    for (const index of scope.written) {
      this.known.delete(index)
      outer?.written.add(index)
    }
    if (outer && scope.all) outer.all = true
  }
}
