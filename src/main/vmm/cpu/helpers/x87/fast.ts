/**
 * The common case of x87 arithmetic in 32-bit words, without bigint: normal operands, round to nearest, full precision, an
 * inexact result masked. What does not fit says so and changes nothing; the exact arithmetic then does it. Held against that
 * in `fast.test.ts`.
 */
import type { CpuState } from '../../state/access'
import { offsetOf } from '../../state/layout'
import { BIAS, Fx } from './float80'
import { C1 } from './unit'

const AT_FPR = offsetOf('fpr')
const AT_FCW = offsetOf('fcw')
const AT_FSW = offsetOf('fsw')
const AT_FTW = offsetOf('ftw')

/** FCW: PC = 64 bits, RC = nearest, the precision exception masked. SDM vol. 1, 8.1.5. */
const CONTROL_MASK = 0xf20
const CONTROL_FAST = 0x320

const SIGN = 0x8000
const MAX_EXP = 0x7fff
/** Farther apart than this the smaller operand is a matter of rounding alone. */
const MAX_SHIFT = 63

/** High and low word of the product of two unsigned words, as [high, low] in `out`. */
function multiplyWords(a: number, b: number, out: Uint32Array): void {
  const a0 = a & 0xffff
  const a1 = a >>> 16
  const low = a0 * b
  const middle = a1 * b + Math.floor(low / 0x1_0000)
  out[0] = Math.floor(middle / 0x1_0000)
  out[1] = (middle % 0x1_0000) * 0x1_0000 + (low & 0xffff)
}

/** An operand: sign and exponent as they lie in a register, significand in words. */
interface Operand { top: number; hi: number; lo: number }

export class FastX87 {
  private readonly a: Operand = { top: 0, hi: 0, lo: 0 }
  private readonly b: Operand = { top: 0, hi: 0, lo: 0 }
  private readonly words = new Uint32Array(2)
  /** Result under construction: 128 bits from the top, and its exponent. */
  private r3 = 0
  private r2 = 0
  private r1 = 0
  private r0 = 0
  /** What `narrow` made. */
  storedLo = 0
  storedHi = 0
  storedInexact = false
  storedUp = false

  constructor(private readonly state: CpuState) {}

  private get(at: number): number {
    return this.state.view.getInt32(at, true)
  }

  private set(at: number, value: number): void {
    this.state.view.setInt32(at, value, true)
  }

  /** Byte offset of st(i) in the state; -1 where it is empty. */
  private place(i: number): number {
    const physical = ((this.get(AT_FSW) >> 11) + i) & 7
    return (this.get(AT_FTW) & (1 << physical)) === 0 ? -1 : AT_FPR + physical * 16
  }

  private read(at: number, into: Operand): boolean {
    const { view } = this.state
    into.top = view.getUint16(at + 8, true)
    into.lo = view.getUint32(at, true)
    into.hi = view.getUint32(at + 4, true)
    return isNormal(into)
  }

  /** A single or double operand as it comes from memory. False: not a normal number. */
  private widen(double: boolean, lo: number, hi: number, into: Operand): boolean {
    const word = double ? hi : lo
    const exponent = double ? (word >>> 20) & 0x7ff : (word >>> 23) & 0xff
    if (exponent === 0 || exponent === (double ? 0x7ff : 0xff)) return false
    into.top = ((word >>> 16) & SIGN) | (exponent - (double ? 1023 : 127) + BIAS)
    if (double) {
      into.hi = (0x8000_0000 | ((hi & 0xf_ffff) << 11) | (lo >>> 21)) >>> 0
      into.lo = (lo << 11) >>> 0
    } else {
      into.hi = (0x8000_0000 | ((lo & 0x7f_ffff) << 8)) >>> 0
      into.lo = 0
    }
    return true
  }

  private get ready(): boolean {
    return (this.get(AT_FCW) & CONTROL_MASK) === CONTROL_FAST
  }

  /** FLD m32 and m64. False: nothing was done. */
  load(double: boolean, lo: number, hi: number): boolean {
    const status = this.get(AT_FSW)
    const physical = ((status >> 11) - 1) & 7
    const tags = this.get(AT_FTW)
    const isZero = lo === 0 && (!double || (hi & 0x7fff_ffff) === 0)
    if ((tags & (1 << physical)) !== 0) return false
    if (isZero) Object.assign(this.a, { top: double ? (hi >>> 16) & SIGN : 0, hi: 0, lo: 0 })
    else if (!this.widen(double, lo, hi, this.a)) return false
    this.put(AT_FPR + physical * 16, this.a.top, this.a.hi, this.a.lo)
    this.set(AT_FTW, tags | (1 << physical))
    this.set(AT_FSW, (status & ~(0x3800 | C1)) | (physical << 11))
    return true
  }

