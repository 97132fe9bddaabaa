/** The x87 register stack over the state block: registers, tags, status word, exception responses. SDM vol. 1, chapter 8. */
import type { CpuState } from '../../state/access'
import { DEFAULT_NAN, Fx, type Float80, type FpStatus, type Rounding } from './float80'
import type { FpMode } from './arithmetic'

/** Condition bits of the status word. */
export const C0 = 0x100
export const C1 = 0x200
export const C2 = 0x400
export const C3 = 0x4000
const SUMMARY = 0x8080
const PRECISIONS = [24, 64, 53, 64] as const

/** Exceptions that, unmasked, leave the destination alone. */
const PRE_EXCEPTIONS = Fx.IE | Fx.DE | Fx.ZE

export class X87 {
  constructor(private readonly state: CpuState) {}

  get top(): number {
    return (this.state.get('fsw') >> 11) & 7
  }

  set top(value: number) {
    this.state.set('fsw', (this.state.get('fsw') & ~0x3800) | ((value & 7) << 11))
  }

  private physical(i: number): number {
    return (this.top + i) & 7
  }

  isEmpty(i: number): boolean {
    return (this.state.get('ftw') & (1 << this.physical(i))) === 0
  }

  setEmpty(i: number, empty: boolean): void {
    const bit = 1 << this.physical(i)
    this.state.set('ftw', empty ? this.state.get('ftw') & ~bit : this.state.get('ftw') | bit)
  }

  read(i: number): Float80 {
    const bytes = this.state.vec('fpr', this.physical(i))
    const view = new DataView(bytes.buffer, bytes.byteOffset, 16)
    const top = view.getUint16(8, true)
    return { sign: (top >> 15) as 0 | 1, exp: top & 0x7fff, sig: view.getBigUint64(0, true) }
  }

  write(i: number, v: Float80): void {
    const bytes = this.state.vec('fpr', this.physical(i))
    const view = new DataView(bytes.buffer, bytes.byteOffset, 16)
    view.setBigUint64(0, v.sig, true)
    view.setUint16(8, (v.sign << 15) | v.exp, true)
    this.setEmpty(i, false)
  }

  pop(): void {
    this.setEmpty(0, true)
    this.top = this.top + 1
  }

  /** Pushes a value; onto a full stack the indefinite NaN, or nothing where that is unmasked. */
  push(v: Float80): void {
    if (this.isEmpty(7)) {
      this.setCondition(C1, 0)
      this.top = this.top - 1
      return this.write(0, v)
    }
    if (this.stackFault(true)) {
      this.top = this.top - 1
      this.write(0, DEFAULT_NAN)
    }
  }

  setCondition(mask: number, bits: number): void {
    this.state.set('fsw', (this.state.get('fsw') & ~mask) | bits)
  }

  /** Stack overflow or underflow. True where it is masked. */
  stackFault(overflow: boolean): boolean {
    this.setCondition(C1, overflow ? C1 : 0)
    return this.raise(Fx.IE | Fx.SF)
  }

  /** Sets exception flags and the summary. True where every one of them is masked. */
  raise(flags: number): boolean {
    const { state } = this
    const unmasked = flags & ~state.get('fcw') & 0x3f
    state.set('fsw', state.get('fsw') | (flags & 0x7f) | (unmasked !== 0 ? SUMMARY : 0))
    return unmasked === 0
  }

  mode(): FpMode & { status: FpStatus } {
    const control = this.state.get('fcw')
    return {
      precision: PRECISIONS[(control >> 8) & 3], rounding: ((control >> 10) & 3) as Rounding,
      status: { flags: 0, roundedUp: false }, unmasked: ~control & 0x3f,
    }
  }

  /** Reports an operation's exceptions. False where the result must not be stored. */
  settle(status: FpStatus): boolean {
    const refused = (status.flags & PRE_EXCEPTIONS & ~this.state.get('fcw')) !== 0
    this.setCondition(C1, status.roundedUp && !refused ? C1 : 0)
    return this.settleKeepingC1(status)
  }

  settleKeepingC1(status: FpStatus): boolean {
    const pre = status.flags & PRE_EXCEPTIONS & ~this.state.get('fcw')
    // Exceptions found before the operation hide those found after it, when they are not masked.
    this.raise(pre !== 0 ? status.flags & PRE_EXCEPTIONS : status.flags)
    return pre === 0
  }
}
