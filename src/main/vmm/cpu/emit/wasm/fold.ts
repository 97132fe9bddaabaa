/**
 * Folding of integer expressions while they are built. The translator knows immediates, addresses and shift counts that
 * tier 0 reads from its record, so whole branches of a meaning fall away.
 */
import type { Node } from './function'

/** What folding needs of the builder. */
export interface ConstantMaker {
  i32(value: number): Node
  i64(value: bigint): Node
  pure(op: string, type: 'i32' | 'i64', args: readonly Node[]): Node
}

const isConst = (n: Node | undefined): boolean => n?.op === 'const'
const num = (n: Node): number => Number(n.imm) | 0
const big = (n: Node): bigint => BigInt.asIntN(64, BigInt(n.imm))
const u64 = (v: bigint): bigint => BigInt.asUintN(64, v)
const bool = (b: boolean): number => (b ? 1 : 0)

type Fold32 = (a: number, b: number) => number
type Fold64 = (a: bigint, b: bigint) => bigint
type Compare64 = (a: bigint, b: bigint) => boolean

const BINARY32: Readonly<Record<string, Fold32>> = {
  add: (a, b) => a + b, sub: (a, b) => a - b, mul: (a, b) => Math.imul(a, b),
  and: (a, b) => a & b, or: (a, b) => a | b, xor: (a, b) => a ^ b,
  shl: (a, b) => a << b, shr_u: (a, b) => a >>> b, shr_s: (a, b) => a >> b,
  rotl: (a, b) => (a << (b & 31)) | (a >>> (-b & 31)), rotr: (a, b) => (a >>> (b & 31)) | (a << (-b & 31)),
  eq: (a, b) => bool(a === b), ne: (a, b) => bool(a !== b),
  lt_u: (a, b) => bool(a >>> 0 < b >>> 0), lt_s: (a, b) => bool(a < b),
  le_u: (a, b) => bool(a >>> 0 <= b >>> 0), le_s: (a, b) => bool(a <= b),
}

const BINARY64: Readonly<Record<string, Fold64>> = {
  add: (a, b) => a + b, sub: (a, b) => a - b, mul: (a, b) => a * b,
  and: (a, b) => a & b, or: (a, b) => a | b, xor: (a, b) => a ^ b,
  shl: (a, b) => a << (b & 63n), shr_u: (a, b) => u64(a) >> (b & 63n), shr_s: (a, b) => a >> (b & 63n),
}

const COMPARE64: Readonly<Record<string, Compare64>> = {
  eq: (a, b) => a === b, ne: (a, b) => a !== b,
  lt_u: (a, b) => u64(a) < u64(b), lt_s: (a, b) => a < b, le_u: (a, b) => u64(a) <= u64(b), le_s: (a, b) => a <= b,
}

const UNARY: Readonly<Record<string, (f: ConstantMaker, a: Node) => Node>> = {
  'i32.eqz': (f, a) => f.i32(bool(num(a) === 0)),
  'i64.eqz': (f, a) => f.i32(bool(big(a) === 0n)),
  'i64.extend_i32_u': (f, a) => f.i64(BigInt(num(a) >>> 0)),
  'i64.extend_i32_s': (f, a) => f.i64(BigInt(num(a))),
  'i32.wrap_i64': (f, a) => f.i32(Number(BigInt.asIntN(32, big(a)))),
  'i32.extend8_s': (f, a) => f.i32((num(a) << 24) >> 24),
  'i32.extend16_s': (f, a) => f.i32((num(a) << 16) >> 16),
}

/** Operations whose result is 0 or 1. */
const BOOLEAN = /^(i32|i64)\.(eqz|eq|ne|lt_|le_|gt_|ge_)/
const ZERO_IS_NEUTRAL = new Set(['add', 'sub', 'or', 'xor', 'shl', 'shr_u', 'shr_s', 'rotl', 'rotr'])
const SHIFTS = new Set(['shl', 'shr_u', 'shr_s'])
const COMMUTATIVE = new Set(['add', 'mul', 'and', 'or', 'xor'])
/** Operations whose low 32 result bits depend on the low 32 operand bits alone. */
const LOW_HALF = /^i64\.(add|sub|and|or|xor|mul)$/
const INVERSE: Readonly<Record<string, string>> = {
  eq: 'ne', ne: 'eq', lt_u: 'ge_u', lt_s: 'ge_s', le_u: 'gt_u', le_s: 'gt_s',
}

/** A simpler node for an operation, or undefined. */
export function fold(f: ConstantMaker, op: string, args: readonly Node[]): Node | undefined {
  const [a, b, c] = args as readonly [Node, Node | undefined, Node | undefined]
  if (op === 'select' && c !== undefined) return isConst(c) ? (num(c) !== 0 ? a : b) : undefined
  if (b === undefined) return foldUnary(f, op, a)
  if (c !== undefined || (!op.startsWith('i32.') && !op.startsWith('i64.'))) return undefined
  const name = op.slice(4)
  const wide = op.charCodeAt(1) === 0x36
  if (isConst(a) && isConst(b)) return foldBinary(f, name, wide, a, b)
  if (isConst(b)) return foldRight(f, name, wide, a, b)
  if (isConst(a) && COMMUTATIVE.has(name)) return foldRight(f, name, wide, b, a)
  // A limit of 4 GiB.
  if (op === 'i64.lt_u' && isConst(a) && b.op === 'i64.extend_i32_u' && u64(big(a)) >= 0xffff_ffffn) return f.i32(0)
  return undefined
}

