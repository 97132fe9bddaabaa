/**
 * Decoded code in linear memory: per (frame, mode key) a map from byte offset to record, and records in blocks.
 * A write to decoded bytes turns every record of that page into a resynchronisation point, so running code notices
 * by itself; memory is only reused when the whole cache is emptied between two entries.
 */
import { PAGE_SIZE } from '../../memory/frame-table'
import { Ends } from '../decode/form-plan'
import { Scan, type InsnScanner } from '../decode/scanner'
import { Mode } from '../state/mode'
import { Rec, RECORD_SIZE } from './record'
import { RecordWriter, type HandlerSlots } from './record-writer'

/** Longest block, in instructions: bounds the work between two looks at the slice. */
const MAX_BLOCK = 48
const MAP_BYTES = PAGE_SIZE * 4
const LINE_SHIFT = 6

export class CodePage {
  /** Bitmap of 64-byte lines that hold decoded bytes. */
  linesLow = 0
  linesHigh = 0
  /** [first record, end) address pairs. */
  readonly blocks: number[] = []
  /** Word indices, in other pages' maps, of instructions that end in this page. */
  readonly crossingMaps: number[] = []
  /** Table slots of translations that stand in head records of this page. */
  readonly translated: number[] = []

  constructor(readonly page: number, readonly modeKey: number, readonly map: number) {}

  markLines(first: number, last: number): void {
    for (let line = first >> LINE_SHIFT; line <= last >> LINE_SHIFT; line++) {
      if (line < 32) this.linesLow |= 1 << line
      else this.linesHigh |= 1 << (line - 32)
    }
  }

  touches(offset: number, length: number): boolean {
    for (let line = offset >> LINE_SHIFT; line <= (offset + length - 1) >> LINE_SHIFT; line++) {
      if (((line < 32 ? this.linesLow >>> line : this.linesHigh >>> (line - 32)) & 1) !== 0) return true
    }
    return false
  }
}

export interface DecodeCacheOptions {
  readonly buffer: ArrayBufferLike
  /** The cache's part of linear memory. */
  readonly base: number
  readonly bytes: number
  readonly scanner: InsnScanner
  readonly slots: HandlerSlots
  /** Entries after which a block is reported as hot; 0: blocks are not counted. */
  readonly hotAfter: number
  /** A counted block was decoded: its head record. */
  readonly onDecoded: (head: number, code: CodePage, offset: number) => void
  /** Translations whose code is gone. Generated code may still be running in one of them. */
  readonly onDropped: (tableSlots: readonly number[]) => void
}

/** A block as the translator finds it: what its head record says. */
export interface BlockSource {
  readonly head: number
  readonly code: CodePage
  /** Byte offset of the first instruction in its page. */
  readonly pageOffset: number
  /** Records behind the head, in order. `offset`: bytes from the head record. */
  readonly records: readonly BlockRecord[]
}

export interface BlockRecord {
  readonly offset: number
  /** `next`: the block was cut here. `other`: a pseudo-instruction tier 0 must run. */
  readonly kind: 'insn' | 'next' | 'other'
  readonly delta: number
  readonly count: number
}

export class DecodeCache {
  private readonly view: DataView
  private readonly records: RecordWriter
  private readonly words: Uint32Array
  private readonly pages = new Map<number, CodePage[]>()
  private top: number
  private readonly end: number
  /** Two records for instructions that cross a page: decoded anew each time. */
  private readonly oneShot: number
  blocksDecoded = 0
  invalidations = 0

  constructor(private readonly options: DecodeCacheOptions) {
    this.view = new DataView(options.buffer)
    this.records = new RecordWriter(options.buffer, options.slots)
    this.words = new Uint32Array(options.buffer)
    this.oneShot = options.base
    this.top = options.base + 4 * RECORD_SIZE
    this.end = options.base + options.bytes
  }

  /** True when a page map and a few blocks still fit; otherwise the caller empties the cache first. */
  hasRoom(): boolean {
    return this.top + MAP_BYTES + 8 * MAX_BLOCK * RECORD_SIZE < this.end
  }

  /** Forgets everything. Code lookups and links must have been dropped, and no generated code may be running. */
  clear(): void {
    for (const list of this.pages.values()) for (const code of list) this.dropTranslations(code)
    this.pages.clear()
    this.top = this.options.base + 4 * RECORD_SIZE
  }

  private dropTranslations(code: CodePage): void {
    if (code.translated.length > 0) this.options.onDropped(code.translated.splice(0))
  }

