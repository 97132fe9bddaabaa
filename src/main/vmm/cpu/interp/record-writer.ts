/** Writes scanned instructions as records of tier 0 (see `record.ts`). Runs for every instruction a guest reaches. */
import type { FormPlan } from '../decode/form-plan'
import { ADDRESS_16, ADDRESS_32, ADDRESS_64, Scan, type InsnScanner } from '../decode/scanner'
import type { Form } from '../isa/types'
import { offsetOf, Seg } from '../state/layout'
import { Mode } from '../state/mode'
import { Vector } from '../core/context'
import type { HandlerPlace } from './handler-table'
import { ADDRESS_FIELDS, Place, Rec, RECORD_SIZE } from './record'
import { NO_PLAN, recordPlanOf, type RecordPlan, type RegisterField } from './record-plan'

/** Table slots of the pseudo-instructions and handlers. */
export interface HandlerSlots {
  readonly resync: number
  readonly next: number
  readonly unitCheck: number
  readonly raise: number
  readonly crossing: number
  readonly head: number
  /** Slot and operand places of a form's handler. */
  of(form: Form): HandlerPlace
}

/** Fields that are base or index of an address, by their distance from the first in bytes. */
const addressField = (field: 'gpr' | 'mask16' | 'blockRip'): number => offsetOf(field) - offsetOf(ADDRESS_FIELDS)
const GPR = addressField('gpr')
const INDEX_0XFFFF = addressField('mask16')
const BLOCK_RIP = addressField('blockRip')
const RECORD_WORDS = RECORD_SIZE / 4

// A record's words: each holds the fields that `Rec` places in it.
const HANDLER = Rec.handler / 4
const IMM = Rec.imm / 4
const DISPLACEMENT = Rec.displacement / 4
const PLACE = Rec.place / 4

/** Sets of segments. Code segments are not written, and may be unreadable. */
const DATA = (1 << Seg.ES) | (1 << Seg.SS) | (1 << Seg.DS)
const DATA_AND_CODE = DATA | (1 << Seg.CS)

/** Shifts of what the handler's word holds too. */
const REG_A = 8 * Rec.regA
const REG_B = 8 * Rec.regB
const NEXT = 8 * Rec.next

const addressRegister = (number: number): number => (number < 0 ? 0 : GPR + 8 * number)

function registerField({ stride, mask, bytes }: RegisterField, number: number, rex: number): number {
  if (bytes && rex === 0 && number >= 4) return stride * (number - 4) + 1
  return stride * (number & mask)
}

/** Where an instruction stands in its block. @param length 0 of no instruction */
const placeOf = (delta: number, count: number, length: number): number => (delta << Place.delta) | (count << Place.count) | (length << Place.length)

export class RecordWriter {
  private readonly words: Int32Array
  /** By the number of the form's plan. */
  private readonly plans: RecordPlan[] = []
  /** Of the block being written. */
  private checked = 0
  private fpuTrap = false
  /** A bit for each segment whose base is 0 and whose accesses need no check. */
  private flat = 0
  /** Address size of accesses that mask their address as the stack does; see `Place.addressSize`. */
  private plainAddress = 0

  constructor(buffer: ArrayBufferLike, private readonly slots: HandlerSlots) {
    this.words = new Int32Array(buffer)
  }

  /**
   * What the records that follow have in common.
   * @param checked accesses must be held to segment limits
   */
  begin(modeKey: number, checked: boolean): void {
    this.checked = checked ? 1 : 0
    this.fpuTrap = (modeKey & Mode.FPU_TRAP) !== 0
    const code64 = (modeKey & Mode.CODE64) !== 0
    this.flat = code64 ? DATA_AND_CODE : (modeKey & Mode.FLAT) !== 0 ? DATA : 0
    this.plainAddress = code64 ? ADDRESS_64 : (modeKey & Mode.CODE32) !== 0 ? ADDRESS_32 : ADDRESS_16
  }

  /**
   * A record that is no instruction.
   * @param delta bytes from the block's first instruction
   * @param count instructions of the block up to and including it
   */
  pseudo(rec: number, slot: number, delta: number, count: number): void {
    const { words } = this
    const at = rec >> 2
    for (let word = at; word < at + RECORD_WORDS; word++) words[word] = 0
    words[at + HANDLER] = slot
    words[at + PLACE] = placeOf(delta, count, 0)
  }

