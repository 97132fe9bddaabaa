/** Translated code of one vCPU: which blocks are hot, what was made of them, and what earlier runs made. */
import type { WasmEngine, WasmMemory, WasmTable } from '../../ports'
import type { BlockSource, CodePage, DecodeCache } from '../interp/decode-cache'
import { FunctionTable } from './function-table'
import { HotQueue, type HotCode } from './hot-queue'
import { InheritedCode } from './inherited-code'
import { CONSTANT_BYTES } from './own-constants'
import type { PackedFunction } from './packed-function'
import { codeBytesOf, PlacedFunctions } from './placed-functions'
import { packed, type KeptTranslations } from './translation-pack'
import { buildMerged, isMadeFrom, translateAndCompile, type CodeBlock, type CompiledResult, type RegionHead, type TranslationJob, type TranslationThread } from './translation-job'
import { furtherPages, RegionPages, type Surroundings } from './region-pages'
import { shapeOf, type Translator } from './translator'

/** Slices that a guest must run through without a halt for a thread at rest to be started: a tick is over after less. */
const UNHALTED_TO_START = 16
/** What took longer to gather came of an idle guest's ticks: a thread at rest would take ten times as long to start as this to translate. */
const TRICKLE_NS = 1e9
/** A block is taken into regions once it was entered this often on tier 0, as a share of what makes it hot. */
const WARM = 1 / 32
/** Times a head gets a new region: paths through a loop may warm up late. */
const MAX_REMADE = 3
/**
 * Every module keeps a copy of the table's entries, so memory grows with modules × functions. After this many modules batches
 * wait twice as long and are twice as large, after twice as many three times, and so on.
 */
const MODULES_TO_SLOW_DOWN = 100
/**
 * Small modules that are put together though the guest is busy. A jump from module to module goes through the copy of the table that
 * the one it leaves has, and many copies do not stay in the host's caches: 12 ns a jump with one, 24 with ten, 90 to 160 with 400.
 * But the compiler takes a processor for a second or more.
 */
const MODULES_TO_MERGE = 48
/** More functions than this are not kept: everything is dropped and begins anew. */
const MAX_FUNCTIONS = 40_000

export interface CodeCacheOptions {
  readonly wasm: WasmEngine
  readonly memory: WasmMemory
  /** Another table in which tier 0 stands; from then on generated code is entered there. */
  readonly newTable: () => WasmTable
  readonly cache: DecodeCache
  readonly translator: Translator
  /** Blocks compiled at once: big enough that a module's fixed cost does not count, small enough not to stall the guest. */
  readonly batch: number
  /** For measuring: nanoseconds, monotonic. */
  readonly now: () => number
  /** Where a guest page's bytes stand in linear memory. */
  readonly hostOfPage: (page: number) => number
  /** Code around the block that runs (`blockRip`); undefined where pages must not be taken together. */
  readonly surroundings: () => Surroundings | undefined
  /** Entries after which blocks are hot. */
  readonly hotAfter: number
  /** Regions are used too. */
  readonly regions: boolean
  /** Functions kept; with more, everything is dropped. Default: MAX_FUNCTIONS. */
  readonly mostFunctions?: number
  /** Another thread that translates and compiles while the guest runs; undefined: it is done between two entries. */
  readonly background?: TranslationThread
}

/** The blocks whose place a function takes, and the pages it was made from. */
interface Places {
  readonly blocks: readonly BlockSource[]
  readonly pages: ReadonlyMap<number, CodePage>
  /** Of the further pages' maps (see `noteFurther`); 0: there are none. */
  readonly list: number
}
const NOWHERE: Places = { blocks: [], pages: new Map(), list: 0 }

export class CodeCache {
  private readonly hot: HotQueue
  private readonly around: RegionPages
  private readonly remade = new Map<number, number>()
  private unhalted = 0
  private readonly place: FunctionTable
  readonly functions: PlacedFunctions
  private readonly inherited: InheritedCode
  /** Figures for the inspector. */
  blocks = 0
  regions = 0
  /** Heads that began with a translation of an earlier run. */
  adopted = 0
  /** Heads whose translation of this run was set aside and came back. */
  returned = 0
  modules = 0
  bytes = 0
  /** Times there were too many functions. */
  renewals = 0
  translateNs = 0
  compileNs = 0
  /** Of both, what the guest's thread did between two entries: the guest stood. */
  hereNs = 0

