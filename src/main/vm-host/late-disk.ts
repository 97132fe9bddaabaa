/**
 * A disk that is opened after its machine was built: until then its image may still be another machine's, or not there at all. Of one
 * whose image is being made as a copy the guest can read meanwhile; what it writes waits.
 */
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
  private opened!: { resolve: (disk: BlockBackend) => void; reject: (error: Error) => void }
  private disk: BlockBackend | undefined
  private readonly whenOpen = new Promise<BlockBackend>((resolve, reject) => (this.opened = { resolve, reject }))
  /** What is read from until then. */
  private source: OpenDisk | undefined
  private readonly reads = new Set<Promise<void>>()
  /** Changes that wait. */
  private waiting = 0

  private constructor({ sizeBytes, readOnly, blockSize, clusterSize, writeThrough }: Shape) {
    this.sizeBytes = sizeBytes
    this.readOnly = readOnly
    this.blockSize = blockSize
    if (clusterSize !== undefined) this.clusterSize = clusterSize
    if (writeThrough !== undefined) this.writeThrough = writeThrough
    // Nobody may be waiting for it.
    this.whenOpen.catch(() => undefined)
  }

  /** One that will be as an image that is there already. @throws as `openDisk` */
  static async like(image: string, settings: LaunchConfig['disks'][number]): Promise<LateDisk> {
    const late = await LateDisk.copyOf(image, settings)
    await late.closeSource()
    return late
  }

  /** One that will be a copy of an image that is there already, and stays as it is. @throws as `openDisk` */
  static async copyOf(image: string, { format, readOnly, cache }: LaunchConfig['disks'][number]): Promise<LateDisk> {
    const source = await openDisk(image, true, format, cache)
    const { sizeBytes, blockSize, clusterSize, writeThrough } = source
    const late = new LateDisk({ sizeBytes, readOnly, blockSize, ...(clusterSize !== undefined && { clusterSize }), ...(writeThrough !== undefined && { writeThrough }) })
    late.source = source
    return late
  }

  fits(disk: Shape): boolean {
    return SHAPE.every((key) => this[key] === disk[key])
  }

  /** Requests made so far go to it, in their order, and all later ones. */
  use(disk: BlockBackend): void {
    this.disk = disk
    this.opened.resolve(disk)
    void this.closeSource()
  }

  /** There will never be one: requests that wait for it fail. Nothing where there is one. */
  async giveUp(error: Error): Promise<void> {
    this.opened.reject(error)
    await this.closeSource()
  }

  private async closeSource(): Promise<void> {
    const { source } = this
    this.source = undefined
    await Promise.allSettled(this.reads)
    await source?.close()
  }

  private async change(work: (disk: BlockBackend) => Promise<void>): Promise<void> {
    if (this.disk) return work(this.disk)
    this.waiting++
    try {
      await work(await this.whenOpen)
    } finally {
      this.waiting--
    }
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    const { source } = this
    if (this.disk || !source) return (this.disk ?? await this.whenOpen).read(offset, target)
    const job = source.read(offset, target)
    this.reads.add(job)
    await job.finally(() => this.reads.delete(job))
  }

  write(offset: number, source: Uint8Array): Promise<void> {
    return this.change((disk) => disk.write(offset, source))
  }

  /** Of what has not changed there is nothing to flush. */
  async flush(): Promise<void> {
    if (this.disk || this.waiting > 0 || !this.source) await this.change((disk) => disk.flush())
  }

  discard(offset: number, length: number): Promise<void> {
    return this.change((disk) => disk.discard(offset, length))
  }

  writeZeroes(offset: number, length: number, keepSpace?: boolean): Promise<void> {
    return this.change((disk) => disk.writeZeroes(offset, length, keepSpace))
  }
}
