/** The emitter of tier 0: one handler per form. Where it goes, what it calls, and the stack; operands are `RecordOperands`'s. */
import type { Emitter, Helper, LoopControl, Val, MemRef, Width } from '../emit/emitter'
import type { FunctionBuilder, Node } from '../emit/wasm/function'
import { Exit } from '../core/exits'
import { Vector } from '../core/context'
import type { Form } from '../isa/types'
import { Gpr, Seg, offsetOf } from '../state/layout'
import { bytesOf, type AccessPath, type SlowPath, type WMem } from './memory-emitter'
import { Rec, RECORD_SIZE } from './record'
import { countOf, deltaOf, handlerOf, lengthOf } from './record-loads'
import { RecordOperands } from './record-operands'
import type { OperandPlace } from './places'

/** Indices of the functions every handler may call or continue with. */
export interface HandlerLinks {
  /** Indices of the slow paths. */
  readonly slow: Readonly<Record<SlowPath, number>>
  /** Type index of handlers: (cpu, rec) → exit. */
  readonly handlerType: number
  /** (cpu, rec) → exit: pending exception. */
  readonly fault: number
  /** (cpu, rip: i64, rec) → exit: continue anywhere. */
  readonly goto: number
  /** (cpu, rip: i64, rec) → exit: continue at a static target and remember it in the record. */
  readonly link: number
  /** Index of the import of a helper. */
  helper(helper: Helper): number
}

export class HandlerEmitter extends RecordOperands implements Emitter {
  private terminated = false
  /** The mode key before an instruction that may change it. */
  private modeBefore: Node | undefined
  /** Nesting of arms and loops: only a jump outside them ends the handler for good. */
  private depth = 0

  constructor(f: FunctionBuilder, protected readonly links: HandlerLinks, form: Form, places: readonly OperandPlace[]) {
    super(f, form, places)
  }

  protected callSlow(path: SlowPath, args: readonly Node[]): Node {
    return this.f.call(this.links.slow[path], 'i32', args)
  }

  protected callAccess(path: AccessPath, linear: Node, access: Node, slot: number): Node {
    return this.callSlow(path, [this.cpu, ...this.halves(linear), access, this.f.i32(slot)])
  }

  // ── where the handler goes ────────────────────────────────────────────────────────────────────────────────────

  protected exitFault(): void {
    this.f.tailCall(this.links.fault, [this.cpu, this.rec])
  }

  raise(vector: number, errorCode?: Val | number): void {
    const { f } = this
    f.store('i32.store', this.cpu, f.i32(vector), offsetOf('faultVector'))
    f.store('i32.store', this.cpu, f.i32(errorCode === undefined ? 0 : 1), offsetOf('faultHasError'))
    const code = errorCode === undefined ? f.i32(0) : typeof errorCode === 'number' ? f.i32(errorCode) : this.clean(errorCode)
    f.store('i32.store', this.cpu, code, offsetOf('faultError'))
    this.exitFault()
  }

  currentRip(): Val {
    return this.ripAt(deltaOf(this.f, this.rec))
  }

  nextRip(): Val {
    const { f, rec } = this
    if (this.places.some(({ kind }) => kind === 'rel')) return this.ripAt(this.recLoad('i32.load16_u', 'i32', Rec.next))
    return this.ripAt(f.pure('i32.add', 'i32', [deltaOf(f, rec), lengthOf(f, rec)]))
  }

  /** @param distance from the block's first instruction */
  private ripAt(distance: Node): Val {
    const { f } = this
    return this.wrap(64, f.pure('i64.add', 'i64', [this.stateLoad('i64.load', 'i64', 'blockRip'), f.pure('i64.extend_i32_u', 'i64', [distance])]), true)
  }

  /** Next RIP plus the relative operand, wrapped to the operand size. */
  private relativeTarget(): Node {
    const { f } = this
    const sum = f.pure('i64.add', 'i64', [this.raw(this.nextRip()), this.recLoad('i64.load32_s', 'i64', Rec.imm)])
    if (this.form.size === 64) return sum
    return f.pure('i64.and', 'i64', [sum, f.i64(this.form.size === 16 ? 0xffffn : 0xffff_ffffn)])
  }

  branchRelative(cond: Val): void {
    this.f.if(this.clean(cond), () => this.jumpLinked())
  }

  jumpRelative(): void {
    this.jumpLinked()
    this.terminate()
  }

  private terminate(): void {
    if (this.depth === 0) this.terminated = true
  }

