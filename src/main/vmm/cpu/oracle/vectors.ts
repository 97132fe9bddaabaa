/** wasm's SIMD instructions, lane by lane, from their names (WebAssembly Core Specification 4.3.4 and 4.3.5). */
import { convertShape, floatCompare, floatOp, fromInteger, truncateSaturated, type FloatShape } from './floats'
import { maskOf } from './values'

type Lanes = bigint[]
type LaneWidth = 8 | 16 | 32 | 64

export function readLanes(bytes: Uint8Array, width: LaneWidth): Lanes {
  const step = width / 8
  const lanes: Lanes = []
  for (let at = 0; at < 16; at += step) {
    let value = 0n
    for (let i = step - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[at + i])
    lanes.push(value)
  }
  return lanes
}

export function fromLanes(width: LaneWidth, lanes: readonly bigint[]): Uint8Array {
  const bytes = new Uint8Array(16)
  const step = width / 8
  lanes.forEach((lane, n) => {
    for (let i = 0; i < step; i++) bytes[n * step + i] = Number((lane >> BigInt(8 * i)) & 0xffn)
  })
  return bytes
}

const int = (lanes: Lanes, width: number, isSigned: boolean): Lanes => (isSigned ? lanes.map((x) => BigInt.asIntN(width, x)) : lanes)

function saturate(value: bigint, width: number, isSigned: boolean): bigint {
  const low = isSigned ? -(1n << BigInt(width - 1)) : 0n
  const high = isSigned ? (1n << BigInt(width - 1)) - 1n : maskOf(width)
  return value < low ? low : value > high ? high : value
}

const ALL = -1n
const truth = (is: boolean): bigint => (is ? ALL : 0n)

/** Operations on two lanes; operands already sign-extended where the name ends in _s. */
const LANE_BINARY: Readonly<Record<string, (a: bigint, b: bigint) => bigint>> = {
  add: (a, b) => a + b, sub: (a, b) => a - b, mul: (a, b) => a * b,
  min: (a, b) => (a < b ? a : b), max: (a, b) => (a > b ? a : b),
  avgr: (a, b) => (a + b + 1n) >> 1n,
  eq: (a, b) => truth(a === b), ne: (a, b) => truth(a !== b), lt: (a, b) => truth(a < b), gt: (a, b) => truth(a > b),
  le: (a, b) => truth(a <= b), ge: (a, b) => truth(a >= b),
}

const countBits = (x: bigint): bigint => BigInt(x.toString(2).replaceAll('0', '').length)

function laneUnary(op: string, width: number, lane: bigint): bigint | undefined {
  switch (op) {
    case 'neg': return -lane
    case 'abs': { const s = BigInt.asIntN(width, lane); return s < 0n ? -s : s }
    case 'popcnt': return countBits(lane)
    default: return undefined
  }
}

const masked = (width: LaneWidth, lanes: Lanes): Uint8Array => fromLanes(width, lanes.map((x) => BigInt.asUintN(width, x)))

/** Operations that change the lane width: narrow, extend, extmul, extadd_pairwise, dot. */
function widthChanging(width: LaneWidth, op: string, a: Uint8Array, b: Uint8Array | undefined): Uint8Array | undefined {
  const narrow = /^narrow_i\d+x\d+_([su])$/.exec(op)
  if (narrow && b) {
    const wide = (width * 2) as LaneWidth
    const lanes = [...int(readLanes(a, wide), wide, true), ...int(readLanes(b, wide), wide, true)]
    return masked(width, lanes.map((x) => saturate(x, width, narrow[1] === 's')))
  }
  const half = (width / 2) as LaneWidth
  const source = (v: Uint8Array, sign: string): Lanes => int(readLanes(v, half), half, sign === 's')
  const part = (lanes: Lanes, which: string): Lanes => (which === 'low' ? lanes.slice(0, lanes.length / 2) : lanes.slice(lanes.length / 2))
  const extend = /^ext(end|mul)_(low|high)_i\d+x\d+_([su])$/.exec(op)
  if (extend) {
    const first = part(source(a, extend[3]), extend[2])
    if (extend[1] === 'end' || !b) return masked(width, first)
    const second = part(source(b, extend[3]), extend[2])
    return masked(width, first.map((x, i) => x * second[i]))
  }
  const pairwise = /^extadd_pairwise_i\d+x\d+_([su])$/.exec(op)
  if (pairwise) {
    const lanes = source(a, pairwise[1])
    return masked(width, lanes.filter((_, i) => i % 2 === 0).map((x, i) => x + lanes[2 * i + 1]))
  }
  if (op === 'dot_i16x8_s' && b) {
    const products = source(a, 's').map((x, i) => x * int(readLanes(b, half), half, true)[i])
    return masked(width, products.filter((_, i) => i % 2 === 0).map((x, i) => x + products[2 * i + 1]))
  }
  return undefined
}

