/** What an instruction of tier 0 works on: state, and operands read from its record at run time. */
import { BugError } from '../../errors'
import type { MemRef, Val, Vec, Width } from '../emit/emitter'
import type { FunctionBuilder, Node } from '../emit/wasm/function'
import { wasmType } from '../emit/wasm/int-emitter'
import { Vector } from '../core/context'
import type { Form } from '../isa/types'
import { FIELDS, Seg, offsetOf, type FieldName } from '../state/layout'
import { MemoryEmitter, bytesOf, type WMem } from './memory-emitter'
import { ADDRESS_FIELDS, ACCESS_SHIFT, INDEX_BYTES, MORE_ADDRESS, Place, Rec } from './record'
import { accessField } from './record-loads'
import type { OperandPlace } from './places'

export abstract class RecordOperands extends MemoryEmitter {
  private readonly pendingWrites = new Map<number, (value: Node) => void>()

  constructor(f: FunctionBuilder, protected readonly form: Form, protected readonly places: readonly OperandPlace[]) {
    super(f, f.param(0))
  }

  abstract raise(vector: number, errorCode?: Val | number): void

  /** The record of the running instruction. */
  protected get rec(): Node {
    return this.f.param(1)
  }

  protected recLoad(op: string, type: 'i32' | 'i64', offset: number): Node {
    return this.f.loadConstant(op, type, this.rec, offset)
  }

  /** Address of a register less that of the first of its kind, whose distance is in the record. */
  private fieldAt(offset: number): Node {
    return this.f.pure('i32.add', 'i32', [this.cpu, this.recLoad('i32.load8_u', 'i32', offset)])
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
      case 'gpr': return this.readGpr(this.fieldAt(place.slot), offsetOf('gpr'), w)
      case 'fixed-gpr': return place.high8 ? this.regHigh8(place.index) : this.reg(place.index, w)
      case 'vector': return this.readGpr(this.fieldAt(place.slot), offsetOf(place.file), width ?? 64)
      case 'imm': return this.immediate(place, w)
      case 'const': return this.const(w, place.value)
      case 'number': return this.wrap(32, this.recLoad('i32.load8_u', 'i32', place.slot), true)
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
      case 'gpr': return this.writeGpr(this.fieldAt(place.slot), offsetOf('gpr'), value)
      case 'fixed-gpr': return place.high8 ? this.setRegHigh8(place.index, value) : this.setReg(place.index, value)
      case 'vector': {
        const op = { 1: '', 8: 'i32.store8', 16: 'i32.store16', 32: 'i32.store', 64: 'i64.store' }[value.width]
        return this.f.store(op, this.fieldAt(place.slot), this.raw(value), offsetOf(place.file))
      }
      default: throw new BugError(`operand ${n} of ${this.form.row.mnemonic} cannot be written`)
    }
  }

  operandVec(n: number): Vec {
    const place = this.place(n)
    if (place.kind === 'mem') return this.loadVec(this.memOperand(n))
    if (place.kind === 'fixed-xmm') return this.xmm(place.index)
    if (place.kind !== 'vector') throw new BugError(`operand ${n} of ${this.form.row.mnemonic} is no vector`)
    return this.vecOf(this.f.load('v128.load', 'v128', this.fieldAt(place.slot), offsetOf(place.file)))
  }

  setOperandVec(n: number, value: Vec): void {
    const place = this.place(n)
    if (place.kind === 'mem') return this.storeVec(this.memOperand(n), value)
    if (place.kind === 'fixed-xmm') return this.setXmm(place.index, value)
    if (place.kind !== 'vector') throw new BugError(`operand ${n} of ${this.form.row.mnemonic} is no vector`)
    this.f.store('v128.store', this.fieldAt(place.slot), this.nodeOf(value), offsetOf(place.file))
  }

  private requireMemory(n: number): void {
    if (!this.isMemory(n)) throw new BugError(`operand ${n} of ${this.form.row.mnemonic} has no address`)
  }

  /** Base and displacement, which are most addresses whole. Not yet cut to the address size, as all of these. */
  private baseSum(): Node {
    const { f } = this
    const base = f.load('i64.load', 'i64', this.fieldAt(Rec.base), offsetOf(ADDRESS_FIELDS))
    return f.pure('i64.add', 'i64', [base, this.recLoad('i64.load32_s', 'i64', Rec.displacement)])
  }

  /** Those and the index. */
  private addressSum(): Node {
    const { f } = this
    const packed = this.recLoad('i32.load8_u', 'i32', Rec.index)
    const at = f.pure('i32.add', 'i32', [this.cpu, f.pure('i32.and', 'i32', [packed, f.i32(INDEX_BYTES)])])
    const scale = f.pure('i64.extend_i32_u', 'i64', [f.pure('i32.and', 'i32', [packed, f.i32(3)])])
    const index = f.pure('i64.shl', 'i64', [f.load('i64.load', 'i64', at, offsetOf(ADDRESS_FIELDS)), scale])
    return f.pure('i64.add', 'i64', [this.baseSum(), index])
  }

  /** An element of 64 bits of a state array, which no instruction that uses it changes before. */
  private constantAt(name: FieldName, index: Node): Node {
    const { f } = this
    const at = f.pure('i32.add', 'i32', [this.cpu, f.pure('i32.shl', 'i32', [index, f.i32(3)])])
    return f.loadConstant('i64.load', 'i64', at, offsetOf(name))
  }

  /** Masks stand behind the stack's by address size. */
  private masked(address: Node): Val {
    const mask = this.constantAt('stackMask', accessField(this.f, this.rec, Place.addressSize, 3))
    return this.wrap(64, this.f.pure('i64.and', 'i64', [address, mask]), true)
  }

  effectiveAddress(n: number): Val {
    const place = this.place(n)
    if (place.kind === 'mem' && place.absolute) return this.wrap(64, this.recLoad('i64.load', 'i64', Rec.imm), true)
    this.requireMemory(n)
    return this.masked(this.addressSum())
  }

  memOperand(n: number, byteOffset?: Val): MemRef {
    const place = this.place(n)
    if (byteOffset) return this.memData(this.masked(this.raw(this.add(this.effectiveAddress(n), byteOffset))))
    if (place.kind === 'mem' && place.absolute) return this.memData(this.effectiveAddress(n))
    this.requireMemory(n)
    const { f } = this
    // Where that is all, segments are flat, and the stack's size is the code's.
    const linear = f.pure('i64.and', 'i64', [this.baseSum(), this.stateLoad('i64.load', 'i64', 'stackMask')])
    const unless = f.pure('i32.and', 'i32', [this.recLoad('i32.load16_u', 'i32', Rec.address), f.i32(MORE_ADDRESS)])
    const otherwise = (): WMem => this.memData(this.masked(this.addressSum()))
    return { ...otherwise(), plain: { linear, unless, otherwise } } as WMem
  }

  memData(ea: Val): WMem {
    return {
      mem: true,
      address: this.raw(ea),
      segmentBase: this.constantAt('dataBase', this.segment()),
      segment: this.segment(),
      checked: this.checked(),
    } as WMem
  }

  memSeg(seg: number, ea: Val): MemRef {
    return { mem: true, address: this.raw(ea), segmentBase: this.segmentBase(seg), segment: this.f.i32(seg), checked: this.checked() } as WMem
  }

  private segment(): Node {
    return accessField(this.f, this.rec, Place.segment, 7)
  }

  private checked(): Node {
    return this.f.pure('i32.and', 'i32', [this.recLoad('i32.load8_u', 'i32', Rec.access), this.f.i32(1 << (Place.checked - ACCESS_SHIFT))])
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
}
