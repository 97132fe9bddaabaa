/**
 * The decoder's inner part: bytes to a form and plain numbers, by tables built from the instruction table (SDM vol. 2,
 * chapter 2). It runs for every instruction a guest reaches, so it makes no objects and uses no bigint.
 */
import type { InsnRow } from '../isa/types'
import { Seg } from '../state/layout'
import { Mode } from '../state/mode'
import { Code, Constant, type FormPlan } from './form-plan'
import { buildTables, PREFIX_66, PREFIX_F2, PREFIX_F3, PREFIX_NONE, type OpcodeTable, type RowPlan, type TableMode } from './tables'

/** Bytes past this make the instruction too long, SDM vol. 2, 2.3.11. */
export const MAX_LENGTH = 15

/** What a scan found. */
export const Scan = {
  OK: 0,
  /** No row: #UD. */
  UNDEFINED: 1,
  /** LOCK where it is not allowed: #UD. */
  BAD_LOCK: 2,
  /** More than 15 bytes: #GP(0). */
  TOO_LONG: 3,
  /** The instruction goes on past what was given. */
  TRUNCATED: 4,
} as const
export type Scan = (typeof Scan)[keyof typeof Scan]

/** Base and index registers of 16-bit addressing by ModRM.rm, SDM vol. 2, table 2-1. */
const BASE16: readonly number[] = [3, 3, 5, 5, 6, 7, 5, 3]
const INDEX16: readonly number[] = [6, 7, 6, 7, -1, -1, -1, -1]

/** Address sizes as the scanner tells them. */
export const ADDRESS_16: number = 0
export const ADDRESS_32 = 1
export const ADDRESS_64 = 2

const hex = (byte: number): string => byte.toString(16).toUpperCase().padStart(2, '0')

function tableModeOf(modeKey: number): TableMode {
  if (modeKey & Mode.CODE64) return 'long'
  return modeKey & Mode.PROTECTED && !(modeKey & Mode.V86) ? 'protected' : 'real'
}

/** Bytes that are prefixes, REX among them in 64-bit mode. */
function prefixBytes(long: boolean): Uint8Array {
  const known = new Uint8Array(256)
  for (const byte of [0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x64, 0x65, 0x26, 0x2e, 0x36, 0x3e]) known[byte] = 1
  if (long) known.fill(1, 0x40, 0x50)
  return known
}

/** Scans one instruction at a time. What it found stands in its fields until the next scan. */
export class InsnScanner {
  /** Only after `Scan.OK`. */
  plan!: FormPlan
  /** Bytes, 1 … 15. */
  length = 0
  lock = false
  /** REX byte that counts, 0 none. */
  rex = 0
  /** Segment of DS-by-default implicit operands (string sources, XLAT): override or DS. */
  dataSegment: number = Seg.DS
  /** Register of ModRM.reg or of the opcode's low bits, and of ModRM.rm; REX applied. */
  reg = 0
  rm = 0

  /** The memory operand. Register numbers in encoding order; -1 = none. */
  isMemory = false
  base = -1
  index = -1
  /** log2 of the scale. */
  scale = 0
  segment: number = Seg.DS
  ripRelative = false
  /** Address size: 0, 1 and 2 for 16, 32 and 64 bits; set for instructions without a memory operand too. */
  addressIndex = ADDRESS_16
  displacement = 0

  /** First constant as 64 bits, the address of MOV A0–A3 too, and the second constant, which has no more than 16. */
  constantLo = 0
  constantHi = 0
  second = 0

  private bytes: Uint8Array = new Uint8Array(0)
  private at = 0
  private modeKey = -1
  private code: number = Code.BITS16
  private long = false
  private table: OpcodeTable
  private prefixes = prefixBytes(false)
  private operandPrefix = false
  private addressPrefix = false
  /** Last of F3 and F2, 0 none. */
  private repPrefix = 0
  private override = -1
  private map = 0
  private opcode = 0
  private hasModrm = false
  private modrm = 0
  private readonly tables: Readonly<Record<TableMode, OpcodeTable>>
  private readonly prefixTables = { legacy: prefixBytes(false), long: prefixBytes(true) }

  /**
   * @param hasFeature rows whose `cpuid` feature is absent do not exist
   * @throws NotationError where a row's notation is wrong
   */
  constructor(rows: readonly InsnRow[], hasFeature: (feature: string) => boolean) {
    this.tables = buildTables(rows, hasFeature)
    this.table = this.tables.real
  }

  /** 16, 32 or 64: addresses wrap to this size. */
  get addressSize(): 16 | 32 | 64 {
    return this.addressIndex === ADDRESS_64 ? 64 : this.addressIndex === ADDRESS_32 ? 32 : 16
  }