  /** An instruction that does not decode: its exception. @returns the end of the records */
  failure(rec: number, failure: Scan, delta: number, count: number): number {
    this.pseudo(rec, this.slots.raise, delta, count)
    const generalProtection = failure === Scan.TOO_LONG || failure === Scan.TRUNCATED
    this.words[(rec >> 2) + IMM] = generalProtection ? Vector.GP : Vector.UD
    this.words[(rec >> 2) + DISPLACEMENT] = generalProtection ? 0 : -1
    return rec + RECORD_SIZE
  }

  /** The instruction just scanned. Place as in `pseudo`. @returns the end of the records */
  insn(rec: number, scan: InsnScanner, delta: number, count: number): number {
    const plan = this.planOf(scan.plan)
    let here = rec
    if (plan.unit >= 0 && this.fpuTrap) {
      this.pseudo(here, this.slots.unitCheck, delta, count)
      this.words[(here >> 2) + IMM] = plan.unit
      here += RECORD_SIZE
    }
    this.write(here >> 2, scan, plan, delta, count)
    return here + RECORD_SIZE
  }

  private planOf(form: FormPlan): RecordPlan {
    const { plans } = this
    while (plans.length <= form.number) plans.push(NO_PLAN)
    if (plans[form.number] === NO_PLAN) plans[form.number] = recordPlanOf(form, this.slots)
    return plans[form.number]
  }

  private write(at: number, scan: InsnScanner, plan: RecordPlan, delta: number, count: number): void {
    const { words } = this
    const slot = plan.common !== 0 && this.isCommon(scan) ? plan.common : plan.slot
    const operands = plan.relative ? (delta + scan.length) << NEXT : (registerField(plan.regA, scan.reg, scan.rex) << REG_A) | (registerField(plan.regB, scan.rm, scan.rex) << REG_B)
    words[at + HANDLER] = slot | operands
    words[at + IMM] = scan.constantLo
    words[at + DISPLACEMENT] = plan.wide ? scan.constantHi : scan.second
    const place = placeOf(delta, count, scan.length)
    if (scan.isMemory) this.writeMemory(at, scan, plan, place)
    else words[at + PLACE] = place | this.access(scan.dataSegment, plan.addressIndex)
  }

  private isFlat(segment: number): boolean {
    return ((this.flat >> segment) & 1) !== 0
  }

  /** Implicit operands of the stack and of ES are in flat segments where that of DS, or what overrides it, is. */
  private checkedIn(segment: number): number {
    return this.isFlat(segment) ? 0 : this.checked
  }

  /** Segment and address size of accesses that are not plain. */
  private access(segment: number, addressIndex: number): number {
    return (segment << Place.segment) | (this.checkedIn(segment) << Place.checked) | ((addressIndex + 1) << Place.addressSize)
  }

  /** See `Place.addressSize`. */
  private isPlain(scan: InsnScanner): boolean {
    return this.isFlat(scan.segment) && scan.addressIndex === this.plainAddress
  }

  /** Where segments have limits, nothing that accesses memory is done in the common way. */
  private isCommon(scan: InsnScanner): boolean {
    return !scan.isMemory || this.flat !== 0
  }

  private writeMemory(at: number, scan: InsnScanner, plan: RecordPlan, place: number): void {
    const { words } = this
    const access = this.isPlain(scan) ? scan.segment << Place.segment : this.access(scan.segment, scan.addressIndex)
    if (scan.ripRelative) this.writeRipRelative(at, scan, place | access)
    else {
      if (!plan.wide) words[at + DISPLACEMENT] = scan.displacement
      words[at + HANDLER] |= addressRegister(scan.base) << (8 * Rec.base)
      words[at + PLACE] = place | access | addressRegister(scan.index) | scan.scale
    }
  }

  /** The record's displacement is from the block's head. Where that takes more than 32 bits a constant field adds the rest. */
  private writeRipRelative(at: number, scan: InsnScanner, place: number): void {
    const { words } = this
    const displacement = scan.displacement + (place >>> Place.delta) + scan.length
    const fits = displacement <= 0x7fff_ffff
    words[at + DISPLACEMENT] = fits ? displacement : displacement - 0xffff
    words[at + HANDLER] |= BLOCK_RIP << (8 * Rec.base)
    words[at + PLACE] = place | (fits ? 0 : INDEX_0XFFFF)
  }
}