  private nested<A extends unknown[], R>(build: (...args: A) => R): (...args: A) => R {
    return (...args) => {
      this.depth++
      const result = build(...args)
      this.depth--
      return result
    }
  }

  override if(cond: Val, then: () => void, otherwise?: () => void): void {
    super.if(cond, this.nested(then), otherwise && this.nested(otherwise))
  }

  override choose(cond: Val, then: () => Val, otherwise: () => Val): Val {
    return super.choose(cond, this.nested(then), this.nested(otherwise))
  }

  override loop(body: (control: LoopControl) => void): void {
    super.loop(this.nested(body))
  }

  /** Static target: through the record's link when it is there, else by lookup. */
  private jumpLinked(): void {
    const { f } = this
    const target = this.relativeTarget()
    const link = f.load('i32.load', 'i32', this.rec, Rec.link)
    f.if(link, () => this.enterBlock(target, link))
    this.jumpUnlinked(target)
  }

  /** Leaves the block for another whose head record is known, unless the slice is over. */
  protected enterBlock(target: Node, record: Node): void {
    const { f } = this
    f.store('i64.store', this.cpu, target, offsetOf('blockRip'))
    const left = f.pure('i32.sub', 'i32', [this.stateLoad('i32.load', 'i32', 'sliceLeft'), countOf(f, this.rec)])
    f.store('i32.store', this.cpu, left, offsetOf('sliceLeft'))
    f.if(f.pure('i32.lt_s', 'i32', [left, f.i32(0)]), () => {
      f.store('i64.store', this.cpu, target, offsetOf('rip'))
      f.return(f.i32(Exit.SLICE))
    })
    f.tailCallIndirect(this.links.handlerType, [this.cpu, record], handlerOf(f, record))
  }

  /** To a static target that the record has no link to. */
  protected jumpUnlinked(target: Node): void {
    this.f.tailCall(this.links.link, [this.cpu, target, this.rec])
  }

  /** To a target known at run time. */
  protected jumpAnywhere(target: Node): void {
    this.f.tailCall(this.links.goto, [this.cpu, target, this.rec])
  }

  jumpTo(target: Val): void {
    const { f } = this
    const node = this.raw(target)
    if (this.form.size === 64) {
      const shifted = f.pure('i64.shr_s', 'i64', [f.pure('i64.shl', 'i64', [node, f.i64(16n)]), f.i64(16n)])
      f.if(f.pure('i64.ne', 'i32', [shifted, node]), () => this.raise(Vector.GP, 0))
    }
    this.jumpAnywhere(node)
    this.terminate()
  }

  leave(): void {
    this.f.tailCall(this.links.goto, [this.cpu, this.stateLoad('i64.load', 'i64', 'rip'), this.rec])
    this.terminate()
  }

  checkpoint(): void {
    const { f } = this
    const left = f.pure('i32.sub', 'i32', [this.stateLoad('i32.load', 'i32', 'sliceLeft'), f.i32(1)])
    f.store('i32.store', this.cpu, left, offsetOf('sliceLeft'))
    f.if(f.pure('i32.lt_s', 'i32', [left, f.i32(0)]), () => {
      const count = f.pure('i32.sub', 'i32', [countOf(f, this.rec), f.i32(1)])
      f.store('i32.store', this.cpu, f.pure('i32.sub', 'i32', [left, count]), offsetOf('sliceLeft'))
      f.store('i64.store', this.cpu, this.raw(this.currentRip()), offsetOf('rip'))
      f.return(f.i32(Exit.SLICE))
    })
  }

  /** Writes the continuation after the meaning, by how the row ends a block. */
  finish(): void {
    if (this.terminated) return
    const { f } = this
    if (this.modeBefore) this.leaveIfChanged(this.modeBefore)
    // INTO leaves only sometimes; nothing is decoded behind it in this block.
    if (this.form.row.ends === 'after' || this.form.row.ends === 'leave') {
      f.tailCall(this.links.goto, [this.cpu, this.raw(this.nextRip()), this.rec])
      return
    }
    this.goToNext()
  }

  /** The records behind this one are of the mode there was, and hold off who asked generated code to come back. */
  private leaveIfChanged(modeBefore: Node): void {
    const { f } = this
    const changed = f.pure('i32.ne', 'i32', [this.stateLoad('i32.load', 'i32', 'modeKey'), modeBefore])
    const asked = f.pure('i32.lt_s', 'i32', [this.stateLoad('i32.load', 'i32', 'sliceLeft'), f.i32(0)])
    f.if(f.pure('i32.or', 'i32', [changed, asked]), () => f.tailCall(this.links.goto, [this.cpu, this.raw(this.nextRip()), this.rec]))
  }

