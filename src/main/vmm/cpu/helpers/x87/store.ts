/**
 * The helpers behind x87 stores. They give what goes to memory and change nothing, for the store may fault: the status word and tags
 * that are to follow wait in `scratch[After.CELL]`, with a bit that tells whether memory is to be written at all.
 */
import type { CpuContext } from '../../core/context'
import type { Helper, HelperEmitter, HelperType } from '../../emit/emitter'
import type { FpMode } from './arithmetic'
import { After, storeExtended, storeFloat, storeInteger } from './common/transfer'
import { DECIMAL_INDEFINITE, toDecimal } from './decimal'
import { DEFAULT_NAN, DOUBLE, Fx, SINGLE, toIeee, toInteger, type Float80, type Format } from './float80'
import { C1, X87 } from './unit'

export { After }

/** `scratch` cell of bits 64–79 of what ten-byte stores write. */
export const HIGH_CELL = 3

interface Stored { readonly bits: bigint; readonly high?: number }

const TRUNCATE = 3
const RANGE = Fx.OE | Fx.UE

/** Status word and tags as they will be. */
function leave(unit: X87, { state }: CpuContext, mode: FpMode, pop: boolean, write: boolean): void {
  const [status, tags] = [state.get('fsw'), state.get('ftw')]
  unit.setCondition(C1, mode.status.roundedUp ? C1 : 0)
  unit.raise(mode.status.flags)
  if (pop && write) unit.pop()
  const word = BigInt(state.get('fsw') | (state.get('ftw') << After.TAGS))
  state.set64('scratch', write ? word | (1n << BigInt(After.WRITE)) : word, After.CELL)
  state.set('fsw', status)
  state.set('ftw', tags)
}

/** Converts st(0), or gives the format's indefinite for an empty register. */
function prepare(cpu: CpuContext, pop: boolean, indefinite: Stored, convert: (value: Float80, mode: FpMode) => Stored): bigint {
  const { state } = cpu
  const unit = new X87(state)
  const mode = unit.mode()
  const empty = unit.isEmpty(0)
  if (empty) mode.status.flags = Fx.IE | Fx.SF
  const { bits, high } = empty ? indefinite : convert(unit.read(0), mode)
  const unmasked = mode.status.flags & ~state.get('fcw') & (Fx.IE | Fx.OE | Fx.UE)
  leave(unit, cpu, mode, pop, unmasked === 0)
  if (high !== undefined) state.set64('scratch', BigInt(high), HIGH_CELL)
  return BigInt.asUintN(64, bits)
}

function storeHelper(
  name: string, args: readonly HelperType[], indefinite: (...args: number[]) => Stored,
  convert: (value: Float80, mode: FpMode, ...args: number[]) => Stored, common?: (e: HelperEmitter) => void,
): Helper {
  return {
    name, args, returns: 'i64', faults: false, isolated: true, ...(common ? { common } : {}),
    /** The last argument tells whether st(0) is popped; ten-byte stores always pop. */
    run: (cpu: CpuContext, ...values: number[]): bigint =>
      prepare(cpu, args.length === 0 || values[args.length - 1] !== 0, indefinite(...values), (value, mode) => convert(value, mode, ...values)),
  }
}

/** An unmasked overflow or underflow is all there is to say, and a tiny value underflows even where it is exact. */
function noteUnmaskedRange(bits: bigint, { precision }: Format, { status, unmasked }: FpMode): void {
  const fraction = BigInt(precision - 1)
  const magnitude = bits & ((1n << (precision === SINGLE.precision ? 31n : 63n)) - 1n)
  if ((unmasked & Fx.UE) !== 0 && magnitude !== 0n && magnitude >> fraction === 0n) status.flags |= Fx.UE
  if ((status.flags & unmasked & RANGE) === 0) return
  status.flags &= ~Fx.PE
  status.roundedUp = false
}

const toFormat = (format: Format) => (value: Float80, mode: FpMode): Stored => {
  const bits = toIeee(value, format, mode.rounding, mode.status)
  noteUnmaskedRange(bits, format, mode)
  return { bits }
}

/** FST and FSTP. Argument: 1 where st(0) is popped. */
export const storeHelpers = {
  single: storeHelper('x87StoreSingle', ['i32'], () => ({ bits: 0xffc0_0000n }), toFormat(SINGLE), storeFloat(32)),
  double: storeHelper('x87StoreDouble', ['i32'], () => ({ bits: 0xfff8_0000_0000_0000n }), toFormat(DOUBLE), storeFloat(64)),
} as const

const mostNegative = (width: number): Stored => ({ bits: 1n << BigInt(width - 1) })

/** FIST, FISTP, FISTTP. Arguments: width, 1 where it is always truncated, 1 where st(0) is popped. */
export const storeIntegerHelper = storeHelper('x87StoreInteger', ['i32', 'i32', 'i32'], mostNegative, (value, mode, width, truncate) => {
  const bits = toInteger(value, width, truncate ? TRUNCATE : mode.rounding, mode.status)
  return bits === undefined ? mostNegative(width) : { bits }
}, storeInteger)

/** FSTP m80. */
export const storeExtendedHelper = storeHelper('x87StoreExtended', [], () => ({ bits: DEFAULT_NAN.sig, high: 0xffff }),
  ({ sign, exp, sig }) => ({ bits: sig, high: (sign << 15) | exp }), storeExtended)

/** FBSTP. */
export const storeDecimalHelper = storeHelper('x87StoreDecimal', [], () => DECIMAL_INDEFINITE, (value, mode) => toDecimal(value, mode.rounding, mode.status))