  private put(at: number, top: number, hi: number, lo: number): void {
    const { view } = this.state
    view.setInt32(at, lo, true)
    view.setInt32(at + 4, hi, true)
    view.setUint16(at + 8, top, true)
  }

  /** st(destination) = st(destination) op st(source). False: nothing was done. */
  registers(op: FastOp, destination: number, source: number): boolean {
    const to = this.place(destination)
    const from = this.place(source)
    return to >= 0 && from >= 0 && this.ready && this.read(to, this.a) && this.read(from, this.b) && this.calculate(op, to)
  }

  /** st(0) = st(0) op memory. */
  memory(op: FastOp, double: boolean, lo: number, hi: number): boolean {
    const to = this.place(0)
    return to >= 0 && this.ready && this.read(to, this.a) && this.widen(double, lo, hi, this.b) && this.calculate(op, to)
  }

  /**
   * FST m32 and m64: st(0) rounded, as the bits of the format in `storedLo` and `storedHi`. Flags and C1 are for the caller
   * to set once memory is written. False: nothing was done.
   */
  narrow(double: boolean): boolean {
    const from = this.place(0)
    const { a } = this
    if (from < 0 || !this.ready || !this.read(from, a)) return false
    const exponent = (a.top & MAX_EXP) - BIAS + (double ? 1023 : 127)
    // The result may round up to the next power of two: that must be in range too.
    if (exponent <= 0 || exponent >= (double ? 0x7fe : 0xfe)) return false
    const lost = double ? a.lo & 0x7ff : (a.hi & 0xff) * 8 + (a.lo !== 0 ? 1 : 0)
    const half = 0x400
    const odd = double ? (a.lo >>> 11) & 1 : (a.hi >>> 8) & 1
    this.storedUp = lost > half || (lost === half && odd === 1)
    this.storedInexact = lost !== 0
    const sign = (a.top & SIGN) << 16
    if (double) {
      const low = (((a.hi << 21) | (a.lo >>> 11)) >>> 0) + (this.storedUp ? 1 : 0)
      this.storedLo = low >>> 0
      this.storedHi = ((sign | (exponent << 20) | ((a.hi >>> 11) & 0xf_ffff)) + (low > 0xffff_ffff ? 1 : 0)) >>> 0
    } else {
      this.storedLo = ((sign | (exponent << 23) | ((a.hi >>> 8) & 0x7f_ffff)) + (this.storedUp ? 1 : 0)) >>> 0
      this.storedHi = 0
    }
    return true
  }

  private calculate(op: FastOp, to: number): boolean {
    const { a, b } = this
    if (op === 'multiply') return this.multiply(to)
    if (op === 'subtract') b.top ^= SIGN
    else if (op === 'subtractReverse') a.top ^= SIGN
    return this.add(to)
  }

  private multiply(to: number): boolean {
    const { a, b, words } = this
    multiplyWords(a.lo, b.lo, words)
    this.r0 = words[1]
    let carry = words[0]
    multiplyWords(a.hi, b.lo, words)
    const [h1, l1] = words
    multiplyWords(a.lo, b.hi, words)
    const [h2, l2] = words
    multiplyWords(a.hi, b.hi, words)
    carry += l1 + l2
    this.r1 = carry >>> 0
    carry = Math.floor(carry / 2 ** 32) + h1 + h2 + words[1]
    this.r2 = carry >>> 0
    this.r3 = (words[0] + Math.floor(carry / 2 ** 32)) >>> 0
    let exponent = (a.top & MAX_EXP) + (b.top & MAX_EXP) - BIAS + 1
    if ((this.r3 & 0x8000_0000) === 0) {
      this.shiftLeft(1)
      exponent--
    }
    return this.finish(to, (a.top ^ b.top) & SIGN, exponent)
  }

  /** By 1 … 31 bits. */
  private shiftLeft(by: number): void {
    const back = 32 - by
    this.r3 = ((this.r3 << by) | (this.r2 >>> back)) >>> 0
    this.r2 = ((this.r2 << by) | (this.r1 >>> back)) >>> 0
    this.r1 = ((this.r1 << by) | (this.r0 >>> back)) >>> 0
    this.r0 = (this.r0 << by) >>> 0
  }

