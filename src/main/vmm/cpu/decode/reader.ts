/** Reads one instruction's bytes: prefixes, opcode, ModRM with its memory operand, immediates. */
import { Seg } from '../state/layout'
import type { MemoryOperand } from './types'

/** Bytes past this make the instruction too long, SDM vol. 2, 2.3.11. */
export const MAX_LENGTH = 15

/** Thrown by the reader when bytes run out; kept as two prebuilt values since it is no error of ours. */
export const OUT_OF_BYTES = { truncated: true } as const
export const TOO_LONG = { truncated: false } as const

/** Base and index registers of 16-bit addressing by ModRM.rm, SDM vol. 2, table 2-1. */
const BASE16: readonly number[] = [3, 3, 5, 5, 6, 7, 5, 3]
const INDEX16: readonly number[] = [6, 7, 6, 7, -1, -1, -1, -1]

/** Prefix state and byte position of the instruction being decoded. One object per decoder, reset for each instruction. */
export class InsnReader {
  private bytes: Uint8Array = new Uint8Array(0)
  private start = 0
  private end = 0
  at = 0
  lock = false
  /** Segment override in force, -1 none. */
  segment = -1
  operandPrefix = false
  addressPrefix = false
  /** Last of F3 and F2, 0 none. */
  repPrefix = 0
  /** REX byte that counts, 0 none. */
  rex = 0

  reset(bytes: Uint8Array, at: number, limit: number): void {
    this.bytes = bytes
    this.start = at
    this.at = at
    this.end = Math.min(at + limit, bytes.length)
    this.lock = false
    this.segment = -1
    this.operandPrefix = false
    this.addressPrefix = false
    this.repPrefix = 0
    this.rex = 0
  }

  get length(): number { return this.at - this.start }

  u8(): number {
    if (this.at - this.start >= MAX_LENGTH) throw TOO_LONG
    if (this.at >= this.end) throw OUT_OF_BYTES
    return this.bytes[this.at++] as number
  }

  u16(): number { return this.u8() | (this.u8() << 8) }
  u32(): number { return (this.u16() | (this.u16() << 16)) >>> 0 }
  i8(): number { return (this.u8() << 24) >> 24 }
  i16(): number { return (this.u16() << 16) >> 16 }
  i32(): number { return this.u32() | 0 }
  u64(): bigint {
    const low = this.u32()
    return BigInt(low) | (BigInt(this.u32()) << 32n)
  }

  /** Reads prefixes and returns the first opcode byte. A REX byte counts only directly before the opcode. */
  prefixes(long: boolean): number {
    for (;;) {
      const byte = this.u8()
      if (long && (byte & 0xf0) === 0x40) { this.rex = byte; continue }
      if (!this.legacyPrefix(byte, long)) return byte
      this.rex = 0
    }
  }

  private legacyPrefix(byte: number, long: boolean): boolean {
    switch (byte) {
      case 0x66: this.operandPrefix = true; return true
      case 0x67: this.addressPrefix = true; return true
      case 0xf0: this.lock = true; return true
      case 0xf2: case 0xf3: this.repPrefix = byte; return true
      case 0x64: this.segment = Seg.FS; return true
      case 0x65: this.segment = Seg.GS; return true
      // In 64-bit mode these four are ignored; they do not undo an FS or GS override.
      case 0x26: if (!long) this.segment = Seg.ES; return true
      case 0x2e: if (!long) this.segment = Seg.CS; return true
      case 0x36: if (!long) this.segment = Seg.SS; return true
      case 0x3e: if (!long) this.segment = Seg.DS; return true
      default: return false
    }
  }

  /** Memory operand named by a ModRM byte with mod 0 … 2, except its access size. */
  memory(modrm: number, addressSize: 16 | 32 | 64, long: boolean): Omit<MemoryOperand, 'bytes'> {
    return addressSize === 16 ? this.memory16(modrm) : this.memory32(modrm, addressSize, long)
  }

  private memory16(modrm: number): Omit<MemoryOperand, 'bytes'> {
    const mod = modrm >> 6
    const rm = modrm & 7
    const absolute = mod === 0 && rm === 6
    const displacement = absolute || mod === 2 ? this.i16() : mod === 1 ? this.i8() : 0
    if (absolute) return this.place(-1, -1, 0, displacement, false, 16)
    return this.place(BASE16[rm], INDEX16[rm], 0, displacement, false, 16)
  }

  private memory32(modrm: number, addressSize: 32 | 64, long: boolean): Omit<MemoryOperand, 'bytes'> {
    const mod = modrm >> 6
    let rm = modrm & 7
    let index = -1
    let scale = 0
    const hasSib = rm === 4
    if (hasSib) {
      const sib = this.u8()
      rm = sib & 7
      scale = sib >> 6
      index = ((sib >> 3) & 7) | (this.rex & 2 ? 8 : 0)
      if (index === 4) { index = -1; scale = 0 }
    }
    const noBase = mod === 0 && rm === 5
    const base = noBase ? -1 : rm | (this.rex & 1 ? 8 : 0)
    const displacement = noBase || mod === 2 ? this.i32() : mod === 1 ? this.i8() : 0
    return this.place(base, index, scale, displacement, long && noBase && !hasSib, addressSize)
  }

  private place(
    base: number, index: number, scale: number, displacement: number, ripRelative: boolean, addressSize: 16 | 32 | 64,
  ): Omit<MemoryOperand, 'bytes'> {
    const segment = this.segment >= 0 ? this.segment : base === 4 || base === 5 ? Seg.SS : Seg.DS
    return { kind: 'mem', segment, base, index, scale, displacement: BigInt(displacement), ripRelative, addressSize }
  }

  /** Direct offset of MOV A0–A3. */
  moffs(addressSize: 16 | 32 | 64): Omit<MemoryOperand, 'bytes'> {
    const displacement = addressSize === 64 ? this.u64() : BigInt(addressSize === 32 ? this.u32() : this.u16())
    const segment = this.segment >= 0 ? this.segment : Seg.DS
    return { kind: 'mem', segment, base: -1, index: -1, scale: 0, displacement, ripRelative: false, addressSize }
  }
}