  /**
   * Scans one instruction at `bytes[at]`, which must not use more than `limit` bytes.
   * @param modeKey see `cpu/state/mode.ts`; CODE32, CODE64, PROTECTED and V86 matter here
   */
  scan(bytes: Uint8Array, at: number, limit: number, modeKey: number): Scan {
    if (modeKey !== this.modeKey) this.enterMode(modeKey)
    this.bytes = bytes
    this.at = at
    const found = this.scanInsn()
    this.length = this.at - at
    // Bytes are read without looking at the limit: what was read beyond it only decided an outcome that is dropped here.
    const available = Math.min(limit, MAX_LENGTH, bytes.length - at)
    if (this.length <= available) return found
    return available === MAX_LENGTH ? Scan.TOO_LONG : Scan.TRUNCATED
  }

  /** Identifies an opcode that is undefined, for the log: `0F 3A CC`. */
  opcodeName(): string {
    const { repPrefix, map, modrm } = this
    const prefix = repPrefix !== 0 ? `${hex(repPrefix)} ` : this.operandPrefix && map !== 0 ? '66 ' : ''
    const opcode = `${['', '0F ', '0F 38 ', '0F 3A '][map]}${hex(this.opcode)}`
    return prefix + opcode + (this.hasModrm ? ` /${(modrm >> 3) & 7}${modrm >= 0xc0 ? ` ${hex(modrm)}` : ''}` : '')
  }

  private enterMode(modeKey: number): void {
    const mode = tableModeOf(modeKey)
    this.modeKey = modeKey
    this.long = mode === 'long'
    this.code = this.long ? Code.BITS64 : (modeKey & Mode.CODE32) !== 0 ? Code.BITS32 : Code.BITS16
    this.table = this.tables[mode]
    this.prefixes = this.long ? this.prefixTables.long : this.prefixTables.legacy
  }

  private scanInsn(): Scan {
    this.lock = this.operandPrefix = this.addressPrefix = false
    this.override = -1
    this.repPrefix = this.rex = 0
    let byte = this.u8()
    if (this.prefixes[byte] !== 0) byte = this.readPrefixes(byte)
    this.readOpcode(byte)
    const entry = this.table.entry(this.prefixIndex() * 1024 + this.map * 256 + this.opcode)
    this.hasModrm = entry?.hasModrm === true
    if (entry === undefined) return Scan.UNDEFINED
    let plan: RowPlan | undefined
    if (this.hasModrm) {
      const modrm = this.modrm = this.u8()
      this.reg = ((modrm >> 3) & 7) | ((this.rex & 4) << 1)
      this.rm = (modrm & 7) | ((this.rex & 1) << 3)
      plan = entry.withModrm(modrm, (this.rex & 8) !== 0)
    } else {
      this.reg = (this.opcode & 7) | ((this.rex & 1) << 3)
      plan = entry.withoutModrm((this.rex & 1) !== 0)
    }
    return plan === undefined ? Scan.UNDEFINED : this.scanOperands(plan)
  }

  private scanOperands(row: RowPlan): Scan {
    this.addressIndex = this.long ? (this.addressPrefix ? ADDRESS_32 : ADDRESS_64) : (this.code === Code.BITS32) !== this.addressPrefix ? ADDRESS_32 : ADDRESS_16
    this.dataSegment = this.override >= 0 ? this.override : Seg.DS
    this.isMemory = this.hasModrm && this.modrm < 0xc0 && !row.ignoresMod
    if (this.isMemory) {
      if (this.addressIndex === ADDRESS_16) this.readMemory16()
      else this.readMemory32()
    }
    const prefix66 = this.operandPrefix && row.encoding.prefix !== '66'
    const plan = row.forms.at(this.repPrefix, this.addressIndex, this.isMemory, this.code, prefix66, (this.rex & 8) !== 0)
    if (plan === undefined) return Scan.UNDEFINED
    this.plan = plan
    this.constantLo = this.constantHi = this.second = 0
    if (plan.first !== Constant.NONE) {
      this.readConstant(plan.first)
      if (plan.second !== Constant.NONE) this.second = plan.second === Constant.U8 ? this.u8() : this.u16()
    }
    if ((plan.badSegments >> (this.reg & 7)) & 1) return Scan.UNDEFINED
    return this.lock && !plan.lockable ? Scan.BAD_LOCK : Scan.OK
  }

  // ── bytes ─────────────────────────────────────────────────────────────────────────────────────────────────────

  private u8(): number {
    return this.bytes[this.at++]
  }

  private u16(): number {
    const { bytes, at } = this
    this.at = at + 2
    return bytes[at] | (bytes[at + 1] << 8)
  }

