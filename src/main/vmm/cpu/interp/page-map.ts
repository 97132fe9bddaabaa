/** Maps from the byte offsets of a page to the records of the blocks that begin there, in linear memory (see `LINES` in `record.ts`). */
import { Head, LINE_OFFSETS, LINE_SHIFT, LINES } from './record'

export class PageMaps {
  private readonly words: Uint32Array
  private readonly halfWords: Uint16Array

  /** @param take gives room for some words; it holds anything */
  constructor(buffer: ArrayBufferLike, private readonly take: (words: number) => number) {
    this.words = new Uint32Array(buffer)
    this.halfWords = new Uint16Array(buffer)
  }

  /** An empty map. @returns its address */
  create(): number {
    return this.filled(LINES)
  }

  private filled(words: number): number {
    const at = this.take(words)
    this.words.fill(0, at >> 2, (at >> 2) + words)
    return at
  }

  /** Record that begins the block at an offset; 0: there is none. */
  at(map: number, offset: number): number {
    const line = this.words[(map >> 2) + (offset >> LINE_SHIFT)]
    if ((line & 1) !== 0) return this.words[this.cellOf(line, offset)]
    return line !== 0 && this.pageOffsetOf(line) === offset ? line : 0
  }

  /** @param record whose `Head.pageOffset` is the offset; 0: no block begins there any more */
  set(map: number, offset: number, record: number): void {
    const entry = (map >> 2) + (offset >> LINE_SHIFT)
    const line = this.words[entry]
    if ((line & 1) !== 0) this.words[this.cellOf(line, offset)] = record
    else if (line === 0 || this.pageOffsetOf(line) === offset) this.words[entry] = record
    else if (record !== 0) {
      const lineMap = this.filled(LINE_OFFSETS) + 1
      this.words[this.cellOf(lineMap, this.pageOffsetOf(line))] = line
      this.words[this.cellOf(lineMap, offset)] = record
      this.words[entry] = lineMap
    }
  }

  /** No block begins in the page. Maps of lines stay, for code is mostly written anew where it was. */
  clear(map: number): void {
    for (let entry = map >> 2; entry < (map >> 2) + LINES; entry++) {
      const line = this.words[entry]
      if ((line & 1) === 0) this.words[entry] = 0
      else this.words.fill(0, line >> 2, (line >> 2) + LINE_OFFSETS)
    }
  }

  private pageOffsetOf(record: number): number {
    return this.halfWords[(record + Head.pageOffset) >> 1]
  }

  /** Word of an offset in the map of its line. */
  private cellOf(line: number, offset: number): number {
    return (line >> 2) + (offset & (LINE_OFFSETS - 1))
  }
}
