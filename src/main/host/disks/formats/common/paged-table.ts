/** A table of the file that may be gigabytes large, read page by page: memory stays bounded whatever the file claims. */
import type { ImageFile } from './image-file'

const PAGE_BYTES = 64 << 10
const PAGES_KEPT = 64

export class PagedTable {
  private readonly pages = new Map<number, DataView>()

  /** @throws DiskFormatError where the table is not within the file */
  constructor(private readonly file: ImageFile, private readonly name: string, private readonly offset: number,
    private readonly entries: number, private readonly entryBytes: 4 | 8, private readonly littleEndian: boolean) {
    file.checkRange(name, offset, entries * entryBytes)
  }

  private async page(index: number): Promise<DataView> {
    const known = this.pages.get(index)
    if (known) return known
    const start = index * PAGE_BYTES
    const length = Math.min(PAGE_BYTES, this.entries * this.entryBytes - start)
    const view = await this.file.bytes(this.name, this.offset + start, length)
    const oldest = this.pages.keys().next()
    if (this.pages.size >= PAGES_KEPT && !oldest.done) this.pages.delete(oldest.value)
    this.pages.set(index, view)
    return view
  }

  private async locate(entry: number): Promise<{ view: DataView; at: number }> {
    const at = entry * this.entryBytes
    return { view: await this.page(Math.floor(at / PAGE_BYTES)), at: at % PAGE_BYTES }
  }

  /** Byte of the file where the entry is, for messages. */
  offsetOf(entry: number): number {
    return this.offset + entry * this.entryBytes
  }

  async u32(entry: number): Promise<number> {
    const { view, at } = await this.locate(entry)
    return view.getUint32(at, this.littleEndian)
  }

  async u64(entry: number): Promise<bigint> {
    const { view, at } = await this.locate(entry)
    return view.getBigUint64(at, this.littleEndian)
  }
}
