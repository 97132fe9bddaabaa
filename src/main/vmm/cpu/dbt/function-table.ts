/**
 * Where translated functions stand. Functions of one module are neighbours in the table, so a place is a run of slots; it is
 * free once every function of the module was dropped. Runs are only reused between two entries into generated code.
 *
 * Every module that imports a table keeps a copy of its entries, and the table keeps the module: memory grows with modules ×
 * slots, and nothing goes while the table lives. So many small modules are put into one from time to time, in a new table.
 */
import { BugError } from '../../errors'
import type { WasmEngine, WasmMemory, WasmTable } from '../../ports'

/** A module with fewer functions is put together with others. */
const SMALL_MODULE = 1024
/** So many modules are worth it. */
const WORTH_MERGING = 16
/** Slots added to the table at once. */
const GROWTH = 1024
/** Records have 16 bits for a slot. */
const MAX_SLOTS = 1 << 16
/** Slots left when no more functions should be placed: more than any batch has. */
const SPARE_SLOTS = 4096

export interface FunctionTableOptions {
  readonly wasm: WasmEngine
  readonly memory: WasmMemory
  /** A table in which tier 0 stands; from now on generated code is entered there. */
  readonly newTable: () => WasmTable
}

/** A module in use. `capacity`: slots of its run; `live`: functions in use. */
interface Batch {
  readonly module: unknown
  readonly count: number
  readonly first: number
  readonly capacity: number
  live: number
}

/** A module made from functions of others. `slots`: for each of its functions where it stands now, undefined where it was dropped. */
export interface MergedModule { readonly module: unknown; readonly slots: readonly (number | undefined)[] }

/** It is put together with others. */
const isSmall = ({ count, live }: Batch): boolean => live > 0 && (count < SMALL_MODULE || live < count / 2)

export class FunctionTable {
  private table: WasmTable
  private top: number
  private free: { readonly first: number; readonly capacity: number }[] = []
  private loaded = new Set<Batch>()
  /** By the slot of each function that may be dropped. */
  private batches = new Map<number, Batch>()
  /** Modules the table keeps, also those whose functions were all dropped. */
  modules = 0

  constructor(private readonly options: FunctionTableOptions, table: WasmTable) {
    this.table = table
    this.top = table.length
  }

  /** No more functions should be placed before all that may be dropped are. */
  get isFull(): boolean {
    return this.top > MAX_SLOTS - SPARE_SLOTS
  }

  /** Functions that may be dropped. */
  get functions(): number {
    return this.batches.size
  }

  /**
   * Places a module's functions.
   * @param held numbers of the functions that hold the place until they are released; none: it is held for ever
   * @returns slot of the first
   */
  add(module: unknown, count: number, held: readonly number[] = []): number {
    const batch = { module, count, ...this.takeRun(count), live: held.length }
    this.options.wasm.instantiate(module, { env: { memory: this.options.memory, table: this.table, base: batch.first } })
    this.modules++
    this.loaded.add(batch)
    for (const i of held) this.batches.set(batch.first + i, batch)
    return batch.first
  }

  private takeRun(count: number): { first: number; capacity: number } {
    const at = this.free.findIndex((run) => run.capacity >= count)
    if (at >= 0) return this.free.splice(at, 1)[0]
    const first = this.top
    this.top += count
    if (this.top > MAX_SLOTS) throw new BugError(`no table slots for ${count} functions`)
    if (this.top > this.table.length) this.table.grow(Math.max(this.top - this.table.length, GROWTH))
    return { first, capacity: count }
  }

  has(slot: number): boolean {
    return this.batches.has(slot)
  }

  /** A function is dropped. Its slot stays what it is until another module is added. */
  release(slot: number): void {
    const batch = this.batches.get(slot)
    if (!batch) return
    this.batches.delete(slot)
    if (--batch.live > 0) return
    this.loaded.delete(batch)
    this.free.push({ first: batch.first, capacity: batch.capacity })
    this.lowerTop()
  }

  /** Runs that are free at the table's end are one with what was never used. */
  private lowerTop(): void {
    for (let last; (last = this.free.findIndex(({ first, capacity }) => first + capacity === this.top)) >= 0;) this.top = this.free.splice(last, 1)[0].first
  }

  /** Modules that would be put together, and those of which nothing is left. */
  get smallModules(): number {
    return this.modules - [...this.loaded].filter((batch) => !isSmall(batch)).length
  }

  /**
   * Slots of the functions of small modules, and of those that are mostly dropped; none where they are few.
   * @param isKnown whether a function's code is at hand
   */
  scattered(isKnown: (slot: number) => boolean): number[] {
    const small = new Set([...this.loaded].filter(isSmall))
    for (const [slot, batch] of this.batches) if (!isKnown(slot)) small.delete(batch)
    if (this.modules - this.loaded.size + small.size < WORTH_MERGING) return []
    return [...this.batches].filter(([, batch]) => small.has(batch)).map(([slot]) => slot)
  }

  /**
   * Begins a new table: with `merged` in the place of the modules whose functions it has, and all others. Only between two
   * entries into generated code.
   * @returns new slots by old ones
   */
  rebuild({ module, slots }: MergedModule): ReadonlyMap<number, number> {
    const replaced = new Set(slots.map((slot) => (slot === undefined ? undefined : this.batches.get(slot))))
    const moved = this.renew(replaced)
    const to = this.add(module, slots.length, slots.flatMap((slot, i) => (slot === undefined ? [] : [i])))
    slots.forEach((slot, i) => slot !== undefined && moved.set(slot, to + i))
    return moved
  }

  /** Begins a new table with the modules in use: what the old one kept of dropped functions goes with it. As `rebuild`. */
  renew(replaced: ReadonlySet<Batch | undefined> = new Set()): Map<number, number> {
    const before = this.batches
    const others = [...this.loaded].filter((batch) => !replaced.has(batch))
    this.table = this.options.newTable()
    this.top = this.table.length
    this.free = []
    this.modules = 0
    this.loaded = new Set()
    this.batches = new Map()
    const moved = new Map<number, number>()
    for (const { module: other, count, first } of others) {
      const indices = Array.from({ length: count }, (_, i) => i)
      const to = this.add(other, count, indices.filter((i) => before.has(first + i)))
      for (const i of indices) moved.set(first + i, to + i)
    }
    return moved
  }
}
