/** Bytes that decode to a form, with registers that make its memory operands point into the data window. */
import { ignoresMod, operandBytes, shapeOf, type RowShape } from '../../src/main/vmm/cpu/isa/forms'
import type { OpcodeMap, SizeCode } from '../../src/main/vmm/cpu/isa/notation'
import type { Form } from '../../src/main/vmm/cpu/isa/types'
import { Gpr } from '../../src/main/vmm/cpu/state/layout'
import { interesting64, type Random } from './random'
import { StateBuilder } from './random-state'
import { WINDOW_BYTES, type CpuMode, type IsaRecord } from './records'

/** Escape bytes of the opcode maps. */
export const MAP_BYTES: Readonly<Record<OpcodeMap, readonly number[]>> = {
  one: [], '0F': [0x0f], '0F38': [0x0f, 0x38], '0F3A': [0x0f, 0x3a],
}

export class CaseBuilder extends StateBuilder {
  private readonly prefixes: number[] = []
  private rex = 0
  private needRex = false
  private tail: number[] = []
  /** Position in `tail` of a RIP-relative displacement to patch, and its target. */
  private ripRelative: { at: number; target: bigint } | undefined
  private readonly shape: RowShape
  private addressSize: 16 | 32 | 64
  private readonly fixedRegisters = new Set<number>()

  /** @param absolute memory operands name no register but the stack pointer */
  constructor(form: Form, mode: CpuMode, random: Random, private readonly absolute = false) {
    super(form, mode, random)
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
    this.record.code.set(bytes)
    return { bytes, record: this.record }
  }

  /** Only the state: for bytes that come from elsewhere. */
  stateOnly(): IsaRecord {
    this.randomState()
    this.pointers()
    return this.record
  }

  // ── prefixes ──────────────────────────────────────────────────────────────────────────────────────────────────

  private choosePrefixes(): void {
    const { form, mode, random, shape } = this
    const { row } = form
    const { encoding, sizeClass } = shape
    if (sizeClass !== 'fixed') this.sizePrefix(form.size)
    if (encoding.rexW === 1) this.rex |= 8
    if (row.addressSized) this.addressPrefix(form.addressSize)
    else if (this.hasMemory() && !this.absolute && random.chance(10)) this.addressPrefix(mode === 32 ? 16 : 32)
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
    for (const register of [Gpr.RSI, Gpr.RDI, Gpr.RBX]) {
      const at = random.chance(95) ? 128 + random.below(256) : 490 + random.below(30)
      this.setPointer(register, at, this.addressSize)
    }
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
    const bytes: number[] = [...MAP_BYTES[encoding.map]]
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
    if (this.addressSize === 16 && this.absolute) this.tail.push((reg << 3) | 6, Number(target & 0xffn), Number((target >> 8n) & 0xffn))
    else if (this.addressSize === 16) this.memory16(reg, target & 0xffffn)
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
    if (this.absolute) return choice < 5 ? this.stackOperand(reg) : this.displacementOperand(reg, target)
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

  /** [RSP + disp8] */
  private stackOperand(reg: number): void {
    this.tail.push(0x44 | (reg << 3), 0x24, (this.random.below(16) * 8) & 0xff)
  }

  private displacementOperand(reg: number, target: bigint): void {
    this.tail.push((reg << 3) | 4, 0x25)
    this.push32(Number(BigInt.asIntN(32, target)))
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
      else if (operand.letter === 'A') this.pushValue(this.random.u64(), this.form.size === 16 ? 4 : 6)
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
