/**
 * The common case of a helper as a wasm function `(cpu, …arguments)`. What it does not handle goes on in the helper's TypeScript,
 * an import of the same type.
 */
import { FIELDS, offsetOf, type FieldName } from '../../state/layout'
import type { Helper, HelperEmitter, Val, Width } from '../emitter'
import { FunctionBuilder, type Node } from './function'
import { wasmType } from './int-emitter'
import type { FuncType } from './module'
import { LOAD, STORE, StateFunctionEmitter } from './state-function'

const I32 = 'i32'
const ELEMENT_SHIFT = { u8: 0, u16: 1, i32: 2, i64: 3, v128: 4 } as const

/** Type of a helper's function: the state block's address comes first. */
export const helperType = (h: Helper): FuncType => ({ params: [I32, ...h.args], results: h.returns ? [h.returns] : [] })

class HelperBodyEmitter extends StateFunctionEmitter implements HelperEmitter {
  /** @param fallback function index of the helper's TypeScript */
  constructor(f: FunctionBuilder, private readonly helper: Helper, private readonly fallback: number) {
    super(f)
  }

  argument(index: number): Val {
    return this.wrap(this.helper.args[index] === 'i64' ? 64 : 32, this.f.param(index + 1), true)
  }

  /** Address of an element, counted from the field's first: the field's offset goes into the access. */
  private address(name: FieldName, index: Val): Node {
    const shifted = this.f.pure('i32.shl', I32, [this.clean(index), this.f.i32(ELEMENT_SHIFT[FIELDS[name].type])])
    return this.f.pure('i32.add', I32, [this.f.param(0), shifted])
  }

  element(name: FieldName, index: Val, width: Width, at = 0): Val {
    return this.wrap(width, this.f.load(LOAD[width], wasmType(width), this.address(name, index), offsetOf(name) + at), true)
  }

  setElement(name: FieldName, index: Val, value: Val, at = 0): void {
    this.f.store(STORE[value.width], this.address(name, index), this.raw(value), offsetOf(name) + at)
  }

  hostOf(linear: Val, write: boolean): Val {
    return this.hostBy(this.field('tlbBase'), linear, write)
  }

  moveBytes(to: Val, from: Val, length: Val): void {
    this.f.copyMemory(this.raw(to), this.raw(from), this.raw(length))
  }

  fillBytes(at: Val, pattern: Val, length: Val): void {
    const { f } = this
    const [node, start, bytes] = [this.raw(pattern), this.raw(at), this.raw(length)]
    const uniform = f.pure('i64.eq', I32, [f.pure('i64.rotl', 'i64', [node, f.i64(8n)]), node])
    const sum = (a: Node, b: Node): Node => f.pure('i32.add', I32, [a, b])
    f.if(uniform, () => f.fillMemory(start, f.pure('i32.and', I32, [f.pure('i32.wrap_i64', I32, [node]), f.i32(0xff)]), bytes), () => {
      // The last eight bytes once more: the length need not be a multiple of eight.
      const last = sum(bytes, f.i32(-8))
      const done = f.newLocal(I32)
      f.setLocal(done, f.i32(0))
      f.loop((label) => {
        f.store('i64.store', sum(start, f.getLocal(done)), node)
        f.setLocal(done, sum(f.getLocal(done), f.i32(8)))
        f.if(f.pure('i32.lt_u', I32, [f.getLocal(done), last]), () => f.jump(label, 'continue'))
        f.jump(label, 'break')
      })
      f.store('i64.store', sum(start, last), node)
    })
  }

  fallBack(): void {
    const { f } = this
    f.tailCall(this.fallback, f.params.map((_, i) => f.param(i)))
  }

  finish(result?: Val): void {
    this.f.return(result && (this.helper.returns === 'i64' ? this.asI64(result) : this.clean(result)))
  }
}

/**
 * @param fallback function index of the helper's TypeScript
 * @returns the function's body, of type `helperType`; undefined where the helper has no common case
 */
export function buildHelperBody(helper: Helper, fallback: number): Uint8Array | undefined {
  if (!helper.common) return undefined
  const f = new FunctionBuilder(helperType(helper).params)
  helper.common(new HelperBodyEmitter(f, helper, fallback))
  return f.encode()
}