function intBinary(width: LaneWidth, op: string, a: Uint8Array, b: Uint8Array): Uint8Array | undefined {
  const parts = /^(\w+?)(_sat)?(?:_([su]))?$/.exec(op)
  if (!parts) return undefined
  const isSigned = parts[3] === 's'
  const [x, y] = [int(readLanes(a, width), width, isSigned), int(readLanes(b, width), width, isSigned)]
  if (op === 'q15mulr_sat_s') return masked(16, x.map((lane, i) => saturate((lane * y[i] + 0x4000n) >> 15n, 16, true)))
  const compute = LANE_BINARY[parts[1]]
  if (!compute) return undefined
  const lanes = x.map((lane, i) => compute(lane, y[i]))
  return masked(width, parts[2] ? lanes.map((lane) => saturate(lane, width, isSigned)) : lanes)
}

function intOp(width: LaneWidth, op: string, a: Uint8Array, b: Uint8Array | undefined): Uint8Array | undefined {
  if (op === 'swizzle' && b) return a.map((_, i) => (b[i] < 16 ? a[b[i]] : 0))
  const changed = widthChanging(width, op, a, b)
  if (changed) return changed
  const conversion = /^trunc_sat_f(32x4|64x2)_([su])(_zero)?$/.exec(op)
  if (conversion) {
    const shape: FloatShape = conversion[1] === '32x4' ? 32 : 64
    return fromLanes(32, readLanes(a, shape).map((x) => truncateSaturated(shape, x, 32, conversion[2] === 's')))
  }
  if (b) return intBinary(width, op, a, b)
  const lanes = readLanes(a, width).map((x) => laneUnary(op, width, x))
  return lanes.every((x) => x !== undefined) ? masked(width, lanes) : undefined
}

function floatVecOp(shape: FloatShape, op: string, a: Uint8Array, b: Uint8Array | undefined): Uint8Array | undefined {
  const convert = /^convert_(?:low_)?i32x4_([su])$/.exec(op)
  if (convert) {
    const source = int(readLanes(a, 32), 32, convert[1] === 's').slice(0, 128 / shape)
    return fromLanes(shape, source.map((x) => fromInteger(shape, x)))
  }
  if (op === 'demote_f64x2_zero') return fromLanes(32, readLanes(a, 64).map((x) => convertShape(64, x)))
  if (op === 'promote_low_f32x4') return fromLanes(64, readLanes(a, 32).slice(0, 2).map((x) => convertShape(32, x)))
  const [x, y] = [readLanes(a, shape), b ? readLanes(b, shape) : []]
  const lanes = x.map((lane, i) => {
    const compared = b && floatCompare(shape, op, lane, y[i])
    return compared === undefined ? floatOp(shape, op, lane, y[i]) : BigInt.asUintN(shape, truth(compared))
  })
  return lanes.every((lane) => lane !== undefined) ? fromLanes(shape, lanes) : undefined
}

function bitOp(op: string, [a, b, c]: readonly Uint8Array[]): Uint8Array | undefined {
  switch (op) {
    case 'not': return a.map((x) => ~x)
    case 'and': return a.map((x, i) => x & b[i])
    case 'andnot': return a.map((x, i) => x & ~b[i])
    case 'or': return a.map((x, i) => x | b[i])
    case 'xor': return a.map((x, i) => x ^ b[i])
    case 'bitselect': return a.map((x, i) => (x & c[i]) | (b[i] & ~c[i]))
    default: return undefined
  }
}

function laneWidthOf(shape: string): LaneWidth {
  const match = /^[if](8|16|32|64)x\d+$/.exec(shape)
  if (!match) throw new RangeError(`no lane shape named ${shape}`)
  return Number(match[1]) as LaneWidth
}

/** Result of a vector instruction whose operands are vectors. @throws RangeError for a name wasm does not have */
export function vecOp(name: string, args: readonly Uint8Array[]): Uint8Array {
  const [shape, op] = name.split('.') as [string, string]
  const [a, b] = args
  const result = shape === 'v128' ? bitOp(op, args)
    : shape.startsWith('f') ? floatVecOp(laneWidthOf(shape) as FloatShape, op, a, b)
      : intOp(laneWidthOf(shape), op, a, b)
  if (!result) throw new RangeError(`no vector instruction named ${name} with ${args.length} operands`)
  return result
}

/** shl, shr_s, shr_u: the count counts modulo the lane width. */
export function vecShift(name: string, a: Uint8Array, count: bigint): Uint8Array {
  const [shape, op] = name.split('.') as [string, string]
  const width = laneWidthOf(shape)
  const by = count % BigInt(width)
  const lanes = int(readLanes(a, width), width, op === 'shr_s')
  return masked(width, lanes.map((x) => (op === 'shl' ? x << by : x >> by)))
}

/** `bitmask`, `all_true`, `any_true`. */
export function vecTestOp(name: string, a: Uint8Array): bigint {
  const [shape, op] = name.split('.') as [string, string]
  if (op === 'any_true') return a.some((x) => x !== 0) ? 1n : 0n
  const width = laneWidthOf(shape)
  const lanes = readLanes(a, width)
  if (op === 'all_true') return lanes.every((x) => x !== 0n) ? 1n : 0n
  if (op === 'bitmask') return lanes.reduce((all, x, i) => all | ((x >> BigInt(width - 1)) << BigInt(i)), 0n)
  throw new RangeError(`no vector test named ${name}`)
}
