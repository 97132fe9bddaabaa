/** Which linear addresses are served by large pages: INVLPG of an address drops the whole page, however many entries it has. */

/** Generated code knows large pages by their parts of 2 MiB, each in one place of `largePages`: address bits 30:21 say in which. */
export const PART_SHIFT = 21
export const PARTS = 1024
/** Kernels of 64 bits lie in the last 2 GiB, and have places of their own beside the memory they map elsewhere. */
export const KERNEL_IMAGE_SHIFT = 31
export const KERNEL_IMAGE = 0x1_ffff_ffff
/** Index in `largePages` of the part that holds a linear address. */
export const placeOfPart = (lo: number, hi: number): number => ((lo >>> PART_SHIFT) & (PARTS - 1)) + (hi >>> 0 === 0xffff_ffff && lo >>> 31 === 1 ? PARTS : 0)

const LARGE_SHIFTS = [21, 22, 30] as const

export class LargePages {
  private readonly pages = new Map<number, Set<number>>()

  /** @param lo @param hi halves of a linear address in the page @param shift log2 of the page's size in bytes, over 12 */
  note(lo: number, hi: number, shift: number): void {
    let known = this.pages.get(shift)
    if (!known) this.pages.set(shift, (known = new Set()))
    known.add(pageOf(lo, hi, shift))
  }

  get isEmpty(): boolean {
    return this.pages.size === 0
  }

  covers(lo: number, hi: number): boolean {
    if (this.isEmpty) return false
    return LARGE_SHIFTS.some((shift) => this.pages.get(shift)?.has(pageOf(lo, hi, shift)) ?? false)
  }

  clear(): void {
    this.pages.clear()
  }
}

const pageOf = (lo: number, hi: number, shift: number): number => Math.floor(((hi >>> 0) * 2 ** 20 + (lo >>> 12)) / (1 << (shift - 12)))
