/**
 * What both translated tiers share: operands, addresses, registers and arms of instructions whose bytes are known. Where
 * registers and flags live, and how code is left, is the tier's matter.
 *
 * Nothing absolute is baked in: guest addresses count from `blockRip`, so code serves wherever its bytes stand at the same
 * page offset.
 */
import { BugError } from '../../errors'
import { Vector } from '../core/context'
import type { DecodedInsn, MemoryOperand } from '../decode/types'
import type { Emitter, Helper, LoopControl, MemRef, Val, Vec, Width } from '../emit/emitter'
import type { FunctionBuilder, Node } from '../emit/wasm/function'
import { wasmType } from '../emit/wasm/int-emitter'
import type { CallSlots } from '../interp/builder'
import { bytesOf, type AccessPath, type SlowPath, type WMem } from '../interp/memory-emitter'
import type { OperandPlace } from '../interp/places'
import { FIELDS, Seg, offsetOf, type FieldName } from '../state/layout'
import { Mode } from '../state/mode'
import { LazyFlagEmitter } from './lazy-flags'
import type { RegisterFile } from './register-file'

/** One instruction of a block. */
export interface BlockInsn {
  readonly insn: DecodedInsn
  readonly places: readonly OperandPlace[]
  /** Byte offset of its record, and of the one behind it, from the head record. */
  readonly record: number
  readonly next: number
  /** Byte distance from the block's first instruction. */
  readonly delta: number
  /** Instructions from the block's head up to and including this one. */
  readonly count: number
}

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
}

export interface BlockPlace {
  readonly modeKey: number
  /** Byte offset of the first instruction in its page. */
  readonly pageOffset: number
}

export abstract class OperandEmitter extends LazyFlagEmitter implements Emitter {
  protected abstract readonly regs: RegisterFile
  protected readonly code64: boolean
  protected readonly flat: boolean
  protected override readonly narrowLinear: boolean
  protected current!: BlockInsn
  protected terminated = false
  protected helperCalled = false
  protected tlb: Node | undefined
  /** The running instruction has set the TLB in force, on some way through it. */
  private tlbChanged = false
  private pendingWrites = new Map<number, (value: Node) => void>()

  constructor(f: FunctionBuilder, protected readonly links: BlockLinks, protected readonly place: BlockPlace) {
    super(f, f.param(0))
    this.code64 = (place.modeKey & Mode.CODE64) !== 0
    this.flat = (place.modeKey & Mode.FLAT) !== 0
    this.narrowLinear = (place.modeKey & Mode.LONG) === 0
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

  private requireRing0(): void {
    if ((this.place.modeKey & Mode.USER) !== 0) return this.raise(Vector.GP, 0)
    this.f.if(this.stateLoad('i32.load', 'i32', 'cpl'), this.inArm(() => this.raise(Vector.GP, 0)))
  }

  // ── addresses of instructions ─────────────────────────────────────────────────────────────────────────────────

  protected ripAt(delta: number): Node {
    const { f } = this
    const head = f.loadConstant('i64.load', 'i64', this.cpu, offsetOf('blockRip'))
    return f.pure('i64.add', 'i64', [head, f.i64(BigInt(delta))])
  }

  currentRip(): Val {
    return this.wrap(64, this.ripAt(this.current.delta), true)
  }

  nextRip(): Val {
    return this.wrap(64, this.ripAt(this.current.delta + this.current.insn.length), true)
  }

  /** Builds code of an arm the emitter's own `if`s make: what is computed there must not be used outside. */
  protected inArm(build: () => void): () => void {
    return () => {
      this.depth++
      build()
      this.depth--
    }
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
      f.if(f.pure('i64.ne', 'i32', [shifted, node]), this.inArm(() => this.raise(Vector.GP, 0)))
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
      f.if(pending, () => this.exitFault())
    }
    if (helper.returns === undefined) return this.const(32, 0)
    return this.wrap(helper.returns === 'i64' ? 64 : 32, result, true)
  }

  // ── arms and loops ────────────────────────────────────────────────────────────────────────────────────────────

