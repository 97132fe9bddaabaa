/** The emitter of tier 0: one handler per form, operands read from the instruction's record at run time. */
import { BugError } from '../../errors'
import type { Emitter, Helper, LoopControl, MemRef, Val, Vec, Width } from '../emit/emitter'
import type { FunctionBuilder, Node } from '../emit/wasm/function'
import { wasmType } from '../emit/wasm/int-emitter'
import { Exit } from '../core/exits'
import { Vector } from '../core/context'
import type { Form } from '../isa/types'
import { FIELDS, Gpr, Seg, offsetOf, type FieldName } from '../state/layout'
import { MemoryEmitter, bytesOf, type AccessPath, type SlowPath, type WMem } from './memory-emitter'
import { Rec, RECORD_SIZE } from './record'
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

export class HandlerEmitter extends MemoryEmitter implements Emitter {
  private readonly pendingWrites = new Map<number, (value: Node) => void>()
  private terminated = false
  /** Nesting of arms and loops: only a jump outside them ends the handler for good. */
  private depth = 0

  constructor(
    f: FunctionBuilder,
    protected readonly links: HandlerLinks,
    protected readonly form: Form,
    private readonly places: readonly OperandPlace[],
  ) {
    super(f, f.param(0))
  }

  protected callSlow(path: SlowPath, args: readonly Node[]): Node {
    return this.f.call(this.links.slow[path], 'i32', args)
  }

  protected callAccess(path: AccessPath, linear: Node, access: Node, slot: number): Node {
    return this.callSlow(path, [this.cpu, ...this.halves(linear), access, this.f.i32(slot)])
  }

  /** The record of the running instruction. */
  protected get rec(): Node {
    return this.f.param(1)
  }

  protected recLoad(op: string, type: 'i32' | 'i64', offset: number): Node {
    return this.f.loadConstant(op, type, this.rec, offset)
  }

  /** Address of the vCPU field whose offset is in the record. */
  private fieldAt(offset: number): Node {
    return this.f.pure('i32.add', 'i32', [this.cpu, this.recLoad('i32.load16_u', 'i32', offset)])
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
    const delta = this.f.pure('i64.extend_i32_u', 'i64', [this.recLoad('i32.load16_u', 'i32', Rec.delta)])
    return this.wrap(64, this.f.pure('i64.add', 'i64', [this.stateLoad('i64.load', 'i64', 'blockRip'), delta]), true)
  }

