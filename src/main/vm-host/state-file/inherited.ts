/** What a state takes over from the one before it instead of storing it again: pages that have not changed since. */
import { CHUNK_PAGES, type RamCapture } from '../../vmm/machine'
import type { PieceRecord } from './format'
import type { StateFile } from './reader'

/**
 * Files a state may be spread over. With more, the pages of those that give least are stored again, so that the hundredth
 * snapshot of a chain opens as few files as the tenth.
 */
const MAX_SOURCES = 16
const SOURCES_KEPT = 8

export class Inherited {
  /** Sources whose pages are stored again. */
  private readonly folded: ReadonlySet<number>
  /** Source of each page plus one; 0 of those that are zero. */
  private readonly sourceOf: Uint16Array

  /** @param base the state that the machine was in when its memory was last known to be stored */
  constructor(private readonly base: StateFile) {
    this.sourceOf = new Uint16Array(base.pageCount)
    const pages = new Map<number, number>()
    for (const { chunk, live, source } of base.records) {
      for (let i = 0; i < CHUNK_PAGES; i++) {
        if (((live >>> i) & 1) === 0) continue
        this.sourceOf[chunk * CHUNK_PAGES + i] = source + 1
        pages.set(source, (pages.get(source) ?? 0) + 1)
      }
    }
    const bySize = [...pages].sort(([, a], [, b]) => b - a).map(([source]) => source)
    this.folded = new Set(bySize.length < MAX_SOURCES ? [] : bySize.slice(SOURCES_KEPT))
  }

  /** Pages to be stored though they have not changed. */
  readonly also = (page: number): boolean => this.sourceOf[page] !== 0 && this.folded.has(this.sourceOf[page] - 1)

  /** What is left of the base once the capture's pages are stored: its records, and the states whose files they are in. */
  after(memory: RamCapture): { readonly bases: readonly string[]; readonly records: readonly PieceRecord[] } {
    const { header, records } = this.base
    const ids = [header.id, ...header.bases]
    const bases: string[] = []
    const places = new Map<number, number>()
    const kept: PieceRecord[] = []
    for (const record of records) {
      const live = record.live & ~memory.scopeOf(record.chunk)
      if (live === 0) continue
      let source = places.get(record.source)
      if (source === undefined) places.set(record.source, source = bases.push(ids[record.source]))
      kept.push({ ...record, live, source })
    }
    return { bases, records: kept }
  }
}
