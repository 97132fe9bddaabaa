/** Memory of a restored machine that is on disk still: pages come in on first touch, with those stored beside them. */
import { VmmError } from '../errors'
import { Frame, PAGE_SIZE } from './frame-table'
import type { PhysicalRam } from './guest-memory'
import { CHUNK_PAGES, type CapturedChunk } from './ram-capture'

/** Pages of one chunk as they were stored; a part of them may be out of date by now. */
export interface StoredPages extends CapturedChunk {
  readonly chunk: number
  /** Of the pages in `bytes`, those that belong to this machine's memory. */
  readonly live: number
}

/** Where the pages are. */
export interface PageSource {
  /** Which pages of a chunk it has; the others are zero. */
  maskOf(chunk: number): number
  /** A page that it has, with those stored beside it. @throws VmmError `state-damaged`, `disk-io` */
  load(page: number): StoredPages
}

/** A page that somebody needs cannot be had. Who asked for it has changed nothing and may ask again. */
export class PageUnavailable extends VmmError {
  constructor(error: VmmError) {
    super(error.code, error.message, error.details, { cause: error })
  }
}

export class LazyRam {
  /** Called where a page that the guest or a device needs cannot be loaded; the access fails with the same error. */
  onFailure: (error: PageUnavailable) => void = () => undefined
  /** How often somebody waited for a page. */
  touched = 0

  /** Marks everything absent or zero: whatever memory held before is gone. */
  constructor(private readonly ram: PhysicalRam, private readonly source: PageSource) {
    const { frames } = ram
    for (let first = 0; first < frames.pageCount; first += CHUNK_PAGES) {
      const mask = source.maskOf(first / CHUNK_PAGES)
      const end = Math.min(first + CHUNK_PAGES, frames.pageCount)
      for (let page = first; page < end; page++) {
        const isStored = (mask >>> (page - first)) & 1
        frames.resetFlags(page, Frame.PRESENT | (isStored ? Frame.ABSENT : Frame.ZERO))
      }
    }
    ram.setPageLoader((page) => this.fault(page))
  }

  private fault(page: number): void {
    this.touched++
    try {
      this.provide(this.source.load(page))
    } catch (cause) {
      if (!(cause instanceof VmmError)) throw cause
      const error = new PageUnavailable(cause)
      this.onFailure(error)
      throw error
    }
  }

  /** Whether every one of these pages of a chunk is in place. */
  has(chunk: number, pages: number): boolean {
    for (let i = 0; i < CHUNK_PAGES; i++) {
      if ((pages >>> i) & 1 && (this.ram.frames.entry(chunk * CHUNK_PAGES + i) & Frame.ABSENT) !== 0) return false
    }
    return true
  }

  /** Puts pages in place, those that are absent still. */
  provide({ chunk, mask, live, bytes }: StoredPages): void {
    const { ram } = this
    let at = 0
    for (let i = 0; i < CHUNK_PAGES; i++) {
      if (((mask >>> i) & 1) === 0) continue
      const page = chunk * CHUNK_PAGES + i
      if (((live >>> i) & 1) !== 0 && (ram.frames.entry(page) & Frame.ABSENT) !== 0) {
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
