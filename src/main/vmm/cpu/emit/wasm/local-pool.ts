import { BugError } from '../../../errors'
import type { ValType } from './opcodes'

/** Locals of code that runs on ways apart, one after the other: what one way has done with, the next takes. */
export class LocalPool {
  private readonly free = new Map<ValType, number[]>()
  private taken: { readonly type: ValType; readonly local: number }[] | undefined

  take(type: ValType, create: () => number): number {
    if (!this.taken) return create()
    const local = this.free.get(type)?.pop() ?? create()
    this.taken.push({ type, local })
    return local
  }

  /** Scopes do not nest. */
  scope(body: () => void): void {
    if (this.taken) throw new BugError('a scope of locals within another')
    const taken: { readonly type: ValType; readonly local: number }[] = []
    this.taken = taken
    body()
    this.taken = undefined
    for (const { type, local } of taken) this.free.set(type, [...this.free.get(type) ?? [], local])
  }
}
