/** Vector and float part of the emitter: names are wasm's own, so this is little more than typing. */
import type { Flt, Val, Vec, Width } from '../emitter'
import { FlagEmitter } from './flag-emitter'
import { wasmType } from './int-emitter'
import type { Node } from './function'
import type { ValType } from './opcodes'

export interface WVec extends Vec { readonly node: Node }
export interface WFlt extends Flt { readonly node: Node }

const LANES = { 8: 'i8x16', 16: 'i16x8', 32: 'i32x4', 64: 'i64x2' } as const

export abstract class VecEmitter extends FlagEmitter {
  protected vecOf(node: Node): WVec {
    return { width: 128, node }
  }

  private fltOf(node: Node): WFlt {
    return { width: node.type as 'f32' | 'f64', node }
  }

  protected nodeOf(v: Vec | Flt | Val): Node {
    if (v.width === 128 || v.width === 'f32' || v.width === 'f64') return (v as WVec).node
    return this.clean(v as Val)
  }

  vecConst(bytes: readonly number[]): Vec {
    return this.vecOf(this.f.v128(bytes))
  }

  vec(op: string, ...args: (Vec | Val)[]): Vec {
    return this.vecOf(this.f.pure(op, 'v128', args.map((a) => this.nodeOf(a))))
  }

  vecShuffle(lanes: readonly number[], a: Vec, b: Vec): Vec {
    return this.vecOf(this.f.shuffle(lanes, this.nodeOf(a), this.nodeOf(b)))
  }

  vecSplat(lanes: 8 | 16 | 32 | 64, value: Val): Vec {
    return this.vec(`${LANES[lanes]}.splat`, value)
  }

  vecExtract(laneWidth: 8 | 16 | 32 | 64, lane: number, v: Vec): Val {
    const op = `${LANES[laneWidth]}.extract_lane${laneWidth < 32 ? '_u' : ''}`
    return this.wrap(laneWidth, this.f.pure(op, wasmType(laneWidth), [this.nodeOf(v)], lane), true)
  }

  vecReplace(laneWidth: 8 | 16 | 32 | 64, lane: number, v: Vec, value: Val): Vec {
    return this.vecOf(this.f.pure(`${LANES[laneWidth]}.replace_lane`, 'v128', [this.nodeOf(v), this.raw(value)], lane))
  }

  vecTest(op: string, v: Vec): Val {
    return this.wrap(32, this.f.pure(op, 'i32', [this.nodeOf(v)]), true)
  }

  vecExtractFlt(laneWidth: 32 | 64, lane: number, v: Vec): Flt {
    const shape = laneWidth === 32 ? 'f32x4' : 'f64x2'
    return this.fltOf(this.f.pure(`${shape}.extract_lane`, laneWidth === 32 ? 'f32' : 'f64', [this.nodeOf(v)], lane))
  }

  vecReplaceFlt(laneWidth: 32 | 64, lane: number, v: Vec, value: Flt): Vec {
    const shape = laneWidth === 32 ? 'f32x4' : 'f64x2'
    return this.vecOf(this.f.pure(`${shape}.replace_lane`, 'v128', [this.nodeOf(v), this.nodeOf(value)], lane))
  }

  bitsToFlt(value: Val): Flt {
    const [op, type] = value.width === 64 ? ['f64.reinterpret_i64', 'f64'] as const : ['f32.reinterpret_i32', 'f32'] as const
    return this.fltOf(this.f.pure(op, type, [this.raw(value)]))
  }

  fltToBits(value: Flt): Val {
    const wide = value.width === 'f64'
    return this.wrap(wide ? 64 : 32, this.f.pure(wide ? 'i64.reinterpret_f64' : 'i32.reinterpret_f32', wide ? 'i64' : 'i32', [this.nodeOf(value)]), true)
  }

  flt(op: string, ...args: (Flt | Val)[]): Flt {
    return this.fltOf(this.f.pure(op, op.slice(0, 3) as ValType, args.map((a) => this.nodeOf(a))))
  }

  fltToInt(op: string, ...args: Flt[]): Val {
    const compares = /^f(32|64)\.(eq|ne|lt|gt|le|ge)$/.test(op)
    const type = compares ? 'i32' : op.slice(0, 3) as 'i32' | 'i64'
    const width: Width = compares ? 1 : type === 'i64' ? 64 : 32
    return this.wrap(width, this.f.pure(op, type, args.map((a) => this.nodeOf(a))), true)
  }
}