  /** Goes on with the record behind this one. */
  protected goToNext(): void {
    const { f } = this
    const next = f.pure('i32.add', 'i32', [this.rec, f.i32(RECORD_SIZE)])
    f.tailCallIndirect(this.links.handlerType, [this.cpu, next], handlerOf(f, this.rec, RECORD_SIZE))
  }

  /** Checks that come before the meaning. */
  begin(): void {
    if (this.form.row.ends === 'changed') {
      const before = this.f.newLocal('i32')
      this.f.setLocal(before, this.stateLoad('i32.load', 'i32', 'modeKey'))
      this.modeBefore = this.f.finalLocal(before)
    }
    if (!this.form.row.privileged) return
    this.f.if(this.stateLoad('i32.load', 'i32', 'cpl'), () => this.raise(Vector.GP, 0))
  }

  call(helper: Helper, ...args: Val[]): Val {
    const { f } = this
    if (!helper.isolated) {
      f.store('i64.store', this.cpu, this.raw(this.currentRip()), offsetOf('rip'))
      f.store('i64.store', this.cpu, this.raw(this.nextRip()), offsetOf('nextRip'))
    }
    const nodes = args.map((a, i) => (helper.args[i] === 'i64' ? this.asI64(a) : this.clean(a)))
    const result = f.call(this.links.helper(helper), helper.returns, [this.cpu, ...nodes])
    if (helper.faults) {
      const pending = f.pure('i32.ge_s', 'i32', [this.stateLoad('i32.load', 'i32', 'faultVector'), f.i32(0)])
      f.if(pending, () => this.exitFault())
    }
    if (helper.returns === undefined) return this.const(32, 0)
    return this.wrap(helper.returns === 'i64' ? 64 : 32, result, true)
  }

  // ── stack ─────────────────────────────────────────────────────────────────────────────────────────────────────

  private stackRef(offset: Node): MemRef {
    return this.memSeg(Seg.SS, this.wrap(64, offset, true))
  }

  /** RSP with its low part replaced, as the stack size says. */
  private setStackPointer(value: Node, mask: Node): void {
    const { f } = this
    const rsp = this.stateLoad('i64.load', 'i64', 'gpr', 4)
    const kept = f.pure('i64.and', 'i64', [rsp, f.pure('i64.xor', 'i64', [mask, f.i64(-1n)])])
    f.store('i64.store', this.cpu, f.pure('i64.or', 'i64', [kept, value]), offsetOf('gpr', 4))
  }

  private movedStack(by: number): { top: Node; moved: Node; mask: Node } {
    const { f } = this
    const mask = this.stateLoad('i64.load', 'i64', 'stackMask')
    const rsp = this.stateLoad('i64.load', 'i64', 'gpr', 4)
    const top = f.pure('i64.and', 'i64', [rsp, mask])
    const moved = f.pure('i64.and', 'i64', [f.pure('i64.add', 'i64', [rsp, f.i64(BigInt(by))]), mask])
    return { top, moved, mask }
  }

  /** A stack of 64 bits is that of 64-bit mode: no mask, no base, no limit. */
  private flatStack(offset: Node): MemRef {
    return { mem: true, address: offset, segmentBase: this.f.i64(0n), segment: this.f.i32(Seg.SS), checked: undefined } as WMem
  }

  private movedPointer(by: number): Node {
    return this.f.pure('i64.add', 'i64', [this.stateLoad('i64.load', 'i64', 'gpr', Gpr.RSP), this.f.i64(BigInt(by))])
  }

  push(value: Val): void {
    if (value.width === 64) {
      const top = this.movedPointer(-8)
      this.store(this.flatStack(top), value)
      return this.f.store('i64.store', this.cpu, top, offsetOf('gpr', Gpr.RSP))
    }
    const { moved, mask } = this.movedStack(-bytesOf(value.width))
    this.store(this.stackRef(moved), value)
    this.setStackPointer(moved, mask)
  }

  pop(width: Width): Val {
    if (width === 64) {
      const value = this.load(64, this.flatStack(this.movedPointer(0)))
      this.f.store('i64.store', this.cpu, this.movedPointer(8), offsetOf('gpr', Gpr.RSP))
      return value
    }
    const { top, moved, mask } = this.movedStack(bytesOf(width))
    const value = this.load(width, this.stackRef(top))
    this.setStackPointer(moved, mask)
    return value
  }
}
