/** What the scanner needs to know of a form, worked out once: which constants follow, which registers do not exist, what comes next. */
import { formSize, shapeOf } from '../isa/forms'
import type { ParsedOperand, ParsedOperandWithAccess } from '../isa/notation'
import type { Form, InsnRow } from '../isa/types'
import { Seg } from '../state/layout'

/** How a constant in the code is read: bytes, and the width its sign or zeros reach. */
export const Constant = {
  NONE: 0, U8: 1, U16: 2, U32: 3, U64: 4, S8_TO_16: 5, S8_TO_32: 6, S8_TO_64: 7, S16_TO_64: 8, S32_TO_64: 9,
  /** The address of MOV A0–A3, as long as addresses are. */
  MOFFS: 10,
} as const
export type Constant = (typeof Constant)[keyof typeof Constant]

/** What becomes of a block behind an instruction. */
export const Ends = {
  NO: 0,
  /** A branch that may fall through. */
  MAYBE: 1,
  YES: 2,
} as const
export type Ends = (typeof Ends)[keyof typeof Ends]

export interface FormPlan {
  readonly form: Form
  readonly row: InsnRow
  /** Position of the row in the table. */
  readonly rowIndex: number
  /** Unlike any other plan's of the same scanner, from 0 up: for what others keep for each. */
  readonly number: number
  readonly operands: readonly ParsedOperandWithAccess[]
  /** Constants in the order of the code. */
  readonly first: Constant
  readonly second: Constant
  /** LOCK is allowed. */
  readonly lockable: boolean
  /** Bit n set: ModRM.reg = n names no segment register, or one that may not be loaded. */
  readonly badSegments: number
  readonly ends: Ends
}

/** Sizes of code, as `FormTable.at` takes them. */
export const Code = { BITS16: 0, BITS32: 1, BITS64: 2 } as const

const REPS = ['none', 'rep', 'repne'] as const
const ADDRESS_SIZES = [16, 32, 64] as const
const FORMS_PER_REP = ADDRESS_SIZES.length * 2 * 3 * 2 * 2

/** The forms of a row by what chooses them. Each is found when first asked for: a guest uses a fraction of the table. */
export class FormTable {
  /** null: not asked for yet. */
  private found: (FormPlan | undefined | null)[] | undefined
  private readonly plans = new Map<Form, FormPlan>()

  /** @param counter plans made so far, of all rows */
  constructor(private readonly row: InsnRow, private readonly rowIndex: number, private readonly counter: { plans: number }) {}

  /**
   * @param repPrefix F3, F2 or 0
   * @param addressSize index of 16, 32 and 64
   * @param code see `Code`
   * @param prefix66 it changes the operand size: it is there, and no part of the opcode
   * @returns undefined where there is no such form
   */
  at(repPrefix: number, addressSize: number, isMemory: boolean, code: number, prefix66: boolean, rexW: boolean): FormPlan | undefined {
    const { row } = this
    const rep = row.rep === undefined || repPrefix === 0 ? 0 : row.rep === 'repz' && repPrefix === 0xf2 ? 2 : 1
    const address = row.addressSized ? addressSize : 2
    const index = (((rep * 3 + address) * 2 + (isMemory ? 1 : 0)) * 3 + code) * 4 + (prefix66 ? 2 : 0) + (rexW ? 1 : 0)
    const found = (this.found ??= new Array<null>((row.rep === undefined ? 1 : REPS.length) * FORMS_PER_REP).fill(null))
    const known = found[index]
    return known === null ? (found[index] = this.find(REPS[rep], ADDRESS_SIZES[address], isMemory, effectiveSize(row, code, prefix66, rexW))) : known
  }

  private find(rep: Form['rep'], addressSize: Form['addressSize'], isMemory: boolean, effective: 16 | 32 | 64): FormPlan | undefined {
    const { sizeClass, forms } = shapeOf(this.row)
    const size = formSize(this.row, sizeClass, effective)
    const rms = [isMemory ? 'mem' : 'reg', 'none']
    const form = forms.find((one) => one.size === size && one.addressSize === addressSize && one.rep === rep && rms.includes(one.rm))
    if (!form) return undefined
    const plan = this.plans.get(form) ?? this.plan(form)
    this.plans.set(form, plan)
    return plan
  }

  private plan(form: Form): FormPlan {
    const { row, rowIndex } = this
    const { operands } = shapeOf(row)
    const [first = Constant.NONE, second = Constant.NONE] = operands.flatMap(({ operand }) => constantsOf(operand, form.size))
    const destination = operands.length > 0 ? operands[0].operand : undefined
    const lockable = row.lock === true && form.rm === 'mem' && destination?.kind === 'code' && 'EM'.includes(destination.letter)
    return { form, row, rowIndex, number: this.counter.plans++, operands, first, second, lockable, badSegments: badSegmentsOf(operands), ends: endsOf(row) }
  }
}

/** Operand size by code size, prefix and REX.W, SDM vol. 1, table 3-4. */
function effectiveSize({ size64 }: InsnRow, code: number, prefix66: boolean, rexW: boolean): 16 | 32 | 64 {
  if (code !== Code.BITS64) return (code === Code.BITS32) !== prefix66 ? 32 : 16
  if (size64 === 'f64' || rexW) return 64
  if (prefix66) return 16
  return size64 === 'd64' ? 64 : 32
}

function constantsOf(operand: ParsedOperand, size: Form['size']): Constant[] {
  if (operand.kind !== 'code') return []
  switch (operand.letter) {
    case 'I': return [immediateOf(operand.size, size)]
    case 'J': return [operand.size === 'b' ? Constant.S8_TO_64 : size === 16 ? Constant.S16_TO_64 : Constant.S32_TO_64]
    case 'A': return [size === 16 ? Constant.U16 : Constant.U32, Constant.U16]
    case 'O': return [Constant.MOFFS]
    default: return []
  }
}

function immediateOf(code: string, size: Form['size']): Constant {
  switch (code) {
    case 'b': return Constant.U8
    case 'bs': return size === 16 ? Constant.S8_TO_16 : size === 32 ? Constant.S8_TO_32 : Constant.S8_TO_64
    case 'w': return Constant.U16
    case 'd': return Constant.U32
    case 'q': return Constant.U64
    case 'v': return size === 16 ? Constant.U16 : size === 32 ? Constant.U32 : Constant.U64
    default: return size === 16 ? Constant.U16 : size === 32 ? Constant.U32 : Constant.S32_TO_64
  }
}

/** No instruction loads CS, and there are no segment registers 6 and 7. */
function badSegmentsOf(operands: readonly ParsedOperandWithAccess[]): number {
  const segment = operands.find(({ operand }) => operand.kind === 'code' && operand.letter === 'S')
  if (!segment) return 0
  return segment.access === 'w' ? 0xc0 | (1 << Seg.CS) : 0xc0
}

function endsOf({ ends, mnemonic }: InsnRow): Ends {
  if (ends === undefined || ends === 'changed') return Ends.NO
  return ends === 'branch' && CONDITIONAL.test(mnemonic) ? Ends.MAYBE : Ends.YES
}
const CONDITIONAL = /^(J(?!MP)|LOOP)/
