/**
 * Translated code of one vCPU: which blocks are hot, where their functions stand in the table, and when those places are
 * free again. Functions of one batch are neighbours in the table, so a place is a run of slots; it is free once every
 * function of the batch was dropped. Runs are only reused between two entries into generated code.
 */
import type { WasmEngine, WasmMemory, WasmTable } from '../../ports'
import type { BlockSource, CodePage, DecodeCache } from '../interp/decode-cache'
import { decodePack, encodePack, TranslationIndex } from './translation-pack'
import { shapeOf, type ModuleDraft, type TranslatedFunction, type Translator } from './translator'

/** Host time that a smaller batch waits for company, in nanoseconds. */
const PATIENCE_NS = 30e6
/** Hot loops gain so much that few are waited for. */
const LOOP_BATCH = 8
/**
 * Every module keeps a copy of the table's entries, so memory grows with modules × functions. After this many modules batches
 * wait twice as long and are twice as large, after twice as many three times, and so on.
 */
const MODULES_TO_SLOW_DOWN = 100
/** Bytes of translations kept for the next run: what this run used goes before what only earlier ones did. */
const MAX_PACK_BYTES = 10e6
/** New translations that are worth writing a pack anew, as a share of it. */
const WORTH_KEEPING = 0.03
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
  /** Where a guest page's bytes stand in linear memory. */
  readonly hostOfPage: (page: number) => number
  /** Regions are used too. */
  readonly regions: boolean
}

