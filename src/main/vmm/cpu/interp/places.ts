/** Where tier 0 finds each operand of a form: in the record, in a fixed register, in memory. */
import { BugError } from '../../errors'
import type { Width } from '../emit/emitter'
import { shapeOf } from '../isa/forms'
import type { ParsedOperand, SizeCode } from '../isa/notation'
import type { Form } from '../isa/types'
import { Rec } from './record'

type Access = 'r' | 'w' | 'rw' | 'n'

export type OperandPlace =
  /** `absolute`: the record has its address in the place of an immediate of 64 bits. */
  | { readonly kind: 'mem'; readonly width: Width; readonly access: Access; readonly absolute: boolean }
  /** General register, whose place is at `slot` in the record. */
  | { readonly kind: 'gpr'; readonly slot: number; readonly width: Width }
  | { readonly kind: 'fixed-gpr'; readonly index: number; readonly high8: boolean; readonly width: Width }
  /** XMM or MMX register. */
  | { readonly kind: 'vector'; readonly slot: number; readonly width: Width; readonly file: 'xmm' | 'fpr' }
  | { readonly kind: 'fixed-xmm'; readonly index: number; readonly width: Width }
  /** `wide`: the record has all its 64 bits. */
  | { readonly kind: 'imm'; readonly slot: number; readonly width: Width; readonly wide: boolean }
  | { readonly kind: 'const'; readonly value: number; readonly width: Width }
  /** Number of a segment, control or debug register, at `slot`. */
  | { readonly kind: 'number'; readonly slot: number; readonly width: Width }
  | { readonly kind: 'rel'; readonly width: Width }

const FIXED_WIDTH: Partial<Record<SizeCode, Width>> = {
  b: 8, w: 16, d: 32, q: 64, ss: 32, sd: 64, pi: 64, dq: 64, x: 64, ps: 64, pd: 64,
}

/** Width a meaning reads by default for a size code. */
export function widthOf(code: SizeCode, size: Form['size']): Width {
  if (code === 'y') return size === 64 ? 64 : 32
  if (code === 'z') return size
  return FIXED_WIDTH[code] ?? size
}

function codePlace(operand: Extract<ParsedOperand, { kind: 'code' }>, access: Access, form: Form, immediates: number): OperandPlace {
  const { letter, size } = operand
  // z extends to the operand size for immediates only.
  const width = size === 'z' && letter !== 'I' && form.size === 64 ? 32 : widthOf(size, form.size)
  switch (letter) {
    case 'E': case 'R': return form.rm === 'mem' ? { kind: 'mem', width, access, absolute: false } : { kind: 'gpr', slot: Rec.regB, width }
    case 'M': case 'O': return { kind: 'mem', width, access, absolute: letter === 'O' }
    case 'G': case 'Z': return { kind: 'gpr', slot: Rec.regA, width }
    case 'V': case 'P': return { kind: 'vector', slot: Rec.regA, width, file: letter === 'V' ? 'xmm' : 'fpr' }
    case 'W': case 'Q': case 'U': case 'N':
      return form.rm === 'mem' ? { kind: 'mem', width, access, absolute: false } : { kind: 'vector', slot: Rec.regB, width, file: letter === 'W' || letter === 'U' ? 'xmm' : 'fpr' }
    case 'S': case 'C': case 'D': return { kind: 'number', slot: Rec.regA, width: 32 }
    case 'I': return { kind: 'imm', slot: immediates === 0 ? Rec.imm : Rec.displacement, width, wide: width === 64 && (size === 'v' || size === 'q') }
    case 'J': return { kind: 'rel', width: 64 }
    case 'A': return { kind: 'imm', slot: Rec.imm, width: form.size, wide: false }
    default: throw new BugError(`operand code ${String(letter)} has no place`)
  }
}

function placeOf(operand: ParsedOperand, access: Access, form: Form, immediates: number): OperandPlace {
  switch (operand.kind) {
    case 'code': return codePlace(operand, access, form, immediates)
    case 'register': {
      const { size, index, high8 } = operand
      const width = { b: 8, w: 16, d: 32, q: 64, v: form.size, z: form.size === 16 ? 16 : 32 }[size] as Width
      return { kind: 'fixed-gpr', index, high8, width }
    }
    case 'constant': return { kind: 'const', value: operand.value, width: form.size }
    case 'segment': return { kind: 'const', value: operand.index, width: 32 }
    case 'xmm': return { kind: 'fixed-xmm', index: operand.index, width: 64 }
  }
}

/** Places of all operands of a form, in order. */
export function placesOf(form: Form): readonly OperandPlace[] {
  let immediates = 0
  return shapeOf(form.row).operands.map(({ operand, access }) => {
    const place = placeOf(operand, access, form, immediates)
    if (place.kind === 'imm') immediates++
    return place
  })
}
