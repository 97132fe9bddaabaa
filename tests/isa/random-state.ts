/** A random state in which a form has work to do: registers, flags, the data window, x87 and SSE. */
import type { Form } from '../../src/main/vmm/cpu/isa/types'
import { putInteresting64, putInteresting80, putInterestingVector, type Random } from './random'
import { CODE_BASE, FX_ST, FX_XMM, IsaRecord, WINDOW, WINDOW_AT, WINDOW_BYTES, type CpuMode } from './records'

/** Base of data addresses: what a segment-relative offset must subtract. */
export const dataBase = (mode: CpuMode): bigint => (mode === 16 ? BigInt(CODE_BASE) : 0n)

export class StateBuilder {
  readonly record = new IsaRecord()

  constructor(protected readonly form: Form, protected readonly mode: CpuMode, protected readonly random: Random) {}

  protected randomState(): void {
    const { random, record, mode } = this
    const { view } = record
    for (let n = 0; n < (mode === 64 ? 16 : 8); n++) {
      putInteresting64(random, view, n * 8)
      if (mode !== 64) view.setUint32(n * 8 + 4, 0)
    }
    record.rflags = 0x202n | BigInt(random.u32() & 0x8d5) | (random.chance(20) ? 0x400n : 0n)
    record.rip = this.startRip()
    this.fillWindow()
    for (let n = 0; n < (mode === 64 ? 16 : 8); n++) putInterestingVector(random, view, FX_XMM + n * 16)
    this.floatState()
  }

  private startRip(): bigint {
    const offset = this.random.chance(85) ? 0x800 : 0xff0 + this.random.below(16)
    return BigInt(CODE_BASE + offset) - dataBase(this.mode)
  }

  /** An address in the code pages that is no part of the instruction. */
  private codeAddress(): number {
    const offset = this.random.chance(50) ? 0x20 + this.random.below(0x700) : 0x1020 + this.random.below(0xf00)
    return (this.mode === 16 ? 0 : CODE_BASE) + offset
  }

  private fillWindow(): void {
    const { random, record, form } = this
    for (let at = 0; at < WINDOW_BYTES; at += 16) putInterestingVector(random, record.view, WINDOW_AT + at)
    if (form.row.unit === 'x87') this.fillFloats(record)
    if (form.row.ends === undefined) return
    // Branch targets: addresses where INT3 waits, at the width the instruction reads.
    const step = form.size === 64 ? 8 : form.size === 16 ? 2 : 4
    if (!random.chance(80)) return
    for (let at = WINDOW_AT; at < WINDOW_AT + WINDOW_BYTES; at += step) {
      const target = this.codeAddress()
      if (step === 2) record.view.setUint16(at, target, true)
      else record.view.setUint32(at, target, true)
      if (step === 8) record.view.setUint32(at + 4, 0)
    }
  }

  private fillFloats({ view, window }: IsaRecord): void {
    const style = this.random.below(3)
    if (style === 0) for (let at = 0; at + 16 <= WINDOW_BYTES; at += 10) putInteresting80(this.random, view, WINDOW_AT + at)
    // Packed decimals: most digits valid.
    if (style !== 1 || this.random.chance(50)) return
    for (let at = 0; at < WINDOW_BYTES; at++) window[at] = this.random.below(10) | (this.random.below(10) << 4)
  }

  private floatState(): void {
    const { random, record, form } = this
    const { unit } = form.row
    // With PE set already, engines may take their fast paths.
    record.mxcsr = random.chance(40) ? 0x1fa0 : 0x1f80
    if (random.chance(30)) {
      const zeroes = (random.chance(25) ? 0x8000 : 0) | (random.chance(25) ? 0x40 : 0)
      record.mxcsr = 0x1f80 | (random.below(4) << 13) | zeroes | random.below(64)
    }
    if (random.chance(4)) record.mxcsr &= ~(0x80 << random.below(6))
    record.fcw = 0x37f
    record.ftw = 0
    if (unit === undefined || unit === 'sse') { if (!random.chance(20)) return }
    if (random.chance(50)) record.fcw = 0x7f | (random.pick([0, 2, 3, 3]) << 8) | (random.below(4) << 10)
    const top = unit === 'mmx' && random.chance(50) ? 0 : random.below(8)
    record.fsw = (top << 11) | (random.below(2) << 14) | (random.below(8) << 8) | (random.chance(30) ? random.below(0x40) : 0)
    record.ftw = random.chance(70) ? 0xff : random.u32() & 0xff
    for (let n = 0; n < 8; n++) putInteresting80(random, record.view, FX_ST + n * 16)
    if (random.chance(8)) this.unmaskFloat()
  }

  /** Unmasks one x87 exception; a flag already raised with it makes the next x87 instruction fault. */
  private unmaskFloat(): void {
    const { record, random } = this
    record.fcw &= ~(1 << random.below(6))
    const pending = (record.fsw & 0x3f & ~record.fcw) !== 0
    record.fsw = (record.fsw & ~0x8080) | (pending ? 0x8080 : 0)
  }

  /** Offset of a byte of the window, as a register would hold it. */
  protected windowOffset(at: number): bigint {
    return BigInt(WINDOW + at) - dataBase(this.mode)
  }
}
