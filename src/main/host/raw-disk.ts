/** A raw image file as a disk. */
import type { BlockBackend } from '../vmm/ports'
import { BeforeImages } from './disks/before-images'
import { BlockFile, openFiles } from './disks/block-file'
import { CACHE_BEHAVIOUR, type CacheMode } from './disks/cache-mode'
import { Holes, type Extent } from './disks/holes'

const SECTOR = 512
const ZERO_CHUNK = 1 << 20

export class RawDisk implements BlockBackend {
  readonly blockSize = SECTOR
  readonly sizeBytes: number
  readonly writeThrough: boolean
  private readonly holes: Holes

  constructor(private readonly file: BlockFile, readonly readOnly: boolean) {
    // A file whose size is no multiple of the sector reads as zeroes to the sector's end.
    this.sizeBytes = Math.ceil(file.size / SECTOR) * SECTOR
    this.writeThrough = CACHE_BEHAVIOUR[file.cache].writeThrough
    this.holes = new Holes(file.path)
  }

  get path(): string {
    return this.file.path
  }

  read(offset: number, target: Uint8Array): Promise<void> {
    return this.file.read(offset, target)
  }

  /** Of a disk that is open for reading; of another one nobody knows what was written meanwhile. */
  extent(offset: number, length: number): Promise<Extent> {
    return this.readOnly ? this.holes.extent(offset, length) : Promise.resolve({ length, zero: false })
  }

  write(offset: number, source: Uint8Array): Promise<void> {
    return this.file.write(offset, source)
  }

  flush(): Promise<void> {
    return this.file.sync()
  }

  /** Node has no hole punching: the data stays, as the contract of discard allows. */
  async discard(): Promise<void> { /* nothing to free */ }

  async writeZeroes(offset: number, length: number): Promise<void> {
    const zeroes = new Uint8Array(Math.min(ZERO_CHUNK, length))
    for (let done = 0; done < length; done += zeroes.length) {
      await this.write(offset + done, zeroes.subarray(0, Math.min(zeroes.length, length - done)))
    }
  }

  async settle(): Promise<void> { /* nothing waits in memory */ }

  keepBefore(side: string): Promise<BeforeImages> {
    return BeforeImages.begin(this.file, side)
  }

  async close(): Promise<void> {
    await this.file.close()
  }
}

/** @throws VmmError `disk-io`, or `unsupported` for the cache mode, naming the file */
export async function openRawDisk(path: string, readOnly: boolean, cache?: CacheMode): Promise<RawDisk> {
  return new RawDisk(new BlockFile(await openFiles(path, readOnly, cache), path), readOnly)
}
