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

/** Pages somebody needed, noted while they are. */
interface Recording {
  /** In the order of their first touch. */
  readonly touched: number[]
  readonly most: number
  /** By page: 1 where the bytes are in place and nobody has touched them, so that the page is ABSENT still. */
  readonly untouched: Uint8Array
}

export class LazyRam {
  /** Called where a page that the guest or a device needs cannot be loaded; the access fails with the same error. */
  onFailure: (error: PageUnavailable) => void = () => undefined
  /** How often somebody waited for a page. */
  touched = 0
  /** Pages that guest and devices touched first after the restore, in that order; complete once the recording has ended. */
  workingSet: readonly number[] = []
  private recording: Recording | undefined
  private isFinished = false

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

  /**
   * From here on pages that come in stay ABSENT until they are touched, so that each first touch is noted. To be called before
   * the machine runs. @param most pages; with so many the recording ends
   */
  record(most: number): void {
    const touched: number[] = []
    this.workingSet = touched
    this.recording = { touched, most, untouched: new Uint8Array(this.ram.frames.pageCount) }
  }

  get isRecording(): boolean {
    return this.recording !== undefined
  }

  /** Does nothing where nothing is recorded. */
  endRecording(): void {
    const { recording, ram: { frames } } = this
    this.recording = undefined
    recording?.untouched.forEach((isUntouched, page) => {
      if (isUntouched !== 0) frames.clearFlags(page, Frame.ABSENT)
    })
    if (recording && this.isFinished) this.finish()
  }

  private fault(page: number): void {
    const { recording, ram: { frames } } = this
    if (!recording) return this.fetch(page)
    if (recording.untouched[page] === 0) this.fetch(page)
    recording.untouched[page] = 0
    frames.clearFlags(page, Frame.ABSENT)
    if (recording.touched.push(page) >= recording.most) this.endRecording()
  }

  private fetch(page: number): void {
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

  private isMissing(page: number): boolean {
    return (this.ram.frames.entry(page) & Frame.ABSENT) !== 0 && (this.recording?.untouched[page] ?? 0) === 0
  }

  /** Whether every one of these pages of a chunk is in place. */
  has(chunk: number, pages: number): boolean {
    for (let i = 0; i < CHUNK_PAGES; i++) if ((pages >>> i) & 1 && this.isMissing(chunk * CHUNK_PAGES + i)) return false
    return true
  }

  /** Puts pages in place, those that are missing still. */
  provide({ chunk, mask, live, bytes }: StoredPages): void {
    let at = 0
    for (let i = 0; i < CHUNK_PAGES; i++) {
      if (((mask >>> i) & 1) === 0) continue
      const page = chunk * CHUNK_PAGES + i
      if (((live >>> i) & 1) !== 0 && this.isMissing(page)) this.put(page, bytes.subarray(at, at + PAGE_SIZE))
      at += PAGE_SIZE
    }
  }

  private put(page: number, bytes: Uint8Array): void {
    const { ram, recording } = this
    ram.bytes.set(bytes, ram.frames.hostOffset(page))
    if (recording) recording.untouched[page] = 1
    else ram.frames.clearFlags(page, Frame.ABSENT)
  }

  /** Every page is in place: nothing is asked of the source again. */
  finish(): void {
    this.isFinished = true
    if (!this.recording) this.ram.setPageLoader((page) => this.ram.frames.clearFlags(page, Frame.ABSENT))
  }
}
