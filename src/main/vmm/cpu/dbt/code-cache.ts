/**
 * Translated code of one vCPU: which blocks are hot, where their functions stand in the table, and when those places are
 * free again. Functions of one batch are neighbours in the table, so a place is a run of slots; it is free once every
 * function of the batch was dropped. Runs are only reused between two entries into generated code.
 */
import type { WasmEngine, WasmMemory, WasmTable } from '../../ports'
import type { BlockSource, DecodeCache } from '../interp/decode-cache'
import type { Translator } from './translator'

/** Host time that a smaller batch waits for company, in nanoseconds. */
const PATIENCE_NS = 30e6
/** More functions than this are not kept: everything is dropped and begins anew. */
const MAX_FUNCTIONS = 40_000

export interface CodeCacheOptions {
  readonly wasm: WasmEngine
  readonly memory: WasmMemory
  readonly table: WasmTable
  readonly cache: DecodeCache
  readonly translator: Translator
  /** Blocks compiled at once: big enough that a module's fixed cost does not count, small enough not to stall the guest. */
  readonly batch: number
  /** For measuring: nanoseconds, monotonic. */
  readonly now: () => number
}

/** A run of slots. `capacity` may be more than the batch in it needs. */
interface Batch { readonly first: number; readonly capacity: number; live: number }

export class CodeCache {
  private hot: number[] = []
  private waitingSince = 0
  private readonly batches = new Map<number, Batch>()
  private free: Batch[] = []
  private top: number
  private functions = 0
  /** Figures for the inspector. */
  blocks = 0
  modules = 0
  bytes = 0
  translateNs = 0
  compileNs = 0

  constructor(readonly options: CodeCacheOptions) {
    this.top = options.table.length
  }

  /** A head record reached its count. True: it is time to translate. */
  noteHot(head: number): boolean {
    if (this.hot.length === 0) this.waitingSince = this.options.now()
    this.hot.push(head)
    return this.hot.length >= this.options.batch
  }

  /** True where it is time to translate. */
  get due(): boolean {
    return this.hot.length >= this.options.batch
  }

  /** At the end of a slice: true where the blocks waiting should wait no longer. */
  sliceEnded(): boolean {
    return this.hot.length > 0 && (this.due || this.options.now() - this.waitingSince >= PATIENCE_NS)
  }

  /** More code is translated than should be kept; the caller drops everything. */
  get full(): boolean {
    return this.functions >= MAX_FUNCTIONS
  }

  /** Heads in the list are meaningless once decoded code was dropped as a whole. */
  forgetHot(): void {
    this.hot = []
  }

  /** Translations whose guest code is gone. */
  drop(slots: readonly number[]): void {
    for (const slot of slots) {
      const batch = this.batches.get(slot)
      if (!batch) continue
      this.batches.delete(slot)
      this.functions--
      if (--batch.live === 0) this.free.push(batch)
    }
  }

  /** Translates what is hot and puts it into use. Only between two entries into generated code. */
  translateHot(): void {
    const blocks = new Map<number, BlockSource>()
    for (const head of this.hot) {
      const block = this.options.cache.blockAt(head)
      if (block && block.records[0].kind === 'insn') blocks.set(head, block)
    }
    this.hot = []
    if (blocks.size > 0) this.install([...blocks.values()])
  }

  private install(blocks: readonly BlockSource[]): void {
    const start = this.options.now()
    const draft = this.options.translator.begin()
    for (const block of blocks) draft.add(block)
    const bytes = draft.finish()
    this.translateNs += this.options.now() - start
    const first = this.load(bytes, blocks.length)
    blocks.forEach((block, i) => this.options.cache.install(block, first + i))
  }

  /** Compiles a module of `count` functions into the table. Returns the first slot. */
  load(bytes: Uint8Array, count: number): number {
    const { wasm, memory, table, now } = this.options
    const start = now()
    const { first, capacity } = this.takeRun(count)
    wasm.instantiate(wasm.compile(bytes), { env: { memory, table, base: first } })
    const batch: Batch = { first, capacity, live: count }
    for (let i = 0; i < count; i++) this.batches.set(first + i, batch)
    this.functions += count
    this.blocks += count
    this.modules++
    this.bytes += bytes.length
    this.compileNs += now() - start
    return first
  }

  private takeRun(count: number): { first: number; capacity: number } {
    const at = this.free.findIndex((run) => run.capacity >= count)
    if (at >= 0) return this.free.splice(at, 1)[0]
    const { table } = this.options
    const first = this.top
    this.top += count
    if (this.top > table.length) table.grow(Math.max(this.top - table.length, 1024))
    return { first, capacity: count }
  }
}
