/**
 * Decoded code in linear memory: per (frame, mode key) a map from byte offset to record, and records in blocks.
 * A write to decoded bytes turns every record of that page into a resynchronisation point, so running code notices
 * by itself; memory is only reused when the whole cache is emptied between two entries.
 */
import { PAGE_SIZE } from '../../memory/frame-table'
import { Ends } from '../decode/form-plan'
import { Scan, type InsnScanner } from '../decode/scanner'
import { Mode } from '../state/mode'
import { GUARD_MAP, Head, LINE_OFFSETS, LINE_SHIFT, LINES, Rec, RECORD_SIZE } from './record'
import { RecordWriter, type HandlerSlots } from './record-writer'

/** Longest block, in instructions: bounds the work between two looks at the slice. */
const MAX_BLOCK = 48
/** Writes drop decoded code where they touch a line of 64 bytes that holds some. */
const WRITE_LINE_SHIFT = 6

export class CodePage {
  /** Bitmap of 64-byte lines that hold decoded bytes. */
  linesLow = 0
  linesHigh = 0
  /** Low 32 bits of the linear address at which it was last found. */
  linearPage = 0
  /** [first record, end) address pairs. */
  readonly blocks: number[] = []
  /** Word indices, in other pages' maps, of instructions that end in this page. */
  readonly crossingMaps: number[] = []
  /** Table slots of translations that stand in head records of this page. */
  readonly translated: number[] = []
  /** Pages with translations that were made from this page's code too. */
  readonly dependents = new Set<CodePage>()

  /**
   * @param number its place in the cache's list
   * @param map address of the page's map: for each line of the page, the address of a map from byte offsets to records
   */
  constructor(readonly page: number, readonly modeKey: number, readonly map: number, readonly number: number) {}

  markLines(first: number, last: number): void {
    for (let line = first >> WRITE_LINE_SHIFT; line <= last >> WRITE_LINE_SHIFT; line++) {
      if (line < 32) this.linesLow |= 1 << line
      else this.linesHigh |= 1 << (line - 32)
    }
  }

