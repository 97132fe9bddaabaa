/** A disk that is opened after its machine was built: until then its image may still be another machine's, or not there at all. */
import { openDisk, type OpenDisk } from '../host'
import type { BlockBackend } from '../vmm/ports'
import type { LaunchConfig } from './protocol'

/** What a guest can see of a disk, and the device's features follow from. */
type Shape = Pick<BlockBackend, 'sizeBytes' | 'readOnly' | 'blockSize' | 'clusterSize' | 'writeThrough'>

const SHAPE = ['sizeBytes', 'readOnly', 'blockSize', 'clusterSize', 'writeThrough'] as const

export class LateDisk implements BlockBackend {
  readonly sizeBytes: number
  readonly readOnly: boolean
  readonly blockSize: number
  readonly clusterSize?: number
  readonly writeThrough?: boolean
  private open!: (disk: OpenDisk) => void
  private disk: OpenDisk | undefined
  private readonly opened = new Promise<OpenDisk>((resolve) => (this.open = resolve))

  private constructor({ sizeBytes, readOnly, blockSize, clusterSize, writeThrough }: Shape) {
    this.sizeBytes = sizeBytes
    this.readOnly = readOnly
    this.blockSize = blockSize
    if (clusterSize !== undefined) this.clusterSize = clusterSize
    if (writeThrough !== undefined) this.writeThrough = writeThrough
  }

  /** One that will be as an image that is there already. @throws as `openDisk` */
  static async like(image: string, { format, readOnly, cache }: LaunchConfig['disks'][number]): Promise<LateDisk> {
    const disk = await openDisk(image, true, format, cache)
    try {
      return new LateDisk({ sizeBytes: disk.sizeBytes, readOnly, blockSize: disk.blockSize, ...(disk.clusterSize !== undefined && { clusterSize: disk.clusterSize }),
        ...(disk.writeThrough !== undefined && { writeThrough: disk.writeThrough }) })
    } finally {
      await disk.close()
    }
  }

  fits(disk: Shape): boolean {
    return SHAPE.every((key) => this[key] === disk[key])
  }

  /** Requests made so far go to it, in their order, and all later ones. */
  use(disk: OpenDisk): void {
    this.disk = disk
    this.open(disk)
  }

  private async when<T>(work: (disk: OpenDisk) => Promise<T>): Promise<T> {
    return work(this.disk ?? await this.opened)
  }

  read(offset: number, target: Uint8Array): Promise<void> {
    return this.when((disk) => disk.read(offset, target))
  }

  write(offset: number, source: Uint8Array): Promise<void> {
    return this.when((disk) => disk.write(offset, source))
  }

  flush(): Promise<void> {
    return this.when((disk) => disk.flush())
  }

  discard(offset: number, length: number): Promise<void> {
    return this.when((disk) => disk.discard(offset, length))
  }

  writeZeroes(offset: number, length: number, keepSpace?: boolean): Promise<void> {
    return this.when((disk) => disk.writeZeroes(offset, length, keepSpace))
  }
}
