/** Makes test cases for a form of the instruction table: bytes that decode to it, and a state in which it has work to do. */
import type { Decode } from '../../src/main/vmm/cpu/decode/types'
import { formsOf, ignoresMod, operandBytes, shapeOf, type RowShape } from '../../src/main/vmm/cpu/isa/forms'
import type { SizeCode } from '../../src/main/vmm/cpu/isa/notation'
import type { Form, InsnRow } from '../../src/main/vmm/cpu/isa/types'
import { Gpr } from '../../src/main/vmm/cpu/state/layout'
import { Mode } from '../../src/main/vmm/cpu/state/mode'
import type { IsaCase } from './engine'
import { interesting64, interesting80, interestingVector, type Random } from './random'
import { CODE_BASE, CODE_BYTES, IsaRecord, WINDOW, WINDOW_BYTES, type CpuMode } from './records'

export const MODE_KEYS: Readonly<Record<CpuMode, number>> = {
  64: Mode.PROTECTED | Mode.LONG | Mode.CODE64 | Mode.USER,
  32: Mode.PROTECTED | Mode.LONG | Mode.CODE32 | Mode.USER,
  16: Mode.PROTECTED | Mode.LONG | Mode.USER,
}

const MAPS = { one: [], '0F': [0x0f], '0F38': [0x0f, 0x38], '0F3A': [0x0f, 0x3a] } as const

/** Modes in which a form can be reached. */
export function modesOf(form: Form): readonly CpuMode[] {
  const { row } = form
  const modes: CpuMode[] = row.modes === 'only64' ? [64] : row.modes === 'not64' ? [32, 16] : [64, 32, 16]
  return modes.filter((mode) => {
    if (form.size === 64 && shapeOf(row).sizeClass !== 'fixed' && mode !== 64) return false
    if (mode === 64 && row.size64 !== undefined && (form.size === 32 || (row.size64 === 'f64' && form.size !== 64))) return false
    if (row.addressSized && (mode === 64 ? form.addressSize === 16 : form.addressSize === 64)) return false
    return !(shapeOf(row).encoding.rexW === 1 && mode !== 64)
  })
}

/** Base of data addresses: what a segment-relative offset must subtract. */
const dataBase = (mode: CpuMode): bigint => (mode === 16 ? BigInt(CODE_BASE) : 0n)

class CaseBuilder {
  readonly record = new IsaRecord()
  private readonly prefixes: number[] = []
  private rex = 0
  private needRex = false
  private tail: number[] = []
  /** Position in `tail` of a RIP-relative displacement to patch, and its target. */
  private ripRelative: { at: number; target: bigint } | undefined
  private readonly shape: RowShape
  private addressSize: 16 | 32 | 64
  private readonly fixedRegisters = new Set<number>()

  constructor(private readonly form: Form, private readonly mode: CpuMode, private readonly random: Random) {
    this.shape = shapeOf(form.row)
    this.addressSize = mode
  }

  build(): { bytes: Uint8Array; record: IsaRecord } {
    this.randomState()
    this.choosePrefixes()
    this.pointers()
    const opcode = this.opcodeBytes()
    this.immediates()
    const bytes = this.assemble(opcode)
    this.record.code.fill(0xcc)
    this.record.code.set(bytes.subarray(0, 16))
    return { bytes, record: this.record }
  }

  /** Only the state: for bytes that come from elsewhere. */
  stateOnly(): IsaRecord {
    this.randomState()
    this.pointers()
    return this.record
  }

  // ── state ─────────────────────────────────────────────────────────────────────────────────────────────────────

  private randomState(): void {
    const { random, record, mode } = this
    for (let n = 0; n < 16; n++) record.setGpr(n, mode === 64 ? interesting64(random) : n < 8 ? interesting64(random) & 0xffff_ffffn : 0n)
    record.rflags = 0x202n | BigInt(random.u32() & 0x8d5) | (random.chance(20) ? 0x400n : 0n)
    record.rip = this.startRip()
    this.fillWindow()
    for (let n = 0; n < (mode === 64 ? 16 : 8); n++) interestingVector(random, record.xmm(n))
    this.floatState()
  }

  private startRip(): bigint {
    const offset = this.random.chance(85) ? 0x800 : 0xff0 + this.random.below(16)
    return BigInt(CODE_BASE + offset) - dataBase(this.mode)
  }

