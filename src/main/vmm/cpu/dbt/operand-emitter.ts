/** Operands, effective addresses and the stack of instructions whose bytes are known: what both translated tiers share. */
import { BugError } from '../../errors'
import { Vector } from '../core/context'
import type { MemoryOperand } from '../decode/types'
import type { MemRef, Val, Vec, Width } from '../emit/emitter'
import type { Node } from '../emit/wasm/function'
import { wasmType } from '../emit/wasm/int-emitter'
import { bytesOf, type WMem } from '../interp/memory-emitter'
import type { OperandPlace } from '../interp/places'
import { Seg, offsetOf } from '../state/layout'
import { CONSTANT_BYTES } from './own-constants'
import { StateEmitter } from './state-emitter'

export abstract class OperandEmitter extends StateEmitter {
  /** How to write back what the running instruction reads and writes, by operand. */
  protected pendingWrites = new Map<number, (value: Node) => void>()

  abstract raise(vector: number, errorCode?: Val | number): void
  /** The list of the code's own constants: its address, and the byte offset of the first of them. */
  protected abstract constantList(): { readonly list: Node; readonly at: number }

  /** A constant of the running instruction, from the list where it may be another one at the next boot. */
  private constant(width: Width, value: bigint): Val {
    const { place: { constants, pageOffset }, current } = this
    return this.listed(width, value, constants.indexOf(pageOffset + current.delta, current.insn, value, width))
  }

  /** The displacement of an operand from RIP. */
  private distance({ displacement, segment }: MemoryOperand): Val {
    const { place: { constants, pageOffset }, current } = this
    const index = segment < Seg.FS ? undefined : constants.indexOfDistance(pageOffset + current.delta, current.insn, displacement)
    return this.listed(64, displacement, index)
  }

  /** @param index in the list; undefined: it is not there */
  private listed(width: Width, value: bigint, index: number | undefined): Val {
    if (index === undefined) return this.const(width, value)
    const { list, at } = this.constantList()
    const op = width === 64 ? 'i64.load32_s' : 'i32.load'
    return this.wrap(width, this.f.loadConstant(op, wasmType(width), list, at + CONSTANT_BYTES * index), true)
  }

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
      case 'imm': return place.kind === 'const' ? this.const(w, place.value) : this.constant(w, BigInt.asIntN(64, operand.value))
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
    return this.addressOf(this.memory(n))
  }

  private addressOf(mem: MemoryOperand): Val {
    const { current } = this
    let sum = mem.ripRelative ? this.distance(mem) : this.constant(64, mem.displacement)
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
    const ea = this.addressOf(mem)
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
    f.unlikely(f.pure('i64.ne', 'i32', [low, f.i64(0n)]), this.inArm(() => this.raise(Vector.GP, 0)))
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
