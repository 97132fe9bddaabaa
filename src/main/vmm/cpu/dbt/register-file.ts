/**
 * General registers of code under translation. A value once read or written is remembered as a node, so that a register
 * read twice is loaded once. Registers are i64 in 64-bit mode and i32 elsewhere, where nothing sees their upper half.
 */
import type { FunctionBuilder, Node } from '../emit/wasm/function'
import { offsetOf } from '../state/layout'

type Known = Map<number, Node>

/** What was known before arms began, and what they overwrote. */
export interface ArmScope { readonly known: Known; readonly written: Set<number>; readonly outer: ArmScope | undefined; all: boolean }

export abstract class RegisterFile {
  private known: Known = new Map()
  private scope: ArmScope | undefined

  constructor(protected readonly f: FunctionBuilder, protected readonly wide: boolean) {}

  protected abstract load(index: number): Node
  /** `value` i64 in 64-bit mode, else i32. */
  protected abstract store(index: number, value: Node): void
  /** Part of a register whose whole value is not known here. Returns false where `merge` must do it. */
  protected abstract storePart(index: number, shift: 0 | 8, width: 8 | 16, value: Node): boolean

  /** Value of a register: i64 in 64-bit mode, else its low half as i32. */
  read(index: number): Node {
    let node = this.known.get(index)
    if (!node) {
      node = this.load(index)
      this.known.set(index, node)
    }
    return node
  }

  /** Whole register, as i64 with the upper half it is to have. */
  write(index: number, value: Node): void {
    const node = this.wide ? value : this.f.pure('i32.wrap_i64', 'i32', [value])
    this.store(index, node)
    this.set(index, node)
  }

  /** 8 or 16 bits from bit `shift`; the rest stays. `value` is an i32 without bits above `width`. */
  writePart(index: number, shift: 0 | 8, width: 8 | 16, value: Node): void {
    if (!this.storePart(index, shift, width, value)) {
      const whole = this.merge(this.read(index), shift, width, value)
      this.store(index, whole)
      return this.set(index, whole)
    }
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

/** Tier 1: every write goes to the state block at once. */
export class WriteThroughRegisters extends RegisterFile {
  constructor(f: FunctionBuilder, private readonly cpu: Node, wide: boolean) {
    super(f, wide)
  }

  protected load(index: number): Node {
    const at = offsetOf('gpr', index)
    return this.wide ? this.f.load('i64.load', 'i64', this.cpu, at) : this.f.load('i32.load', 'i32', this.cpu, at)
  }

  protected store(index: number, value: Node): void {
    this.f.storeAgain('i64.store', this.cpu, this.wide ? value : this.f.pure('i64.extend_i32_u', 'i64', [value]), offsetOf('gpr', index))
  }

  protected storePart(index: number, shift: 0 | 8, width: 8 | 16, value: Node): boolean {
    this.f.store(width === 8 ? 'i32.store8' : 'i32.store16', this.cpu, value, offsetOf('gpr', index) + shift / 8)
    return true
  }
}

/** Tier 2: registers are wasm locals, loaded at the function's entry and stored on its ways out. */
export class LocalRegisters extends RegisterFile {
  private readonly locals = new Map<number, number>()
  /** Registers the code writes somewhere. */
  readonly written = new Set<number>()

  /** Registers in use, with their locals. */
  get inUse(): ReadonlyMap<number, number> {
    return this.locals
  }

  private local(index: number): number {
    let local = this.locals.get(index)
    if (local === undefined) {
      local = this.f.newLocal(this.wide ? 'i64' : 'i32')
      this.locals.set(index, local)
    }
    return local
  }

  protected load(index: number): Node {
    return this.f.getLocal(this.local(index))
  }

  protected store(index: number, value: Node): void {
    this.written.add(index)
    this.f.setLocal(this.local(index), value)
  }

  protected storePart(): boolean {
    return false
  }

  /** Loads every register in use from the state block. */
  loadAll(cpu: Node): void {
    const { f } = this
    for (const [index, local] of this.locals) {
      const at = offsetOf('gpr', index)
      f.setLocal(local, this.wide ? f.load('i64.load', 'i64', cpu, at) : f.load('i32.load', 'i32', cpu, at))
    }
  }

  /** Stores every register that may have changed. */
  storeAll(cpu: Node): void {
    const { f } = this
    for (const index of this.written) {
      const value = f.getLocal(this.local(index))
      f.store('i64.store', cpu, this.wide ? value : f.pure('i64.extend_i32_u', 'i64', [value]), offsetOf('gpr', index))
    }
  }
}
