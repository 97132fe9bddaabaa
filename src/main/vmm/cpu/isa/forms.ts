/** Variants of the table's rows: every `Form` an engine builds a handler for. The decoder refers to the same objects. */
import type { Size } from '../emit/emitter'
import {
  parseEncoding, parseOperands, type ParsedEncoding, type ParsedOperand, type ParsedOperandWithAccess, type SizeCode,
} from './notation'
import type { Form, InsnRow } from './types'

/**
 * How the operand size of a row follows the effective operand size (16, 32 or 64 by mode, 66 and REX.W):
 * v all three · y 64 stays, else 32 · z 16 stays, else 32 · fixed: one form whatever the prefixes.
 */
export type SizeClass = 'v' | 'y' | 'z' | 'fixed'

/** A row as its notation says. Each part is worked out when it is first asked for: a guest uses a fraction of the table. */
export class RowShape {
  readonly encoding: ParsedEncoding
  private operandsOnce: readonly ParsedOperandWithAccess[] | undefined
  private sizeClassOnce: SizeClass | undefined
  private rmsOnce: readonly Form['rm'][] | undefined
  private formsOnce: readonly Form[] | undefined

  /** @throws NotationError, as the parts do */
  constructor(private readonly row: InsnRow) {
    this.encoding = parseEncoding(row.encoding)
  }

  get operands(): readonly ParsedOperandWithAccess[] {
    return this.operandsOnce ??= parseOperands(this.row.operands, this.row.access)
  }

  get sizeClass(): SizeClass {
    return this.sizeClassOnce ??= classify(this.row, this.operands)
  }

  get rms(): readonly Form['rm'][] {
    return this.rmsOnce ??= rmsOf(this.encoding, this.operands)
  }

  get forms(): readonly Form[] {
    return this.formsOnce ??= listForms(this.row, this)
  }
}

// Pure memo: a row's shape never depends on anything but the row, and decoder and engines must share Form identities.
const shapes = new WeakMap<InsnRow, RowShape>()

/** Codes whose width is not told by the operand alone: the whole effective operand size matters. */
const BY_OPERAND_SIZE: readonly SizeCode[] = ['v', 'bs', 'p', 'a', 's']

function operandClass(operand: ParsedOperand): SizeClass | 'immediate' {
  if (operand.kind === 'register') return operand.size === 'v' ? 'v' : operand.size === 'z' ? 'z' : 'fixed'
  if (operand.kind === 'constant') return 'immediate'
  if (operand.kind !== 'code') return 'fixed'
  const { letter, size } = operand
  if (letter === 'J' || letter === 'A' || (letter === 'M' && size === '')) return 'v'
  if (BY_OPERAND_SIZE.includes(size)) return 'v'
  if (size === 'y') return 'y'
  if (size === 'z') return 'z'
  return letter === 'I' ? 'immediate' : 'fixed'
}

function classify(row: InsnRow, operands: readonly ParsedOperandWithAccess[]): SizeClass {
  const classes = operands.map(({ operand }) => operandClass(operand))
  if (classes.includes('v')) return 'v'
  if (classes.includes('y')) return classes.includes('z') ? 'v' : 'y'
  if (row.size !== undefined) return 'fixed'
  if (row.size64 !== undefined) return 'v'
  if (classes.includes('z')) return 'z'
  const implicit = row.unit === undefined && classes.every((one) => one === 'immediate')
  return implicit ? 'v' : 'fixed'
}

function sizesOf(row: InsnRow, sizeClass: SizeClass, encoding: ParsedEncoding): readonly Size[] {
  if (sizeClass === 'fixed') return [row.size ?? 32]
  let sizes: Size[] = sizeClass === 'y' ? [32, 64] : sizeClass === 'z' ? [16, 32] : [16, 32, 64]
  // A mandatory 66 is no operand-size prefix, but outside 64-bit mode a 16-bit code segment still makes 16 the default.
  if (row.modes === 'not64') sizes = sizes.filter((size) => size !== 64)
  if (row.modes === 'only64' && row.size64 === 'f64') sizes = [64]
  if (row.modes === 'only64' && row.size64 === 'd64') sizes = sizes.filter((size) => size !== 32)
  if (encoding.rexW === 1) sizes = [64]
  if (encoding.rexW === 0) sizes = sizes.filter((size) => size !== 64)
  return sizes
}

