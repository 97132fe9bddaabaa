/** Typed access to a vCPU block from TypeScript. Generated from the layout table: no offset is written here. */
import { FIELDS, STATE_SIZE, offsetOf, type FieldName } from './layout'

type NumberField = { [K in FieldName]: (typeof FIELDS)[K]['type'] extends 'i64' | 'v128' ? never : K }[FieldName]
type BigField = { [K in FieldName]: (typeof FIELDS)[K]['type'] extends 'i64' ? K : never }[FieldName]

const MASK64 = (1n << 64n) - 1n

/** Where a field lies, resolved once: accessors run on every system call and interrupt. */
interface Place { readonly at: number; readonly bytes: number; readonly count: number }

const PLACES = Object.fromEntries((Object.keys(FIELDS) as FieldName[]).map((name): [FieldName, Place] => {
  const { count } = FIELDS[name]
  const bytes = { u8: 1, u16: 2, i32: 4, i64: 8, v128: 16 }[FIELDS[name].type]
  return [name, { at: offsetOf(name), bytes, count }]
})) as Readonly<Record<FieldName, Place>>

function place(name: FieldName, index: number): number {
  const { at, bytes, count } = PLACES[name]
  if (index < 0 || index >= count) throw new RangeError(`${name}[${index}] is outside its field`)
  return at + index * bytes
}

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
    const at = place(name, index)
    switch (PLACES[name].bytes) {
      case 1: return this.view.getUint8(at)
      case 2: return this.view.getUint16(at, true)
      default: return this.view.getUint32(at, true)
    }
  }

  getI32(name: NumberField, index = 0): number {
    return this.view.getInt32(place(name, index), true)
  }

  set(name: NumberField, value: number, index = 0): void {
    const at = place(name, index)
    switch (PLACES[name].bytes) {
      case 1: this.view.setUint8(at, value); break
      case 2: this.view.setUint16(at, value, true); break
      default: this.view.setInt32(at, value | 0, true)
    }
  }

  get64(name: BigField, index = 0): bigint {
    return this.view.getBigUint64(place(name, index), true)
  }

  set64(name: BigField, value: bigint, index = 0): void {
    this.view.setBigUint64(place(name, index), value & MASK64, true)
  }

  lo(name: BigField, index = 0): number {
    return this.view.getUint32(place(name, index), true)
  }

  hi(name: BigField, index = 0): number {
    return this.view.getUint32(place(name, index) + 4, true)
  }

  setLoHi(name: BigField, lo: number, hi: number, index = 0): void {
    const at = place(name, index)
    this.view.setInt32(at, lo | 0, true)
    this.view.setInt32(at + 4, hi | 0, true)
  }

  /** Element of a v128 field (`xmm`, `fpr`) as a 16-byte view that aliases the state. */
  vec(name: 'xmm' | 'fpr', index: number): Uint8Array {
    const at = place(name, index)
    return this.bytes.subarray(at, at + 16)
  }

  /** General register by encoding number. */
  gpr(index: number): bigint {
    return this.view.getBigUint64(place('gpr', index), true)
  }

  setGpr(index: number, value: bigint): void {
    this.view.setBigUint64(place('gpr', index), value & MASK64, true)
  }
}