  touches(offset: number, length: number): boolean {
    for (let line = offset >> WRITE_LINE_SHIFT; line <= (offset + length - 1) >> WRITE_LINE_SHIFT; line++) {
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
  /** A page's blocks are about to be dropped; they can still be looked at. */
  readonly onDropping: (code: CodePage) => void
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
  private readonly records: RecordWriter
  private readonly words: Uint32Array
  private readonly halfWords: Uint16Array
  private readonly pages = new Map<number, CodePage[]>()
  private codes: CodePage[] = []
  private top: number
  private readonly end: number
  /** Two records for instructions that cross a page: decoded anew each time. */
  private readonly oneShot: number
  /** Map of every line in which no block begins: zeros. */
  private readonly emptyLine: number
  private readonly bottom: number
  blocksDecoded = 0
  invalidations = 0

  constructor(private readonly options: DecodeCacheOptions) {
    this.records = new RecordWriter(options.buffer, options.slots)
    this.words = new Uint32Array(options.buffer)
    this.halfWords = new Uint16Array(options.buffer)
    this.emptyLine = options.base
    this.oneShot = options.base + 4 * LINE_OFFSETS
    this.bottom = this.top = this.oneShot + 4 * RECORD_SIZE
    this.end = options.base + options.bytes
  }

  /** True when a page map and a few blocks still fit; otherwise the caller empties the cache first. */
  hasRoom(): boolean {
    return this.top + 4 * (LINES + LINE_OFFSETS) + 8 * MAX_BLOCK * RECORD_SIZE < this.end
  }

  /** Forgets everything. Code lookups and links must have been dropped, and no generated code may be running. */
  clear(): void {
    for (const code of this.codes) {
      this.options.onDropping(code)
      this.dropTranslations(code)
    }
    this.pages.clear()
    this.codes = []
    this.top = this.bottom
  }

  private dropTranslations(code: CodePage): void {
    if (code.translated.length > 0) this.options.onDropped(code.translated.splice(0))
  }

  /** What a head record stands for; undefined where its code was dropped, or where there is none (0). */
  blockAt(head: number): BlockSource | undefined {
    if (head === 0 || this.words[(head + Rec.handler) >> 2] === this.options.slots.resync) return undefined
    const { pageOffset, records: count } = this.headAt(head)
    const code = this.codes[this.words[(head + Head.code) >> 2]] as CodePage | undefined
    if (count === 0 || !code || this.recordAt(code, pageOffset) !== head) return undefined
    const records: BlockRecord[] = []
    for (let offset = RECORD_SIZE; offset <= count * RECORD_SIZE; offset += RECORD_SIZE) {
      const word = (head + offset) >> 2
      const next = this.words[word] === this.options.slots.next
      const kind = this.words[word + Rec.scale / 4] >>> 24 > 0 ? 'insn' : next ? 'next' : 'other'
      records.push({ offset, kind, delta: this.halfWords[2 * word + Rec.delta / 2], count: this.halfWords[2 * word + Rec.count / 2] & 0xff })
    }
    return { head, code, pageOffset, records }
  }

  private headAt(head: number): { readonly pageOffset: number; readonly records: number } {
    return { pageOffset: this.halfWords[(head + Head.pageOffset) >> 1], records: this.halfWords[(head + Head.records) >> 1] }
  }

  /** Page offsets at which blocks of a page begin that were entered at least so often, or are translated. */
  warmHeads(code: CodePage, entries: number): number[] {
    const heads: number[] = []
    for (let i = 0; i < code.blocks.length; i += 2) {
      const head = code.blocks[i]
      const { pageOffset, records } = this.headAt(head)
      if (records === 0) continue
      const counting = this.words[(head + Rec.handler) >> 2] === this.options.slots.head
      if (!counting || this.options.hotAfter - this.entriesLeft(head) >= entries) heads.push(pageOffset)
    }
    return heads
  }

  /** Blocks of a page that run on tier 0 and were entered at least so often. */
  untranslated(code: CodePage, entries: number): BlockSource[] {
    const found: BlockSource[] = []
    for (let i = 0; i < code.blocks.length; i += 2) {
      const head = code.blocks[i]
      if (this.words[(head + Rec.handler) >> 2] !== this.options.slots.head || this.options.hotAfter - this.entriesLeft(head) < entries) continue
      const block = this.blockAt(head)
      if (block) found.push(block)
    }
    return found
  }

  /** Every page with decoded code. */
  get codePages(): readonly CodePage[] {
    return this.codes
  }

  /** Entries until a head's block is hot; below zero since then. Only while it runs on tier 0. */
  entriesLeft(head: number): number {
    return this.words[(head + Head.entries) >> 2] | 0
  }

  /** True where the block still runs on tier 0. */
  isUntranslated(block: BlockSource): boolean {
    return this.slotAt(block) === this.options.slots.head
  }

  /** Table slot a block's head has now. */
  slotAt({ head }: BlockSource): number {
    return this.words[(head + Rec.handler) >> 2]
  }

  /**
   * Puts a translation in the place of a block's head, or of an earlier translation.
   * @param list from `noteFurther`; 0: it reads none
   */
  install(block: BlockSource, tableSlot: number, list = 0): void {
    if (list !== 0) this.words[(block.head + Head.list) >> 2] = list
    const word = (block.head + Rec.handler) >> 2
    const { translated } = block.code
    const before = translated.indexOf(this.words[word])
    if (before >= 0) this.options.onDropped(translated.splice(before, 1))
    this.words[word] = tableSlot
    translated.push(tableSlot)
  }

  /** Translations stand at other table slots now. @param moved new slots by old ones */
  moveTranslations(moved: ReadonlyMap<number, number>): void {
    for (const { translated, blocks } of this.codes) {
      if (translated.length === 0) continue
      translated.forEach((slot, i) => (translated[i] = moved.get(slot) ?? slot))
      for (let i = 0; i < blocks.length; i += 2) {
        const word = (blocks[i] + Rec.handler) >> 2
        this.words[word] = moved.get(this.words[word]) ?? this.words[word]
      }
    }
  }

  /** Bytes a translation was made from, beyond its block's: writes to them must drop it. */
  noteTranslated(code: CodePage, first: number, last: number): void {
    code.markLines(first, last)
  }

  /**
   * A translation that stands in a page was made from further ones too: what drops their code drops that page's.
   * @param constants what it reads behind their maps
   * @returns address of the list; 0 where nothing is in it, undefined where there is no room
   */
  noteFurther(code: CodePage, further: readonly CodePage[], constants: readonly number[]): number | undefined {
    const length = further.length + constants.length
    if (length === 0) return 0
    if (!this.hasRoom() || this.top + 4 * length >= this.end) return undefined
    const list = this.takeMap(length, 0)
    constants.forEach((value, i) => (this.words[(list >> 2) + further.length + i] = value))
    further.forEach(({ map, dependents }, i) => {
      this.words[(list >> 2) + i] = map
      dependents.add(code)
    })
    return list
  }

  /** Decoded code of a page that is still in use. */
  isKnown(code: CodePage): boolean {
    return this.codes[code.number] === code && (code.linesLow | code.linesHigh) !== 0
  }

  /** Pairs: page offset of the last instruction of a translated block, and what its record says under `Rec.went`. */
  wentFrom(code: CodePage): number[] {
    const pairs: number[] = []
    for (let i = 0; i < code.blocks.length; i += 2) {
      const head = code.blocks[i]
      const { pageOffset, records } = this.headAt(head)
      const last = (head + records * RECORD_SIZE) >> 2
      const went = this.words[last + Rec.went / 4] | 0
      if (records > 0 && went !== 0) pairs.push(pageOffset + this.halfWords[2 * last + Rec.delta / 2], went)
    }
    return pairs
  }

  /**
   * Pages that blocks of a page may jump to, as distances from it, most frequent first. A word of a block's last record is read as a
   * distance and as an address, for it does not say which it is: the caller looks which of them holds code.
   * @param linearPage low 32 bits of the page's linear address
   */
  jumpsFrom(code: CodePage, linearPage: number): number[] {
    const times = new Map<number, number>()
    const count = (offset: number): void => {
      const page = Math.floor(offset / PAGE_SIZE)
      if (page !== 0) times.set(page, (times.get(page) ?? 0) + 1)
    }
    const pairs = this.wentFrom(code)
    for (let i = 0; i < pairs.length; i += 2) {
      count(pairs[i] + pairs[i + 1])
      count((pairs[i + 1] - linearPage) | 0)
    }
    return [...times].sort(([, a], [, b]) => b - a).map(([page]) => page)
  }

  /** True where a byte of the range was decoded. */
  holds(page: number, offset: number, length: number): boolean {
    return this.pages.get(page)?.some((code) => code.touches(offset, length)) ?? false
  }

  /** Decoded code of a page in a mode, where there is some. */
  find(page: number, modeKey: number): CodePage | undefined {
    return this.pages.get(page)?.find((code) => code.modeKey === modeKey)
  }

  page(page: number, modeKey: number): CodePage {
    const list = this.pages.get(page)
    const found = list?.find((p) => p.modeKey === modeKey)
    if (found) return found
    const made = new CodePage(page, modeKey, this.takeMap(LINES, this.emptyLine), this.codes.length)
    this.codes.push(made)
    if (list) list.push(made)
    else this.pages.set(page, [made])
    return made
  }

  private takeMap(words: number, value: number): number {
    const at = this.top
    this.words.fill(value, at >> 2, (at >> 2) + words)
    this.top += 4 * words
    return at
  }

  recordAt(page: CodePage, offset: number): number {
    const line = this.words[(page.map >> 2) + (offset >> LINE_SHIFT)]
    return this.words[(line >> 2) + (offset & (LINE_OFFSETS - 1))]
  }

  /** Word index of an offset's record address, in a line map of its own. */
  private cellOf(page: CodePage, offset: number): number {
    const entry = (page.map >> 2) + (offset >> LINE_SHIFT)
    if (this.words[entry] === this.emptyLine) this.words[entry] = this.takeMap(LINE_OFFSETS, 0)
    return (this.words[entry] >> 2) + (offset & (LINE_OFFSETS - 1))
  }

  private clearMap({ map }: CodePage): void {
    for (let entry = map >> 2; entry < (map >> 2) + LINES; entry++) {
      const line = this.words[entry] >> 2
      if (line !== this.emptyLine >> 2) this.words.fill(0, line, line + LINE_OFFSETS)
    }
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
      this.drop(code)
    }
    return dropped
  }

  /** Drops the code of a page, and of those with translations that were made from it too. */
  private drop(code: CodePage): void {
    this.invalidations++
    this.options.onDropping(code)
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
    this.clearMap(code)
    const dependents = [...code.dependents]
    code.dependents.clear()
    for (const other of dependents) this.drop(other)
  }

  /**
   * Decodes a block starting at `offset` of a page whose bytes begin at `host` in linear memory.
   * Returns the first record, or 'crosses' where the first instruction runs into the next page.
   */
  decodeBlock(code: CodePage, host: number, offset: number, bytes: Uint8Array, checked: boolean): number | 'crosses' {
    const { scanner } = this.options
    const first = this.top
    const isSingle = (code.modeKey & Mode.SINGLE_STEP) !== 0
    this.records.begin(code.modeKey, checked)
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
    this.words[(rec + Head.entries) >> 2] = this.options.hotAfter
    this.words[(rec + Head.code) >> 2] = code.number
    this.halfWords[(rec + Head.pageOffset) >> 1] = offset
    return rec + RECORD_SIZE
  }

  /** Decodes one instruction that is not worth or not safe keeping, into a place that the next such one overwrites. */
  decodeOnce(bytes: Uint8Array, limit: number, modeKey: number, checked: boolean): number {
    this.records.begin(modeKey, checked)
    this.writeSingle(this.oneShot, bytes, limit, modeKey)
    return this.oneShot
  }

  /**
   * Keeps an instruction that starts at `offset` and ends in frame `page2`, behind a guard record. Writes to either
   * page drop it. `bytes` begins with the instruction and holds at least 15 bytes of it.
   */
  decodeCrossing(code: CodePage, offset: number, bytes: Uint8Array, page2: number, checked: boolean): number {
    const second = this.page(page2, code.modeKey)
    const cell = this.cellOf(code, offset)
    const guard = this.top
    this.records.begin(code.modeKey, checked)
    this.records.pseudo(guard, this.options.slots.crossing, 0, 1)
    this.words[(guard + Rec.imm) >> 2] = page2
    this.words[(guard + Rec.link) >> 2] = cell
    this.words[(guard + GUARD_MAP) >> 2] = second.map
    const end = this.writeSingle(guard + RECORD_SIZE, bytes, PAGE_SIZE - offset + 15, code.modeKey)
    second.blocks.push(guard, end)
    second.markLines(0, 14)
    second.crossingMaps.push(cell)
    return this.finishBlock(code, guard, end, offset, PAGE_SIZE)
  }

  /** Frame the guarded instruction ended in when it was decoded. */
  secondPage(guard: number): number {
    return this.words[(guard + Rec.imm) >> 2]
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
    code.blocks.push(first, end)
    code.markLines(offset, Math.max(offset, at - 1))
    this.words[this.cellOf(code, offset)] = first
    if (this.words[(first + Rec.handler) >> 2] === this.options.slots.head) {
      this.halfWords[(first + Head.records) >> 1] = (end - first) / RECORD_SIZE - 1
      this.options.onDecoded(first, code, offset)
    }
    return first
  }
}
