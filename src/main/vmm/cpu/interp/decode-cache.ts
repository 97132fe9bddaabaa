/**
 * Decoded code in linear memory: per (frame, mode key) a map from byte offset to record, and records in blocks.
 * A write to decoded bytes turns every record of that page into a resynchronisation point, so running code notices
 * by itself; memory is only reused when the whole cache is emptied between two entries.
 */
import { PAGE_SIZE } from '../../memory/frame-table'
import { Ends } from '../decode/form-plan'
import { Scan, type InsnScanner } from '../decode/scanner'
import { Mode } from '../state/mode'
import { CodePage } from './code-page'
import { PageMaps } from './page-map'
import { Guard, Head, MAX_BLOCK, MAX_CODE_PAGES, Place, Rec, RECORD_SIZE } from './record'
import { RecordWriter, type HandlerSlots } from './record-writer'

export { CodePage }

/** Bytes that are enough for an instruction's two pages and a block, whatever is in it. */
const ROOM = 8192
/** Of blocks that are not counted. */
const NEVER_HOT = 0x7fff_ffff

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
  private readonly maps: PageMaps
  private codes: CodePage[] = []
  private top: number
  private readonly end: number
  /** Some records for an instruction that crosses a page: decoded anew each time. */
  private readonly oneShot: number
  private readonly bottom: number
  blocksDecoded = 0
  invalidations = 0

  constructor(private readonly options: DecodeCacheOptions) {
    this.records = new RecordWriter(options.buffer, options.slots)
    this.words = new Uint32Array(options.buffer)
    this.halfWords = new Uint16Array(options.buffer)
    this.maps = new PageMaps(options.buffer, (words) => this.take(words))
    this.oneShot = options.base
    this.bottom = this.top = this.oneShot + 4 * RECORD_SIZE
    this.end = options.base + options.bytes
  }

  /** True when a page map and a few blocks still fit; otherwise the caller empties the cache first. */
  hasRoom(): boolean {
    return this.top + ROOM < this.end && this.codes.length + 2 < MAX_CODE_PAGES
  }

  /** Room for some words, from where a record may begin. */
  private take(words: number): number {
    const at = this.top
    this.top += Math.ceil((4 * words) / RECORD_SIZE) * RECORD_SIZE
    return at
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

  /** Table slot of the handler of a record. */
  private slotOf(rec: number): number {
    return this.halfWords[(rec + Rec.handler) >> 1]
  }

  private setSlot(rec: number, slot: number): void {
    this.halfWords[(rec + Rec.handler) >> 1] = slot
  }

  private pageOffsetOf(head: number): number {
    return this.halfWords[(head + Head.pageOffset) >> 1]
  }

  private codeOf(number: number): CodePage | undefined {
    return this.codes[number] as CodePage | undefined
  }

  /** What a head record stands for; undefined where its code was dropped, or where there is none (0). */
  blockAt(head: number): BlockSource | undefined {
    if (head === 0 || !this.isHead(head) || !this.isCounted(head)) return undefined
    const pageOffset = this.pageOffsetOf(head)
    const code = this.codeOf(this.halfWords[(head + Head.code) >> 1])
    if (!code || this.recordAt(code, pageOffset) !== head) return undefined
    const records: BlockRecord[] = []
    for (let offset = RECORD_SIZE, place = 0; (place & (1 << Place.last)) === 0; offset += RECORD_SIZE) {
      place = this.words[(head + offset + Rec.place) >> 2]
      const isNext = this.slotOf(head + offset) === this.options.slots.next
      const kind = ((place >>> Place.length) & 15) > 0 ? 'insn' : isNext ? 'next' : 'other'
      records.push({ offset, kind, delta: place >>> Place.delta, count: (place >>> Place.count) & 31 })
    }
    return { head, code, pageOffset, records }
  }

  /** Page offsets at which blocks of a page begin that were entered at least so often, or are translated. */
  warmHeads(code: CodePage, entries: number): number[] {
    return this.heads(code).filter((head) => this.slotOf(head) !== this.options.slots.head || this.hasEntered(head, entries)).map((head) => this.pageOffsetOf(head))
  }

  /** Blocks of a page that run on tier 0 and were entered at least so often. */
  untranslated(code: CodePage, entries: number): BlockSource[] {
    return this.heads(code).filter((head) => this.slotOf(head) === this.options.slots.head && this.hasEntered(head, entries))
      .map((head) => this.blockAt(head)).filter((block) => block !== undefined)
  }

  /** Head records of a page's blocks. Guards are none, whether they hold or not. */
  private heads(code: CodePage): number[] {
    return code.blocks.filter((rec, i) => i % 2 === 0 && this.isHead(rec))
  }

  private isHead(rec: number): boolean {
    const { resync, crossing } = this.options.slots
    const slot = this.slotOf(rec)
    return slot !== resync && slot !== crossing
  }

  /** A block that never becomes hot has no translation. */
  private isCounted(head: number): boolean {
    return this.slotOf(head) !== this.options.slots.head || this.entriesLeft(head) !== NEVER_HOT
  }

  private hasEntered(head: number, entries: number): boolean {
    return this.options.hotAfter - this.entriesLeft(head) >= entries
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
    return this.slotOf(head)
  }

  /**
   * Puts a translation in the place of a block's head, or of an earlier translation.
   * @param list from `noteFurther`; 0: it reads none
   */
  install(block: BlockSource, tableSlot: number, list = 0): void {
    if (list !== 0) this.words[(block.head + Head.list) >> 2] = list
    this.words[(block.head + Head.loops) >> 2] = 0
    const { translated } = block.code
    const before = translated.indexOf(this.slotOf(block.head))
    if (before >= 0) this.options.onDropped(translated.splice(before, 1))
    this.setSlot(block.head, tableSlot)
    translated.push(tableSlot)
  }

  /** Translations stand at other table slots now. @param moved new slots by old ones */
  moveTranslations(moved: ReadonlyMap<number, number>): void {
    for (const { translated, blocks } of this.codes) {
      if (translated.length === 0) continue
      translated.forEach((slot, i) => (translated[i] = moved.get(slot) ?? slot))
      for (let i = 0; i < blocks.length; i += 2) {
        const slot = moved.get(this.slotOf(blocks[i]))
        if (slot !== undefined) this.setSlot(blocks[i], slot)
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
    const list = this.take(length)
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
      if (!this.isHead(code.blocks[i])) continue
      const last = code.blocks[i + 1] - RECORD_SIZE
      const went = this.words[(last + Rec.went) >> 2] | 0
      if (went !== 0) pairs.push(this.pageOffsetOf(code.blocks[i]) + (this.words[(last + Rec.place) >> 2] >>> Place.delta), went)
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
    const made = new CodePage(page, modeKey, this.maps.create(), this.codes.length)
    this.codes.push(made)
    if (list) list.push(made)
    else this.pages.set(page, [made])
    return made
  }

  /** Record that begins the block at an offset; 0: there is none. */
  recordAt(page: CodePage, offset: number): number {
    return this.maps.at(page.map, offset)
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
        this.setSlot(rec, this.options.slots.resync)
      }
    }
    this.dropTranslations(code)
    for (const guard of code.guards) this.forgetGuard(guard)
    code.guards.length = 0
    code.blocks.length = 0
    code.linesLow = code.linesHigh = 0
    this.maps.clear(code.map)
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
    const isCounted = this.options.hotAfter > 0 && !isSingle
    let rec = this.writeHead(first, code, offset, isCounted ? this.options.hotAfter : NEVER_HOT)
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

  private writeHead(rec: number, code: CodePage, offset: number, entries: number): number {
    this.records.pseudo(rec, this.options.slots.head, 0, 1)
    this.words[(rec + Head.entries) >> 2] = entries
    this.halfWords[(rec + Head.code) >> 1] = code.number
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
    const guard = this.top
    this.records.begin(code.modeKey, checked)
    this.records.pseudo(guard, this.options.slots.crossing, 0, 1)
    this.halfWords[(guard + Head.pageOffset) >> 1] = offset
    this.words[(guard + Guard.map) >> 2] = second.map
    this.halfWords[(guard + Guard.first) >> 1] = code.number
    this.halfWords[(guard + Guard.second) >> 1] = second.number
    const end = this.writeSingle(guard + RECORD_SIZE, bytes, PAGE_SIZE - offset + 15, code.modeKey)
    second.blocks.push(guard, end)
    second.markLines(0, 14)
    second.guards.push(guard)
    return this.finishBlock(code, guard, end, offset, PAGE_SIZE)
  }

  /** Frame the guarded instruction ended in when it was decoded. */
  secondPage(guard: number): number {
    return this.codes[this.halfWords[(guard + Guard.second) >> 1]].page
  }

  /** The guard found another second page: decode anew next time. */
  dropCrossing(guard: number): void {
    this.forgetGuard(guard)
    this.setSlot(guard, this.options.slots.resync)
  }

  /** No block begins with the guard any more. */
  private forgetGuard(guard: number): void {
    const offset = this.pageOffsetOf(guard)
    const { map } = this.codes[this.halfWords[(guard + Guard.first) >> 1]]
    if (this.maps.at(map, offset) === guard) this.maps.set(map, offset, 0)
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
    this.words[(end - RECORD_SIZE + Rec.place) >> 2] |= 1 << Place.last
    code.blocks.push(first, end)
    code.markLines(offset, Math.max(offset, at - 1))
    this.maps.set(code.map, offset, first)
    if (this.isHead(first) && this.isCounted(first)) this.options.onDecoded(first, code, offset)
    return first
  }
}
