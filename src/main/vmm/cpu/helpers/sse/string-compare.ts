/** PCMPESTRI, PCMPESTRM, PCMPISTRI, PCMPISTRM. SDM vol. 2, 4.1: imm8 and its stages. */
import type { CpuContext } from '../../core/context'
import type { Helper } from '../../emit/emitter'
import { compareStringsCommon } from './string-compare-common'

function elements(low: bigint, high: bigint, width: 8 | 16, isSigned: boolean): number[] {
  const all = low | (high << 64n)
  const mask = (1n << BigInt(width)) - 1n
  return Array.from({ length: 128 / width }, (_, i) => {
    const value = Number((all >> BigInt(i * width)) & mask)
    return isSigned && value >= 2 ** (width - 1) ? value - 2 ** width : value
  })
}

const untilZero = (values: readonly number[]): number => {
  const at = values.indexOf(0)
  return at < 0 ? values.length : at
}

/** |length|, at most the number of elements; `length` is a sign-extended register. */
const saturated = (length: bigint, count: number): number => {
  const size = length < 0n ? -length : length
  return size > BigInt(count) ? count : Number(size)
}

type Aggregate = (a: readonly number[], b: readonly number[], lengthA: number, lengthB: number) => boolean[]

const equalAny: Aggregate = (a, b, lengthA, lengthB) => b.map((x, j) => j < lengthB && a.slice(0, lengthA).includes(x))

const ranges: Aggregate = (a, b, lengthA, lengthB) => b.map((x, j) => {
  if (j >= lengthB) return false
  for (let i = 0; i + 1 < lengthA; i += 2) if (x >= a[i] && x <= a[i + 1]) return true
  return false
})

/** Both ended counts as equal, one ended as different. */
const equalEach: Aggregate = (a, b, lengthA, lengthB) =>
  b.map((x, j) => (j < lengthA && j < lengthB ? a[j] === x : j >= lengthA && j >= lengthB))

/** b from j on starts with a, as far as b's register goes. */
const equalOrdered: Aggregate = (a, b, lengthA, lengthB) => b.map((_, j) => {
  for (let i = 0; i < lengthA && j + i < b.length; i++) if (j + i >= lengthB || a[i] !== b[j + i]) return false
  return true
})

const AGGREGATES: readonly Aggregate[] = [equalAny, ranges, equalEach, equalOrdered]

function polarity(imm: number, found: readonly boolean[], lengthB: number): boolean[] {
  switch ((imm >> 4) & 3) {
    case 1: return found.map((x) => !x)
    case 3: return found.map((x, j) => (j < lengthB ? !x : x))
    default: return [...found]
  }
}

/**
 * IntRes2 in bits 15:0, the least (bits 23:16) and greatest (31:24) set index or the element count, by one call.
 * Flags go to scratch[2] as RFLAGS bits. `control`: imm8, bit 8 explicit lengths.
 */
export const compareStringsHelper: Helper = {
  name: 'compareStrings', args: ['i32', 'i64', 'i64', 'i64', 'i64', 'i64', 'i64'], returns: 'i32', faults: false, isolated: true,
  common: compareStringsCommon,
  run(
    { state }: CpuContext, control: number, aLow: bigint, aHigh: bigint, bLow: bigint, bHigh: bigint, lengthA64: bigint, lengthB64: bigint,
  ): number {
    const width = (control & 1) !== 0 ? 16 : 8
    const isSigned = (control & 2) !== 0
    const a = elements(aLow, aHigh, width, isSigned)
    const b = elements(bLow, bHigh, width, isSigned)
    const count = a.length
    const isExplicit = (control & 0x100) !== 0
    const lengthA = isExplicit ? saturated(BigInt.asIntN(64, lengthA64), count) : untilZero(a)
    const lengthB = isExplicit ? saturated(BigInt.asIntN(64, lengthB64), count) : untilZero(b)
    const found = polarity(control, AGGREGATES[(control >> 2) & 3](a, b, lengthA, lengthB), lengthB)
    const mask = found.reduce((bits, x, j) => bits | (x ? 1 << j : 0), 0)
    const flags = (mask !== 0 ? 1 : 0) | (lengthB < count ? 0x40 : 0) | (lengthA < count ? 0x80 : 0) | ((mask & 1) !== 0 ? 0x800 : 0)
    state.set64('scratch', BigInt(flags), 2)
    const least = mask === 0 ? count : found.indexOf(true)
    const greatest = mask === 0 ? count : found.lastIndexOf(true)
    return (mask | (least << 16) | (greatest << 24)) >>> 0
  },
}
