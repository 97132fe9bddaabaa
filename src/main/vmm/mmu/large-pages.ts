/** Which linear addresses are served by large pages: INVLPG of an address drops the whole page, however many entries it has. */

const LARGE_SHIFTS = [21, 22, 30] as const

export class LargePages {
  private readonly pages = new Map<number, Set<number>>()

  /** @param lo @param hi halves of a linear address in the page @param shift log2 of the page's size in bytes, over 12 */
  note(lo: number, hi: number, shift: number): void {
    let known = this.pages.get(shift)
    if (!known) this.pages.set(shift, (known = new Set()))
    known.add(pageOf(lo, hi, shift))
  }

  covers(lo: number, hi: number): boolean {
    if (this.pages.size === 0) return false
    return LARGE_SHIFTS.some((shift) => this.pages.get(shift)?.has(pageOf(lo, hi, shift)) ?? false)
  }

  clear(): void {
    this.pages.clear()
  }
}

const pageOf = (lo: number, hi: number, shift: number): number => Math.floor(((hi >>> 0) * 2 ** 20 + (lo >>> 12)) / 2 ** (shift - 12))
