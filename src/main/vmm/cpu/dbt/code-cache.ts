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
/** Hot loops gain so much that few are waited for. */
const LOOP_BATCH = 8
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
  private hotLoops: number[] = []
  private waitingSince = 0
  private readonly batches = new Map<number, Batch>()
  private free: Batch[] = []
  private top: number
  private functions = 0
  /** Figures for the inspector. */
  blocks = 0
  regions = 0
  modules = 0
  bytes = 0
  translateNs = 0
  compileNs = 0

  constructor(readonly options: CodeCacheOptions) {
    this.top = options.table.length
  }

  /** A head record reached its count. True: it is time to translate. */
  noteHot(head: number): boolean {
    if (this.waiting === 0) this.waitingSince = this.options.now()
    this.hot.push(head)
    return this.due
  }

  /** A loop of tier 1 is hot: its head. */
  noteHotLoop(head: number): boolean {
    if (this.waiting === 0) this.waitingSince = this.options.now()
    this.hotLoops.push(head)
    return this.due
  }

  private get waiting(): number {
    return this.hot.length + this.hotLoops.length
  }

  /** True where it is time to translate. */
  get due(): boolean {
    return this.hot.length >= this.options.batch || this.hotLoops.length >= LOOP_BATCH
  }

  /** At the end of a slice: true where the blocks waiting should wait no longer. */
  sliceEnded(): boolean {
    return this.waiting > 0 && (this.due || this.options.now() - this.waitingSince >= PATIENCE_NS)
  }

  /** More code is translated than should be kept; the caller drops everything. */
  get full(): boolean {
    return this.functions >= MAX_FUNCTIONS
  }

  /** Heads in the list are meaningless once decoded code was dropped as a whole. */
  forgetHot(): void {
    this.hot = []
    this.hotLoops = []
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
    const { cache, translator, now } = this.options
    const start = now()
    const draft = translator.begin()
    const made: BlockSource[] = []
    const regions = new Set<number>()
    for (const block of this.sources(this.hotLoops)) {
      const source = regions.has(block.head) ? undefined : draft.addRegion(block)
      if (!source) continue
      made.push(source)
      regions.add(source.head)
    }
    this.regions += made.length
    for (const block of this.sources(this.hot)) {
      if (regions.has(block.head) || !cache.isUntranslated(block)) continue
      draft.add(block)
      made.push(block)
    }
    this.forgetHot()
    if (made.length === 0) return
    const bytes = draft.finish()
    this.translateNs += now() - start
    const first = this.load(bytes, made.length)
    made.forEach((block, i) => cache.install(block, first + i))
  }

  private sources(heads: readonly number[]): BlockSource[] {
    const found = [...new Set(heads)].map((head) => this.options.cache.blockAt(head))
    return found.filter((block) => block !== undefined && block.records[0].kind === 'insn') as BlockSource[]
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
