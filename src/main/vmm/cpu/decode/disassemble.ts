/**
 * Decoded instructions as text in Intel syntax, for the inspector and crash reports. Names are those of the instruction table,
 * operands are what was decoded.
 */
import type { Form } from '../isa/types'
import { shapeOf } from '../isa/forms'
import type { ParsedOperand } from '../isa/notation'
import type { DecodedInsn, DecodedOperand, Decode, MemoryOperand } from './types'

const LEGACY = ['ax', 'cx', 'dx', 'bx', 'sp', 'bp', 'si', 'di']
const LOW_BYTES = ['al', 'cl', 'dl', 'bl', 'spl', 'bpl', 'sil', 'dil']
const HIGH_BYTES = ['ah', 'ch', 'dh', 'bh']
const SEGMENTS = ['es', 'cs', 'ss', 'ds', 'fs', 'gs']
const DS = SEGMENTS.indexOf('ds')
const SS = SEGMENTS.indexOf('ss')
const RSP = 4
const RBP = 5
const POINTERS: Readonly<Record<number, string>> = {
  1: 'byte ptr ', 2: 'word ptr ', 4: 'dword ptr ', 6: 'fword ptr ', 8: 'qword ptr ', 10: 'tbyte ptr ', 16: 'xmmword ptr ',
}
const EXTENDED_SUFFIX = { 8: 'b', 16: 'w', 32: 'd', 64: '' } as const

function gprName(index: number, width: 8 | 16 | 32 | 64, high8 = false): string {
  if (high8) return HIGH_BYTES[index]
  if (index >= 8) return `r${index}${EXTENDED_SUFFIX[width]}`
  if (width === 8) return LOW_BYTES[index]
  return `${{ 16: '', 32: 'e', 64: 'r' }[width]}${LEGACY[index]}`
}

const hex = (value: bigint): string => `0x${value.toString(16)}`
const signed = (value: bigint): string => (value < 0n ? `-${hex(-value)}` : `+${hex(value)}`)

/** The segment that an address uses without an override. */
const defaultSegment = ({ base }: MemoryOperand): number => (base === RSP || base === RBP ? SS : DS)

function memoryText(mem: MemoryOperand, next: bigint): string {
  const size = mem.addressSize
  const parts: string[] = []
  if (mem.base >= 0) parts.push(gprName(mem.base, size))
  if (mem.index >= 0) parts.push(`${gprName(mem.index, size)}*${1 << mem.scale}`)
  let inner = parts.join('+')
  if (mem.ripRelative) inner = hex(BigInt.asUintN(size, next + mem.displacement))
  else if (inner === '') inner = hex(BigInt.asUintN(size, mem.displacement))
  else if (mem.displacement !== 0n) inner += signed(BigInt.asIntN(size, mem.displacement))
  const segment = mem.segment === defaultSegment(mem) ? '' : `${SEGMENTS[mem.segment]}:`
  return `${POINTERS[mem.bytes] ?? ''}${segment}[${inner}]`
}

/** @param next linear address, or offset, of the following instruction */
function operandText(operand: DecodedOperand, form: Form, next: bigint, wide: boolean): string {
  switch (operand.kind) {
    case 'gpr': return gprName(operand.index, operand.width, operand.high8)
    case 'mem': return memoryText(operand, next)
    case 'imm': return hex(BigInt.asUintN(operand.width, operand.value))
    case 'rel': return hex(BigInt.asUintN(form.size === 16 ? 16 : wide ? 64 : 32, next + operand.displacement))
    case 'far': return `${hex(BigInt(operand.selector))}:${hex(operand.offset)}`
    case 'xmm': return `xmm${operand.index}`
    case 'mmx': return `mm${operand.index}`
    case 'segment': return SEGMENTS[operand.index] ?? `segment${operand.index}`
    case 'control': return `cr${operand.index}`
    case 'debug': return `dr${operand.index}`
  }
}

/** Operands that no decoded operand stands for would be left out: the constant 1 of shifts is one. */
const constantText = (operand: ParsedOperand): string | undefined => (operand.kind === 'constant' ? String(operand.value) : undefined)

const IMPLICIT_XMM0 = /^(PBLENDVB|BLENDVPS|BLENDVPD)$/