  /** What a head record stands for; undefined where its code was dropped, or where there is none (0). */
  blockAt(head: number): BlockSource | undefined {
    if (head === 0) return undefined
    const { view } = this
    const handler = this.words[(head + Rec.handler) >> 2]
    if (handler === this.options.slots.resync || view.getUint16(head + Rec.regB, true) === 0) return undefined
    const map = this.words[(head + Rec.page) >> 2]
    const code = this.pages.get(view.getFloat64(head + Rec.displacement, true))?.find((p) => p.map === map)
    if (!code) return undefined
    const records: BlockRecord[] = []
    const end = head + RECORD_SIZE * (1 + view.getUint16(head + Rec.regB, true))
    for (let rec = head + RECORD_SIZE; rec < end; rec += RECORD_SIZE) {
      const next = this.words[(rec + Rec.handler) >> 2] === this.options.slots.next
      const kind = view.getUint8(rec + Rec.length) > 0 ? 'insn' : next ? 'next' : 'other'
      records.push({ offset: rec - head, kind, delta: view.getUint16(rec + Rec.delta, true), count: view.getUint16(rec + Rec.count, true) })
    }
    return { head, code, pageOffset: view.getUint16(head + Rec.regA, true), records }
  }

  /** Page offsets at which blocks of a page begin that were entered at least so often, or are translated. */
  warmHeads(code: CodePage, entries: number): number[] {
    const heads: number[] = []
    for (let i = 0; i < code.blocks.length; i += 2) {
      const head = code.blocks[i]
      if (this.view.getUint16(head + Rec.regB, true) === 0) continue
      const counting = this.words[(head + Rec.handler) >> 2] === this.options.slots.head
      if (!counting || this.options.hotAfter - this.view.getInt32(head + Rec.imm, true) >= entries) heads.push(this.view.getUint16(head + Rec.regA, true))
    }
    return heads
  }

  /** True where the block still runs on tier 0. */
  isUntranslated(block: BlockSource): boolean {
    return this.slotAt(block) === this.options.slots.head
  }

  /** Table slot a block's head has now. */
  slotAt({ head }: BlockSource): number {
    return this.words[(head + Rec.handler) >> 2]
  }

  /** Puts a translation in the place of a block's head, or of an earlier translation. */
  install(block: BlockSource, tableSlot: number): void {
    const word = (block.head + Rec.handler) >> 2
    const { translated } = block.code
    const before = translated.indexOf(this.words[word])
    if (before >= 0) this.options.onDropped(translated.splice(before, 1))
    this.words[word] = tableSlot
    translated.push(tableSlot)
  }

  /** Bytes a translation was made from, beyond its block's: writes to them must drop it. */
  noteTranslated(code: CodePage, first: number, last: number): void {
    code.markLines(first, last)
  }

  /** True where a byte of the range was decoded. */
  holds(page: number, offset: number, length: number): boolean {
    return this.pages.get(page)?.some((code) => code.touches(offset, length)) ?? false
  }

  page(page: number, modeKey: number): CodePage {
    const list = this.pages.get(page)
    const found = list?.find((p) => p.modeKey === modeKey)
    if (found) return found
    this.top = Math.ceil(this.top / 64) * 64
    const made = new CodePage(page, modeKey, this.top)
    this.words.fill(0, this.top >> 2, (this.top + MAP_BYTES) >> 2)
    this.top += MAP_BYTES
    if (list) list.push(made)
    else this.pages.set(page, [made])
    return made
  }

  recordAt(page: CodePage, offset: number): number {
    return this.words[(page.map >> 2) + offset]
  }

  hasCode(page: number): boolean {
    return this.pages.get(page)?.some((p) => p.linesLow !== 0 || p.linesHigh !== 0) ?? false
  }

  /** Drops code decoded from [offset, offset+length) of a page. Returns false where no decoded byte was touched. */
  invalidate(page: number, offset: number, length: number): boolean {
    let dropped = false
    for (const code of this.pages.get(page) ?? []) {
      if (!code.touches(offset, length)) continue
      dropped = true
      this.invalidations++
      for (let i = 0; i < code.blocks.length; i += 2) {
        for (let rec = code.blocks[i]; rec < code.blocks[i + 1]; rec += RECORD_SIZE) {
          this.words[(rec + Rec.handler) >> 2] = this.options.slots.resync
        }
      }
      this.dropTranslations(code)
      for (const word of code.crossingMaps) this.words[word] = 0
      code.crossingMaps.length = 0
      code.blocks.length = 0
      code.linesLow = code.linesHigh = 0
      this.words.fill(0, code.map >> 2, (code.map + MAP_BYTES) >> 2)
    }
    return dropped
  }