  /** An address in the code pages that is no part of the instruction. */
  private codeAddress(): bigint {
    const offset = this.random.chance(50) ? 0x20 + this.random.below(0x700) : 0x1020 + this.random.below(0xf00)
    return BigInt(CODE_BASE + offset) - dataBase(this.mode)
  }

  private fillWindow(): void {
    const { random, record, form } = this
    const { window } = record
    for (let at = 0; at < WINDOW_BYTES; at += 16) interestingVector(random, window.subarray(at, at + 16))
    if (form.row.unit === 'x87') this.fillFloats(window)
    if (form.row.ends === undefined) return
    // Branch targets: addresses where INT3 waits, at the width the instruction reads.
    const step = form.size === 64 ? 8 : form.size === 16 ? 2 : 4
    const view = new DataView(window.buffer, window.byteOffset, WINDOW_BYTES)
    if (!random.chance(80)) return
    for (let at = 0; at < WINDOW_BYTES; at += step) {
      const target = this.codeAddress()
      if (step === 8) view.setBigUint64(at, target, true)
      else if (step === 4) view.setUint32(at, Number(target), true)
      else view.setUint16(at, Number(target & 0xffffn), true)
    }
  }

  private fillFloats(window: Uint8Array): void {
    const style = this.random.below(3)
    if (style === 0) for (let at = 0; at + 16 <= WINDOW_BYTES; at += 10) interesting80(this.random, window.subarray(at, at + 10))
    // Packed decimals: most digits valid.
    if (style === 1 && this.random.chance(50)) for (let at = 0; at < WINDOW_BYTES; at++) window[at] = this.random.below(10) | (this.random.below(10) << 4)
  }

  private floatState(): void {
    const { random, record, form } = this
    const { unit } = form.row
    record.mxcsr = 0x1f80
    if (random.chance(30)) record.mxcsr = 0x1f80 | (random.below(4) << 13) | (random.below(4) === 0 ? 0x8000 : 0) | (random.below(4) === 0 ? 0x40 : 0) | random.below(64)
    if (random.chance(4)) record.mxcsr &= ~(0x80 << random.below(6))
    record.fcw = 0x37f
    record.ftw = 0
    if (unit === undefined || unit === 'sse') { if (!random.chance(20)) return }
    if (random.chance(50)) record.fcw = 0x7f | (random.pick([0, 2, 3, 3]) << 8) | (random.below(4) << 10)
    const top = unit === 'mmx' && random.chance(50) ? 0 : random.below(8)
    record.fsw = (top << 11) | (random.below(2) << 14) | (random.below(8) << 8) | (random.chance(30) ? random.below(0x40) : 0)
    record.ftw = random.chance(70) ? 0xff : random.u32() & 0xff
    for (let n = 0; n < 8; n++) interesting80(random, record.st(n))
    if (random.chance(8)) this.unmaskFloat()
  }

  /** Unmasks one x87 exception; a flag already raised with it makes the next x87 instruction fault. */
  private unmaskFloat(): void {
    const { record, random } = this
    record.fcw &= ~(1 << random.below(6))
    const pending = (record.fsw & 0x3f & ~record.fcw) !== 0
    record.fsw = (record.fsw & ~0x8080) | (pending ? 0x8080 : 0)
  }

  // ── prefixes ──────────────────────────────────────────────────────────────────────────────────────────────────

  private choosePrefixes(): void {
    const { form, mode, random, shape } = this
    const { row } = form
    const { encoding, sizeClass } = shape
    if (sizeClass !== 'fixed') this.sizePrefix(form.size)
    if (encoding.rexW === 1) this.rex |= 8
    if (row.addressSized) this.addressPrefix(form.addressSize)
    else if (this.hasMemory() && random.chance(10)) this.addressPrefix(mode === 32 ? 16 : 32)
    if (form.rep !== 'none') this.prefixes.push(row.rep === 'rep' ? random.pick([0xf3, 0xf3, 0xf2]) : form.rep === 'rep' ? 0xf3 : 0xf2)
    if (random.chance(8)) this.prefixes.push(random.pick(mode === 64 ? [0x65, 0x65, 0x2e, 0x36, 0x3e, 0x26] : [0x26, 0x36, 0x3e]))
    if (row.lock && form.rm === 'mem' && random.chance(20)) this.prefixes.push(0xf0)
    for (let i = this.prefixes.length - 1; i > 0; i--) {
      const j = random.below(i + 1)
      const swap = this.prefixes[i]
      this.prefixes[i] = this.prefixes[j]
      this.prefixes[j] = swap
    }
    // A mandatory prefix must be the last of F2 and F3, so it goes after the shuffle.
    if (encoding.prefix !== undefined && !encoding.prefix.startsWith('N')) this.prefixes.push(parseInt(encoding.prefix, 16))
  }

