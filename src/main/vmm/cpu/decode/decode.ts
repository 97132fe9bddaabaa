/** The decoder for those who want instructions as objects: the translator, the disassembler, tests. Tier 0 uses the scanner alone. */
import type { Size } from '../emit/emitter'
import { operandBytes } from '../isa/forms'
import type { OperandLetter, ParsedOperand, SizeCode } from '../isa/notation'
import type { InsnRow } from '../isa/types'
import { InsnScanner, Scan } from './scanner'
import type { Decode, DecodedInsn, DecodedOperand, DecodeResult, MemoryOperand } from './types'

type GprWidth = 8 | 16 | 32 | 64

const FAILURES: Readonly<Record<Exclude<Scan, typeof Scan.OK | typeof Scan.UNDEFINED>, DecodeResult>> = {
  [Scan.BAD_LOCK]: { ok: false, kind: 'bad-lock' },
  [Scan.TOO_LONG]: { ok: false, kind: 'too-long' },
  [Scan.TRUNCATED]: { ok: false, kind: 'truncated' },
}

/** Width of a general register or immediate operand of this size code. */
function widthOf(code: SizeCode | 'v' | 'z', size: Size): GprWidth {
  switch (code) {
    case 'b': return 8
    case 'w': return 16
    case 'd': case 'ss': return 32
    case 'q': case 'sd': case 'pi': return 64
    case 'z': return size === 16 ? 16 : 32
    case 'y': return size === 64 ? 64 : 32
    default: return size
  }
}

/** Width of an immediate: z and bs reach the operand size. */
const immediateWidth = (code: SizeCode, size: Size): GprWidth => (code === 'z' ? size : widthOf(code, size))

const join = (lo: number, hi: number): bigint => (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)
const joinSigned = (lo: number, hi: number): bigint => (BigInt(hi) << 32n) | BigInt(lo >>> 0)

function gpr(index: number, width: GprWidth, rex: number): DecodedOperand {
  if (width === 8 && rex === 0 && index >= 4 && index < 8) return { kind: 'gpr', index: index - 4, width, high8: true }
  return { kind: 'gpr', index, width, high8: false }
}

function memoryOf(scan: InsnScanner, code: SizeCode, size: Size): MemoryOperand {
  const { segment, base, index, scale, displacement, ripRelative, addressSize } = scan
  return { kind: 'mem', bytes: operandBytes(code, size), segment, base, index, scale, displacement: BigInt(displacement), ripRelative, addressSize }
}

function codeOperand(scan: InsnScanner, letter: OperandLetter, code: SizeCode, isFirst: boolean): DecodedOperand {
  const { reg, rm, rex } = scan
  const { size } = scan.plan.form
  const orMemory = (register: DecodedOperand): DecodedOperand => (scan.isMemory ? memoryOf(scan, code, size) : register)
  switch (letter) {
    case 'G': case 'Z': return gpr(reg, widthOf(code, size), rex)
    case 'E': case 'R': case 'M': return orMemory(gpr(rm, widthOf(code, size), rex))
    case 'V': return { kind: 'xmm', index: reg }
    case 'W': case 'U': return orMemory({ kind: 'xmm', index: rm })
    case 'P': return { kind: 'mmx', index: reg & 7 }
    case 'Q': case 'N': return orMemory({ kind: 'mmx', index: rm & 7 })
    case 'S': return { kind: 'segment', index: reg & 7 }
    case 'C': return { kind: 'control', index: reg }
    case 'D': return { kind: 'debug', index: reg }
    case 'O': return { ...memoryOf(scan, code, size), displacement: join(scan.constantLo, scan.constantHi) }
    case 'I': return { kind: 'imm', value: isFirst ? join(scan.constantLo, scan.constantHi) : BigInt(scan.second), width: immediateWidth(code, size) }
    case 'J': return { kind: 'rel', displacement: joinSigned(scan.constantLo, scan.constantHi) }
    case 'A': return { kind: 'far', offset: join(scan.constantLo, scan.constantHi), selector: scan.second }
  }
}

function operandOf(scan: InsnScanner, operand: ParsedOperand, isFirst: boolean): DecodedOperand {
  switch (operand.kind) {
    case 'register': return { kind: 'gpr', index: operand.index, width: widthOf(operand.size, scan.plan.form.size), high8: operand.high8 }
    case 'segment': case 'xmm': return { kind: operand.kind, index: operand.index }
    case 'constant': return { kind: 'imm', value: BigInt(operand.value), width: 8 }
    case 'code': return codeOperand(scan, operand.letter, operand.size, isFirst)
  }
}

function insnOf(scan: InsnScanner): DecodedInsn {
  const { plan, length, lock, dataSegment } = scan
  let constants = 0
  const operands = plan.operands.map(({ operand }) => {
    const isConstant = operand.kind === 'code' && operand.letter === 'I'
    return operandOf(scan, operand, !isConstant || constants++ === 0)
  })
  return { row: plan.row, rowIndex: plan.rowIndex, form: plan.form, length, operands, lock, dataSegment }
}

/** Decoded instructions as objects of their own, by a scanner that others may use in between. */
export function decodeBy(scanner: InsnScanner): Decode {
  return (bytes, at, limit, modeKey) => {
    const found = scanner.scan(bytes, at, limit, modeKey)
    if (found === Scan.OK) return { ok: true, insn: insnOf(scanner) }
    return found === Scan.UNDEFINED ? { ok: false, kind: 'undefined', name: scanner.opcodeName() } : FAILURES[found]
  }
}

/**
 * Builds a decoder over these rows.
 * @param hasFeature rows whose `cpuid` feature is absent do not exist
 * @throws NotationError where a row's notation is wrong
 */
export function createDecoder(rows: readonly InsnRow[], hasFeature: (feature: string) => boolean): Decode {
  return decodeBy(new InsnScanner(rows, hasFeature))
}
