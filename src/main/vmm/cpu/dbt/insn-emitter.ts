/**
 * What both translated tiers share of instructions as a whole: their meanings, exceptions, jumps and calls of helpers. How code is
 * left is the tier's matter.
 */
import { BugError } from '../../errors'
import { Vector } from '../core/context'
import type { Emitter, Helper, Val } from '../emit/emitter'
import type { FunctionBuilder, Node } from '../emit/wasm/function'
import type { CallSlots } from '../interp/builder'
import type { AccessPath, SlowPath } from '../interp/memory-emitter'
import { offsetOf } from '../state/layout'
import { Mode } from '../state/mode'
import { OperandEmitter } from './operand-emitter'
import type { BlockInsn, BlockPlace } from './state-emitter'

/** Where the slot stands in the word that tells a slow path of the access: behind bytes and segment. */
export const ACCESS_SLOT_SHIFT = 16

/** What a block calls or continues with: functions of the module under construction, and slots of the table. */
export interface BlockLinks {
  readonly calls: CallSlots
  /** Jumps back after which a loop is reported; 0: never. */
  readonly hotLoopAfter: number
  /** Type index of the slow paths: five i32 → i32. */
  readonly slowType: number
  helperType(helper: Helper): number
  /** Type index of handlers and blocks: (cpu, rec) → exit. */
  readonly handlerType: number
  /** (cpu, rec) → exit: pending exception, or the instruction again on tier 0. */
  readonly fault: number
  /** (cpu, head, record | flag code << LEAVE_FLAGS_SHIFT, a, b) → exit: `fault` at a record, once its flags are stored. */
  readonly leave: number
  /** (cpu, linear, access | scratch slot << ACCESS_SLOT_SHIFT) → status: the slow paths of accesses. */
  readonly load: number
  readonly store: number
  readonly probe: number
  readonly commit: number
  /** (cpu, rip, rec) → exit: charge the slice and continue anywhere. */
  readonly goto: number
  /** (cpu, rip, rec) → exit: the same, and remember the target in the record. */
  readonly link: number
  /** (cpu, rip, head) → 0: tells that the loop that begins there is hot. */
  readonly report: number
}

export abstract class InsnEmitter extends OperandEmitter implements Emitter {
  protected terminated = false

  constructor(f: FunctionBuilder, protected readonly links: BlockLinks, place: BlockPlace) {
    super(f, place)
  }

  /** Goes on at an address that is known only now; `target` i64. */
  protected abstract leaveTo(target: Node): void
  /** As `leaveTo` where the mode may have changed too. */
  protected abstract leaveMode(target: Node): void
  /** Goes on at a static target, `delta` bytes from the first instruction; NaN: the target may wrap. */
  protected abstract jumpStatic(target: Node, delta: number, kind: 'branch' | 'jump' | 'call'): void
  abstract checkpoint(): void
  /** Calls a helper that may read and change any state: none of it may be in wasm locals alone, before and after. */
  protected abstract callExposed(helper: Helper, args: readonly Val[]): Val

  protected callSlow(path: SlowPath, args: readonly Node[]): Node {
    return this.f.callIndirect(this.links.slowType, 'i32', args, this.f.i32(this.links.calls.slow[path]))
  }

  protected callAccess(path: AccessPath, linear: Node, access: Node, slot: number): Node {
    const packed = this.f.pure('i32.or', 'i32', [access, this.f.i32(slot << ACCESS_SLOT_SHIFT)])
    return this.f.call(this.links[path], 'i32', [this.cpu, linear, packed])
  }

  /** The meaning of one instruction. */
  protected translate(at: BlockInsn): void {
    this.current = at
    this.pendingWrites = new Map()
    this.helperCalled = false
    this.tlbChanged = false
    const { row } = at.insn.form
    if (row.privileged) this.requireRing0()
    if (!this.terminated) row.meaning(this, at.insn.form)
  }

  /** The mode in force is not that of the code. */
  protected isOtherMode(): Node {
    return this.f.pure('i32.ne', 'i32', [this.stateLoad('i32.load', 'i32', 'modeKey'), this.f.i32(this.place.modeKey)])
  }

