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

export class RamCapture {
  /** Contents of pages that were written since. */
  private readonly copies = new Map<number, Uint8Array>()
  private readonly words: Int32Array
  readonly chunkCount: number
  /** Pages copied because the guest wrote them first. */
  copied = 0

  /**
   * Begins. From here on no TLB may hold a write tag: the caller drops them all.
   * @param hot host offsets of frames in use now: their chunks come first in `order`
   */
  constructor(private readonly ram: PhysicalRam, private readonly hot: readonly number[]) {
    const { frames } = ram
    this.words = new Int32Array(ram.bytes.buffer)
    this.chunkCount = Math.ceil(frames.pageCount / CHUNK_PAGES)
    frames.markAll(Frame.SHARED, Frame.PRESENT, Frame.ZERO)
    ram.setSharedWriteListener((page) => this.keep(page))
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
    const { frames } = this.ram
    const first = new Set<number>()
    for (const host of this.hot) first.add(Math.floor((host - frames.layout.framesBase) / CHUNK_BYTES))
    const isUsed = (chunk: number): boolean => {
      const end = Math.min((chunk + 1) * CHUNK_PAGES, frames.pageCount)
      for (let page = chunk * CHUNK_PAGES; page < end; page++) if (this.holds(page)) return true
      return false
    }
    const used = Array.from({ length: this.chunkCount }, (_, i) => i).filter(isUsed)
    return [...used.filter((chunk) => first.has(chunk)), ...used.filter((chunk) => !first.has(chunk))]
  }

  private holds(page: number): boolean {
    return (this.ram.frames.entry(page) & Frame.SHARED) !== 0 || this.copies.has(page)
  }

  /** Takes a chunk out: its pages belong to the guest alone again. Undefined where all is zero. */
  take(chunk: number): CapturedChunk | undefined {
    const { ram } = this
    const packed = new Uint8Array(CHUNK_BYTES)
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
    return isZero(this.words, host >> 2) ? undefined : ram.bytes.subarray(host, host + PAGE_SIZE)
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
