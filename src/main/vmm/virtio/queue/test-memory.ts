/** Flat guest memory for tests and fuzzing: what a device needs of RAM, without frames. */
import type { GuestMemory } from '../../bus/types'

export class TestMemory implements GuestMemory {
  readonly bytes: Uint8Array
  private readonly view: DataView

  constructor(size: number) {
    this.bytes = new Uint8Array(size)
    this.view = new DataView(this.bytes.buffer)
  }

  isRam(gpa: number, length: number): boolean {
    return gpa >= 0 && length >= 0 && gpa + length <= this.bytes.length
  }

  read(gpa: number, target: Uint8Array): boolean {
    for (let i = 0; i < target.length; i++) target[i] = this.readU8(gpa + i)
    return this.isRam(gpa, target.length)
  }

  write(gpa: number, source: Uint8Array): boolean {
    if (!this.isRam(gpa, source.length)) return false
    this.bytes.set(source, gpa)
    return true
  }

  readU8(gpa: number): number { return this.isRam(gpa, 1) ? this.bytes[gpa] : 0xff }
  readU16(gpa: number): number { return this.isRam(gpa, 2) ? this.view.getUint16(gpa, true) : 0xffff }
  readU32(gpa: number): number { return this.isRam(gpa, 4) ? this.view.getUint32(gpa, true) : 0xffff_ffff }
  writeU8(gpa: number, value: number): void { if (this.isRam(gpa, 1)) this.bytes[gpa] = value }
  writeU16(gpa: number, value: number): void { if (this.isRam(gpa, 2)) this.view.setUint16(gpa, value, true) }
  writeU32(gpa: number, value: number): void { if (this.isRam(gpa, 4)) this.view.setUint32(gpa, value, true) }
}