  /** Builds arms; what they changed is unknown behind them. */
  private arms(build: (arm: <T>(inner: () => T) => () => T) => void): void {
    const { f } = this
    const mark = f.mark()
    const flags = this.flagState
    const outerTouched = this.flagsTouched
    this.flagsTouched = false
    const tlb = this.tlb
    const regs = this.regs.beginArms()
    this.depth++
    build((inner) => () => {
      this.flagState = flags
      this.tlb = tlb
      this.regs.restore(regs)
      return inner()
    })
    this.depth--
    this.flagState = flags
    this.regs.endArms(regs)
    this.tlb = this.helperCalled || this.tlbChanged ? undefined : tlb
    // One way may have stored new flags: the other must have stored the old ones.
    if (this.flagsTouched) {
      f.insertAt(mark, () => this.spillFlags())
      this.forgetFlags()
    }
    this.flagsTouched ||= outerTouched
  }

  override if(cond: Val, then: () => void, otherwise?: () => void): void {
    const node = this.clean(cond)
    if (node.op === 'const') return node.imm !== 0 ? then() : otherwise?.()
    this.arms((arm) => super.if(cond, arm(then), otherwise && arm(otherwise)))
  }

  override choose(cond: Val, then: () => Val, otherwise: () => Val): Val {
    const node = this.clean(cond)
    if (node.op === 'const') return node.imm !== 0 ? then() : otherwise()
    let result: Val | undefined
    this.arms((arm) => { result = super.choose(cond, arm(then), arm(otherwise)) })
    return result as Val
  }

  override loop(body: (control: LoopControl) => void): void {
    this.settleFlags()
    this.forgetFlags()
    this.regs.forgetAll()
    this.tlb = undefined
    this.depth++
    super.loop(body)
    this.depth--
    this.forgetFlags()
    this.regs.forgetAll()
    this.tlb = undefined
  }

  // ── state ─────────────────────────────────────────────────────────────────────────────────────────────────────

  protected override tlbBase(): Node {
    if (this.tlb) return this.tlb
    const node = super.tlbBase()
    if (this.depth === 0) this.tlb = node
    return node
  }

  /** Fields whose value follows from the mode. */
  private knownField(name: FieldName, index: number): Val | undefined {
    if (name === 'modeKey') return this.const(32, this.place.modeKey)
    if (name === 'stackMask' && this.flat) {
      if (this.code64) return this.const(64, -1n)
      return this.const(64, (this.place.modeKey & Mode.CODE32) !== 0 ? 0xffff_ffffn : 0xffffn)
    }
    const base = (name === 'dataBase' && index < Seg.FS) || name === 'stackBase' || name === 'codeBase'
    return base && this.flat ? this.const(64, 0n) : undefined
  }

  field(name: FieldName, index = 0): Val {
    const known = this.knownField(name, index)
    if (known) return known
    if (name === 'ccCarry') return this.wrap(64, this.carryNode(), true)
    if (name === 'ccResult') return this.wrap(64, this.resultNode(), true)
    const { type } = FIELDS[name]
    if (type === 'i64') return this.wrap(64, this.stateLoad('i64.load', 'i64', name, index), true)
    if (type === 'v128') throw new BugError(`${name} is a vector`)
    const op = { u8: 'i32.load8_u', u16: 'i32.load16_u', i32: 'i32.load' }[type]
    return this.wrap(32, this.stateLoad(op, 'i32', name, index), true)
  }

  setField(name: FieldName, value: Val, index = 0): void {
    if (name === 'gpr' || name === 'ccCarry' || name === 'ccResult') throw new BugError(`${name} is not set as a field`)
    const { type } = FIELDS[name]
    const at = offsetOf(name, index)
    if (name === 'tlbBase') {
      this.tlb = undefined
      this.tlbChanged = true
    }
    if (type === 'i64') return this.f.store('i64.store', this.cpu, this.asI64(value), at)
    const op = { u8: 'i32.store8', u16: 'i32.store16', i32: 'i32.store', v128: '' }[type]
    this.f.store(op, this.cpu, this.clean(value), at)
  }

