/**
 * The machine's memory at one instant, handed out piece by piece while the guest runs on: every page that holds something is
 * marked SHARED, and the first write to it keeps a copy of what it held.
 */
import { Frame, PAGE_SIZE } from './frame-table'
import type { PhysicalRam } from './guest-memory'

/** Pages of one piece. */
export const CHUNK_PAGES = 16
export const CHUNK_BYTES = CHUNK_PAGES * PAGE_SIZE

/** What a piece holds. */
export interface CapturedChunk {
  /** Bit i: page i of the chunk is not all zero; its bytes follow those of the pages before it. */
  readonly mask: number
  readonly bytes: Uint8Array
}

/** Which pages a capture takes. */
export interface CaptureScope {
  /** Where given, only pages written since the last capture that was a base, and those for which this is true; else all. */
  readonly also?: (page: number) => boolean
  /** What is written from here on counts as changed against this capture. `abandon` where it comes to nothing. */
  readonly isBase?: boolean
}

export class RamCapture {
  /** Contents of pages that were written since. */
  private readonly copies = new Map<number, Uint8Array>()
  private readonly words: Int32Array
  /** Of each chunk: bit i for page i where the capture has it. */
  private readonly scopes: Uint16Array
  readonly chunkCount: number
  /** Those in use now, captured or not. */
  readonly hotChunks: ReadonlySet<number>
  /** Pages copied because the guest wrote them first. */
  copied = 0

  /**
   * Begins. From here on no TLB may hold a write tag: the caller drops them all.
   * @param hot host offsets of frames in use now: their chunks come first in `order`
   */
  constructor(private readonly ram: PhysicalRam, hot: readonly number[], private readonly scope: CaptureScope = {}) {
    const { frames } = ram
    this.hotChunks = new Set(hot.map((host) => Math.floor((host - frames.layout.framesBase) / CHUNK_BYTES)))
    this.words = new Int32Array(ram.bytes.buffer)
    this.chunkCount = Math.ceil(frames.pageCount / CHUNK_PAGES)
    this.scopes = new Uint16Array(this.chunkCount)
    for (let page = 0; page < frames.pageCount; page++) if (this.wants(page)) this.begin(page)
    ram.setSharedWriteListener((page) => this.keep(page))
  }

  private wants(page: number): boolean {
    const entry = this.ram.frames.entry(page)
    if ((entry & Frame.PRESENT) === 0 || (entry & Frame.ZERO) !== 0) return false
    const { also } = this.scope
    return !also || (entry & Frame.DIRTY) !== 0 || also(page)
  }

  private begin(page: number): void {
    const { frames } = this.ram
    frames.setFlags(page, Frame.SHARED)
    if (this.scope.isBase) frames.clearFlags(page, Frame.DIRTY)
    this.scopes[Math.floor(page / CHUNK_PAGES)] |= 1 << (page % CHUNK_PAGES)
  }

  /** Which pages of a chunk the capture has, zero or not. */
  scopeOf(chunk: number): number {
    return this.scopes[chunk]
  }

  private keep(page: number): void {
    const { ram } = this
    const host = ram.frames.hostOffset(page)
    this.copies.set(page, ram.bytes.slice(host, host + PAGE_SIZE))
    this.copied++
    ram.frames.clearFlags(page, Frame.SHARED)
  }

  /** Numbers of the chunks that may hold something, those in use first. */
  order(): number[] {
    const used = Array.from({ length: this.chunkCount }, (_, i) => i).filter((chunk) => this.scopes[chunk] !== 0)
    return [...used.filter((chunk) => this.hotChunks.has(chunk)), ...used.filter((chunk) => !this.hotChunks.has(chunk))]
  }

  /**
   * Takes a chunk out: its pages belong to the guest alone again. Undefined where all is zero.
   * @param packed `CHUNK_BYTES` that what is returned lies in
   */
  take(chunk: number, packed = new Uint8Array(CHUNK_BYTES)): CapturedChunk | undefined {
    const { ram } = this
    let mask = 0
    let length = 0
    const first = chunk * CHUNK_PAGES
    for (let i = 0; i < CHUNK_PAGES && first + i < ram.frames.pageCount; i++) {
      const bytes = this.takePage(first + i)
      if (!bytes) continue
      packed.set(bytes, length)
      length += PAGE_SIZE
      mask |= 1 << i
    }
    return mask === 0 ? undefined : { mask, bytes: packed.subarray(0, length) }
  }

  private takePage(page: number): Uint8Array | undefined {
    const { ram, copies } = this
    const copy = copies.get(page)
    if (copy) {
      copies.delete(page)
      return isZero(new Int32Array(copy.buffer), 0) ? undefined : copy
    }
    if ((ram.frames.entry(page) & Frame.SHARED) === 0) return undefined
    ram.presentEntry(page)
    const host = ram.frames.hostOffset(page)
    ram.frames.clearFlags(page, Frame.SHARED)
    return isZero(this.words, host / 4) ? undefined : ram.bytes.subarray(host, host + PAGE_SIZE)
  }

  /** The capture was kept nowhere: its pages count as changed still. Before or after `end`. */
  abandon(): void {
    if (!this.scope.isBase) return
    this.scopes.forEach((scope, chunk) => {
      for (let i = 0; i < CHUNK_PAGES; i++) if ((scope >>> i) & 1) this.ram.frames.setFlags(chunk * CHUNK_PAGES + i, Frame.DIRTY)
    })
  }

  /** Gives everything back, taken or not. */
  end(): void {
    this.copies.clear()
    this.ram.frames.clearAll(Frame.SHARED)
    this.ram.setSharedWriteListener((page) => this.ram.frames.clearFlags(page, Frame.SHARED))
  }
}

/** True where a page's words are all zero. */
function isZero(words: Int32Array, first: number): boolean {
  for (let i = first; i < first + PAGE_SIZE / 4; i += 4) {
    if ((words[i] | words[i + 1] | words[i + 2] | words[i + 3]) !== 0) return false
  }
  return true
}
