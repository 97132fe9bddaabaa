/** Memory operands of loads, arithmetic and comparisons: singles, doubles and integers. */
import type { HelperType } from '../../emit/emitter'
import type { FpMode } from './arithmetic'
import { widenDouble, widenInteger, widenSingle, type Widen } from './common/operands'
import { Fx, fromDouble, fromInteger, fromSingle, isNaN80, kindOf, type Float80 } from './float80'

/** Formats of a memory operand. */
export const KINDS = ['single', 'double', 'integer'] as const
export type Kind = (typeof KINDS)[number]

interface Format {
  /** How the operand comes: integers sign-extended to 64 bits. */
  readonly type: HelperType
  readonly widen: Widen
  /** Names of helpers end in it. */
  readonly suffix: string
}

export const FORMATS: Readonly<Record<Kind, Format>> = {
  single: { type: 'i32', widen: widenSingle, suffix: 'Single' },
  double: { type: 'i64', widen: widenDouble, suffix: 'Double' },
  integer: { type: 'i64', widen: widenInteger, suffix: 'Integer' },
}

export function fromMemory(kind: Kind, bits: number | bigint): Float80 {
  if (kind === 'single') return fromSingle(Number(bits))
  return kind === 'double' ? fromDouble(BigInt(bits)) : fromInteger(BigInt.asIntN(64, BigInt(bits)))
}

/** True for a denormal of the memory format, which is normal once widened. */
export function isNarrowDenormal(kind: Kind, bits: number | bigint): boolean {
  if (kind === 'integer') return false
  const [fraction, magnitude] = kind === 'single' ? [23n, BigInt(bits) & 0x7fff_ffffn] : [52n, BigInt(bits) & 0x7fff_ffff_ffff_ffffn]
  return magnitude !== 0n && magnitude >> fraction === 0n
}

/** A denormal operand is reported, unless a NaN decides the result. */
export function noteNarrowDenormal(kind: Kind, bits: number | bigint, other: Float80, mode: FpMode): void {
  if (isNaN80(other) || kindOf(other) === 'unsupported') return
  if (isNarrowDenormal(kind, bits)) mode.status.flags |= Fx.DE
}

/** An invalid operation, a NaN result included, reports nothing else. */
export function dropDenormalOfInvalid(mode: FpMode): void {
  if ((mode.status.flags & (Fx.IE | Fx.ZE)) !== 0) mode.status.flags &= ~Fx.DE
}

/** One helper for each format. */
export const perKind = <T>(build: (kind: Kind) => T): Readonly<Record<Kind, T>> =>
  ({ single: build('single'), double: build('double'), integer: build('integer') })