  private requireRing0(): void {
    if ((this.place.modeKey & Mode.USER) !== 0) return this.raise(Vector.GP, 0)
    this.f.unlikely(this.stateLoad('i32.load', 'i32', 'cpl'), this.inArm(() => this.raise(Vector.GP, 0)))
  }

  raise(vector: number, errorCode?: Val | number): void {
    const { f } = this
    f.store('i32.store', this.cpu, f.i32(vector), offsetOf('faultVector'))
    f.store('i32.store', this.cpu, f.i32(errorCode === undefined ? 0 : 1), offsetOf('faultHasError'))
    const code = errorCode === undefined ? f.i32(0) : typeof errorCode === 'number' ? f.i32(errorCode) : this.clean(errorCode)
    f.store('i32.store', this.cpu, code, offsetOf('faultError'))
    this.exitFault()
    this.terminate()
  }

  private relative(): { target: Node; delta: number } {
    const { insn, delta } = this.current
    const operand = insn.operands.find((o) => o.kind === 'rel')
    if (operand?.kind !== 'rel') throw new BugError(`${insn.row.mnemonic} has no relative operand`)
    const distance = delta + insn.length + Number(operand.displacement)
    const { size } = insn.form
    const sum = this.ripAt(distance)
    if (size === 64) return { target: sum, delta: distance }
    return { target: this.f.pure('i64.and', 'i64', [sum, this.f.i64(size === 16 ? 0xffffn : 0xffff_ffffn)]), delta: size === 16 ? NaN : distance }
  }

  branchRelative(cond: Val): void {
    const taken = this.clean(cond)
    if (taken.op === 'const' && taken.imm === 0) return
    const { target, delta } = this.relative()
    this.f.if(taken, this.inArm(() => this.jumpStatic(target, delta, 'branch')))
  }

  jumpRelative(kind: 'jump' | 'call'): void {
    const { target, delta } = this.relative()
    this.jumpStatic(target, delta, kind)
    this.terminate()
  }

  jumpTo(target: Val): void {
    const { f } = this
    const node = this.raw(target)
    if (this.current.insn.form.size === 64) {
      const shifted = f.pure('i64.shr_s', 'i64', [f.pure('i64.shl', 'i64', [node, f.i64(16n)]), f.i64(16n)])
      f.unlikely(f.pure('i64.ne', 'i32', [shifted, node]), this.inArm(() => this.raise(Vector.GP, 0)))
    }
    this.leaveTo(node)
    this.terminate()
  }

  leave(): void {
    this.leaveMode(this.stateLoad('i64.load', 'i64', 'rip'))
    this.terminate()
  }

  protected terminate(): void {
    if (this.depth === 0) this.terminated = true
  }

  /** Calls a helper; the caller has put the state where the helper looks for it. */
  protected callHelper(helper: Helper, args: readonly Node[]): Node {
    const { f } = this
    f.store('i64.store', this.cpu, this.raw(this.currentRip()), offsetOf('rip'))
    f.store('i64.store', this.cpu, this.raw(this.nextRip()), offsetOf('nextRip'))
    this.helperCalled = true
    return this.callSlot(helper, args)
  }

  private callSlot(helper: Helper, args: readonly Node[]): Node {
    const { f } = this
    const slot = this.links.calls.helper.get(helper)
    if (slot === undefined) throw new BugError(`helper ${helper.name} has no slot`)
    return f.callIndirect(this.links.helperType(helper), helper.returns, [this.cpu, ...args], f.i32(slot))
  }

  call(helper: Helper, ...args: Val[]): Val {
    if (!helper.isolated) return this.callExposed(helper, args)
    return this.helperResult(helper, this.callSlot(helper, this.helperArguments(helper, args)))
  }

  protected helperArguments(helper: Helper, args: readonly Val[]): Node[] {
    return args.map((a, i) => (helper.args[i] === 'i64' ? this.asI64(a) : this.clean(a)))
  }

  protected helperResult(helper: Helper, result: Node): Val {
    const { f } = this
    if (helper.faults) {
      const pending = f.pure('i32.ge_s', 'i32', [this.stateLoad('i32.load', 'i32', 'faultVector'), f.i32(0)])
      f.unlikely(pending, () => this.exitFault())
    }
    if (helper.returns === undefined) return this.const(32, 0)
    return this.wrap(helper.returns === 'i64' ? 64 : 32, result, true)
  }
}
