/** What is known of a page's decoded code beside the records themselves. */

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
  /** Guards of instructions that end in this page. */
  readonly guards: number[] = []
  /** Table slots of translations that stand in head records of this page. */
  readonly translated: number[] = []
  /** Pages with translations that were made from this page's code too. */
  readonly dependents = new Set<CodePage>()

  /**
   * @param number its place in the cache's list
   * @param map address of the page's map, see `PageMaps`
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
