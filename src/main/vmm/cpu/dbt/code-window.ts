/** The pages of code a region may be made from, seen as one: offsets count from the head's page and may lie before it. */
import { PAGE_SIZE } from '../../memory/frame-table'
import { MAX_LENGTH } from '../decode/scanner'

/** A page of code near a hot loop, or called from it. */
export interface NearPage {
  /** Pages from the loop's, by linear address; 0: its own. */
  readonly delta: number
  /** Where the page's bytes stand in linear memory. */
  readonly host: number
  /** Page offsets at which blocks of the same mode begin that run often. */
  readonly warm: readonly number[]
  /** Pairs: page offset of a jump whose target is known at run time only, and the low 32 bits of where it went last. */
  readonly went: readonly number[]
}

/** Code around a hot head. */
export interface NearCode {
  /** Low 32 bits of the linear address of its page. */
  readonly linearPage: number
  /** Its own page first. */
  readonly pages: readonly NearPage[]
}

/** A page as it is now: the guest may write to it while it is translated. */
export const pageAt = (memory: Uint8Array, host: number): Uint8Array => memory.slice(host, host + PAGE_SIZE)

interface WindowPage { readonly bytes: Uint8Array; readonly warm: ReadonlySet<number>; readonly went: ReadonlyMap<number, number> }

export const pageOf = (offset: number): number => Math.floor(offset / PAGE_SIZE)
export const inPage = (offset: number): number => offset - pageOf(offset) * PAGE_SIZE

export class CodeWindow {
  private readonly pages: ReadonlyMap<number, WindowPage>
  private readonly linearPage: number

  /** Takes the pages as they are now: the guest may write to them while they are translated. */
  constructor(memory: Uint8Array, { linearPage, pages }: NearCode) {
    this.linearPage = linearPage
    this.pages = new Map(pages.map(({ delta, host, warm, went }) => {
      const pairs = Array.from({ length: went.length / 2 }, (_, i) => [went[2 * i], went[2 * i + 1]] as const)
      return [delta, { bytes: pageAt(memory, host), warm: new Set(warm), went: new Map(pairs) }]
    }))
  }

  /** Up to an instruction's bytes from an offset on; undefined where they are in no page of the window. */
  from(offset: number): Uint8Array | undefined {
    const at = inPage(offset)
    const page = this.pages.get(pageOf(offset))?.bytes
    if (!page) return undefined
    const next = at > PAGE_SIZE - MAX_LENGTH ? this.pages.get(pageOf(offset) + 1)?.bytes : undefined
    if (!next) return page.subarray(at, at + MAX_LENGTH)
    return Uint8Array.from([...page.subarray(at), ...next.subarray(0, MAX_LENGTH)])
  }

  /** The bytes of [offset, end), by page. */
  ranges(offset: number, end: number): { readonly page: number; readonly offset: number; readonly bytes: Uint8Array }[] {
    const ranges: { page: number; offset: number; bytes: Uint8Array }[] = []
    for (let at = offset; at < end;) {
      const page = pageOf(at)
      const stop = Math.min(end, (page + 1) * PAGE_SIZE)
      ranges.push({ page, offset: inPage(at), bytes: this.pages.get(page)?.bytes.slice(inPage(at), inPage(at) + stop - at) ?? new Uint8Array(0) })
      at = stop
    }
    return ranges
  }

  /** True where code that runs often begins at an offset. */
  isWarm(offset: number): boolean {
    return this.pages.get(pageOf(offset))?.warm.has(inPage(offset)) ?? false
  }

  /** Where the jump at an offset, whose target is known at run time only, went last; undefined where that is not known. */
  wentTo(offset: number): number | undefined {
    const target = this.pages.get(pageOf(offset))?.went.get(inPage(offset))
    return target === undefined ? undefined : (target - this.linearPage) | 0
  }
}