  /** @param table in which tier 0 stands. It is not kept beyond the first merge */
  constructor(readonly options: CodeCacheOptions, table: WasmTable) {
    this.hot = new HotQueue({ ...options, entriesLeft: (head) => options.cache.entriesLeft(head) })
    this.place = new FunctionTable(options, table)
    this.functions = new PlacedFunctions(this.place, options.cache, options.translator.memory)
    this.around = new RegionPages(options)
    this.inherited = new InheritedCode({ ...options, memory: options.translator.memory, functionAt: (slot) => this.functions.at(slot) })
  }

  /** A head record reached its count. True: it is time to translate. */
  noteHot(head: number): boolean {
    this.hot.addBlock(head)
    return this.due
  }

  /** A loop of tier 1 is hot: its head. */
  noteHotLoop(head: number): boolean {
    const isNew = this.hot.addLoop(head)
    if (isNew) this.around.note(head, (code, pageOffset) => this.inherited.pagesOf(code, pageOffset))
    return this.due
  }

  private get slowness(): number {
    return 1 + this.place.modules / MODULES_TO_SLOW_DOWN
  }

  /** True where it is time to translate. */
  get due(): boolean {
    if (this.options.background?.busy) return false
    return this.hot.isFull(this.slowness)
  }

  /**
   * At the end of a slice: true where the blocks waiting should wait no longer.
   * @param halted the guest had little to do: for that a thread at rest is not started
   */
  sliceEnded(halted: boolean): boolean {
    const { background } = this.options
    this.unhalted = halted ? 0 : this.unhalted + 1
    if (this.hot.isEmpty || background?.busy) return false
    if (background?.resting && background.alive && this.unhalted < UNHALTED_TO_START) return false
    if (this.due) return true
    return this.hot.isOverdue(this.slowness)
  }

  /** More code is translated than should be kept; the caller drops everything, and then calls `beginAnew`. */
  get full(): boolean {
    return this.place.isFull || this.place.functions >= (this.options.mostFunctions ?? MAX_FUNCTIONS)
  }

  /** After all was dropped: the host's memory of it goes too, which the table holds. Only between two entries. */
  beginAnew(): void {
    this.renewals++
    this.move(this.place.renew())
  }

  /** Functions that may be dropped, and modules the host keeps. */
  get held(): { readonly functions: number; readonly modules: number } {
    return this.place
  }

  /** Heads in the list are meaningless once decoded code was dropped as a whole. */
  forgetHot(): void {
    this.hot.clear()
  }

  /**
   * All decoded code is about to be dropped: its records mean nothing then.
   * @param keep translations for the time when the same code is decoded again
   */
  forgetAll(keep: boolean): void {
    this.forgetHot()
    this.around.forgetAll()
    this.remade.clear()
    if (keep) this.functions.setAside()
    else this.functions.forgetAside()
  }

  /** Translations whose guest code is gone. */
  drop(slots: readonly number[]): void {
    this.functions.drop(slots)
  }

  /** Has what is hot translated. Only between two entries into generated code. */
  translateHot(): void {
    const { background, wasm } = this.options
    if (background?.alive && background.unhurried && this.place.smallModules >= MODULES_TO_MERGE && this.merge(() => undefined, true)) return
    const here = !background?.alive || this.hasTrickled(background)
    const job = this.takeJob(here ? this.hot.takeAll() : this.hot.takeBatch(this.slowness))
    if (job.blocks.length + job.regions.length === 0) return
    if (!here) return background.request(job)
    const { now } = this.options
    const start = now()
    this.use(translateAndCompile(this.options.translator, job, (bytes) => wasm.compile(bytes), now))
    this.hereNs += now() - start
  }

  private hasTrickled({ resting }: TranslationThread): boolean {
    return resting && this.hot.waitedNs >= TRICKLE_NS
  }

  /** The thread that had a job is lost. */
  requeue({ blocks, regions }: TranslationJob): void {
    for (const { head } of blocks) this.hot.addBlock(head)
    for (const { head } of regions) this.hot.addLoop(head)
  }

  /** What was waiting, as the translator needs it. */
  private takeJob(hot: HotCode): TranslationJob {
    const { cache } = this.options
    const loops = this.sources(hot.loops).filter((block) => !this.adoptAcrossPages(block) && this.mayRemake(block))
    const blocks = this.sources(hot.blocks).filter((block) => cache.isUntranslated(block))
    return { regions: loops.map((block) => this.hotOf(block)), blocks: blocks.map((block) => this.codeOf(block)) }
  }

  /**
   * Many branches lead back to one head: the region it has already is enough, unless it is left so often that they run.
   * A loop that makes no region is tried as often.
   */
  private mayRemake(block: BlockSource): boolean {
    const times = (this.remade.get(block.head) ?? 0) + 1
    this.remade.set(block.head, times)
    return times <= MAX_REMADE + 1
  }

