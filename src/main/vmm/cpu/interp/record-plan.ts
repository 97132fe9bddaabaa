/** What writing a record of a form needs, worked out once: no names, letters or sizes are looked at for each instruction. */
import { Constant, type FormPlan } from '../decode/form-plan'
import type { ParsedOperand } from '../isa/notation'
import type { OperandPlace } from './places'
import { Rec } from './record'
import type { HandlerSlots } from './record-writer'

export const UNIT_CODE = { x87: 0, mmx: 1, sse: 2 } as const

/** A register operand's byte in the record: `stride * (number & mask)`. */
export interface RegisterField {
  readonly stride: number
  readonly mask: number
  /** Without REX, 4 … 7 are the high bytes of 0 … 3. */
  readonly bytes: boolean
}

export interface RecordPlan {
  /** Table slot of the handler, and of the case of the switch (0: none). */
  readonly slot: number
  readonly common: number
  /** Code of the unit that must be available, -1 none. */
  readonly unit: number
  /** Operand in ModRM.reg or the opcode, and the one in ModRM.rm. */
  readonly regA: RegisterField
  readonly regB: RegisterField
  /** The constant has 64 bits. */
  readonly wide: boolean
  /** The branch displacement stands in the record: so does where the next instruction is. */
  readonly relative: boolean
  /** Size of implicit addresses, where there is no memory operand: 0, 1 and 2 for 16, 32 and 64 bits. */
  readonly addressIndex: number
}

const NOTHING: RegisterField = { stride: 0, mask: 0, bytes: false }
/** Of no form. */
export const NO_PLAN: RecordPlan = { slot: 0, common: 0, unit: -1, regA: NOTHING, regB: NOTHING, wide: false, relative: false, addressIndex: 0 }
const XMM: RegisterField = { stride: 16, mask: 15, bytes: false }
const MMX: RegisterField = { stride: 16, mask: 7, bytes: false }
const SEGMENT: RegisterField = { stride: 1, mask: 7, bytes: false }
const NUMBER: RegisterField = { stride: 1, mask: 15, bytes: false }

function fieldOf(operand: ParsedOperand, place: OperandPlace): RegisterField {
  switch (place.kind) {
    case 'gpr': return { stride: 8, mask: 15, bytes: place.width === 8 }
    case 'vector': return place.file === 'fpr' ? MMX : XMM
    default: return operand.kind === 'code' && operand.letter === 'S' ? SEGMENT : NUMBER
  }
}

export function recordPlanOf({ form, row, operands, first }: FormPlan, slots: HandlerSlots): RecordPlan {
  const { slot, common, places } = slots.of(form)
  const fieldAt = (wanted: number): RegisterField => {
    const n = places.findIndex((place) => (place.kind === 'gpr' || place.kind === 'vector' || place.kind === 'number') && place.slot === wanted)
    return n < 0 ? NOTHING : fieldOf(operands[n].operand, places[n])
  }
  return {
    slot, common, unit: row.unit ? UNIT_CODE[row.unit] : -1, regA: fieldAt(Rec.regA), regB: fieldAt(Rec.regB),
    wide: first === Constant.U64 || first === Constant.MOFFS, relative: places.some(({ kind }) => kind === 'rel'), addressIndex: [16, 32, 64].indexOf(form.addressSize),
  }
}
