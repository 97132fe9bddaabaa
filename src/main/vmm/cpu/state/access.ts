/** Typed access to a vCPU block from TypeScript. Generated from the layout table: no offset is written here. */
import { FIELDS, STATE_SIZE, offsetOf, type FieldName, type FieldType } from './layout'

type NumberField = { [K in FieldName]: (typeof FIELDS)[K]['type'] extends 'i64' | 'v128' ? never : K }[FieldName]
type BigField = { [K in FieldName]: (typeof FIELDS)[K]['type'] extends 'i64' ? K : never }[FieldName]

const MASK64 = (1n << 64n) - 1n

/**
 * View of one vCPU block. 8-, 16- and 32-bit fields are unsigned numbers (`getI32` for signed),
 * 64-bit fields unsigned bigints, or halves (`lo`, `hi`) where a bigint would cost too much.
 */
export class CpuState {
  readonly view: DataView
  readonly bytes: Uint8Array

  /** @param buffer the machine's linear memory @param base byte offset of the block, 64-byte aligned */
  constructor(buffer: ArrayBufferLike, readonly base: number) {
    this.view = new DataView(buffer, base, STATE_SIZE)
    this.bytes = new Uint8Array(buffer, base, STATE_SIZE)
  }

  get(name: NumberField, index = 0): number {
    const at = offsetOf(name, index)
    switch (FIELDS[name].type as FieldType) {
      case 'u8': return this.view.getUint8(at)
      case 'u16': return this.view.getUint16(at, true)
      default: return this.view.getUint32(at, true)
    }
  }

  getI32(name: NumberField, index = 0): number {
    return this.view.getInt32(offsetOf(name, index), true)
  }

  set(name: NumberField, value: number, index = 0): void {
    const at = offsetOf(name, index)
    switch (FIELDS[name].type as FieldType) {
      case 'u8': this.view.setUint8(at, value); break
      case 'u16': this.view.setUint16(at, value, true); break
      default: this.view.setInt32(at, value | 0, true)
    }
  }

  get64(name: BigField, index = 0): bigint {
    return this.view.getBigUint64(offsetOf(name, index), true)
  }

  set64(name: BigField, value: bigint, index = 0): void {
    this.view.setBigUint64(offsetOf(name, index), value & MASK64, true)
  }

  lo(name: BigField, index = 0): number {
    return this.view.getUint32(offsetOf(name, index), true)
  }

  hi(name: BigField, index = 0): number {
    return this.view.getUint32(offsetOf(name, index) + 4, true)
  }

  setLoHi(name: BigField, lo: number, hi: number, index = 0): void {
    const at = offsetOf(name, index)
    this.view.setInt32(at, lo | 0, true)
    this.view.setInt32(at + 4, hi | 0, true)
  }

  /** Element of a v128 field (`xmm`, `fpr`) as a 16-byte view that aliases the state. */
  vec(name: 'xmm' | 'fpr', index: number): Uint8Array {
    const at = offsetOf(name, index)
    return this.bytes.subarray(at, at + 16)
  }

  /** General register by encoding number. */
  gpr(index: number): bigint {
    return this.view.getBigUint64(offsetOf('gpr', index), true)
  }

  setGpr(index: number, value: bigint): void {
    this.view.setBigUint64(offsetOf('gpr', index), value & MASK64, true)
  }
}
