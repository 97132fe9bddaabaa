/** The decoder: bytes to row, form and operands, by tables built from the instruction table (SDM vol. 2, chapter 2). */
import type { Size } from '../emit/emitter'
import { formSize, operandBytes } from '../isa/forms'
import type { ParsedOperand, SizeCode } from '../isa/notation'
import type { Form, InsnRow } from '../isa/types'
import { Seg } from '../state/layout'
import { Mode } from '../state/mode'
import { InsnReader, OUT_OF_BYTES, TOO_LONG } from './reader'
import {
  buildTables, formSlot, PREFIX_66, PREFIX_F2, PREFIX_F3, PREFIX_NONE, type OpcodeTable, type RowPlan, type TableMode,
} from './tables'
import type { Decode, DecodedOperand, DecodeResult, MemoryOperand } from './types'

type GprWidth = 8 | 16 | 32 | 64

const TRUNCATED: DecodeResult = { ok: false, kind: 'truncated' }
const TOO_LONG_RESULT: DecodeResult = { ok: false, kind: 'too-long' }
const BAD_LOCK: DecodeResult = { ok: false, kind: 'bad-lock' }

const hex = (byte: number): string => byte.toString(16).toUpperCase().padStart(2, '0')

function modeOf(modeKey: number): TableMode {
  if (modeKey & Mode.CODE64) return 'long'
  return modeKey & Mode.PROTECTED && !(modeKey & Mode.V86) ? 'protected' : 'real'
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

const MASKS = { 8: 0xffn, 16: 0xffffn, 32: 0xffff_ffffn, 64: 0xffff_ffff_ffff_ffffn } as const

function gpr(index: number, width: GprWidth, rex: number): DecodedOperand {
  if (width === 8 && rex === 0 && index >= 4 && index < 8) return { kind: 'gpr', index: index - 4, width, high8: true }
  return { kind: 'gpr', index, width, high8: false }
}

const immediate = (value: bigint, width: GprWidth): DecodedOperand => ({ kind: 'imm', value: value & MASKS[width], width })

/** Decoding of one instruction; reused for the next. */
class InsnDecoder {
  private readonly reader = new InsnReader()
  private long = false
  private opcode = 0
  private modrm = 0
  private size: Size = 32
  private addressSize: 16 | 32 | 64 = 32
  private memory: Omit<MemoryOperand, 'bytes'> | undefined

  constructor(private readonly tables: Readonly<Record<TableMode, OpcodeTable>>) {}

  run(bytes: Uint8Array, at: number, limit: number, modeKey: number): DecodeResult {
    try {
      return this.decode(bytes, at, limit, modeKey)
    } catch (reason) {
      if (reason === OUT_OF_BYTES) return TRUNCATED
      if (reason === TOO_LONG) return TOO_LONG_RESULT
      throw reason
    }
  }

  private decode(bytes: Uint8Array, at: number, limit: number, modeKey: number): DecodeResult {
    const { reader } = this
    reader.reset(bytes, at, limit)
    const mode = modeOf(modeKey)
    this.long = mode === 'long'
    const first = reader.prefixes(this.long)
    const map = this.readOpcode(first)
    const entry = this.tables[mode].entry(this.prefixIndex() * 1024 + map * 256 + this.opcode)
    if (entry === undefined) return this.undefinedOpcode(map, false)
    let plan: RowPlan | undefined
    if (entry.hasModrm) {
      this.modrm = reader.u8()
      plan = entry.byModrm[this.modrm + (reader.rex & 8 ? 256 : 0)]
    } else {
      plan = entry.plusR !== undefined && (reader.rex & 1 || entry.exact === undefined) ? entry.plusR : entry.exact
    }
    if (plan === undefined) return this.undefinedOpcode(map, entry.hasModrm)
    return this.finish(plan, map, entry.hasModrm, (modeKey & Mode.CODE32) !== 0)
  }

  private readOpcode(first: number): number {
    if (first !== 0x0f) { this.opcode = first; return 0 }
    const second = this.reader.u8()
    if (second !== 0x38 && second !== 0x3a) { this.opcode = second; return 1 }
    this.opcode = this.reader.u8()
    return second === 0x38 ? 2 : 3
  }

  private prefixIndex(): number {
    const { repPrefix, operandPrefix } = this.reader
    if (repPrefix !== 0) return repPrefix === 0xf3 ? PREFIX_F3 : PREFIX_F2
    return operandPrefix ? PREFIX_66 : PREFIX_NONE
  }

  private undefinedOpcode(map: number, withModrm: boolean): DecodeResult {
    const { repPrefix, operandPrefix } = this.reader
    const prefix = repPrefix !== 0 ? `${hex(repPrefix)} ` : operandPrefix && map !== 0 ? '66 ' : ''
    const opcode = `${['', '0F ', '0F 38 ', '0F 3A '][map]}${hex(this.opcode)}`
    const modrm = withModrm ? ` /${(this.modrm >> 3) & 7}${this.modrm >= 0xc0 ? ` ${hex(this.modrm)}` : ''}` : ''
    return { ok: false, kind: 'undefined', name: prefix + opcode + modrm }
  }

  private effectiveSize(plan: RowPlan, code32: boolean): 16 | 32 | 64 {
    const prefix = this.reader.operandPrefix && !plan.mandatory66
    if (!this.long) return code32 !== prefix ? 32 : 16
    const { size64 } = plan.row
    if (size64 === 'f64' || this.reader.rex & 8) return 64
    if (prefix) return 16
    return size64 === 'd64' ? 64 : 32
  }

  private effectiveAddressSize(code32: boolean): 16 | 32 | 64 {
    const { addressPrefix } = this.reader
    if (this.long) return addressPrefix ? 32 : 64
    return code32 !== addressPrefix ? 32 : 16
  }

  private finish(plan: RowPlan, map: number, hasModrm: boolean, code32: boolean): DecodeResult {
    const { reader } = this
    const { row, operands } = plan
    this.size = formSize(row, plan.sizeClass, this.effectiveSize(plan, code32))
    this.addressSize = this.effectiveAddressSize(code32)
    const isMemory = hasModrm && this.modrm < 0xc0 && !plan.ignoresMod
    this.memory = isMemory ? reader.memory(this.modrm, this.addressSize, this.long) : undefined
    const decoded: DecodedOperand[] = []
    for (const { operand, access } of operands) {
      const value = this.operand(operand)
      // No instruction loads CS, and there are no segment registers 6 and 7.
      if (value.kind === 'segment' && (value.index > Seg.GS || (access === 'w' && value.index === Seg.CS))) {
        return this.undefinedOpcode(map, hasModrm)
      }
      decoded.push(value)
    }
    const form = this.formOf(plan, isMemory)
    if (form === undefined) return this.undefinedOpcode(map, hasModrm)
    if (reader.lock && !(row.lock && decoded[0]?.kind === 'mem')) return BAD_LOCK
    const dataSegment = reader.segment >= 0 ? reader.segment : Seg.DS
    const { lock, length } = reader
    return { ok: true, insn: { row, rowIndex: plan.rowIndex, form, length, operands: decoded, lock, dataSegment } }
  }

  private formOf(plan: RowPlan, isMemory: boolean): Form | undefined {
    const { row } = plan
    const address = row.addressSized ? this.addressSize : 64
    const rep = this.repOf(row)
    return plan.forms[formSlot(this.size, address, isMemory ? 'mem' : 'reg', rep)] ?? plan.forms[formSlot(this.size, address, 'none', rep)]
  }

  private repOf(row: InsnRow): Form['rep'] {
    const { repPrefix } = this.reader
    if (row.rep === undefined || repPrefix === 0) return 'none'
    return row.rep === 'repz' && repPrefix === 0xf2 ? 'repne' : 'rep'
  }

  private operand(operand: ParsedOperand): DecodedOperand {
    switch (operand.kind) {
      case 'register': {
        const width = widthOf(operand.size, this.size)
        return { kind: 'gpr', index: operand.index, width, high8: operand.high8 }
      }
      case 'segment': return { kind: 'segment', index: operand.index }
      case 'xmm': return { kind: 'xmm', index: operand.index }
      case 'constant': return immediate(BigInt(operand.value), 8)
      default: return this.codeOperand(operand.letter, operand.size)
    }
  }

  private codeOperand(letter: string, code: SizeCode): DecodedOperand {
    const { rex } = this.reader
    const reg = ((this.modrm >> 3) & 7) | (rex & 4 ? 8 : 0)
    const rm = (this.modrm & 7) | (rex & 1 ? 8 : 0)
    switch (letter) {
      case 'G': return gpr(reg, widthOf(code, this.size), rex)
      case 'Z': return gpr((this.opcode & 7) | (rex & 1 ? 8 : 0), widthOf(code, this.size), rex)
      case 'E': case 'R': case 'M': return this.memoryOr(code) ?? gpr(rm, widthOf(code, this.size), rex)
      case 'V': return { kind: 'xmm', index: reg }
      case 'W': case 'U': return this.memoryOr(code) ?? { kind: 'xmm', index: rm }
      case 'P': return { kind: 'mmx', index: reg & 7 }
      case 'Q': case 'N': return this.memoryOr(code) ?? { kind: 'mmx', index: rm & 7 }
      case 'S': return { kind: 'segment', index: reg & 7 }
      case 'C': return { kind: 'control', index: reg }
      case 'D': return { kind: 'debug', index: reg }
      case 'O': return { ...this.reader.moffs(this.addressSize), bytes: operandBytes(code, this.size) }
      case 'I': return this.immediateOperand(code)
      case 'J': return this.relativeOperand(code)
      default: return this.farOperand()
    }
  }

  private memoryOr(code: SizeCode): MemoryOperand | undefined {
    return this.memory && { ...this.memory, bytes: operandBytes(code, this.size) }
  }

  private immediateOperand(code: SizeCode): DecodedOperand {
    const { reader, size } = this
    switch (code) {
      case 'b': return immediate(BigInt(reader.u8()), 8)
      case 'bs': return immediate(BigInt(reader.i8()), size)
      case 'w': return immediate(BigInt(reader.u16()), 16)
      case 'd': return immediate(BigInt(reader.u32()), 32)
      case 'q': return immediate(reader.u64(), 64)
      case 'v': return size === 64 ? immediate(reader.u64(), 64) : immediate(BigInt(size === 16 ? reader.u16() : reader.u32()), size)
      default: return size === 16 ? immediate(BigInt(reader.u16()), 16) : immediate(BigInt(reader.i32()), size)
    }
  }

  private relativeOperand(code: SizeCode): DecodedOperand {
    const { reader } = this
    return { kind: 'rel', displacement: BigInt(code === 'b' ? reader.i8() : this.size === 16 ? reader.i16() : reader.i32()) }
  }

  private farOperand(): DecodedOperand {
    const offset = BigInt(this.size === 16 ? this.reader.u16() : this.reader.u32())
    return { kind: 'far', offset, selector: this.reader.u16() }
  }
}

/**
 * Builds a decoder over these rows; about a microsecond an instruction.
 * @param hasFeature rows whose `cpuid` feature is absent do not exist
 * @throws NotationError where a row's notation is wrong
 */
export function createDecoder(rows: readonly InsnRow[], hasFeature: (feature: string) => boolean): Decode {
  const decoder = new InsnDecoder(buildTables(rows, hasFeature))
  return (bytes, at, limit, modeKey) => decoder.run(bytes, at, limit, modeKey)
}
