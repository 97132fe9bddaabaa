/** SSE float instructions in full: every rounding mode, NaN rule and exception. The meanings come here where their fast path may differ. */
import { CpuFault, Vector, type CpuContext } from '../../core/context'
import type { Helper } from '../../emit/emitter'
import { Exc, FloatEnvironment, F32, F64, type FloatFormat, type Rounding } from '../softfloat/format'
import {
  add, compare, convertFormat, divide, formatOf, fromInteger, minMax, multiply, predicate, roundIntegral, squareRoot, subtract, toInteger,
} from '../softfloat/operations'
import { reciprocal, reciprocalRoot } from './approximations'

/** Result slots in the state's scratch cells: low and high half. */
export const RESULT_LOW = 2
export const RESULT_HIGH = 3

const BEFORE_COMPUTATION = Exc.I | Exc.D | Exc.Z
const CR4_OSXMMEXCPT = 0x400

/** Adds the flags to MXCSR. @throws CpuFault #XM (or #UD, by CR4.OSXMMEXCPT) where one is unmasked */
function settle({ state }: CpuContext, env: FloatEnvironment): void {
  let { flags } = env
  // Unmasked invalid, denormal and division by zero are found before anything is computed: no other flag appears then.
  if ((flags & ~env.masked & BEFORE_COMPUTATION) !== 0) flags &= BEFORE_COMPUTATION
  state.set('mxcsr', state.get('mxcsr') | flags)
  if ((flags & ~env.masked) === 0) return
  throw new CpuFault((state.lo('cr4') & CR4_OSXMMEXCPT) !== 0 ? Vector.XM : Vector.UD)
}

function split(width: 32 | 64, low: bigint, high: bigint, lanes: number): bigint[] {
  const all = width === 64 ? [low, high] : [low & 0xffff_ffffn, low >> 32n, high & 0xffff_ffffn, high >> 32n]
  return all.slice(0, lanes)
}

function store({ state }: CpuContext, width: 32 | 64, lanes: readonly bigint[]): void {
  const lane = (n: number): bigint => lanes[n] ?? 0n
  state.set64('scratch', width === 64 ? lane(0) : lane(0) | (lane(1) << 32n), RESULT_LOW)
  state.set64('scratch', width === 64 ? lane(1) : lane(2) | (lane(3) << 32n), RESULT_HIGH)
}

type LaneOperation = (format: FloatFormat, env: FloatEnvironment, a: bigint, b: bigint, parameter: number) => bigint

const roundingOf = (env: FloatEnvironment, imm: number): Rounding => ((imm & 4) !== 0 ? env.rounding : (imm & 3) as Rounding)
const allOnes = (format: FloatFormat): bigint => (1n << BigInt(format.bits)) - 1n

/** Operations on two lanes of the same place. `add` and so on are in the order of opcodes 0F 58 … 0F 5F where they have one. */
const LANES = {
  add: (f, env, a, b) => add(f, env, a, b),
  sub: (f, env, a, b) => subtract(f, env, a, b),
  mul: (f, env, a, b) => multiply(f, env, a, b),
  div: (f, env, a, b) => divide(f, env, a, b),
  min: (f, env, a, b) => minMax(f, env, a, b, false),
  max: (f, env, a, b) => minMax(f, env, a, b, true),
  sqrt: (f, env, _a, b) => squareRoot(f, env, b),
  compare: (f, env, a, b, which) => (predicate(f, env, a, b, which) ? allOnes(f) : 0n),
  round: (f, env, _a, b, imm) => roundIntegral(f, env, b, roundingOf(env, imm), (imm & 8) !== 0),
  reciprocal: (_f, _env, _a, b) => reciprocal(b),
  reciprocalRoot: (_f, _env, _a, b) => reciprocalRoot(b),
} satisfies Record<string, LaneOperation>

export type LaneOperationName = keyof typeof LANES | 'addsub' | 'dot'
const NAMES = [...Object.keys(LANES), 'addsub', 'dot'] as LaneOperationName[]

/** `code` of `sseLanesHelper`. @param lanes 1 for scalar instructions @param parameter predicate or immediate */
export const laneCode = (name: LaneOperationName, width: 32 | 64, lanes: number): number =>
  NAMES.indexOf(name) | (width === 64 ? 0x100 : 0) | (lanes << 12)

/**
 * DPPS, DPPD: products chosen by imm[7:4], summed in pairs, to the lanes chosen by imm[3:0]. Each step raises its exceptions as an
 * instruction of its own would: an unmasked one ends it there, with the flags of the steps before.
 */