const spansOf = ({ ranges }: TranslatedFunction): number[] => ranges.flatMap(({ offset, bytes }) => [offset, offset + bytes.length])

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
  /** What earlier runs translated, with its table slots. */
  private readonly earlier = new TranslationIndex()
  /** What this run used or made, for the next one. */
  private readonly used = new Set<TranslatedFunction>()
  private readonly made = new TranslationIndex()
  private madeBytes = 0
  private readonly inherited: TranslatedFunction[] = []
  /** Regions by table slot: the page offsets they were made from, as [first, end) pairs. */
  private readonly regionSlots = new Map<number, readonly number[]>()
  /** Figures for the inspector. */
  blocks = 0
  regions = 0
  /** Heads that began with a translation of an earlier run. */
  adopted = 0
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

  private get slowness(): number {
    return 1 + this.modules / MODULES_TO_SLOW_DOWN
  }

  /** True where it is time to translate. */
  get due(): boolean {
    return this.hot.length >= this.options.batch * this.slowness || this.hotLoops.length >= LOOP_BATCH * this.slowness
  }

  /** At the end of a slice: true where the blocks waiting should wait no longer. */
  sliceEnded(): boolean {
    return this.waiting > 0 && (this.due || this.options.now() - this.waitingSince >= PATIENCE_NS * this.slowness)
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
      this.regionSlots.delete(slot)
      if (--batch.live === 0) this.free.push(batch)
    }
  }

  /** Translates what is hot and puts it into use. Only between two entries into generated code. */
  translateHot(): void {
    const { cache, translator, now } = this.options
    const start = now()
    const draft = translator.begin()
    const made: BlockSource[] = []
    this.draftRegions(draft, made)
    const regions = made.length
    const heads = new Set(made.map(({ head }) => head))
    for (const block of this.sources(this.hot)) {
      if (heads.has(block.head) || !cache.isUntranslated(block)) continue
      draft.add(block)
      made.push(block)
    }
    this.forgetHot()
    if (made.length === 0) return
    const bytes = draft.finish()
    draft.functions.forEach((fn) => this.keep(fn))
    this.translateNs += now() - start
    const first = this.load(bytes, made.length)
    this.regions += regions
    for (let i = 0; i < regions; i++) this.regionSlots.set(first + i, spansOf(draft.functions[i]))
    made.forEach((block, i) => cache.install(block, first + i))
  }

  /** Many branches lead back to one head: the region it has already is enough. */
  private draftRegions(draft: ModuleDraft, made: BlockSource[]): void {
    const { cache } = this.options
    for (const block of this.sources(this.hotLoops)) {
      if (this.regionSlots.has(cache.slotAt(block)) || made.some(({ head }) => head === block.head)) continue
      const source = draft.addRegion(block)
      if (source) made.push(source)
    }
  }

  // ── translations of earlier runs ──────────────────────────────────────────────────────────────────────────────

  /**
   * Puts what `pack` of an earlier machine gave at this one's disposal. Only before the machine runs.
   * @throws VmmError `bad-state` where it is no pack
   */
  loadPack(pack: Uint8Array): void {
    const functions = decodePack(pack).filter(({ kind }) => kind === 'block' || this.options.regions)
    if (functions.length === 0) return
    const draft = this.options.translator.begin()
    for (const fn of functions) draft.addTranslated(fn)
    const { first } = this.takeRun(functions.length)
    this.instantiate(draft.finish(), first)
    functions.forEach((fn, i) => {
      this.earlier.add(fn, first + i)
      this.inherited.push(fn)
      if (fn.kind === 'region') this.regionSlots.set(first + i, spansOf(fn))
    })
  }

  /** What is worth keeping for the next machine with the same guest; undefined where that is what there is already. */
  pack(): Uint8Array | undefined {
    const inheritedBytes = this.inherited.reduce((sum, { body }) => sum + body.length, 0)
    if (this.madeBytes <= inheritedBytes * WORTH_KEEPING) return undefined
    let room = MAX_PACK_BYTES
    const unused = this.inherited.filter((fn) => !this.used.has(fn))
    return encodePack([...this.used, ...unused].filter(({ body }) => (room -= body.length) >= 0))
  }

  private keep(fn: TranslatedFunction): void {
    if (this.madeBytes > MAX_PACK_BYTES || this.made.has(fn) || this.earlier.has(fn)) return
    this.made.add(fn, 0)
    this.used.add(fn)
    this.madeBytes += fn.body.length
  }

  /** A block was just decoded: a translation from an earlier run takes its place at once. */
  adopt(head: number, modeKey: number, page: number, pageOffset: number): void {
    const { cache, translator, hostOfPage } = this.options
    let block: BlockSource | undefined
    const found = this.earlier.find(modeKey, pageOffset, translator.memory, hostOfPage(page), () => {
      block = cache.blockAt(head)
      return block?.records[0].kind === 'insn' ? shapeOf(block) : '-'
    })
    if (!found) return
    block ??= cache.blockAt(head)
    if (!block) return
    for (const { offset, bytes } of found.fn.ranges) cache.noteTranslated(block.code, offset, offset + bytes.length - 1)
    cache.install(block, found.slot)
    this.used.add(found.fn)
    this.adopted++
  }

  /**
   * Tier that runs the code at a place of a page. A loop within a region counts to the region, though it may have a
   * translation of its own for those who enter it elsewhere.
   */
  tierOf(code: CodePage, offset: number): 0 | 1 | 2 {
    const inRegion = code.translated.some((slot) => {
      const spans = this.regionSlots.get(slot) ?? []
      for (let i = 0; i < spans.length; i += 2) if (spans[i] <= offset && offset < spans[i + 1]) return true
      return false
    })
    if (inRegion) return 2
    const block = this.options.cache.blockAt(this.options.cache.recordAt(code, offset))
    return block && code.translated.includes(this.options.cache.slotAt(block)) ? 1 : 0
  }

  private sources(heads: readonly number[]): BlockSource[] {
    const found = [...new Set(heads)].map((head) => this.options.cache.blockAt(head))
    return found.filter((block) => block !== undefined && block.records[0].kind === 'insn') as BlockSource[]
  }

  /** Compiles a module of `count` functions into the table. Returns the first slot. */
  load(bytes: Uint8Array, count: number): number {
    const { first, capacity } = this.takeRun(count)
    this.instantiate(bytes, first)
    const batch: Batch = { first, capacity, live: count }
    for (let i = 0; i < count; i++) this.batches.set(first + i, batch)
    this.functions += count
    this.blocks += count
    return first
  }

  private instantiate(bytes: Uint8Array, base: number): void {
    const { wasm, memory, table, now } = this.options
    const start = now()
    wasm.instantiate(wasm.compile(bytes), { env: { memory, table, base } })
    this.modules++
    this.bytes += bytes.length
    this.compileNs += now() - start
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