  private sizePrefix(size: Form['size']): void {
    const { mode, form } = this
    const natural = mode !== 64 ? mode : form.row.size64 ? 64 : 32
    if (this.shape.sizeClass === 'y') { if (size === 64 && form.row.size64 === undefined) this.rex |= 8; return }
    if (size === natural) return
    if (size === 64) this.rex |= 8
    else this.prefixes.push(0x66)
  }

  private addressPrefix(size: 16 | 32 | 64): void {
    if (size === this.mode) return
    this.addressSize = size
    this.prefixes.push(0x67)
  }

  private hasMemory(): boolean {
    return this.form.rm === 'mem' || this.shape.operands.some(({ operand }) => operand.kind === 'code' && operand.letter === 'O')
  }

  // ── implicit pointers ─────────────────────────────────────────────────────────────────────────────────────────

  /** Offset of a byte of the window, as a register would hold it. */
  private windowOffset(at: number): bigint {
    return BigInt(WINDOW + at) - dataBase(this.mode)
  }

  private setPointer(register: number, at: number, size: 16 | 32 | 64): void {
    const garbage = this.mode === 64 && size === 32 && this.random.chance(50) ? this.random.u64() & ~0xffff_ffffn
      : this.mode !== 64 && size === 16 ? BigInt(this.random.u32() & 0xffff_0000) & 0xffff_ffffn : 0n
    this.record.setGpr(register, this.windowOffset(at) | garbage)
    this.fixedRegisters.add(register)
  }

  private pointers(): void {
    const { random, record, form } = this
    // Stack in the middle of the window; the address space ends right behind it now and then.
    const stackAt = random.chance(90) ? 128 + random.below(128) * (random.chance(70) ? 0 : 1) : random.below(WINDOW_BYTES + 8)
    record.setGpr(Gpr.RSP, this.windowOffset(stackAt))
    this.fixedRegisters.add(Gpr.RSP)
    if (random.chance(50)) record.setGpr(Gpr.RBP, this.windowOffset(64 + random.below(384)))
    if (!form.row.addressSized) return
    for (const register of [Gpr.RSI, Gpr.RDI, Gpr.RBX]) this.setPointer(register, random.chance(95) ? 128 + random.below(256) : 490 + random.below(30), this.addressSize)
    const count = BigInt(random.chance(80) ? random.below(6) : random.below(70))
    const upper = this.addressSize === 64 ? 0n : this.mode === 64 ? random.u64() & ~((1n << BigInt(this.addressSize)) - 1n)
      : this.addressSize === 16 ? BigInt(random.u32() & 0xffff_0000) & 0xffff_ffffn : 0n
    record.setGpr(Gpr.RCX, count | upper)
    this.fixedRegisters.add(Gpr.RCX)
    if (form.rep !== 'none' && random.chance(50)) this.repeatingData()
  }

  /** Equal stretches, so that REPE and REPNE run for more than one turn. */
  private repeatingData(): void {
    const { window } = this.record
    const byte = this.random.u32() & 0xff
    for (let at = 0; at < WINDOW_BYTES; at++) if (!this.random.chance(10)) window[at] = byte
    if (this.random.chance(70)) this.record.setGpr(Gpr.RAX, BigInt(byte) * (this.mode === 64 ? 0x0101_0101_0101_0101n : 0x0101_0101n))
  }

  // ── opcode, ModRM, immediates ─────────────────────────────────────────────────────────────────────────────────

  private opcodeBytes(): number[] {
    const { encoding } = this.shape
    const bytes: number[] = [...MAPS[encoding.map]]
    const low = this.random.below(8)
    if (encoding.fixed !== undefined) return [...bytes, encoding.opcode, encoding.plusR ? (encoding.fixed & 0xf8) | low : encoding.fixed]
    if (encoding.plusR) {
      if (this.mode === 64 && this.random.chance(40)) this.rex |= 1
      if (this.mode === 64 && this.random.chance(10)) this.needRex = true
      return [...bytes, (encoding.opcode & 0xf8) | low]
    }
    bytes.push(encoding.opcode)
    if (encoding.modrm !== undefined) this.modrm(encoding.modrm, encoding.mod)
    return bytes
  }