  /**
   * Decodes a block starting at `offset` of a page whose bytes begin at `host` in linear memory.
   * Returns the first record, or 'crosses' where the first instruction runs into the next page.
   */
  decodeBlock(code: CodePage, host: number, offset: number, bytes: Uint8Array, checked: boolean): number | 'crosses' {
    const { scanner } = this.options
    const first = this.top
    const isSingle = (code.modeKey & Mode.SINGLE_STEP) !== 0
    this.records.begin(code.map, code.modeKey, checked)
    let rec = this.options.hotAfter > 0 && !isSingle ? this.writeHead(first, code, offset) : first
    let at = offset
    for (let count = 1; ; count++) {
      const found = at === PAGE_SIZE ? Scan.TRUNCATED : scanner.scan(bytes, host + at, PAGE_SIZE - at, code.modeKey)
      if (found === Scan.TRUNCATED) return count === 1 ? 'crosses' : this.cutBlock(code, first, rec, offset, at, count - 1)
      if (found !== Scan.OK) {
        rec = this.records.failure(rec, found, at - offset, count)
        return this.finishBlock(code, first, rec, offset, at + 1)
      }
      rec = this.records.insn(rec, scanner, at - offset, count)
      at += scanner.length
      if (scanner.plan.ends === Ends.YES) return this.finishBlock(code, first, rec, offset, at)
      if (isSingle || count === MAX_BLOCK || this.recordAt(code, at & 0xfff) !== 0) return this.cutBlock(code, first, rec, offset, at, count)
    }
  }

  /** Ends a block whose last instruction does not: tier 0 goes on at the one behind it. */
  private cutBlock(code: CodePage, first: number, rec: number, offset: number, at: number, count: number): number {
    this.records.pseudo(rec, this.options.slots.next, at - offset, count)
    return this.finishBlock(code, first, rec + RECORD_SIZE, offset, at)
  }

  private writeHead(rec: number, code: CodePage, offset: number): number {
    this.records.pseudo(rec, this.options.slots.head, 0, 1)
    this.view.setInt32(rec + Rec.imm, this.options.hotAfter, true)
    this.view.setFloat64(rec + Rec.displacement, code.page, true)
    this.view.setUint16(rec + Rec.regA, offset, true)
    return rec + RECORD_SIZE
  }

  /** Decodes one instruction that is not worth or not safe keeping, into a place that the next such one overwrites. */
  decodeOnce(bytes: Uint8Array, limit: number, modeKey: number, checked: boolean): number {
    this.records.begin(0, modeKey, checked)
    this.writeSingle(this.oneShot, bytes, limit, modeKey)
    return this.oneShot
  }

  /**
   * Keeps an instruction that starts at `offset` and ends in frame `page2`, behind a guard record. Writes to either
   * page drop it. `bytes` begins with the instruction and holds at least 15 bytes of it.
   */
  decodeCrossing(code: CodePage, offset: number, bytes: Uint8Array, page2: number, checked: boolean): number {
    const guard = this.top
    const second = this.page(page2, code.modeKey)
    if (this.top !== guard) return this.decodeCrossing(code, offset, bytes, page2, checked)
    this.records.begin(code.map, code.modeKey, checked)
    this.records.pseudo(guard, this.options.slots.crossing, 0, 1)
    this.view.setFloat64(guard + Rec.imm, page2, true)
    this.words[(guard + Rec.link) >> 2] = (code.map >> 2) + offset
    const end = this.writeSingle(guard + RECORD_SIZE, bytes, PAGE_SIZE - offset + 15, code.modeKey)
    second.blocks.push(guard, end)
    second.markLines(0, 14)
    second.crossingMaps.push((code.map >> 2) + offset)
    return this.finishBlock(code, guard, end, offset, PAGE_SIZE)
  }

  /** Frame the guarded instruction ended in when it was decoded. */
  secondPage(guard: number): number {
    return this.view.getFloat64(guard + Rec.imm, true)
  }

  /** The guard found another second page: decode anew next time. */
  dropCrossing(guard: number): void {
    this.words[this.words[(guard + Rec.link) >> 2]] = 0
    this.words[(guard + Rec.handler) >> 2] = this.options.slots.resync
  }

  /** One instruction and the pseudo-record behind it. Returns the end. */
  private writeSingle(rec: number, bytes: Uint8Array, limit: number, modeKey: number): number {
    const { scanner, slots } = this.options
    const found = scanner.scan(bytes, 0, limit, modeKey)
    if (found !== Scan.OK) return this.records.failure(rec, found, 0, 1)
    const next = this.records.insn(rec, scanner, 0, 1)
    this.records.pseudo(next, slots.next, scanner.length, 1)
    return next + RECORD_SIZE
  }

  private finishBlock(code: CodePage, first: number, end: number, offset: number, at: number): number {
    this.top = end
    this.blocksDecoded++
    if (this.words[(first + Rec.handler) >> 2] === this.options.slots.head) {
      this.view.setUint16(first + Rec.regB, (end - first) / RECORD_SIZE - 1, true)
    }
    code.blocks.push(first, end)
    code.markLines(offset, Math.max(offset, at - 1))
    this.words[(code.map >> 2) + offset] = first
    if (this.words[(first + Rec.handler) >> 2] === this.options.slots.head) this.options.onDecoded(first, code, offset)
    return first
  }
}
