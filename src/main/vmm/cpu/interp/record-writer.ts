/** Writes decoded instructions as records of tier 0 (see `record.ts`). Runs for every instruction a guest reaches. */
import type { DecodedInsn, DecodedOperand, MemoryOperand, DecodeFailure } from '../decode/types'
import type { Form } from '../isa/types'
import { offsetOf, Seg } from '../state/layout'
import { Mode } from '../state/mode'
import { Vector } from '../core/context'
import type { OperandPlace } from './places'
import { Rec, RECORD_SIZE } from './record'

/** Table slots of the pseudo-instructions and handlers. */
export interface HandlerSlots {
  readonly resync: number
  readonly next: number
  readonly unitCheck: number
  readonly raise: number
  readonly crossing: number
  readonly head: number
  /** Slot and operand places of a form's handler. */
  of(form: Form): { readonly slot: number; readonly places: readonly OperandPlace[] }
}

export const UNIT_CODE = { x87: 0, mmx: 1, sse: 2 } as const

// Decoding runs for every instruction a guest reaches: nothing is looked up by name in it.
const AT_GPR = offsetOf('gpr')
const AT_XMM = offsetOf('xmm')
const AT_FPR = offsetOf('fpr')
const AT_ZERO = offsetOf('zero')
const AT_BLOCK_RIP = offsetOf('blockRip')
const AT_SEG_BASE = offsetOf('segBase')
const ADDRESS_MASK = { 16: offsetOf('mask16'), 32: offsetOf('mask32'), 64: offsetOf('mask64') } as const

/** Where an instruction stands in its block. */
export interface RecordPlace {
  /** Bytes from the block's first instruction. */
  readonly delta: number
  /** Instructions of the block up to and including it. */
  readonly count: number
  /** Address of the code page's map. */
  readonly page: number
  readonly modeKey: number
  /** Accesses must be held to segment limits. */
  readonly checked: boolean
}

export class RecordWriter {
  private readonly view: DataView
  private readonly words: Uint32Array

  constructor(buffer: ArrayBufferLike, private readonly slots: HandlerSlots) {
    this.view = new DataView(buffer)
    this.words = new Uint32Array(buffer)
  }

  /** A record that is no instruction, or the fixed part of one. */
  pseudo(rec: number, slot: number, delta: number, count: number, page: number): void {
    // A loop: for so few words a call of `fill` takes longer than the rest of decoding.
    for (let word = rec >> 2; word < (rec + RECORD_SIZE) >> 2; word++) this.words[word] = 0
    this.words[(rec + Rec.handler) >> 2] = slot
    this.view.setUint16(rec + Rec.delta, delta, true)
    this.view.setUint16(rec + Rec.count, count, true)
    this.words[(rec + Rec.page) >> 2] = page
  }

  /** An instruction that does not decode: its exception. @returns the end of the records */
  failure(rec: number, failure: DecodeFailure, delta: number, count: number): number {
    this.pseudo(rec, this.slots.raise, delta, count, 0)
    const generalProtection = failure.kind === 'too-long' || failure.kind === 'truncated'
    this.view.setInt32(rec + Rec.imm, generalProtection ? Vector.GP : Vector.UD, true)
    this.view.setInt32(rec + Rec.displacement, generalProtection ? 0 : -1, true)
    return rec + RECORD_SIZE
  }

  /** @returns the end of the records */
  insn(rec: number, insn: DecodedInsn, at: RecordPlace): number {
    let here = rec
    if (insn.row.unit && (at.modeKey & Mode.FPU_TRAP) !== 0) {
      this.pseudo(here, this.slots.unitCheck, at.delta, at.count, at.page)
      this.view.setInt32(here + Rec.imm, UNIT_CODE[insn.row.unit], true)
      here += RECORD_SIZE
    }
    const { slot, places } = this.slots.of(insn.form)
    this.pseudo(here, slot, at.delta, at.count, at.page)
    const { view } = this
    view.setUint8(here + Rec.length, insn.length)
    view.setUint8(here + Rec.checked, at.checked ? 1 : 0)
    view.setUint32(here + Rec.row, insn.rowIndex, true)
    this.writeSegment(here, insn.dataSegment, at.modeKey)
    view.setUint16(here + Rec.addressMask, ADDRESS_MASK[insn.form.addressSize], true)
    insn.operands.forEach((operand, i) => this.writeOperand(here, operand, places[i], insn.length, at))
    return here + RECORD_SIZE
  }

  private writeSegment(rec: number, segment: number, modeKey: number): void {
    const flat = (modeKey & Mode.CODE64) !== 0 && segment < Seg.FS
    this.view.setUint16(rec + Rec.segBase, flat ? AT_ZERO : AT_SEG_BASE + 8 * segment, true)
    this.view.setUint8(rec + Rec.segment, segment)
  }

  private writeOperand(
    rec: number, operand: DecodedOperand, place: OperandPlace, length: number, at: { delta: number; modeKey: number },
  ): void {
    const { view } = this
    switch (operand.kind) {
      case 'gpr':
        if (place.kind === 'gpr') view.setUint16(rec + place.slot, AT_GPR + 8 * operand.index + (operand.high8 ? 1 : 0), true)
        break
      case 'xmm': case 'mmx':
        if (place.kind === 'vector') view.setUint16(rec + place.slot, (operand.kind === 'xmm' ? AT_XMM : AT_FPR) + 16 * operand.index, true)
        break
      case 'segment': case 'control': case 'debug':
        if (place.kind === 'number') view.setUint16(rec + place.slot, operand.index, true)
        break
      case 'imm':
        if (place.kind === 'imm') view.setBigInt64(rec + place.slot, BigInt.asIntN(64, operand.value), true)
        break
      case 'rel': view.setBigInt64(rec + Rec.imm, operand.displacement, true); break
      case 'far':
        view.setBigInt64(rec + Rec.imm, operand.offset, true)
        view.setBigInt64(rec + Rec.displacement, BigInt(operand.selector), true)
        break
      case 'mem': this.writeMemory(rec, operand, length, at)
    }
  }

  private writeMemory(rec: number, mem: MemoryOperand, length: number, at: { delta: number; modeKey: number }): void {
    const { view } = this
    const register = (index: number): number => (index < 0 ? AT_ZERO : AT_GPR + 8 * index)
    const displacement = Number(mem.displacement) + (mem.ripRelative ? at.delta + length : 0)
    if (Number.isSafeInteger(displacement)) {
      view.setInt32(rec + Rec.displacement, displacement | 0, true)
      view.setInt32(rec + Rec.displacement + 4, Math.floor(displacement / 2 ** 32), true)
    } else view.setBigInt64(rec + Rec.displacement, BigInt.asIntN(64, mem.displacement), true)
    view.setUint16(rec + Rec.base, mem.ripRelative ? AT_BLOCK_RIP : register(mem.base), true)
    view.setUint16(rec + Rec.index, register(mem.index), true)
    view.setUint8(rec + Rec.scale, mem.index < 0 ? 0 : mem.scale)
    view.setUint16(rec + Rec.addressMask, ADDRESS_MASK[mem.addressSize], true)
    this.writeSegment(rec, mem.segment, at.modeKey)
  }
}