  private modrm(kind: 'r' | number, mod: 'reg' | 'mem' | undefined): void {
    const { random, form, mode } = this
    const reg = kind === 'r' ? random.below(8) : kind as number
    if (mode === 64 && kind === 'r' && random.chance(40)) this.rex |= 4
    if (mode === 64 && random.chance(10)) this.needRex = true
    const isMemory = form.rm === 'mem' || (form.rm === 'none' && mod === 'mem')
    if (ignoresMod(this.shape.operands) || !isMemory) {
      if (mode === 64 && random.chance(40)) this.rex |= 1
      this.tail.push(0xc0 | (reg << 3) | random.below(8))
      return
    }
    this.memoryOperand(reg)
  }

  private accessBytes(): number {
    for (const { operand } of this.shape.operands) {
      if (operand.kind === 'code' && 'EMWQO'.includes(operand.letter)) return operandBytes(operand.size, this.form.size)
    }
    return 16
  }

  /** Where in the window the operand lies: mostly inside, aligned for vectors, sometimes reaching over the end. */
  private target(): number {
    const { random } = this
    const bytes = this.accessBytes()
    if (bytes === 0) return 16 * random.below(8)
    if (random.chance(3)) return WINDOW_BYTES - 1 - random.below(bytes + 2) + 1
    const at = 64 + random.below(WINDOW_BYTES - 64 - bytes - 32)
    return bytes === 16 && random.chance(85) ? at & ~15 : at
  }

  private memoryOperand(reg: number): void {
    const target = this.windowOffset(this.target())
    if (this.addressSize === 16) this.memory16(reg, target & 0xffffn)
    else this.memory32(reg, target)
  }

  private memory16(reg: number, target: bigint): void {
    const { random, record } = this
    const mod = random.below(3)
    const rm = random.below(8)
    const displacement = mod === 0 ? 0 : mod === 1 ? random.below(256) - 128 : random.below(0x10000) - 0x8000
    const put = (register: number, value: bigint): void => {
      record.setGpr(register, (record.gpr(register) & ~0xffffn) | (value & 0xffffn))
    }
    if (mod === 0 && rm === 6) {
      this.tail.push((reg << 3) | 6, Number(target & 0xffn), Number(target >> 8n))
      return
    }
    const base = [3, 3, 5, 5, 6, 7, 5, 3][rm]
    const index = rm < 4 ? [6, 7, 6, 7][rm] : -1
    const rest = target - BigInt(displacement) - (index < 0 ? 0n : record.gpr(index))
    put(base, rest)
    this.tail.push((mod << 6) | (reg << 3) | rm)
    if (mod === 1) this.tail.push(displacement & 0xff)
    if (mod === 2) this.tail.push(displacement & 0xff, (displacement >> 8) & 0xff)
  }

  private memory32(reg: number, target: bigint): void {
    const { random, mode } = this
    const choice = random.below(10)
    if (choice === 0 && mode === 64) return this.ripOperand(reg, target)
    if (choice <= 1) return this.baselessOperand(reg, target)
    const registers = mode === 64 ? 16 : 8
    const free = (): number => { for (;;) { const r = random.below(registers); if (!this.fixedRegisters.has(r)) return r } }
    const base = random.chance(10) ? Gpr.RSP : free()
    const withIndex = (base & 7) === 4 || random.chance(50)
    let index = -1
    if (withIndex && random.chance(85)) do index = random.below(registers); while (index === 4 || index === base)
    const scale = index < 0 ? 0 : random.below(4)
    this.basedOperand(reg, target, base, withIndex, index, scale)
  }

  private addressMask(): bigint { return this.addressSize === 64 ? 0xffff_ffff_ffff_ffffn : 0xffff_ffffn }

  private garbageAbove(): bigint {
    return this.mode === 64 && this.addressSize === 32 && this.random.chance(50) ? this.random.u64() & ~0xffff_ffffn : 0n
  }