  reg(index: number, width: Width): Val {
    const node = this.regs.read(index)
    if (width === 64) return this.wrap(64, this.code64 ? node : this.f.pure('i64.extend_i32_u', 'i64', [node]), true)
    const low = this.code64 ? this.f.pure('i32.wrap_i64', 'i32', [node]) : node
    return this.wrap(width, low, width === 32)
  }

  setReg(index: number, value: Val): void {
    switch (value.width) {
      case 8: return this.regs.writePart(index, 0, 8, this.clean(value))
      case 16: return this.regs.writePart(index, 0, 16, this.clean(value))
      default: return this.regs.write(index, this.asI64(value))
    }
  }

  regHigh8(index: number): Val {
    const low = this.raw(this.reg(index, 32))
    return this.wrap(8, this.f.pure('i32.shr_u', 'i32', [low, this.f.i32(8)]), false)
  }

  setRegHigh8(index: number, value: Val): void {
    this.regs.writePart(index, 8, 8, this.clean(value))
  }

  xmm(index: number): Vec {
    return this.vecOf(this.stateLoad('v128.load', 'v128', 'xmm', index))
  }

  setXmm(index: number, value: Vec): void {
    this.f.store('v128.store', this.cpu, this.nodeOf(value), offsetOf('xmm', index))
  }

  // ── operands ──────────────────────────────────────────────────────────────────────────────────────────────────

  private memory(n: number): MemoryOperand {
    const operand = this.current.insn.operands[n]
    if (operand.kind !== 'mem') throw new BugError(`operand ${n} of ${this.current.insn.row.mnemonic} has no address`)
    return operand
  }

  isMemory(n: number): boolean {
    return this.current.places[n].kind === 'mem'
  }

  operand(n: number, width?: Width): Val {
    const place = this.current.places[n]
    const operand = this.current.insn.operands[n]
    const w = width ?? place.width
    switch (operand.kind) {
      case 'mem': return this.readMemory(n, place, w)
      case 'gpr': return operand.high8 ? this.regHigh8(operand.index) : this.reg(operand.index, w)
      case 'xmm': case 'mmx': return this.readVectorPart(n, width ?? 64)
      case 'imm': return this.const(w, place.kind === 'const' ? place.value : BigInt.asIntN(64, operand.value))
      case 'rel': return this.const(64, operand.displacement)
      case 'far': return this.const(w, operand.offset)
      default: return this.const(32, place.kind === 'const' ? place.value : operand.index)
    }
  }

  private vectorField(n: number): number {
    const operand = this.current.insn.operands[n]
    if (operand.kind === 'xmm') return offsetOf('xmm', operand.index)
    if (operand.kind === 'mmx') return offsetOf('fpr', operand.index)
    throw new BugError(`operand ${n} of ${this.current.insn.row.mnemonic} is no vector`)
  }

  private readVectorPart(n: number, width: Width): Val {
    const op = { 1: '', 8: 'i32.load8_u', 16: 'i32.load16_u', 32: 'i32.load', 64: 'i64.load' }[width]
    return this.wrap(width, this.f.load(op, wasmType(width), this.cpu, this.vectorField(n)), true)
  }

  farSelector(n: number): Val {
    const operand = this.current.insn.operands[n]
    return this.const(16, operand.kind === 'far' ? operand.selector : 0)
  }

  private readMemory(n: number, place: OperandPlace, width: Width): Val {
    if (place.kind !== 'mem' || place.access !== 'rw') return this.load(width, this.memOperand(n))
    const { old, finish } = this.beginUpdate(this.memOperand(n) as unknown as WMem, bytesOf(width))
    this.pendingWrites.set(n, finish)
    return this.wrap(width, old, true)
  }

  setOperand(n: number, value: Val): void {
    const operand = this.current.insn.operands[n]
    switch (operand.kind) {
      case 'mem': {
        const finish = this.pendingWrites.get(n)
        return finish ? finish(this.raw(value)) : this.store(this.memOperand(n), value)
      }
      case 'gpr': return operand.high8 ? this.setRegHigh8(operand.index, value) : this.setReg(operand.index, value)
      case 'xmm': case 'mmx': {
        const op = { 1: '', 8: 'i32.store8', 16: 'i32.store16', 32: 'i32.store', 64: 'i64.store' }[value.width]
        return this.f.store(op, this.cpu, this.raw(value), this.vectorField(n))
      }
      default: throw new BugError(`operand ${n} of ${this.current.insn.row.mnemonic} cannot be written`)
    }
  }