  private hotOf(block: BlockSource): RegionHead {
    return { ...this.codeOf(block), ...this.around.of(block, this.options.hotAfter * WARM) }
  }

  private codeOf({ head, code, pageOffset, records }: BlockSource): CodeBlock {
    return { head, modeKey: code.modeKey, host: this.options.hostOfPage(code.page), pageOffset, records }
  }

  /** Puts what was translated into use, as far as the guest's code is still the same. Only between two entries. */
  use({ functions: translated, heads, module, wasmBytes, translateNs, compileNs }: CompiledResult): void {
    this.translateNs += translateNs
    this.compileNs += compileNs
    const functions = packed(translated)
    const places = functions.map((fn, i) => this.placesFor(fn, heads[i]))
    for (const head of heads) this.around.forget(head)
    const held = functions.map((_, i) => i).filter((i) => places[i].blocks.length > 0)
    if (held.length === 0) return
    const first = this.add(module, wasmBytes, functions.length, held)
    for (const i of held) this.put(functions[i], first + i, places[i])
  }

  private put(fn: PackedFunction, slot: number, { blocks, pages, list }: Places): void {
    this.blocks++
    this.functions.add(fn, slot, blocks.length)
    this.inherited.made(fn)
    if (fn.kind === 'region') this.regions++
    this.install(fn, slot, { blocks, pages, list })
  }

  private install(fn: PackedFunction, slot: number, { blocks, pages, list }: Places): void {
    const { cache } = this.options
    for (const { page, offset, bytes } of fn.ranges) cache.noteTranslated(pages.get(page) ?? blocks[0].code, offset, offset + bytes.length - 1)
    for (const { page, offset } of fn.constants) cache.noteTranslated(pages.get(page) ?? blocks[0].code, offset, offset + CONSTANT_BYTES - 1)
    for (const block of blocks) cache.install(block, slot, list)
  }

  /** The blocks whose place a function takes; none where its code is gone or runs as a region already. */
  private placesFor(fn: PackedFunction, head: number): Places {
    const { cache, translator, hostOfPage } = this.options
    const asked = cache.blockAt(head)
    if (!asked) return NOWHERE
    const pages = this.around.pagesOf(asked)
    const hostOf = (delta: number): number | undefined => {
      const code = pages.get(delta)
      return code && cache.isKnown(code) ? hostOfPage(code.page) : undefined
    }
    if (asked.code.modeKey !== fn.modeKey || !isMadeFrom(fn, translator.memory, hostOf)) return NOWHERE
    const blocks = this.blocksFor(fn, asked)
    const further = blocks.length > 0 ? furtherPages(fn) : []
    const list = blocks.length > 0 ? cache.noteFurther(asked.code, further.map((delta) => pages.get(delta) as CodePage), this.constantsOf(fn, hostOf)) : 0
    return list === undefined ? NOWHERE : { blocks, pages, list }
  }

  /** Its constants as they are now. @param hostOf where the bytes of its pages stand */
  private constantsOf({ constants }: PackedFunction, hostOf: (page: number) => number | undefined): number[] {
    const { memory } = this.options.translator
    return constants.map(({ page, offset }) => {
      const at = (hostOf(page) ?? 0) + offset
      return memory[at] | (memory[at + 1] << 8) | (memory[at + 2] << 16) | (memory[at + 3] << 24)
    })
  }

  private blocksFor(fn: PackedFunction, asked: BlockSource): BlockSource[] {
    const { cache } = this.options
    // Where all code was dropped meanwhile, another block's head may stand where this one's stood.
    if (fn.kind === 'block') return asked.pageOffset === fn.pageOffset && cache.isUntranslated(asked) && shapeOf(asked) === fn.shape ? [asked] : []
    const size = codeBytesOf(fn)
    const blocks = fn.entries.map((offset) => cache.blockAt(cache.recordAt(asked.code, offset)))
    return blocks.filter((block, i) => block?.pageOffset === fn.entries[i] && this.functions.regionSize(cache.slotAt(block)) < size) as BlockSource[]
  }

  // ── translations of earlier runs ──────────────────────────────────────────────────────────────────────────────