  private basedOperand(reg: number, target: bigint, base: number, withSib: boolean, index: number, scale: number): void {
    const { random, record } = this
    const scaled = index < 0 ? 0n : record.gpr(index) << BigInt(scale)
    let displacement = random.chance(50) ? random.below(256) - 128 : random.u32() | 0
    let mod = displacement >= -128 && displacement < 128 ? random.pick([1, 1, 2]) : 2
    if (random.chance(25) && (base & 7) !== 5) { displacement = 0; mod = 0 }
    // RSP keeps its place when it is the base: then the displacement does the work, if it can.
    if (base === Gpr.RSP) {
      const rest = BigInt.asIntN(64, target - record.gpr(base) - scaled)
      if (index < 0 && BigInt.asIntN(32, rest) === rest) { displacement = Number(rest); mod = 2 }
      else if (index < 0) { displacement = 0; mod = 0 }
    } else record.setGpr(base, ((target - BigInt(displacement) - scaled) & this.addressMask()) | this.garbageAbove())
    if (base & 8) this.rex |= 1
    if (withSib) {
      if (index >= 8) this.rex |= 2
      this.tail.push((mod << 6) | (reg << 3) | 4, (scale << 6) | ((index < 0 ? 4 : index & 7) << 3) | (base & 7))
    } else this.tail.push((mod << 6) | (reg << 3) | (base & 7))
    this.pushDisplacement(mod, displacement)
  }

  private pushDisplacement(mod: number, displacement: number): void {
    if (mod === 1) this.tail.push(displacement & 0xff)
    if (mod === 2) this.push32(displacement)
  }

  private push32(value: number): void {
    for (let i = 0; i < 4; i++) this.tail.push((value >> (8 * i)) & 0xff)
  }

  private ripOperand(reg: number, target: bigint): void {
    this.tail.push((reg << 3) | 5)
    this.ripRelative = { at: this.tail.length, target }
    this.push32(0)
  }

  private baselessOperand(reg: number, target: bigint): void {
    const { random, record, mode } = this
    const useSib = mode === 64 || random.chance(50)
    if (!useSib) { this.tail.push((reg << 3) | 5); this.push32(Number(BigInt.asIntN(32, target))); return }
    let index = random.below(mode === 64 ? 16 : 8)
    const scale = random.below(4)
    let displacement = Number(BigInt.asIntN(32, target))
    if (index !== 4) {
      if (this.fixedRegisters.has(index)) index = 4
      else {
        const value = BigInt(random.below(0x1000) - 0x800)
        record.setGpr(index, this.mode === 64 ? (value & this.addressMask()) | this.garbageAbove() : value & 0xffff_ffffn)
        displacement = Number(BigInt.asIntN(32, target - (value << BigInt(scale))))
      }
    }
    if (index >= 8) this.rex |= 2
    this.tail.push((reg << 3) | 4, (scale << 6) | ((index & 7) << 3) | 5)
    this.push32(displacement)
  }

  private immediates(): void {
    for (const { operand } of this.shape.operands) {
      if (operand.kind !== 'code') continue
      if (operand.letter === 'I') this.pushValue(interesting64(this.random), this.immediateBytes(operand.size))
      else if (operand.letter === 'O') this.moffs()
      else if (operand.letter === 'A') { this.pushValue(this.random.u64(), this.form.size === 16 ? 2 : 4); this.pushValue(this.random.u64(), 2) }
      else if (operand.letter === 'J') this.relative(operand.size)
    }
  }

  private immediateBytes(code: SizeCode): number {
    const { size } = this.form
    switch (code) {
      case 'b': case 'bs': return 1
      case 'w': return 2
      case 'd': return 4
      case 'q': return 8
      case 'v': return size / 8
      default: return size === 16 ? 2 : 4
    }
  }

  private pushValue(value: bigint, bytes: number): void {
    for (let i = 0; i < bytes; i++) this.tail.push(Number((value >> BigInt(8 * i)) & 0xffn))
  }

  private moffs(): void {
    const offset = this.windowOffset(64 + this.random.below(400))
    this.pushValue(offset, this.addressSize / 8)
  }

  /** Never into the instruction itself: that would run again, or run its tail. */
  private relative(code: SizeCode): void {
    const { random } = this
    if (code === 'b') this.pushValue(BigInt(random.chance(50) ? random.below(112) : -20 - random.below(100)), 1)
    else this.pushValue(BigInt(random.chance(50) ? random.below(0x600) : -32 - random.below(0x7c0)), this.form.size === 16 ? 2 : 4)
  }