function dotProduct(
  f: FloatFormat, env: FloatEnvironment, a: readonly bigint[], b: readonly bigint[], imm: number, endStep: () => void,
): bigint[] {
  let sums = a.map((x, i) => ((imm >> (4 + i)) & 1 ? multiply(f, env, x, b[i]) : 0n))
  while (sums.length > 1) {
    endStep()
    sums = sums.flatMap((x, i) => (i % 2 === 0 ? [add(f, env, x, sums[i + 1])] : []))
  }
  return a.map((_, i) => ((imm >> i) & 1 ? sums[0] : 0n))
}

function compute(
  name: Exclude<LaneOperationName, 'dot'>, f: FloatFormat, env: FloatEnvironment, a: readonly bigint[], b: readonly bigint[], parameter: number,
): bigint[] {
  if (name === 'addsub') return a.map((x, i) => (i % 2 === 0 ? subtract : add)(f, env, x, b[i]))
  return a.map((x, i) => (LANES[name] as LaneOperation)(f, env, x, b[i], parameter))
}

/** Lanes of a and b (low and high halves) by `laneCode`; the result is left in scratch. */
export const sseLanesHelper: Helper = {
  name: 'sseLanes', args: ['i32', 'i32', 'i64', 'i64', 'i64', 'i64'], faults: true, isolated: true,
  run(cpu: CpuContext, code: number, parameter: number, aLow: bigint, aHigh: bigint, bLow: bigint, bHigh: bigint): void {
    const width = (code & 0x100) !== 0 ? 64 : 32
    const lanes = code >> 12
    const env = FloatEnvironment.of(cpu.state.get('mxcsr'))
    const name = NAMES[code & 0xff]
    const [format, a, b] = [formatOf(width), split(width, aLow, aHigh, lanes), split(width, bLow, bHigh, lanes)]
    const endStep = (): void => {
      settle(cpu, env)
      env.flags = 0
    }
    const result = name === 'dot' ? dotProduct(format, env, a, b, parameter, endStep) : compute(name, format, env, a, b, parameter)
    settle(cpu, env)
    store(cpu, width, result)
  },
}

/** COMISS and UCOMISS: RFLAGS bits of the relation. `code` bit 0: binary64, bit 1: quiet NaNs signal. */
export const sseCompareHelper: Helper = {
  name: 'sseCompare', args: ['i32', 'i64', 'i64'], returns: 'i32', faults: true, isolated: true,
  run(cpu: CpuContext, code: number, a: bigint, b: bigint): number {
    const env = FloatEnvironment.of(cpu.state.get('mxcsr'))
    const relation = compare((code & 1) !== 0 ? F64 : F32, env, a, b, (code & 2) !== 0)
    settle(cpu, env)
    return relation === undefined ? 0x45 : relation === 0 ? 0x40 : relation < 0 ? 1 : 0
  },
}

export type NumberShape = 'f32' | 'f64' | 'i32' | 'i64'
const SHAPES: readonly NumberShape[] = ['f32', 'f64', 'i32', 'i64']
const widthOf = (shape: NumberShape): 32 | 64 => (shape.endsWith('64') ? 64 : 32)

/** `code` of `sseConvertHelper`. */
export const convertCode = (from: NumberShape, to: NumberShape, lanes: number, truncate = false): number =>
  SHAPES.indexOf(from) | (SHAPES.indexOf(to) << 4) | (lanes << 8) | (truncate ? 0x1000 : 0)

function convertLane(from: NumberShape, to: NumberShape, env: FloatEnvironment, value: bigint, truncate: boolean): bigint {
  const [fromWidth, toWidth] = [widthOf(from), widthOf(to)]
  if (from.startsWith('i')) return fromInteger(formatOf(toWidth), env, BigInt.asIntN(fromWidth, value))
  if (to.startsWith('i')) return toInteger(formatOf(fromWidth), env, value, toWidth, truncate ? 3 : env.rounding)
  return convertFormat(formatOf(fromWidth), formatOf(toWidth), env, value)
}

/** Conversions by `convertCode`: lanes from the low end of the source to the low end of the result, zeros above. */
export const sseConvertHelper: Helper = {
  name: 'sseConvert', args: ['i32', 'i64', 'i64'], faults: true, isolated: true,
  run(cpu: CpuContext, code: number, low: bigint, high: bigint): void {
    const [from, to] = [SHAPES[code & 15], SHAPES[(code >> 4) & 15]]
    const env = FloatEnvironment.of(cpu.state.get('mxcsr'))
    const source = split(widthOf(from), low, high, (code >> 8) & 15)
    const result = source.map((value) => convertLane(from, to, env, value, (code & 0x1000) !== 0))
    settle(cpu, env)
    store(cpu, widthOf(to), result)
  },
}