function operandTexts({ operands, row, form }: DecodedInsn, next: bigint, wide: boolean): string[] {
  const { operands: parsed, encoding } = shapeOf(row)
  if (row.unit === 'x87' && encoding.fixed !== undefined) return stackOperands(row.mnemonic, encoding.opcode, encoding.fixed & 7)
  if (/^(PUSH|POP)$/.test(row.mnemonic) && parsed.length === 0) return [SEGMENTS[(encoding.opcode >> 3) & 7]]
  if (/^[LSM]FENCE$/.test(row.mnemonic)) return []
  // The register field of a hint means nothing.
  if (/^(NOP|PREFETCHW?)$/.test(row.mnemonic)) return operands.slice(0, 1).map((operand) => operandText(operand, form, next, wide))
  const implicit = IMPLICIT_XMM0.test(row.mnemonic) ? ['xmm0'] : []
  if (parsed.length === operands.length) {
    return operands.map((operand, i) => constantText(parsed[i].operand) ?? operandText(operand, form, next, wide)).concat(implicit)
  }
  return operands.map((operand) => operandText(operand, form, next, wide))
}

const ST_ALONE = /^(FLD|FXCH|FST|FSTP|FFREE|FFREEP|FCOM|FCOMP|FUCOM|FUCOMP)$/
const ST_PAIR = /^(F(ADD|MUL|SUB|SUBR|DIV|DIVR)P?|FCMOV\w+|FU?COMIP?)$/

/** The table has a row for each register of the x87 stack; DC and DE make the other one than ST(0) the destination. */
function stackOperands(mnemonic: string, opcode: number, index: number): string[] {
  if (ST_ALONE.test(mnemonic)) return [`st(${index})`]
  if (!ST_PAIR.test(mnemonic)) return mnemonic === 'FNSTSW' ? ['ax'] : []
  return opcode === 0xdc || opcode === 0xde ? [`st(${index})`, 'st'] : ['st', `st(${index})`]
}

function nameOf({ row, form }: DecodedInsn): string {
  const name = row.mnemonic.toLowerCase()
  return name === 'cbw' || name === 'cwd' ? SIGN_EXTENDING[name][form.size as 16 | 32 | 64] : name
}
const SIGN_EXTENDING = { cbw: { 16: 'cbw', 32: 'cwde', 64: 'cdqe' }, cwd: { 16: 'cwd', 32: 'cdq', 64: 'cqo' } } as const

const REPEATS = { none: '', rep: 'rep ', repne: 'repne ' } as const

/**
 * @param at linear address of the instruction: targets of branches and RIP-relative addresses are given absolute
 * @param wide the code is 64-bit
 */
export function disassemble(insn: DecodedInsn, at: bigint, wide: boolean): string {
  const texts = operandTexts(insn, at + BigInt(insn.length), wide)
  const prefix = `${insn.lock ? 'lock ' : ''}${REPEATS[insn.form.rep]}`
  return `${prefix}${nameOf(insn)}${texts.length > 0 ? ' ' : ''}${texts.join(',')}`
}

/** One line of a listing. */
export interface ListedInsn { readonly address: bigint; readonly bytes: Uint8Array; readonly text: string }

/**
 * Lists code until the instruction that ends its block, or the bytes do.
 * @param at linear address of the first byte
 * @param modeKey see `cpu/state/mode.ts`
 */
export function listBlock(decode: Decode, code: Uint8Array, at: bigint, modeKey: number, wide: boolean): ListedInsn[] {
  const lines: ListedInsn[] = []
  for (let offset = 0; offset < code.length;) {
    const result = decode(code, offset, code.length - offset, modeKey)
    const address = BigInt.asUintN(64, at + BigInt(offset))
    if (!result.ok) {
      if (result.kind !== 'truncated') lines.push({ address, bytes: code.slice(offset, offset + 1), text: `(${result.kind})` })
      break
    }
    const { insn } = result
    lines.push({ address, bytes: code.slice(offset, offset + insn.length), text: disassemble(insn, address, wide) })
    if (insn.row.ends && insn.row.ends !== 'changed') break
    offset += insn.length
  }
  return lines
}
