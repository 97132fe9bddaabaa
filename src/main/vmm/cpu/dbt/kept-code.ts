/**
 * What a machine leaves to the next one with the same guest: the functions it used or made, and the blocks that ran a good deal but
 * not enough to be worth the time they take to translate while the guest runs. Those are translated when nobody waits.
 */
import { PAGE_SIZE } from '../../memory/frame-table'
import { MAX_LENGTH } from '../decode/scanner'
import type { BlockRecord, BlockSource } from '../interp/decode-cache'
import { RECORD_SIZE } from '../interp/record'
import type { PackedFunction } from './packed-function'
import { LoopTranslator, type LoopPage } from './loop-pages'
import { decodePack, encodePack, packed, TranslationIndex } from './translation-pack'
import { shapeOf, type TranslatedFunction, type Translator } from './translator'

/** Bytes of translations kept for the next run: what this run used goes before what only earlier ones did. */
const MAX_PACK_BYTES = 10e6
/** New translations that are worth writing a pack anew, as a share of it. */
const WORTH_KEEPING = 0.03
/** Bytes that a translation of a block has for each byte of its code, about. */
const GROWTH = 16
/** Bytes of code remembered to be translated. */
const MAX_UNTRANSLATED_BYTES = 1e6
const NOTHING = new Uint8Array(0)
const KINDS = { i: 'insn', n: 'next', o: 'other' } as const

/** @param page the bytes of its page */
function untranslated(block: BlockSource, page: Uint8Array): TranslatedFunction {
  const { code: { modeKey }, pageOffset, records } = block
  // Where the last instruction ends only who decodes it knows.
  const end = Math.min(PAGE_SIZE, pageOffset + records[records.length - 1].delta + MAX_LENGTH)
  const ranges = [{ page: 0, offset: pageOffset, bytes: page.subarray(pageOffset, end) }]
  return { kind: 'block', modeKey, pageOffset, entries: [pageOffset], shape: shapeOf(block), ranges, constants: [], body: NOTHING, hints: NOTHING }
}

/** The records of a block with that shape. */
export function recordsOf(shape: string): BlockRecord[] {
  let insns = 0
  return shape.split(' ').map((text, i) => {
    const kind = KINDS[text[0] as keyof typeof KINDS]
    const count = kind === 'next' ? insns : insns + 1
    if (kind === 'insn') insns++
    return { offset: (i + 1) * RECORD_SIZE, kind, delta: Number(text.slice(1)), count }
  })
}

/**
 * Translates what waits for it.
 * @param translator its memory is used for the code: one page, and one for each of `loops`
 * @returns what was translated before, and as much of the rest as there is room for
 */
export function translateKept(translator: Translator, kept: readonly PackedFunction[], loops: readonly LoopPage[]): PackedFunction[] {
  const functions = kept.filter((fn) => fn.isTranslated)
  const room = MAX_PACK_BYTES - functions.reduce((sum, { body }) => sum + body.length, 0)
  const draft = translator.begin()
  const hasRoom = (): boolean => draft.functions.reduce((sum, { body }) => sum + body.length, 0) < room
  for (const { modeKey, pageOffset, shape, ranges: [{ bytes }] } of kept.filter((fn) => !fn.isTranslated)) {
    if (!hasRoom()) break
    translator.memory.fill(0, 0, PAGE_SIZE)
    translator.memory.set(bytes, pageOffset)
    draft.add({ head: 0, modeKey, host: 0, pageOffset, records: recordsOf(shape) })
  }
  new LoopTranslator(translator, loops).translate(draft, hasRoom)
  const known = new TranslationIndex()
  for (const fn of functions) known.add(fn, 0)
  return [...functions, ...packed(draft.functions).filter((fn) => !known.has(fn))]
}

export class KeptCode {
  private inherited: ReadonlySet<PackedFunction> = new Set()
  private readonly used = new Set<PackedFunction>()
  private readonly made = new TranslationIndex()
  private madeBytes = 0
  private readonly waiting: PackedFunction[] = []
  private readonly waits = new TranslationIndex()
  private waitingBytes = 0

  /** What earlier machines left. */
  inherit(functions: readonly PackedFunction[]): void {
    this.inherited = new Set(functions)
  }

  isInherited(fn: PackedFunction): boolean {
    return this.inherited.has(fn)
  }

  /** One of them runs here too. */
  use(fn: PackedFunction): void {
    this.used.add(fn)
  }

  /** A new function. */
  keep(fn: PackedFunction): void {
    if (this.madeBytes > MAX_PACK_BYTES || this.made.has(fn)) return
    this.made.add(fn, 0)
    this.used.add(fn)
    this.madeBytes += fn.body.length
  }

  /** Blocks of a page that are worth a translation. @param page its bytes */
  noteUntranslated(blocks: readonly BlockSource[], page: Uint8Array): void {
    if (this.waitingBytes > MAX_UNTRANSLATED_BYTES) return
    const all = packed(blocks.filter(({ records }) => records[0]?.kind === 'insn').map((block) => untranslated(block, page)))
    // Packed once more: a pack stays as long as one of its functions.
    for (const fn of decodePack(encodePack(all.filter((fn) => !this.waits.has(fn))))) {
      this.waits.add(fn, 0)
      this.waiting.push(fn)
      this.waitingBytes += fn.ranges[0].bytes.length
    }
  }

  /**
   * All of it; undefined where that is hardly more than what was inherited.
   * @param loops pages with loops that are worth a region; asked for only where there is a pack
   */
  pack(loops: () => readonly LoopPage[]): Uint8Array | undefined {
    const inheritedBytes = [...this.inherited].reduce((sum, { body }) => sum + body.length, 0)
    const { waiting } = this
    if (this.madeBytes + waiting.reduce((sum, { ranges: [{ bytes }] }) => sum + GROWTH * bytes.length, 0) <= inheritedBytes * WORTH_KEEPING) return undefined
    let room = MAX_PACK_BYTES
    const unused = [...this.inherited].filter((fn) => !this.used.has(fn))
    return encodePack([...this.used, ...unused, ...waiting].filter(({ body }) => (room -= body.length) >= 0), loops())
  }
}