  private add(to: number): boolean {
    let { a, b } = this
    let distance = (a.top & MAX_EXP) - (b.top & MAX_EXP)
    if (distance < 0 || (distance === 0 && (a.hi < b.hi || (a.hi === b.hi && a.lo < b.lo)))) {
      ;[a, b] = [b, a]
      distance = -distance
    }
    if (distance > MAX_SHIFT) return false
    this.align(b, distance)
    const exponent = a.top & MAX_EXP
    const sign = a.top & SIGN
    return sign === (b.top & SIGN) ? this.sum(a, to, sign, exponent) : this.difference(a, to, sign, exponent)
  }

  /** The smaller operand's significand, shifted right into 128 bits. */
  private align({ hi, lo }: Operand, by: number): void {
    const words = by >= 32
    const bits = by & 31
    const top = bits === 0 ? hi : hi >>> bits
    const middle = bits === 0 ? lo : ((hi << (32 - bits)) | (lo >>> bits)) >>> 0
    const low = bits === 0 ? 0 : (lo << (32 - bits)) >>> 0
    this.r3 = words ? 0 : top
    this.r2 = words ? top : middle
    this.r1 = words ? middle : low
    this.r0 = words ? low : 0
  }

  private sum(a: Operand, to: number, sign: number, exponent: number): boolean {
    const low = a.lo + this.r2
    const high = a.hi + this.r3 + (low > 0xffff_ffff ? 1 : 0)
    this.r2 = low >>> 0
    this.r3 = high >>> 0
    if (high <= 0xffff_ffff) return this.finish(to, sign, exponent)
    // The bit that falls off counts for rounding only.
    this.r0 = ((this.r1 << 31) | (this.r0 >>> 1) | (this.r0 & 1)) >>> 0
    this.r1 = ((this.r2 << 31) | (this.r1 >>> 1)) >>> 0
    this.r2 = ((this.r3 << 31) | (this.r2 >>> 1)) >>> 0
    this.r3 = (0x8000_0000 | (this.r3 >>> 1)) >>> 0
    return this.finish(to, sign, exponent + 1)
  }

  private difference(a: Operand, to: number, sign: number, exponent: number): boolean {
    let borrow = 0
    const less = (from: number, by: number): number => {
      const rest = from - by - borrow
      borrow = rest < 0 ? 1 : 0
      return rest >>> 0
    }
    this.r0 = less(0, this.r0)
    this.r1 = less(0, this.r1)
    this.r2 = less(a.lo, this.r2)
    this.r3 = less(a.hi, this.r3)
    let at = exponent
    while (this.r3 === 0) {
      if ((this.r2 | this.r1 | this.r0) === 0) return this.store(to, 0, 0, 0, false, false)
      this.r3 = this.r2
      this.r2 = this.r1
      this.r1 = this.r0
      this.r0 = 0
      at -= 32
    }
    const shift = Math.clz32(this.r3)
    if (shift > 0) this.shiftLeft(shift)
    return this.finish(to, sign, at - shift)
  }

  /** Rounds to nearest, ties to even. */
  private finish(to: number, sign: number, exponent: number): boolean {
    let { r3: hi, r2: lo } = this
    let at = exponent
    const inexact = (this.r1 | this.r0) !== 0
    const up = (this.r1 & 0x8000_0000) !== 0 && ((this.r1 & 0x7fff_ffff) !== 0 || this.r0 !== 0 || (lo & 1) !== 0)
    if (up) {
      lo = (lo + 1) >>> 0
      if (lo === 0) hi = (hi + 1) >>> 0
      if (hi === 0 && lo === 0) {
        hi = 0x8000_0000
        at++
      }
    }
    if (at <= 0 || at >= MAX_EXP) return false
    return this.store(to, sign | at, hi, lo, inexact, up)
  }

  private store(to: number, top: number, hi: number, lo: number, inexact: boolean, up: boolean): true {
    this.put(to, top, hi, lo)
    this.set(AT_FSW, (this.get(AT_FSW) & ~C1) | (up ? C1 : 0) | (inexact ? Fx.PE : 0))
    return true
  }
}

export type FastOp = 'add' | 'multiply' | 'subtract' | 'subtractReverse'

const isNormal = ({ top, hi }: Operand): boolean => {
  const exponent = top & MAX_EXP
  return exponent !== 0 && exponent !== MAX_EXP && (hi & 0x8000_0000) !== 0
}
