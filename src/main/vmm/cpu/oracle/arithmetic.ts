/** What the oracle computes without a machine: integers, vectors and floats, exactly and at once. */
import type { BinaryOp, CompareOp, Flt, UnaryOp, Val, Vec, Width } from '../emit/emitter'
import { convertShape, floatCompare, floatOp, fromInteger, truncateSaturated, type FloatShape } from './floats'
import { binary, bool, bytesOfVec, compare, divide, signed, unary, unsigned, val, vecOf, type OFlt, type OVal, type OVec } from './values'
import { fromLanes, readLanes, vecOp, vecShift, vecTestOp } from './vectors'

export abstract class OracleArithmetic {
  // ── integers ──────────────────────────────────────────────────────────────────────────────────────────────────
  const(width: Width, value: number | bigint): Val { return val(width, value) }
  binary(op: BinaryOp, a: Val, b: Val): OVal { return binary(op, a, b) }
  compare(op: CompareOp, a: Val, b: Val): OVal { return compare(op, a, b) }
  unary(op: UnaryOp, a: Val): OVal { return unary(op, a) }
  add(a: Val, b: Val): Val { return binary('add', a, b) }
  sub(a: Val, b: Val): Val { return binary('sub', a, b) }
  mul(a: Val, b: Val): Val { return binary('mul', a, b) }
  and(a: Val, b: Val): Val { return binary('and', a, b) }
  or(a: Val, b: Val): Val { return binary('or', a, b) }
  xor(a: Val, b: Val): Val { return binary('xor', a, b) }
  shl(a: Val, count: Val): Val { return binary('shl', a, count) }
  shr(a: Val, count: Val): Val { return binary('shr', a, count) }
  sar(a: Val, count: Val): Val { return binary('sar', a, count) }
  not(a: Val): Val { return unary('not', a) }
  neg(a: Val): Val { return unary('neg', a) }
  eq(a: Val, b: Val): Val { return compare('eq', a, b) }
  ne(a: Val, b: Val): Val { return compare('ne', a, b) }
  ltu(a: Val, b: Val): Val { return compare('ltu', a, b) }
  lts(a: Val, b: Val): Val { return compare('lts', a, b) }
  isZero(a: Val): Val { return bool(unsigned(a) === 0n) }
  divu(a: Val, b: Val): Val { return divide('divu', a, b) }
  divs(a: Val, b: Val): Val { return divide('divs', a, b) }
  remu(a: Val, b: Val): Val { return divide('remu', a, b) }
  rems(a: Val, b: Val): Val { return divide('rems', a, b) }
  mulHiU(a: Val, b: Val): Val { return val(64, (unsigned(a) * unsigned(b)) >> 64n) }
  mulHiS(a: Val, b: Val): Val { return val(64, (signed(a) * signed(b)) >> 64n) }
  select(cond: Val, a: Val, b: Val): Val {
    if (a.width !== b.width || cond.width !== 1) throw new TypeError(`select of widths ${cond.width}, ${a.width}, ${b.width}`)
    return unsigned(cond) !== 0n ? a : b
  }
  zext(a: Val, width: Width): Val {
    if (width < a.width) throw new TypeError(`zext from ${a.width} to ${width}`)
    return val(width, unsigned(a))
  }
  sext(a: Val, width: Width): Val {
    if (width < a.width) throw new TypeError(`sext from ${a.width} to ${width}`)
    return val(width, signed(a))
  }
  trunc(a: Val, width: Width): Val {
    if (width > a.width) throw new TypeError(`trunc from ${a.width} to ${width}`)
    return val(width, unsigned(a))
  }
  bit(a: Val, index: number): Val { return val(1, unsigned(a) >> BigInt(index)) }

  // ── vectors and floats ────────────────────────────────────────────────────────────────────────────────────────
  vecConst(bytes: readonly number[]): Vec { return vecOf(Uint8Array.from(bytes)) }

