/** What a machine has from earlier ones with the same guest, and what it leaves to the next: translations, and code that waits for them. */
import type { CodePage, DecodeCache } from '../interp/decode-cache'
import { pageAt } from './code-window'
import { KeptCode } from './kept-code'
import { LoopPages } from './loop-pages'
import type { PackedFunction } from './packed-function'
import { furtherPages } from './region-pages'
import { decodePack, TranslationIndex, type Known } from './translation-pack'

/** Entries of blocks that are worth a translation for the next machine, as a share of what makes a block hot: with fewer it takes as long to load as it saves. */
const WORTH_TRANSLATING = 1 / 8
/** Pages with loops that are remembered of those that were dropped. */
const MAX_LOOP_PAGES = 256

export interface InheritedCodeOptions {
  readonly cache: DecodeCache
  /** The machine's linear memory. */
  readonly memory: Uint8Array
  /** Where a guest page's bytes stand in it. */
  readonly hostOfPage: (page: number) => number
  /** Entries after which blocks are hot. */
  readonly hotAfter: number
  /** Regions are used too. */
  readonly regions: boolean
  /** The function in a table slot, where it is known. */
  readonly functionAt: (slot: number) => PackedFunction | undefined
}

/** Functions of a pack. */
export interface Inheritance {
  readonly functions: readonly PackedFunction[]
  /** They are all that are translated in it, so its module is theirs. */
  readonly whole: boolean
}

export class InheritedCode {
  private readonly index = new TranslationIndex()
  private readonly kept = new KeptCode()
  private readonly loopPages: LoopPages

  constructor(private readonly options: InheritedCodeOptions) {
    this.loopPages = new LoopPages({ ...options, isHotBlock: (slot) => this.isHotBlock(slot) }, options.regions ? MAX_LOOP_PAGES : 0)
  }

  /**
   * What an earlier machine left.
   * @returns what of it can be used here, in the order of the pack: it has no place in the table yet
   * @throws VmmError `bad-state` where it is no pack
   */
  inherit(pack: Uint8Array): Inheritance {
    const kept = decodePack(pack)
    this.kept.inherit(kept)
    const all = kept.filter((fn) => fn.isTranslated)
    const functions = this.options.regions ? all : all.filter(({ kind }) => kind === 'block')
    return { functions, whole: functions.length === all.length }
  }

  /** Gives a function of an earlier machine its place in the table. */
  place(fn: PackedFunction, slot: number): void {
    this.index.add(fn, slot)
  }

  /** Functions have new places. */
  move(moved: ReadonlyMap<number, number>): void {
    this.index.move(moved)
  }

  /** See `TranslationIndex.find`. */
  find(modeKey: number, pageOffset: number, host: number, shape: () => string): Known | undefined {
    return this.index.find(modeKey, pageOffset, this.options.memory, host, shape)
  }

  /** See `TranslationIndex.acrossPages`. */
  acrossPages({ modeKey }: CodePage, pageOffset: number): readonly Known[] {
    return this.index.acrossPages(modeKey, pageOffset)
  }

  /** Pages that its regions with the head at a place were made from, beside the head's. */
  pagesOf(code: CodePage, pageOffset: number): number[] {
    return this.acrossPages(code, pageOffset).flatMap(({ fn }) => furtherPages(fn))
  }

  /** One of its functions runs here. */
  used(fn: PackedFunction): void {
    this.kept.use(fn)
  }

  /** A function was made here. */
  made(fn: PackedFunction): void {
    if (!this.index.has(fn)) this.kept.keep(fn)
  }

  /** What is worth keeping for the next machine with the same guest; undefined where that is what there is already. */
  pack(): Uint8Array | undefined {
    for (const code of this.options.cache.codePages) this.noteUntranslated(code)
    return this.kept.pack(() => this.loopPages.all((code) => this.bytesOf(code)))
  }

  /** Blocks of a page are about to go. Those that ran a good deal are worth a translation for the next machine. */
  noteLeaving(code: CodePage): void {
    this.noteUntranslated(code)
    this.loopPages.leaving(code, () => this.bytesOf(code))
  }

  private noteUntranslated(code: CodePage): void {
    const { cache, hotAfter } = this.options
    const blocks = cache.untranslated(code, hotAfter * WORTH_TRANSLATING)
    if (blocks.length > 0) this.kept.noteUntranslated(blocks, this.bytesOf(code))
  }

  private isHotBlock(slot: number): boolean {
    const fn = this.options.functionAt(slot)
    return fn !== undefined && fn.kind === 'block' && !this.kept.isInherited(fn)
  }

  private bytesOf(code: CodePage): Uint8Array {
    const { hostOfPage, memory } = this.options
    return pageAt(memory, hostOfPage(code.page))
  }
}
