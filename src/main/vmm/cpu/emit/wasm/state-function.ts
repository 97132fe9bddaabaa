/** What wasm functions `(cpu, …)` of tier 0's module are written in: integers, flags and vectors over fields of the state block, and host memory by the TLB. */
import { BugError } from '../../../errors'
import { TlbEntry } from '../../../mmu/tlb-layout'
import { FIELDS, offsetOf, type FieldName } from '../../state/layout'
import type { Val, Width } from '../emitter'
import type { FunctionBuilder } from './function'
import { wasmType } from './int-emitter'
import { probeTlb } from './tlb-probe'
import { VecEmitter } from './vec-emitter'

const I32 = 'i32'
export const LOAD = { 1: '', 8: 'i32.load8_u', 16: 'i32.load16_u', 32: 'i32.load', 64: 'i64.load' } as const
export const STORE = { 1: '', 8: 'i32.store8', 16: 'i32.store16', 32: 'i32.store', 64: 'i64.store' } as const

export class StateFunctionEmitter extends VecEmitter {
  /** @param f its parameter 0 is the state block's address */
  constructor(protected readonly f: FunctionBuilder) {
    super()
  }

  private width(name: FieldName): Width {
    const { type } = FIELDS[name]
    if (type === 'v128') throw new BugError(`${name} is a vector`)
    return ({ u8: 8, u16: 16, i32: 32, i64: 64 } as const)[type]
  }

  field(name: FieldName, index = 0): Val {
    const width = this.width(name)
    const node = this.f.load(LOAD[width], wasmType(width), this.f.param(0), offsetOf(name, index))
    return this.wrap(width === 64 ? 64 : 32, node, true)
  }

  setField(name: FieldName, value: Val, index = 0): void {
    const width = this.width(name)
    this.f.store(STORE[width], this.f.param(0), width === 64 ? this.asI64(value) : this.clean(value), offsetOf(name, index))
  }

  /**
   * Host address (width 32) of the byte at a linear address (width 64), good up to the end of its page, where a TLB allows the access;
   * 0 where it does not.
   * @param tlb address of the entries of a view (width 32)
   */
  protected hostBy(tlb: Val, linear: Val, write: boolean): Val {
    const { f } = this
    const tagOffset = write ? TlbEntry.writeTag : TlbEntry.readTag
    const { hit, host } = probeTlb(f, { tlbBase: this.raw(tlb), linear: this.raw(linear), bytes: 1, tagOffset, grows: false })
    const found = f.newLocal(I32)
    f.setLocal(found, f.i32(0))
    f.if(hit, () => f.setLocal(found, host()))
    return this.wrap(32, f.finalLocal(found), true)
  }

  placeOf(name: FieldName, index = 0): Val {
    return this.wrap(32, this.f.pure('i32.add', I32, [this.f.param(0), this.f.i32(offsetOf(name, index))]), true)
  }

  hostLoad(width: Width, at: Val, offset = 0): Val {
    return this.wrap(width, this.f.load(LOAD[width], wasmType(width), this.raw(at), offset), true)
  }

  hostStore(at: Val, value: Val, offset = 0): void {
    this.f.store(STORE[value.width], this.raw(at), this.raw(value), offset)
  }
}