  operandVec(n: number): Vec {
    if (this.isMemory(n)) return this.loadVec(this.memOperand(n))
    return this.vecOf(this.f.load('v128.load', 'v128', this.cpu, this.vectorField(n)))
  }

  setOperandVec(n: number, value: Vec): void {
    if (this.isMemory(n)) return this.storeVec(this.memOperand(n), value)
    this.f.store('v128.store', this.cpu, this.nodeOf(value), this.vectorField(n))
  }

  // ── effective addresses ───────────────────────────────────────────────────────────────────────────────────────

  effectiveAddress(n: number): Val {
    return this.addressOf(this.memory(n), 0n)
  }

  private addressOf(mem: MemoryOperand, extra: bigint): Val {
    const { current } = this
    let sum = this.const(64, mem.displacement + extra)
    if (mem.ripRelative) sum = this.add(this.wrap(64, this.ripAt(current.delta + current.insn.length), true), sum)
    if (mem.index >= 0) sum = this.add(this.shl(this.reg(mem.index, 64), this.const(64, mem.scale)), sum)
    if (mem.base >= 0) sum = this.add(this.reg(mem.base, 64), sum)
    return this.wrapAddress(sum, mem.addressSize)
  }

  private wrapAddress(sum: Val, addressSize: 16 | 32 | 64): Val {
    return addressSize === 64 ? sum : this.and(sum, this.const(64, addressSize === 32 ? 0xffff_ffffn : 0xffffn))
  }

  memOperand(n: number, byteOffset?: Val): MemRef {
    const mem = this.memory(n)
    const ea = this.addressOf(mem, 0n)
    return this.reference(mem.segment, byteOffset ? this.wrapAddress(this.add(ea, byteOffset), mem.addressSize) : ea)
  }

  memData(ea: Val): MemRef {
    const { insn } = this.current
    const mem = insn.operands.find((o) => o.kind === 'mem')
    return this.reference(mem?.kind === 'mem' ? mem.segment : insn.dataSegment, ea)
  }

  memSeg(seg: number, ea: Val): MemRef {
    return this.reference(seg, ea)
  }

  private reference(segment: number, ea: Val): MemRef {
    const unchecked = this.code64 || (this.flat && segment < Seg.FS && segment !== Seg.CS)
    const mem: WMem = {
      mem: true, address: this.raw(ea), segment: this.f.i32(segment),
      segmentBase: this.raw(this.field('dataBase', segment)), checked: unchecked ? undefined : this.f.i32(1),
    }
    return mem
  }

  requireAligned(n: number, bytes: number): void {
    if (!this.isMemory(n)) return
    const { f } = this
    const mem = this.memOperand(n) as unknown as WMem
    const sum = f.pure('i64.add', 'i64', [mem.address, mem.segmentBase])
    const low = f.pure('i64.and', 'i64', [sum, f.i64(BigInt(bytes - 1))])
    f.if(f.pure('i64.ne', 'i32', [low, f.i64(0n)]), this.inArm(() => this.raise(Vector.GP, 0)))
  }

  // ── stack ─────────────────────────────────────────────────────────────────────────────────────────────────────

  private moveStack(by: number): { top: Val; moved: Val; set: () => void } {
    const mask = this.field('stackMask')
    const rsp = this.reg(4, 64)
    const top = this.and(rsp, mask)
    const moved = this.and(this.add(rsp, this.const(64, by)), mask)
    const set = (): void => this.setReg(4, this.or(this.and(rsp, this.not(mask)), moved))
    return { top, moved, set }
  }

  push(value: Val): void {
    const { moved, set } = this.moveStack(-bytesOf(value.width))
    this.store(this.reference(Seg.SS, moved), value)
    set()
  }

  pop(width: Width): Val {
    const { top, set } = this.moveStack(bytesOf(width))
    const value = this.load(width, this.reference(Seg.SS, top))
    set()
    return value
  }
}
