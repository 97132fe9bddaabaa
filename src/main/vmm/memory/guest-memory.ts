/**
 * Guest-physical memory for everything but the CPU's fast path: DMA, boot loader, page walks, slow accesses. RAM only:
 * a device must not reach another device's registers (or its own) by DMA.
 */
import type { AccessSize, GuestMemory } from '../bus/types'
import { Frame, FrameTable, PAGE_SHIFT, PAGE_SIZE } from './frame-table'

/** What must happen before bytes of a code page change: `offset` within the page, `length` within the page. */
export type CodeWriteListener = (page: number, offset: number, length: number) => void

/** Brings the contents of an ABSENT page (and maybe its neighbours) and clears the flag. Throws where it cannot. */
export type PageLoader = (page: number) => void

/** Called before the first write to a SHARED page: keeps the old contents and clears the flag. */
export type SharedWriteListener = (page: number) => void

export class PhysicalRam implements GuestMemory {
  readonly bytes: Uint8Array
  private readonly view: DataView
  private onCodeWrite: CodeWriteListener = () => undefined
  private loadPage: PageLoader = (page) => this.frames.clearFlags(page, Frame.ABSENT)
  private onSharedWrite: SharedWriteListener = (page) => this.frames.clearFlags(page, Frame.SHARED)

  constructor(buffer: ArrayBufferLike, readonly frames: FrameTable) {
    this.bytes = new Uint8Array(buffer)
    this.view = new DataView(buffer)
  }

  setCodeWriteListener(listener: CodeWriteListener): void {
    this.onCodeWrite = listener
  }

  setPageLoader(loader: PageLoader): void {
    this.loadPage = loader
  }

  setSharedWriteListener(listener: SharedWriteListener): void {
    this.onSharedWrite = listener
  }

  /** Entry of a page whose bytes are needed now: brings them in where they are on disk still. 0 where there is no RAM. */
  presentEntry(page: number): number {
    const entry = this.frames.entry(page)
    if ((entry & Frame.ABSENT) === 0) return entry
    this.loadPage(page)
    return this.frames.entry(page)
  }

  isRam(gpa: number, length: number): boolean {
    if (gpa < 0 || length < 0 || gpa + length > this.frames.layout.ramBytes) return false
    for (let page = gpa >>> PAGE_SHIFT; page * PAGE_SIZE < gpa + length; page++) {
      if ((this.frames.entry(page) & Frame.PRESENT) === 0) return false
    }
    return true
  }

  /** Host offset for reading at `gpa`, or -1 where there is no RAM. The bytes up to the page's end are contiguous. */
  hostForRead(gpa: number): number {
    const page = Math.floor(gpa / PAGE_SIZE)
    if ((this.presentEntry(page) & Frame.PRESENT) === 0) return -1
    return this.frames.hostOffset(page) + (gpa % PAGE_SIZE)
  }

  /**
   * As hostForRead, for a write of `length` bytes within the page: marks it dirty, keeps its old contents where a capture wants
   * them, drops code decoded from those bytes. -1: not writable RAM.
   */
  hostForWrite(gpa: number, length: number): number {
    const page = Math.floor(gpa / PAGE_SIZE)
    const entry = this.presentEntry(page)
    if ((entry & Frame.PRESENT) === 0 || (entry & Frame.ROM) !== 0) return -1
    if ((entry & Frame.SHARED) !== 0) this.onSharedWrite(page)
    this.frames.markWritten(page)
    const offset = gpa % PAGE_SIZE
    if ((entry & Frame.CODE) !== 0) this.onCodeWrite(page, offset, length)
    return this.frames.hostOffset(page) + offset
  }

  read(gpa: number, target: Uint8Array): boolean {
    let complete = true
    for (let done = 0; done < target.length;) {
      const { host, length } = this.run(gpa + done, target.length - done, false)
      if (host >= 0) target.set(this.bytes.subarray(host, host + length), done)
      else {
        target.fill(0xff, done, done + length)
        complete = false
      }
      done += length
    }
    return complete
  }

  /** The longest start of a range that is in one piece on the host: pages of guest memory mostly are, and a copy each is slow. */
  private run(gpa: number, limit: number, isWrite: boolean): { host: number; length: number } {
    const part = (done: number): number => Math.min(limit - done, PAGE_SIZE - ((gpa + done) % PAGE_SIZE))
    const hostOf = (done: number): number => (isWrite ? this.hostForWrite(gpa + done, part(done)) : this.hostForRead(gpa + done))
    const host = hostOf(0)
    let length = part(0)
    while (host >= 0 && length < limit && hostOf(length) === host + length) length += part(length)
    return { host, length }
  }

  write(gpa: number, source: Uint8Array): boolean {
    let complete = true
    for (let done = 0; done < source.length;) {
      const { host, length } = this.run(gpa + done, source.length - done, true)
      if (host >= 0) this.bytes.set(source.subarray(done, done + length), host)
      else complete = false
      done += length
    }
    return complete
  }

  private load(gpa: number, size: AccessSize): number {
    if ((gpa % PAGE_SIZE) + size > PAGE_SIZE) {
      const low = this.load(gpa, 1)
      const rest = size - 1
      let value = low
      for (let i = 1; i <= rest; i++) value += this.load(gpa + i, 1) * 2 ** (8 * i)
      return value
    }
    const host = this.hostForRead(gpa)
    if (host < 0) return 2 ** (8 * size) - 1
    if (size === 4) return this.view.getUint32(host, true)
    return size === 2 ? this.view.getUint16(host, true) : this.bytes[host]
  }

  private store(gpa: number, size: AccessSize, value: number): void {
    if ((gpa % PAGE_SIZE) + size > PAGE_SIZE) {
      for (let i = 0; i < size; i++) this.store(gpa + i, 1, (value >>> (8 * i)) & 0xff)
      return
    }
    const host = this.hostForWrite(gpa, size)
    if (host < 0) return
    if (size === 4) this.view.setUint32(host, value, true)
    else if (size === 2) this.view.setUint16(host, value, true)
    else this.bytes[host] = value
  }

  readU8(gpa: number): number { return this.load(gpa, 1) }
  readU16(gpa: number): number { return this.load(gpa, 2) }
  /** The words of page tables are read by it: most of the time without a detour. */
  readU32(gpa: number): number {
    const host = (gpa & 3) === 0 ? this.frames.plainHost(gpa) : -1
    return host >= 0 ? this.view.getUint32(host, true) : this.load(gpa, 4)
  }
  writeU8(gpa: number, value: number): void { this.store(gpa, 1, value) }
  writeU16(gpa: number, value: number): void { this.store(gpa, 2, value) }
  writeU32(gpa: number, value: number): void { this.store(gpa, 4, value) }
}