/** MOV to and from control and debug registers ignores ModRM.mod: always a register. */
export function ignoresMod(operands: readonly ParsedOperandWithAccess[]): boolean {
  return operands.some(({ operand }) => operand.kind === 'code' && (operand.letter === 'C' || operand.letter === 'D'))
}

function rmsOf(encoding: ParsedEncoding, operands: readonly ParsedOperandWithAccess[]): readonly Form['rm'][] {
  for (const { operand } of operands) {
    if (operand.kind !== 'code') continue
    if (operand.letter === 'M') return ['mem']
    if ('RUN'.includes(operand.letter)) return ['reg']
    if ('EWQ'.includes(operand.letter)) return encoding.mod === undefined ? ['reg', 'mem'] : [encoding.mod]
  }
  return ['none']
}

function addressSizesOf(row: InsnRow): readonly Form['addressSize'][] {
  if (!row.addressSized) return [64]
  if (row.modes === 'not64') return [16, 32]
  return row.modes === 'only64' ? [32, 64] : [16, 32, 64]
}

function repsOf(row: InsnRow): readonly Form['rep'][] {
  if (row.rep === undefined) return ['none']
  return row.rep === 'rep' ? ['none', 'rep'] : ['none', 'rep', 'repne']
}

function listForms(row: InsnRow, { encoding, sizeClass, rms }: RowShape): readonly Form[] {
  const forms: Form[] = []
  for (const size of sizesOf(row, sizeClass, encoding)) {
    for (const addressSize of addressSizesOf(row)) {
      for (const rm of rms) for (const rep of repsOf(row)) forms.push({ row, size, addressSize, rm, rep })
    }
  }
  return forms
}

/** Parsed notation and forms of a row. @throws NotationError naming the row */
export function shapeOf(row: InsnRow): RowShape {
  let shape = shapes.get(row)
  if (shape === undefined) {
    shape = new RowShape(row)
    shapes.set(row, shape)
  }
  return shape
}

/** Every variant of a row; the same objects at each call. */
export function formsOf(row: InsnRow): readonly Form[] {
  return shapeOf(row).forms
}

/** Size of a form of this class under an effective operand size. */
export function formSize(row: InsnRow, sizeClass: SizeClass, effective: 16 | 32 | 64): Size {
  switch (sizeClass) {
    case 'v': return effective
    case 'y': return effective === 64 ? 64 : 32
    case 'z': return effective === 16 ? 16 : 32
    default: return row.size ?? 32
  }
}

/** Stable name of a form, unique within the table: what handlers and reports are called by. */
export function formKey(form: Form): string {
  const { row, size, addressSize, rm, rep } = form
  const parts = [row.mnemonic, row.encoding, row.operands, row.modes ?? 'all', `o${size}`]
  if (row.addressSized) parts.push(`a${addressSize}`)
  if (rm !== 'none') parts.push(rm)
  if (rep !== 'none') parts.push(rep)
  return parts.join('|')
}

const BYTES: Readonly<Record<Exclude<SizeCode, 'v' | 'z' | 'y' | 'p' | 'a' | 's' | 'bs'>, number>> = {
  b: 1, w: 2, d: 4, q: 8, t: 10, dq: 16, x: 16, ps: 16, pd: 16, ss: 4, sd: 8, pi: 8, '': 0,
}

/** Bytes of a memory operand of this size code under an operand size. 0: only the address matters. */
export function operandBytes(code: SizeCode, size: Size): number {
  switch (code) {
    case 'v': case 'bs': return size / 8
    case 'y': return size === 64 ? 8 : 4
    case 'z': return size === 16 ? 2 : 4
    case 'p': return 2 + size / 8
    case 'a': return size / 4
    case 's': return size === 64 ? 10 : 6
    default: return BYTES[code]
  }
}
