/** Which pages a region may be made from: its head's, and those that code in it jumps to. */
import type { BlockSource, CodePage, DecodeCache } from '../interp/decode-cache'
import { MAX_PAGES } from './region-flow'
import type { NearCode, NearPage } from './code-window'
import type { TranslatedFunction } from './translator'

/** Code around the block that runs. */
export interface Surroundings {
  /** Low 32 bits of the linear address of the block's page. */
  readonly linearPage: number
  /** Decoded code of the running mode so many pages further, where the code lookup knows it. */
  at(delta: number): CodePage | undefined
}

export interface RegionPagesOptions {
  readonly cache: DecodeCache
  readonly hostOfPage: (page: number) => number
  /** Around `blockRip`; undefined where pages must not be taken together. */
  readonly surroundings: () => Surroundings | undefined
}

/** By distance from the head's page, which is among them. */
type Pages = ReadonlyMap<number, CodePage>

/** Pages beside the head's that a function was made from, in the order of the list that its record names. */
export const furtherPages = ({ ranges }: TranslatedFunction): number[] => [...new Set(ranges.map(({ page }) => page))].filter((page) => page !== 0).sort((a, b) => a - b)

export class RegionPages {
  /** By head, from its report until it is translated: later another address space may be in force. */
  private readonly noted = new Map<number, { readonly linearPage: number; readonly pages: Pages }>()

  constructor(private readonly options: RegionPagesOptions) {}

  /**
   * A head was reported as hot: `blockRip` is in its page.
   * @param wanted pages that regions known for it are made from, by their distance
   */
  note(head: number, wanted: (code: CodePage, pageOffset: number) => readonly number[]): void {
    const { cache, surroundings } = this.options
    const block = cache.blockAt(head)
    const near = surroundings()
    if (!block || near?.at(0) !== block.code) return
    const { code, pageOffset } = block
    const pages = new Map([[0, code]])
    for (const delta of [...wanted(code, pageOffset), 1, ...cache.jumpsFrom(code, near.linearPage)]) {
      if (pages.size > MAX_PAGES || pages.has(delta)) continue
      const further = near.at(delta)
      if (further && cache.isKnown(further)) pages.set(delta, further)
    }
    this.noted.set(head, { linearPage: near.linearPage, pages })
  }

  pagesOf({ head, code }: BlockSource): Pages {
    return new Map([...this.noted.get(head)?.pages ?? [], [0, code] as const])
  }

  /** @param warm entries from which on a block runs often */
  of(block: BlockSource, warm: number): NearCode {
    const { cache, hostOfPage } = this.options
    const known = [...this.pagesOf(block)].filter(([delta, code]) => delta === 0 || cache.isKnown(code))
    const pages = known.map(([delta, code]): NearPage => ({ delta, host: hostOfPage(code.page), warm: cache.warmHeads(code, warm), went: cache.wentFrom(code) }))
    return { linearPage: this.noted.get(block.head)?.linearPage ?? 0, pages }
  }

  forget(head: number): void {
    this.noted.delete(head)
  }

  forgetAll(): void {
    this.noted.clear()
  }
}
