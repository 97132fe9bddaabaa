/** Numbers of the handlers: the table slot of every form, and of the frequent ones' cases in the switch. */
import { formsOf } from '../isa/forms'
import type { Form, InsnRow } from '../isa/types'
import { placesOf, type OperandPlace } from './places'
import { PSEUDO_SLOTS } from './record'
import { frequentForms, isFrequent } from './switch/forms'

export interface HandlerPlace {
  readonly slot: number
  readonly places: readonly OperandPlace[]
  /** Slot for those of its instructions that are mostly done in the common way: the switch where there is one, else the handler. 0: none. */
  readonly common: number
}

/** The handlers' order is the table's order: slot numbers follow from the rows alone. */
export interface HandlerTable {
  readonly size: number
  /** @throws RangeError where the form is of another table */
  of(form: Form): HandlerPlace
  /** Forms with a case in the switch, in the order of their slots from PSEUDO_SLOTS.frequent. */
  readonly frequent: readonly Form[]
}

/** What is counted of a table to number its handlers, as plain data: with it no form need be looked at. */
export interface FormCounts {
  /** Forms of each row. */
  readonly forms: readonly number[]
  /** Numbers in the table's order of those with a case in the switch, in the order of their cases. */
  readonly frequent: readonly number[]
}

export function countForms(rows: readonly InsnRow[]): FormCounts {
  const frequent: number[] = []
  let number = 0
  const forms = rows.map((row) => {
    const all = formsOf(row)
    for (const form of all) {
      if (isFrequent(form)) frequent.push(number)
      number++
    }
    return all.length
  })
  return { forms, frequent }
}

/** Numbers every form. Where a form stands is worked out when it is first asked for. @param counts of these rows */
export function numberHandlers(rows: readonly InsnRow[], counts: FormCounts = countForms(rows)): HandlerTable {
  const firsts = new Map<InsnRow, number>()
  let total = 0
  rows.forEach((row, i) => {
    firsts.set(row, total)
    total += counts.forms[i]
  })
  const common = new Map(counts.frequent.map((number, i) => [number, PSEUDO_SLOTS.frequent + i]))
  const firstSlot = PSEUDO_SLOTS.frequent + counts.frequent.length
  const places = new Map<Form, HandlerPlace>()
  const find = (form: Form): HandlerPlace => {
    const first = firsts.get(form.row)
    const at = formsOf(form.row).indexOf(form)
    if (first === undefined || at < 0) throw new RangeError(`no handler for a form of ${form.row.mnemonic} ${form.row.encoding}`)
    const place = { slot: firstSlot + first + at, places: placesOf(form), common: common.get(first + at) ?? 0 }
    places.set(form, place)
    return place
  }
  let frequent: readonly Form[] | undefined
  return {
    size: firstSlot + total,
    of: (form) => places.get(form) ?? find(form),
    get frequent() {
      return frequent ??= frequentForms(rows)
    },
  }
}
