/**
 * What the translator is asked to do and answers, as plain data: the work may be done on another thread, while the guest runs on.
 * The guest may change its code meanwhile, so an answer is used only where the bytes it was made from are still there.
 */
import type { BlockRecord } from '../interp/decode-cache'
import { CodeWindow, type NearCode } from './code-window'
import type { TranslatedFunction, Translator } from './translator'

/** A decoded block: where its records and its bytes stand. */
export interface CodeBlock {
  /** Address of the head record. */
  readonly head: number
  readonly modeKey: number
  /** Where the bytes of its page stand in linear memory. */
  readonly host: number
  /** Byte offset of the first instruction in its page. */
  readonly pageOffset: number
  readonly records: readonly BlockRecord[]
}

/** A block at the head of a hot loop. */
export type RegionHead = CodeBlock & NearCode

export interface TranslationJob {
  readonly blocks: readonly CodeBlock[]
  readonly regions: readonly RegionHead[]
}

export interface TranslationResult {
  /** Module bytes; function i goes to table slot `env.base` + i. */
  readonly bytes: Uint8Array
  readonly functions: readonly TranslatedFunction[]
  /** For each function, the head record of the block that was asked for. */
  readonly heads: readonly number[]
}

/** A result that was compiled. */
export interface CompiledResult extends Omit<TranslationResult, 'bytes'> {
  /** Undefined where nothing could be translated. */
  readonly module: unknown
  /** Size of the module. */
  readonly wasmBytes: number
  readonly translateNs: number
  readonly compileNs: number
}

/** Does one job at a time. */
export interface TranslationThread {
  /** The reply comes through `CodeCache.use`, between two entries into generated code. */
  request(job: TranslationJob): void
  /**
   * Puts functions into one module, compiled at once by the optimising compiler.
   * @param done with the module; undefined: the thread is lost
   */
  merge(functions: readonly TranslatedFunction[], done: (module: unknown) => void): void
  readonly busy: boolean
  /** Long work of it slows nothing down. */
  readonly unhurried: boolean
  /** True where the next job must wait for the thread to start. */
  readonly resting: boolean
  /** False for ever once the thread is lost. */
  readonly alive: boolean
}

/** Regions first; a block whose place a region of this job takes is left out. */
export function translate(translator: Translator, { blocks, regions }: TranslationJob): TranslationResult | undefined {
  const draft = translator.begin()
  const heads: number[] = []
  const taken = new Set<string>()
  const placeOf = ({ host, modeKey }: CodeBlock, offset: number): string => `${host + offset}:${modeKey}`
  for (const block of regions) {
    if (taken.has(placeOf(block, block.pageOffset))) continue
    const made = draft.addRegion(block, new CodeWindow(translator.memory, block), 'loop')
    if (!made) continue
    taken.add(placeOf(block, made.pageOffset))
    heads.push(block.head)
  }
  for (const block of blocks) {
    if (!taken.has(placeOf(block, block.pageOffset)) && draft.add(block)) heads.push(block.head)
  }
  return heads.length > 0 ? { bytes: draft.finish(), functions: draft.functions, heads } : undefined
}

/** Bytes of a module with functions made before, in their order. */
export function buildMerged(translator: Translator, functions: readonly TranslatedFunction[]): Uint8Array {
  const draft = translator.begin()
  for (const fn of functions) draft.addTranslated(fn)
  return draft.finish()
}

/** @param now nanoseconds */
export function translateAndCompile(translator: Translator, job: TranslationJob, compile: (bytes: Uint8Array) => unknown, now: () => number): CompiledResult {
  const start = now()
  const result = translate(translator, job)
  const translated = now()
  const module = result && compile(result.bytes)
  return {
    functions: result?.functions ?? [], heads: result?.heads ?? [], module, wasmBytes: result?.bytes.length ?? 0,
    translateNs: translated - start, compileNs: now() - translated,
  }
}

/**
 * True where the bytes a function was made from stand in its pages.
 * @param hostOf where the bytes of a page stand in linear memory, by its distance from the head's; undefined: no longer known
 */
export function isMadeFrom({ ranges }: TranslatedFunction, memory: Uint8Array, hostOf: (page: number) => number | undefined): boolean {
  return ranges.every(({ page, offset, bytes }) => {
    const host = hostOf(page)
    if (host === undefined) return false
    for (let i = 0; i < bytes.length; i++) if (memory[host + offset + i] !== bytes[i]) return false
    return true
  })
}
