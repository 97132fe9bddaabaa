/** Memory of a restored machine that is on disk still: pages come in on first touch, a chunk at a time. */
import { Frame, PAGE_SIZE } from './frame-table'
import type { PhysicalRam } from './guest-memory'
import { CHUNK_PAGES, type CapturedChunk } from './ram-capture'

/** Where the chunks are. */
export interface ChunkSource {
  /** Page mask of a chunk, 0 where all is zero. */
  maskOf(chunk: number): number
  /** Its packed pages. @throws VmmError `state-damaged`, `disk-io` */
  load(chunk: number): Uint8Array
}

export class LazyRam {
  /** Chunks that came in because somebody waited for them. */
  touched = 0

  /** Marks everything absent or zero: whatever memory held before is gone. */
  constructor(private readonly ram: PhysicalRam, private readonly source: ChunkSource) {
    const { frames } = ram
    for (let first = 0; first < frames.pageCount; first += CHUNK_PAGES) {
      const mask = source.maskOf(first / CHUNK_PAGES)
      const end = Math.min(first + CHUNK_PAGES, frames.pageCount)
      for (let page = first; page < end; page++) {
        const isStored = (mask >>> (page - first)) & 1
        frames.resetFlags(page, Frame.PRESENT | (isStored ? Frame.ABSENT | Frame.DIRTY : Frame.ZERO))
      }
    }
    ram.setPageLoader((page) => this.fault(page))
  }

  private fault(page: number): void {
    const chunk = Math.floor(page / CHUNK_PAGES)
    this.touched++
    this.provide(chunk, { mask: this.source.maskOf(chunk), bytes: this.source.load(chunk) })
  }

  isLoaded(chunk: number): boolean {
    const mask = this.source.maskOf(chunk)
    for (let i = 0; i < CHUNK_PAGES; i++) {
      if ((mask >>> i) & 1 && (this.ram.frames.entry(chunk * CHUNK_PAGES + i) & Frame.ABSENT) !== 0) return false
    }
    return true
  }

  /** Puts a chunk's pages in place, those that are absent still. */
  provide(chunk: number, { mask, bytes }: CapturedChunk): void {
    const { ram } = this
    let at = 0
    for (let i = 0; i < CHUNK_PAGES; i++) {
      if (((mask >>> i) & 1) === 0) continue
      const page = chunk * CHUNK_PAGES + i
      if ((ram.frames.entry(page) & Frame.ABSENT) !== 0) {
        ram.bytes.set(bytes.subarray(at, at + PAGE_SIZE), ram.frames.hostOffset(page))
        ram.frames.clearFlags(page, Frame.ABSENT)
      }
      at += PAGE_SIZE
    }
  }

  /** Every page is in place: nothing is asked of the source again. */
  finish(): void {
    this.ram.setPageLoader((page) => this.ram.frames.clearFlags(page, Frame.ABSENT))
  }
}
