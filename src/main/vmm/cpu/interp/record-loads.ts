/** What generated code reads of records (see `record.ts`). */
import type { FunctionBuilder, Node } from '../emit/wasm/function'
import { ACCESS_SHIFT, Place, Rec } from './record'

/** Table slot of a record's handler. @param rec the record, or another one `offset` bytes before it */
export const handlerOf = (f: FunctionBuilder, rec: Node, offset = 0): Node => f.load('i32.load16_u', 'i32', rec, offset + Rec.handler)

/** Some bits of `Rec.place`, the last of which may be left out. */
function placeField(f: FunctionBuilder, rec: Node, shift: number, mask?: number): Node {
  const shifted = f.pure('i32.shr_u', 'i32', [f.loadConstant('i32.load', 'i32', rec, Rec.place), f.i32(shift)])
  return mask === undefined ? shifted : f.pure('i32.and', 'i32', [shifted, f.i32(mask)])
}

/** Distance of the record's instruction from the block's first; i32. */
export const deltaOf = (f: FunctionBuilder, rec: Node): Node => placeField(f, rec, Place.delta)
/** Instructions from the block's head up to and including this one; i32. */
export const countOf = (f: FunctionBuilder, rec: Node): Node => placeField(f, rec, Place.count, 31)
/** Bytes of the instruction; i32. */
export const lengthOf = (f: FunctionBuilder, rec: Node): Node => placeField(f, rec, Place.length, 15)

/** Some bits of `Rec.access`. */
export function accessField(f: FunctionBuilder, rec: Node, from: number, mask: number): Node {
  const access = f.loadConstant('i32.load8_u', 'i32', rec, Rec.access)
  const shift = from - ACCESS_SHIFT
  const shifted = shift === 0 ? access : f.pure('i32.shr_u', 'i32', [access, f.i32(shift)])
  return f.pure('i32.and', 'i32', [shifted, f.i32(mask)])
}