function foldUnary(f: ConstantMaker, op: string, a: Node): Node | undefined {
  if (isConst(a)) return (UNARY[op] as ((f: ConstantMaker, a: Node) => Node) | undefined)?.(f, a)
  const inner = a.args[0] as Node | undefined
  if (inner === undefined || !a.pure) return undefined
  if (op === 'i32.wrap_i64' && (a.op === 'i64.extend_i32_u' || a.op === 'i64.extend_i32_s')) return inner
  if (op === 'i32.wrap_i64') return narrow(f, a) ?? narrowShift(f, a)
  if (op !== 'i32.eqz') return undefined
  if (a.op === 'i32.eqz' && BOOLEAN.test(inner.op)) return inner
  const inverse = BOOLEAN.test(a.op) ? (INVERSE[a.op.slice(4)] as string | undefined) : undefined
  return inverse === undefined ? undefined : f.pure(`${a.op.slice(0, 4)}${inverse}`, 'i32', a.args)
}

/** The low half of a 64-bit operation as a 32-bit one, where that makes an operand simpler. */
function narrow(f: ConstantMaker, a: Node): Node | undefined {
  if (!LOW_HALF.test(a.op)) return undefined
  const [x, y] = a.args
  const simple = (n: Node): boolean => n.op === 'const' || n.op === 'i64.extend_i32_u' || n.op === 'i64.extend_i32_s'
  if (!simple(x) && !simple(y)) return undefined
  return f.pure(`i32.${a.op.slice(4)}`, 'i32', [f.pure('i32.wrap_i64', 'i32', [x]), f.pure('i32.wrap_i64', 'i32', [y])])
}

/** The low half of a shift by less than 32 of what was a 32-bit value, where no bit of its upper half comes into it. */
function narrowShift(f: ConstantMaker, a: Node): Node | undefined {
  const [x, count] = a.args as readonly [Node, Node | undefined]
  if (count === undefined || !isConst(count) || u64(big(count)) > 31n) return undefined
  const zeros = x.op === 'i64.extend_i32_u'
  const signs = x.op === 'i64.extend_i32_s'
  const fits = (a.op === 'i64.shl' && (zeros || signs)) || (a.op === 'i64.shr_u' && zeros) || (a.op === 'i64.shr_s' && signs)
  return fits ? f.pure(`i32.${a.op.slice(4)}`, 'i32', [x.args[0], f.i32(num(count))]) : undefined
}

function foldBinary(f: ConstantMaker, name: string, wide: boolean, a: Node, b: Node): Node | undefined {
  if (!wide) {
    const compute = BINARY32[name] as Fold32 | undefined
    return compute && f.i32(compute(num(a), num(b)))
  }
  const compare = COMPARE64[name] as Compare64 | undefined
  if (compare) return f.i32(bool(compare(big(a), big(b))))
  const compute = BINARY64[name] as Fold64 | undefined
  return compute && f.i64(compute(big(a), big(b)))
}

/** Two shifts the same way, each by less than the width, as one where that is so of their sum. */
function foldShifts(f: ConstantMaker, wide: boolean, a: Node, by: number): Node | undefined {
  const width = wide ? 64 : 32
  const sum = (num(a.args[1]) & (width - 1)) + (by & (width - 1))
  return sum < width ? f.pure(a.op, wide ? 'i64' : 'i32', [a.args[0], wide ? f.i64(BigInt(sum)) : f.i32(sum)]) : undefined
}

/** The right operand is constant. */
function foldRight(f: ConstantMaker, name: string, wide: boolean, a: Node, b: Node): Node | undefined {
  const value = big(b)
  if (value === 0n && ZERO_IS_NEUTRAL.has(name)) return a
  if (name === 'and') {
    if (value === 0n) return b
    if (value === -1n) return a
    if (wide && value === 0xffff_ffffn) return a.op === 'i64.extend_i32_u' ? a : f.pure('i64.extend_i32_u', 'i64', [f.pure('i32.wrap_i64', 'i32', [a])])
    if (wide && a.op === 'i64.extend_i32_u' && (value & 0xffff_ffffn) === 0n) return f.i64(0n)
  }
  const inner = a.args[1] as Node | undefined
  if (SHIFTS.has(name) && a.pure && inner !== undefined && isConst(inner) && a.op === `${wide ? 'i64' : 'i32'}.${name}`) return foldShifts(f, wide, a, num(b))
  if (a.pure && inner !== undefined && isConst(inner) && a.op === `${wide ? 'i64' : 'i32'}.${name}` && (name === 'add' || name === 'and')) {
    const merged = foldBinary(f, name, wide, inner, b)
    return merged && f.pure(a.op, wide ? 'i64' : 'i32', [a.args[0], merged])
  }
  return undefined
}
