/** Writes scanned instructions as records of tier 0 (see `record.ts`). Runs for every instruction a guest reaches. */
import type { FormPlan } from '../decode/form-plan'
import { ADDRESS_16, ADDRESS_32, ADDRESS_64, Scan, type InsnScanner } from '../decode/scanner'
import type { Form } from '../isa/types'
import { offsetOf, Seg } from '../state/layout'
import { Mode } from '../state/mode'
import { Vector } from '../core/context'
import type { HandlerPlace } from './handler-table'
import { Rec, RECORD_SIZE } from './record'
import { ADDRESS_MASKS, AT_GPR, NO_PLAN, recordPlanOf, type RecordPlan, type RegisterField } from './record-plan'

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

const AT_ZERO = offsetOf('zero')
const AT_0XFFFF = offsetOf('mask16')
const AT_BLOCK_RIP = offsetOf('blockRip')
const AT_SEG_BASE = offsetOf('segBase')
const RECORD_WORDS = RECORD_SIZE / 4

// A record's words: each holds the fields that `Rec` places in it.
const HANDLER = Rec.handler / 4
const IMM = Rec.imm / 4
const DISPLACEMENT = Rec.displacement / 4
const REGISTERS = Rec.regA / 4
const ADDRESS = Rec.base / 4
const BASES = Rec.segBase / 4
const BYTES = Rec.scale / 4
const PLACE = Rec.delta / 4

const SPECIAL = 1 << 24

/** Sets of segments. Code segments are not written, and may be unreadable. */
const DATA = (1 << Seg.ES) | (1 << Seg.SS) | (1 << Seg.DS)
const DATA_AND_CODE = DATA | (1 << Seg.CS)

const addressRegister = (number: number): number => (number < 0 ? AT_ZERO : AT_GPR + 8 * number)

function registerField({ base, stride, mask, bytes }: RegisterField, number: number, rex: number): number {
  if (bytes && rex === 0 && number >= 4) return base + stride * (number - 4) + 1
  return base + stride * (number & mask)
}

export class RecordWriter {
  private readonly words: Int32Array
  /** By the number of the form's plan. */
  private readonly plans: RecordPlan[] = []
  /** Of the block being written. */
  private checked = 0
  private fpuTrap = false
  /** A bit for each segment whose base is 0 and whose accesses need no check. */
  private flat = 0
  /** Address size of accesses that mask their address as the stack does; see `Rec.special`. */
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
    words[at + PLACE] = delta | (count << 16)
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
    words[at + HANDLER] = plan.common !== 0 && this.isCommon(scan) ? plan.common : plan.slot
    words[at + REGISTERS] = registerField(plan.regA, scan.reg, scan.rex) | (registerField(plan.regB, scan.rm, scan.rex) << 16)
    words[at + IMM] = scan.constantLo
    words[at + DISPLACEMENT] = plan.wide ? scan.constantHi : scan.second
    words[at + PLACE] = delta | (count << 16)
    if (scan.isMemory) this.writeMemory(at, scan, plan, delta)
    else {
      words[at + ADDRESS] = 0
      words[at + BASES] = this.segmentBase(scan.dataSegment) | (plan.addressMask << 16)
      words[at + BYTES] = (scan.dataSegment << 8) | (this.checkedIn(scan.dataSegment) << 16) | (scan.length << 24)
    }
  }

  private isFlat(segment: number): boolean {
    return ((this.flat >> segment) & 1) !== 0
  }

  /** Implicit operands of the stack and of ES are in flat segments where that of DS, or what overrides it, is. */
  private checkedIn(segment: number): number {
    return this.isFlat(segment) ? 0 : this.checked
  }

  /** See `Rec.special`. */
  private isPlain(scan: InsnScanner): boolean {
    return this.isFlat(scan.segment) && scan.addressIndex === this.plainAddress
  }

  /** Where segments have limits, nothing that accesses memory is done in the common way. */
  private isCommon(scan: InsnScanner): boolean {
    return !scan.isMemory || this.flat !== 0
  }

  private writeMemory(at: number, scan: InsnScanner, plan: RecordPlan, delta: number): void {
    const { words } = this
    if (scan.ripRelative) this.writeRipRelative(at, scan.displacement + delta + scan.length)
    else {
      if (!plan.wide) words[at + DISPLACEMENT] = scan.displacement
      words[at + ADDRESS] = addressRegister(scan.base) | (addressRegister(scan.index) << 16)
    }
    if (!this.isPlain(scan)) words[at + PLACE] |= SPECIAL
    words[at + BASES] = this.segmentBase(scan.segment) | (ADDRESS_MASKS[scan.addressIndex] << 16)
    words[at + BYTES] = scan.scale | (scan.segment << 8) | (this.checkedIn(scan.segment) << 16) | (scan.length << 24)
  }

  /** The record's displacement is from the block's head. Where that takes more than 32 bits a constant field adds the rest. */
  private writeRipRelative(at: number, displacement: number): void {
    const fits = displacement <= 0x7fff_ffff
    this.words[at + DISPLACEMENT] = fits ? displacement : displacement - 0xffff
    this.words[at + ADDRESS] = AT_BLOCK_RIP | ((fits ? AT_ZERO : AT_0XFFFF) << 16)
  }

  private segmentBase(segment: number): number {
    return this.isFlat(segment) ? AT_ZERO : AT_SEG_BASE + 8 * segment
  }
}
