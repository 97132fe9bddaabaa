/**
 * The forms that are cases of tier 0's switch: those that make up nearly all of what kernels and programs run on tier 0, counted
 * over boots of Linux. Every other form is run by its handler alone.
 */
import { formsOf } from '../../isa/forms'
import type { Form, InsnRow } from '../../isa/types'

/** ADD, OR, AND, SUB, XOR and CMP, by their numbers in opcodes. */
const GROUP1 = [0, 1, 4, 5, 6, 7]
const hex = (n: number): string => n.toString(16).toUpperCase().padStart(2, '0')

/** Encodings of byte operands, of operands of the operand size, and of near jumps. */
const BYTES: readonly string[] = [
  '88 /r', '8A /r', 'C6 /0', '84 /r', 'F6 /0', 'A8', '80 /4', '80 /7', '38 /r', '3A /r', '3C', '30 /r', '08 /r', '80 /1',
  '0F B6 /r', '0F BE /r', '0F 94 /r', '0F 95 /r',
]
const WORDS: readonly string[] = [
  '89 /r', '8B /r', 'C7 /0', 'B8+r', '8D /r', '63 /r', '0F B7 /r', '85 /r', 'F7 /0', 'A9', '0F AF /r', 'F7 /3', 'F7 /2',
  'FF /0', 'FF /1', 'C1 /4', 'C1 /5', 'C1 /7', 'C1 /0', 'C1 /1', 'D1 /5', 'D3 /4', 'D3 /5', '0F 44 /r', '0F 45 /r', '0F 42 /r', '0F 43 /r', '0F BA /4',
  '50+r', '58+r', '68', '6A', 'FF /6', 'C9', '90', '98', '0F 1F /r', 'A1', 'A3',
  ...GROUP1.flatMap((op) => [`${hex(8 * op + 1)} /r`, `${hex(8 * op + 3)} /r`, hex(8 * op + 5), `81 /${op}`, `83 /${op}`]),
]
const JUMPS: readonly string[] = [
  'E8', 'E9', 'EB', 'C3', 'FF /2', 'FF /4',
  // Not JO, JNO, JP and JNP.
  ...[2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15].flatMap((cc) => [hex(0x70 + cc), `0F ${hex(0x80 + cc)}`]),
]
/** INC and DEC of 32-bit code. */
const LEGACY: readonly string[] = ['40+r', '48+r']
export const FREQUENT: ReadonlySet<string> = new Set([...BYTES, ...WORDS, ...JUMPS, ...LEGACY])

/** It has a case. Operands of 16 bits are rare. */
export const isFrequent = (form: Form): boolean => {
  const { row } = form
  return form.size !== 16 && FREQUENT.has(row.encoding) && (row.modes !== 'not64' || LEGACY.includes(row.encoding)) && row.unit === undefined && row.rep === undefined && form.rep === 'none' && !row.privileged
}

/** In the order of their cases. */
export const frequentForms = (rows: readonly InsnRow[]): readonly Form[] => rows.flatMap((row) => formsOf(row).filter(isFrequent))