  nextRip(): Val {
    const length = this.f.pure('i64.extend_i32_u', 'i64', [this.recLoad('i32.load8_u', 'i32', Rec.length)])
    return this.wrap(64, this.f.pure('i64.add', 'i64', [this.raw(this.currentRip()), length]), true)
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
    const count = this.recLoad('i32.load8_u', 'i32', Rec.count)
    const left = f.pure('i32.sub', 'i32', [this.stateLoad('i32.load', 'i32', 'sliceLeft'), count])
    f.store('i32.store', this.cpu, left, offsetOf('sliceLeft'))
    f.if(f.pure('i32.lt_s', 'i32', [left, f.i32(0)]), () => {
      f.store('i64.store', this.cpu, target, offsetOf('rip'))
      f.return(f.i32(Exit.SLICE))
    })
    f.tailCallIndirect(this.links.handlerType, [this.cpu, record], f.load('i32.load', 'i32', record, Rec.handler))
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
      const count = f.pure('i32.sub', 'i32', [this.recLoad('i32.load8_u', 'i32', Rec.count), f.i32(1)])
      f.store('i32.store', this.cpu, f.pure('i32.sub', 'i32', [left, count]), offsetOf('sliceLeft'))
      f.store('i64.store', this.cpu, this.raw(this.currentRip()), offsetOf('rip'))
      f.return(f.i32(Exit.SLICE))
    })
  }

  /** Writes the continuation after the meaning, by how the row ends a block. */
  finish(): void {
    if (this.terminated) return
    const { f } = this
    // INTO leaves only sometimes; nothing is decoded behind it in this block.
    if (this.form.row.ends === 'after' || this.form.row.ends === 'leave') {
      f.tailCall(this.links.goto, [this.cpu, this.raw(this.nextRip()), this.rec])
      return
    }
    this.goToNext()
  }

  /** Goes on with the record behind this one. */
  protected goToNext(): void {
    const { f } = this
    const next = f.pure('i32.add', 'i32', [this.rec, f.i32(RECORD_SIZE)])
    f.tailCallIndirect(this.links.handlerType, [this.cpu, next], f.load('i32.load', 'i32', this.rec, RECORD_SIZE + Rec.handler))
  }

  /** Checks that come before the meaning. */
  begin(): void {
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

  // ── state ─────────────────────────────────────────────────────────────────────────────────────────────────────

  field(name: FieldName, index = 0): Val {
    const { type } = FIELDS[name]
    if (type === 'i64') return this.wrap(64, this.stateLoad('i64.load', 'i64', name, index), true)
    if (type === 'v128') throw new BugError(`${name} is a vector`)
    const op = { u8: 'i32.load8_u', u16: 'i32.load16_u', i32: 'i32.load' }[type]
    return this.wrap(32, this.stateLoad(op, 'i32', name, index), true)
  }

  setField(name: FieldName, value: Val, index = 0): void {
    const { type } = FIELDS[name]
    const at = offsetOf(name, index)
    if (type === 'i64') return this.f.store('i64.store', this.cpu, this.asI64(value), at)
    const op = { u8: 'i32.store8', u16: 'i32.store16', i32: 'i32.store', v128: '' }[type]
    this.f.store(op, this.cpu, this.clean(value), at)
  }

  reg(index: number, width: Width): Val {
    return this.readGpr(this.cpu, offsetOf('gpr', index), width)
  }

  setReg(index: number, value: Val): void {
    this.writeGpr(this.cpu, offsetOf('gpr', index), value)
  }

  regHigh8(index: number): Val {
    return this.readGpr(this.cpu, offsetOf('gpr', index) + 1, 8)
  }

  setRegHigh8(index: number, value: Val): void {
    this.writeGpr(this.cpu, offsetOf('gpr', index) + 1, value)
  }

  private readGpr(base: Node, offset: number, width: Width): Val {
    const op = { 1: '', 8: 'i32.load8_u', 16: 'i32.load16_u', 32: 'i32.load', 64: 'i64.load' }[width]
    return this.wrap(width, this.f.load(op, wasmType(width), base, offset), true)
  }

  private writeGpr(base: Node, offset: number, value: Val): void {
    const { f } = this
    switch (value.width) {
      case 8: return f.store('i32.store8', base, this.raw(value), offset)
      case 16: return f.store('i32.store16', base, this.raw(value), offset)
      default: return f.store('i64.store', base, this.asI64(value), offset)
    }
  }

  xmm(index: number): Vec {
    return this.vecOf(this.stateLoad('v128.load', 'v128', 'xmm', index))
  }

  setXmm(index: number, value: Vec): void {
    this.f.store('v128.store', this.cpu, this.nodeOf(value), offsetOf('xmm', index))
  }

  // ── operands ──────────────────────────────────────────────────────────────────────────────────────────────────

  isMemory(n: number): boolean {
    return this.places[n].kind === 'mem'
  }

  private place(n: number): OperandPlace {
    const place = this.places[n] as OperandPlace | undefined
    if (!place) throw new BugError(`${this.form.row.mnemonic} has no operand ${n}`)
    return place
  }

  operand(n: number, width?: Width): Val {
    const place = this.place(n)
    const w = width ?? place.width
    switch (place.kind) {
      case 'mem': return this.readMemory(n, place, w)
      case 'gpr': return this.readGpr(this.fieldAt(place.slot), 0, w)
      case 'fixed-gpr': return place.high8 ? this.regHigh8(place.index) : this.reg(place.index, w)
      case 'vector': return this.readGpr(this.fieldAt(place.slot), 0, width ?? 64)
      case 'imm': return this.immediate(place, w)
      case 'const': return this.const(w, place.value)
      case 'number': return this.wrap(32, this.recLoad('i32.load16_u', 'i32', place.slot), true)
      case 'rel': return this.wrap(64, this.recLoad('i64.load32_s', 'i64', Rec.imm), true)
      case 'fixed-xmm': return this.readGpr(this.cpu, offsetOf('xmm', place.index), width ?? 64)
    }
  }

  private immediate(place: Extract<OperandPlace, { kind: 'imm' }>, width: Width): Val {
    if (width !== 64) return this.wrap(width, this.recLoad('i32.load', 'i32', place.slot), true)
    const load = place.wide ? 'i64.load' : place.width === 64 ? 'i64.load32_s' : 'i64.load32_u'
    return this.wrap(64, this.recLoad(load, 'i64', place.slot), true)
  }

  farSelector(): Val {
    return this.wrap(16, this.recLoad('i32.load16_u', 'i32', Rec.displacement), true)
  }

  private readMemory(n: number, place: Extract<OperandPlace, { kind: 'mem' }>, width: Width): Val {
    if (place.access !== 'rw') return this.load(width, this.memOperand(n))
    const { old, finish } = this.beginUpdate(this.memOperand(n) as unknown as WMem, bytesOf(width))
    this.pendingWrites.set(n, finish)
    return this.wrap(width, old, true)
  }

  setOperand(n: number, value: Val): void {
    const place = this.place(n)
    switch (place.kind) {
      case 'mem': {
        const finish = this.pendingWrites.get(n)
        return finish ? finish(this.raw(value)) : this.store(this.memOperand(n), value)
      }
      case 'gpr': return this.writeGpr(this.fieldAt(place.slot), 0, value)
      case 'fixed-gpr': return place.high8 ? this.setRegHigh8(place.index, value) : this.setReg(place.index, value)
      case 'vector': {
        const op = { 1: '', 8: 'i32.store8', 16: 'i32.store16', 32: 'i32.store', 64: 'i64.store' }[value.width]
        return this.f.store(op, this.fieldAt(place.slot), this.raw(value))
      }
      default: throw new BugError(`operand ${n} of ${this.form.row.mnemonic} cannot be written`)
    }
  }

  operandVec(n: number): Vec {
    const place = this.place(n)
    if (place.kind === 'mem') return this.loadVec(this.memOperand(n))
    if (place.kind === 'fixed-xmm') return this.xmm(place.index)
    if (place.kind !== 'vector') throw new BugError(`operand ${n} of ${this.form.row.mnemonic} is no vector`)
    return this.vecOf(this.f.load('v128.load', 'v128', this.fieldAt(place.slot)))
  }

  setOperandVec(n: number, value: Vec): void {
    const place = this.place(n)
    if (place.kind === 'mem') return this.storeVec(this.memOperand(n), value)
    if (place.kind === 'fixed-xmm') return this.setXmm(place.index, value)
    if (place.kind !== 'vector') throw new BugError(`operand ${n} of ${this.form.row.mnemonic} is no vector`)
    this.f.store('v128.store', this.fieldAt(place.slot), this.nodeOf(value))
  }

  /** Sum of the parts of an address, not yet cut to the address size. */
  private addressSum(n: number): Node {
    if (!this.isMemory(n)) throw new BugError(`operand ${n} of ${this.form.row.mnemonic} has no address`)
    const { f } = this
    const base = f.load('i64.load', 'i64', this.fieldAt(Rec.base))
    const scale = f.pure('i64.extend_i32_u', 'i64', [this.recLoad('i32.load8_u', 'i32', Rec.scale)])
    const index = f.pure('i64.shl', 'i64', [f.load('i64.load', 'i64', this.fieldAt(Rec.index)), scale])
    return f.pure('i64.add', 'i64', [f.pure('i64.add', 'i64', [base, index]), this.recLoad('i64.load32_s', 'i64', Rec.displacement)])
  }

  /** What is named by the record's field at `offset`, which no instruction that uses it changes before. */
  private constantField(offset: number): Node {
    return this.f.loadConstant('i64.load', 'i64', this.fieldAt(offset))
  }

  private masked(address: Node): Val {
    return this.wrap(64, this.f.pure('i64.and', 'i64', [address, this.constantField(Rec.addressMask)]), true)
  }

  effectiveAddress(n: number): Val {
    const place = this.place(n)
    if (place.kind === 'mem' && place.absolute) return this.wrap(64, this.recLoad('i64.load', 'i64', Rec.imm), true)
    return this.masked(this.addressSum(n))
  }

  memOperand(n: number, byteOffset?: Val): MemRef {
    const place = this.place(n)
    if (byteOffset) return this.memData(this.masked(this.raw(this.add(this.effectiveAddress(n), byteOffset))))
    if (place.kind === 'mem' && place.absolute) return this.memData(this.effectiveAddress(n))
    const sum = this.addressSum(n)
    // Where that is all, segments are flat, and the stack's size is the code's.
    const linear = this.f.pure('i64.and', 'i64', [sum, this.stateLoad('i64.load', 'i64', 'stackMask')])
    const otherwise = (): WMem => this.memData(this.masked(sum))
    return { ...otherwise(), plain: { linear, unless: this.recLoad('i32.load8_u', 'i32', Rec.special), otherwise } } as WMem
  }

  memData(ea: Val): WMem {
    return {
      mem: true,
      address: this.raw(ea),
      segmentBase: this.constantField(Rec.segBase),
      segment: this.recLoad('i32.load8_u', 'i32', Rec.segment),
      checked: this.checked(),
    } as WMem
  }

  memSeg(seg: number, ea: Val): MemRef {
    return { mem: true, address: this.raw(ea), segmentBase: this.segmentBase(seg), segment: this.f.i32(seg), checked: this.checked() } as WMem
  }

  private checked(): Node {
    return this.recLoad('i32.load8_u', 'i32', Rec.checked)
  }

  /** ES, CS, SS and DS bases count for nothing in 64-bit mode; the stack's effective base tells the mode. */
  private segmentBase(seg: number): Node {
    if (seg === Seg.SS) return this.stateLoad('i64.load', 'i64', 'stackBase')
    if (seg === Seg.FS || seg === Seg.GS) return this.stateLoad('i64.load', 'i64', 'segBase', seg)
    return this.stateLoad('i64.load', 'i64', 'dataBase', seg)
  }

  requireAligned(n: number, bytes: number): void {
    if (!this.isMemory(n)) return
    const { f } = this
    const mem = this.memOperand(n) as unknown as WMem
    const sum = f.pure('i64.add', 'i64', [mem.address, mem.segmentBase])
    const low = f.pure('i64.and', 'i64', [sum, f.i64(BigInt(bytes - 1))])
    f.if(f.pure('i64.ne', 'i32', [low, f.i64(0n)]), () => this.raise(Vector.GP, 0))
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
