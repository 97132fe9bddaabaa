/** Values of the oracle: bit vectors as bigints, floats as their bits, vectors as 16 bytes. */
import type { BinaryOp, CompareOp, Flt, MemRef, UnaryOp, Val, Vec, Width } from '../emit/emitter'

export interface OVal extends Val { readonly value: bigint }
export interface OVec extends Vec { readonly bytes: Uint8Array }
/** `bits` so that NaN payloads survive. */
export interface OFlt extends Flt { readonly bits: bigint }
export interface OMem extends MemRef { readonly segment: number; readonly address: bigint }

export const maskOf = (width: number): bigint => (1n << BigInt(width)) - 1n

export const val = (width: Width, value: bigint | number): OVal => ({ width, value: BigInt.asUintN(width, BigInt(value)) })
export const bool = (value: boolean): OVal => ({ width: 1, value: value ? 1n : 0n })
export const unsigned = (v: Val): bigint => (v as OVal).value
export const signed = (v: Val): bigint => BigInt.asIntN(v.width, (v as OVal).value)
export const bytesOfVec = (v: Vec): Uint8Array => (v as OVec).bytes
export const vecOf = (bytes: Uint8Array): OVec => ({ width: 128, bytes })

function rotateLeft(value: bigint, count: bigint, width: number): bigint {
  return (value << count) | (value >> (BigInt(width) - count))
}

/** Shift counts at or above the width mean a meaning that forgot its mask: the engines would differ. */
function countOf(v: Val, width: Width): bigint {
  const count = unsigned(v)
  if (count >= BigInt(width)) throw new RangeError(`shift of a ${width}-bit value by ${count}`)
  return count
}

export function binary(op: BinaryOp, a: Val, b: Val): OVal {
  if (a.width !== b.width) throw new TypeError(`${op} of widths ${a.width} and ${b.width}`)
  const { width } = a
  const [x, y] = [unsigned(a), unsigned(b)]
  switch (op) {
    case 'add': return val(width, x + y)
    case 'sub': return val(width, x - y)
    case 'mul': return val(width, x * y)
    case 'and': return val(width, x & y)
    case 'or': return val(width, x | y)
    case 'xor': return val(width, x ^ y)
    case 'shl': return val(width, x << countOf(b, width))
    case 'shr': return val(width, x >> countOf(b, width))
    case 'sar': return val(width, signed(a) >> countOf(b, width))
    case 'rotl': return val(width, rotateLeft(x, countOf(b, width), width))
    case 'rotr': return val(width, rotateLeft(x, (BigInt(width) - countOf(b, width)) % BigInt(width), width))
  }
}

export function compare(op: CompareOp, a: Val, b: Val): OVal {
  if (a.width !== b.width) throw new TypeError(`${op} of widths ${a.width} and ${b.width}`)
  switch (op) {
    case 'eq': return bool(unsigned(a) === unsigned(b))
    case 'ne': return bool(unsigned(a) !== unsigned(b))
    case 'ltu': return bool(unsigned(a) < unsigned(b))
    case 'leu': return bool(unsigned(a) <= unsigned(b))
    case 'lts': return bool(signed(a) < signed(b))
    case 'les': return bool(signed(a) <= signed(b))
  }
}

function bitLength(value: bigint): number {
  return value === 0n ? 0 : value.toString(2).length
}

function reverseBytes(value: bigint, width: number): bigint {
  let result = 0n
  for (let i = 0; i < width; i += 8) result = (result << 8n) | ((value >> BigInt(i)) & 0xffn)
  return result
}

export function unary(op: UnaryOp, a: Val): OVal {
  const { width } = a
  const x = unsigned(a)
  switch (op) {
    case 'not': return val(width, ~x)
    case 'neg': return val(width, -x)
    case 'clz': return val(width, width - bitLength(x))
    case 'ctz': return val(width, x === 0n ? width : bitLength(x & -x) - 1)
    case 'popcnt': return val(width, x.toString(2).replaceAll('0', '').length)
    case 'bswap': return val(width, reverseBytes(x, width))
  }
}

/** Division of 32- and 64-bit values; the meaning has excluded a zero divisor and overflow. */
export function divide(kind: 'divu' | 'divs' | 'remu' | 'rems', a: Val, b: Val): OVal {
  const isSigned = kind === 'divs' || kind === 'rems'
  const [x, y] = isSigned ? [signed(a), signed(b)] : [unsigned(a), unsigned(b)]
  const overflows = isSigned && y === -1n && x === -(1n << BigInt(a.width - 1))
  if (y === 0n || overflows) throw new RangeError(`${kind}: excluded operands ${x}, ${y}`)
  return val(a.width, kind.startsWith('div') ? x / y : x % y)
}