  /**
   * Puts what `pack` of an earlier machine gave at this one's disposal. Only before the machine runs.
   * @throws VmmError `bad-state` where it is no pack
   */
  loadPack({ pack, compiled }: KeptTranslations): void {
    const { translator, wasm } = this.options
    const { functions, whole: isWhole } = this.inherited.inherit(pack)
    if (functions.length === 0) return
    const whole = isWhole ? compiled : undefined
    const revived = whole && wasm.revive?.(whole.wasm, whole.machineCode)
    const bytes = whole?.wasm ?? buildMerged(translator, functions)
    const first = this.add(revived ?? wasm.compile(bytes), bytes.length, functions.length, [])
    functions.forEach((fn, i) => {
      this.inherited.place(fn, first + i)
      this.functions.addForEver(fn, first + i)
    })
  }

  /** What is worth keeping for the next machine with the same guest; undefined where that is what there is already. */
  pack(): Uint8Array | undefined {
    return this.inherited.pack()
  }

  /** Blocks of a page are about to go. */
  noteLeaving(code: CodePage): void {
    this.inherited.noteLeaving(code)
  }

  /** A block was just decoded: a translation from an earlier run takes its place at once. */
  adopt(head: number, modeKey: number, page: number, pageOffset: number): void {
    const { cache, hostOfPage } = this.options
    let block: BlockSource | undefined
    const shape = (): string => {
      block = cache.blockAt(head)
      return block?.records[0].kind === 'insn' ? shapeOf(block) : '-'
    }
    const host = hostOfPage(page)
    const back = this.functions.findAside(modeKey, pageOffset, host, shape)
    const found = back ?? this.inherited.find(modeKey, pageOffset, host, shape)
    if (!found) return
    block ??= cache.blockAt(head)
    if (!block) return
    const list = cache.noteFurther(block.code, [], this.constantsOf(found.fn, () => host))
    if (list === undefined) return
    this.functions.hold(found.slot)
    this.install(found.fn, found.slot, { blocks: [block], pages: new Map(), list })
    this.inherited.used(found.fn)
    if (back) this.returned++
    else this.adopted++
  }

  /**
   * A loop is hot for which an earlier run has a region with code of further pages: only now is it known which those are.
   * @returns false where there is none, or its code is not that
   */
  private adoptAcrossPages(block: BlockSource): boolean {
    for (const { fn, slot } of this.inherited.acrossPages(block.code, block.pageOffset)) {
      const places = this.placesFor(fn, block.head)
      if (places.blocks.length === 0) continue
      this.install(fn, slot, places)
      this.around.forget(block.head)
      this.inherited.used(fn)
      this.adopted++
      return true
    }
    return false
  }

  private sources(heads: readonly number[]): BlockSource[] {
    const found = [...new Set(heads)].map((head) => this.options.cache.blockAt(head))
    return found.filter((block) => block !== undefined && block.records[0].kind === 'insn') as BlockSource[]
  }

  /** Compiles a module of `count` functions into the table. Returns the first slot. */
  load(bytes: Uint8Array, count: number): number {
    this.blocks += count
    return this.add(this.options.wasm.compile(bytes), bytes.length, count, Array.from({ length: count }, (_, i) => i))
  }

  private add(module: unknown, byteLength: number, count: number, held: readonly number[]): number {
    const { now } = this.options
    const start = now()
    const first = this.place.add(module, count, held)
    this.modules++
    this.bytes += byteLength
    this.compileNs += now() - start
    return first
  }

  // ── many modules become one ───────────────────────────────────────────────────────────────────────────────────

  /**
   * Functions of many small modules are put into one. Only between two entries.
   * @param done also where nothing was to be done @param busy the guest runs on meanwhile, and should not wait for the compiler after that
   * @returns false where nothing was to be done
   */
  merge(done: () => void, busy = false): boolean {
    const { background, translator, wasm } = this.options
    const slots = background?.busy ? [] : this.place.scattered((slot) => this.functions.at(slot) !== undefined)
    const functions = slots.map((slot) => this.functions.at(slot)) as PackedFunction[]
    const finish = (module: unknown): void => {
      if (module) this.replace(slots, functions, module)
      done()
    }
    if (functions.length === 0) done()
    else if (background?.alive && busy) background.merge(functions, finish)
    else finish(wasm.compile(buildMerged(translator, functions)))
    return functions.length > 0
  }

  /** What was dropped meanwhile stays so. */
  private replace(old: readonly number[], functions: readonly PackedFunction[], module: unknown): void {
    const slots = old.map((slot, i) => (this.functions.at(slot) === functions[i] ? slot : undefined))
    if (slots.every((slot) => slot === undefined)) return
    this.move(this.place.rebuild({ module, slots }))
  }

  private move(moved: ReadonlyMap<number, number>): void {
    this.functions.move(moved)
    this.inherited.move(moved)
    this.options.cache.moveTranslations(moved)
  }
}