  private assemble(opcode: readonly number[]): Uint8Array {
    const useRex = this.rex !== 0 || (this.needRex && this.mode === 64)
    const bytes = [...this.prefixes, ...(useRex ? [0x40 | this.rex] : []), ...opcode, ...this.tail]
    const { ripRelative } = this
    if (ripRelative) {
      const start = bytes.length - this.tail.length + ripRelative.at
      const displacement = Number(BigInt.asIntN(32, ripRelative.target - this.record.rip - BigInt(bytes.length)))
      for (let i = 0; i < 4; i++) bytes[start + i] = (displacement >> (8 * i)) & 0xff
    }
    return Uint8Array.from(bytes)
  }
}

/** Registers an indirect branch may take its target from: give most of them an address with INT3. */
function aimBranches(one: IsaCase, random: Random): void {
  const { form, input, mode } = one
  if (form.row.ends === undefined) return
  for (const operand of one.insn?.operands ?? []) {
    if (operand.kind !== 'gpr' || operand.index === Gpr.RSP || !random.chance(80)) continue
    const target = BigInt(CODE_BASE + 0x20 + random.below(0x700)) - dataBase(mode)
    input.setGpr(operand.index, target)
  }
}

/** One case for a form in a mode; undefined where the random choice does not decode to the form (for example a reserved register). */
export function makeCase(form: Form, mode: CpuMode, random: Random, decode: Decode): IsaCase | undefined {
  const { bytes, record } = new CaseBuilder(form, mode, random).build()
  if (bytes.length > 15 || Number(record.rip & 0xffffn) + 16 > CODE_BYTES + 0x1_0000) return undefined
  const result = decode(bytes, 0, bytes.length, MODE_KEYS[mode])
  if (!result.ok || result.insn.form !== form || result.insn.length !== bytes.length) return undefined
  const one: IsaCase = { mode, input: record, length: bytes.length, form, insn: result.insn }
  aimBranches(one, random)
  return one
}

const PREFIXES = [0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x26, 0x2e, 0x36, 0x3e, 0x65]

/** Bytes as chance gives them: prefixes in any number and order, a row's opcode or any, then noise. */
function rawBytes(rows: readonly InsnRow[], mode: CpuMode, random: Random): Uint8Array {
  const bytes: number[] = []
  while (random.chance(40)) bytes.push(random.chance(15) && mode === 64 ? 0x40 + random.below(16) : random.pick(PREFIXES))
  if (random.chance(85)) {
    const { encoding } = shapeOf(random.pick(rows))
    if (encoding.prefix && !encoding.prefix.startsWith('N') && random.chance(80)) bytes.push(parseInt(encoding.prefix, 16))
    if (mode === 64 && random.chance(40)) bytes.push(0x40 + random.below(16))
    bytes.push(...MAPS[encoding.map], encoding.opcode)
    if (encoding.fixed !== undefined && random.chance(80)) bytes.push(encoding.fixed)
    else if (random.chance(50)) bytes.push(0xc0 | random.below(64))
  }
  while (bytes.length < 16) bytes.push(random.u32() & 0xff)
  return Uint8Array.from(bytes.slice(0, 16))
}

/**
 * A case from random bytes: an instruction, or one that must be refused (LOCK where it is not allowed, too long).
 * Bytes without a row are not run: this CPU may know more than the table.
 */
export function makeRawCase(rows: readonly InsnRow[], mode: CpuMode, random: Random, decode: Decode): IsaCase | undefined {
  const bytes = rawBytes(rows, mode, random)
  const result = decode(bytes, 0, bytes.length, MODE_KEYS[mode])
  if (!result.ok && result.kind !== 'bad-lock' && result.kind !== 'too-long') return undefined
  const form = result.ok ? result.insn.form : formsOf(rows[0])[0]
  const length = result.ok ? result.insn.length : 16
  const record = new CaseBuilder(form, mode, random).stateOnly()
  if (record.rip % 0x1000n > 0xff0n && record.rip % 0x2000n > 0x1ff0n) return undefined
  record.code.fill(0xcc)
  record.code.set(bytes.subarray(0, length))
  return { mode, input: record, length, form, insn: result.ok ? result.insn : undefined }
}