  vec(op: string, ...args: (Vec | Val)[]): Vec {
    const [first, second] = args
    const isVec = (a: Vec | Val): a is OVec => a.width === 128
    if (args.every(isVec)) return vecOf(vecOp(op, args.map(bytesOfVec)))
    if (isVec(first) && second) return vecOf(vecShift(op, bytesOfVec(first), unsigned(second as Val)))
    const splat = /^i(8|16|32|64)x\d+\.splat$/.exec(op)
    if (splat) return this.vecSplat(Number(splat[1]) as 8 | 16 | 32 | 64, first as Val)
    throw new RangeError(`no vector instruction named ${op} with these operands`)
  }

  vecShuffle(lanes: readonly number[], a: Vec, b: Vec): Vec {
    const source = [...bytesOfVec(a), ...bytesOfVec(b)]
    return vecOf(Uint8Array.from(lanes, (lane) => source[lane]))
  }

  vecSplat(lanes: 8 | 16 | 32 | 64, value: Val): Vec {
    return vecOf(fromLanes(lanes, new Array<bigint>(128 / lanes).fill(BigInt.asUintN(lanes, unsigned(value)))))
  }

  vecExtract(laneWidth: 8 | 16 | 32 | 64, lane: number, v: Vec): Val {
    return val(laneWidth, readLanes(bytesOfVec(v), laneWidth)[lane])
  }

  vecReplace(laneWidth: 8 | 16 | 32 | 64, lane: number, v: Vec, value: Val): Vec {
    const lanes = readLanes(bytesOfVec(v), laneWidth)
    lanes[lane] = BigInt.asUintN(laneWidth, unsigned(value))
    return vecOf(fromLanes(laneWidth, lanes))
  }

  vecTest(op: string, v: Vec): Val { return val(32, vecTestOp(op, bytesOfVec(v))) }

  private float(shape: FloatShape, bits: bigint): OFlt { return { width: shape === 64 ? 'f64' : 'f32', bits } }

  vecExtractFlt(laneWidth: 32 | 64, lane: number, v: Vec): Flt { return this.float(laneWidth, readLanes(bytesOfVec(v), laneWidth)[lane]) }

  vecReplaceFlt(laneWidth: 32 | 64, lane: number, v: Vec, value: Flt): Vec {
    return this.vecReplace(laneWidth, lane, v, this.fltToBits(value))
  }

  bitsToFlt(value: Val): Flt { return this.float(value.width === 64 ? 64 : 32, unsigned(value)) }
  fltToBits(value: Flt): Val { return val(value.width === 'f64' ? 64 : 32, (value as OFlt).bits) }

  flt(op: string, ...args: (Flt | Val)[]): Flt {
    const [type, name] = op.split('.') as ['f32' | 'f64', string]
    const shape: FloatShape = type === 'f64' ? 64 : 32
    const [a, b] = args
    if (name === 'promote_f32' || name === 'demote_f64') return this.float(shape, convertShape(shape === 64 ? 32 : 64, (a as OFlt).bits))
    const convert = /^convert_i(32|64)_([su])$/.exec(name)
    if (convert) return this.float(shape, fromInteger(shape, convert[2] === 's' ? signed(a as Val) : unsigned(a as Val)))
    if (name.startsWith('reinterpret')) return this.bitsToFlt(a as Val)
    const result = floatOp(shape, name, (a as OFlt).bits, (b as OFlt | undefined)?.bits)
    if (result === undefined) throw new RangeError(`no float instruction named ${op}`)
    return this.float(shape, result)
  }

  fltToInt(op: string, ...args: Flt[]): Val {
    const [type, name] = op.split('.') as [string, string]
    const [a, b] = args as OFlt[]
    const shape: FloatShape = a.width === 'f64' ? 64 : 32
    const truncate = /^trunc(_sat)?_f(32|64)_([su])$/.exec(name)
    if (truncate) {
      const width = type === 'i64' ? 64 : 32
      return val(width, truncateSaturated(shape, a.bits, width, truncate[3] === 's'))
    }
    if (name.startsWith('reinterpret')) return this.fltToBits(a)
    const result = floatCompare(shape, name, a.bits, b.bits)
    if (result === undefined) throw new RangeError(`no comparison or conversion named ${op}`)
    return bool(result)
  }
}