  /** 32 bits, as a signed number. */
  private i32(): number {
    const { bytes, at } = this
    this.at = at + 4
    return bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)
  }

  /** Reads prefixes, `byte` being the first, and returns the opcode's first byte. A REX byte counts only directly before it. */
  private readPrefixes(byte: number): number {
    const start = this.at
    do {
      if ((byte & 0xf0) === 0x40) this.rex = byte
      else {
        this.rex = 0
        this.legacyPrefix(byte)
      }
      byte = this.u8()
    } while (this.prefixes[byte] !== 0 && this.at - start < MAX_LENGTH)
    return byte
  }

  private legacyPrefix(byte: number): void {
    switch (byte) {
      case 0x66: this.operandPrefix = true; break
      case 0x67: this.addressPrefix = true; break
      case 0xf0: this.lock = true; break
      case 0xf2: case 0xf3: this.repPrefix = byte; break
      case 0x64: this.override = Seg.FS; break
      case 0x65: this.override = Seg.GS; break
      // In 64-bit mode these four are ignored; they do not undo an FS or GS override.
      case 0x26: if (!this.long) this.override = Seg.ES; break
      case 0x2e: if (!this.long) this.override = Seg.CS; break
      case 0x36: if (!this.long) this.override = Seg.SS; break
      default: if (!this.long) this.override = Seg.DS
    }
  }

  private readOpcode(first: number): void {
    this.map = 0
    this.opcode = first
    if (first !== 0x0f) return
    const second = this.opcode = this.u8()
    this.map = second === 0x38 ? 2 : second === 0x3a ? 3 : 1
    if (this.map !== 1) this.opcode = this.u8()
  }

  private prefixIndex(): number {
    if (this.repPrefix !== 0) return this.repPrefix === 0xf3 ? PREFIX_F3 : PREFIX_F2
    return this.operandPrefix ? PREFIX_66 : PREFIX_NONE
  }

  /** Memory operand named by ModRM.mod 0 … 2. */
  private readMemory16(): void {
    const mod = this.modrm >> 6
    const rm = this.modrm & 7
    const absolute = mod === 0 && rm === 6
    this.place(absolute ? -1 : BASE16[rm], absolute ? -1 : INDEX16[rm], 0, false)
    this.displacement = absolute || mod === 2 ? (this.u16() << 16) >> 16 : mod === 1 ? (this.u8() << 24) >> 24 : 0
  }

  private readMemory32(): void {
    const mod = this.modrm >> 6
    let rm = this.modrm & 7
    let index = -1
    let scale = 0
    const hasSib = rm === 4
    if (hasSib) {
      const sib = this.u8()
      rm = sib & 7
      index = ((sib >> 3) & 7) | ((this.rex & 2) << 2)
      if (index === 4) index = -1
      else scale = sib >> 6
    }
    const noBase = mod === 0 && rm === 5
    this.place(noBase ? -1 : rm | ((this.rex & 1) << 3), index, scale, this.long && noBase && !hasSib)
    this.displacement = noBase || mod === 2 ? this.i32() : mod === 1 ? (this.u8() << 24) >> 24 : 0
  }

  private place(base: number, index: number, scale: number, ripRelative: boolean): void {
    this.base = base
    this.index = index
    this.scale = scale
    this.ripRelative = ripRelative
    this.segment = this.override >= 0 ? this.override : base === 4 || base === 5 ? Seg.SS : Seg.DS
  }

  private readConstant(kind: Constant): void {
    switch (kind) {
      case Constant.U8: this.constantLo = this.u8(); break
      case Constant.U16: this.constantLo = this.u16(); break
      case Constant.U32: this.constantLo = this.i32(); break
      case Constant.U64: this.constantLo = this.i32(); this.constantHi = this.i32(); break
      case Constant.S8_TO_16: this.constantLo = ((this.u8() << 24) >> 24) & 0xffff; break
      case Constant.S8_TO_32: this.constantLo = (this.u8() << 24) >> 24; break
      case Constant.S8_TO_64: this.signed((this.u8() << 24) >> 24); break
      case Constant.S16_TO_64: this.signed((this.u16() << 16) >> 16); break
      case Constant.S32_TO_64: this.signed(this.i32()); break
      default: this.readMoffs()
    }
  }

  private signed(value: number): void {
    this.constantLo = value
    this.constantHi = value >> 31
  }

  /** Direct offset of MOV A0–A3. */
  private readMoffs(): void {
    this.isMemory = true
    this.place(-1, -1, 0, false)
    this.displacement = 0
    this.constantLo = this.addressIndex === ADDRESS_16 ? this.u16() : this.i32()
    this.constantHi = this.addressIndex === ADDRESS_64 ? this.i32() : 0
  }
}
