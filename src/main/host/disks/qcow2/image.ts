/**
 * A qcow2 image as a disk, read and written. After QEMU's docs/interop/qcow2.txt.
 *
 * Data goes to the file at once, tables stay in memory until a flush. A flush writes in an order that a kill or a power cut
 * at any instant leaves sound: counts and tables nothing points at yet, then a barrier, then the tables in use. What is
 * freed can be used again only after that. At worst clusters stay counted that nothing uses.
 */
import { VmmError } from '../../../vmm/errors'
import type { BlockBackend } from '../../../vmm/ports'
import { BeforeImages } from '../before-images'
import { CACHE_BEHAVIOUR, type CacheMode } from '../cache-mode'
import { OperationQueue } from '../operation-queue'
import { ClusterMap } from './cluster-map'
import { DiskFile } from './disk-file'
import { readHeader, type Header } from './header'
import { L2Cache } from './l2-cache'
import { AUTOCLEAR_AT, Incompatible } from './layout'
import { Reader, type BackingSource } from './reader'
import { Refcounts } from './refcounts'
import { repairRefcounts } from './repair'
import type { WalkOptions } from './uses'
import { refuseWrite, Writer, type Extent } from './writer'

export type { BackingSource } from './reader'

export interface ImageOptions {
  /** The disk is taken to have this size in bytes, for a change of its size; the L1 table must have room for it. */
  readonly sizeBytes?: number
  readonly cache?: CacheMode
}

type OpenBacking = (backing: NonNullable<Header['backing']>) => Promise<BackingSource>

interface Parts { readonly file: DiskFile; readonly header: Header; readonly backing: BackingSource | undefined; readonly refcounts: Refcounts | undefined }

export class Qcow2Image implements BlockBackend {
  readonly blockSize = 512
  readonly clusterSize: number
  readonly header: Header
  readonly writeThrough: boolean
  private readonly l2: L2Cache
  private readonly map: ClusterMap
  private readonly reader: Reader
  private readonly writer: Writer | undefined
  /** Reads, and writes to clusters that are the image's own, run side by side; what changes tables has them to itself. */
  private readonly queue = new OperationQueue()
  private waitingFlush: Promise<void> | undefined

  private constructor(private readonly parts: Parts) {
    const { file, header, refcounts, backing } = parts
    this.header = header
    this.clusterSize = 2 ** header.clusterBits
    this.writeThrough = CACHE_BEHAVIOUR[file.cache].writeThrough
    const l2 = this.l2 = new L2Cache(file, header, refcounts)
    const map = this.map = new ClusterMap(file, header, l2)
    const reader = this.reader = new Reader(file, header, map, backing)
    this.writer = refcounts && new Writer({ file, header, map, l2, refcounts, reader, hasBacking: backing !== undefined, flush: () => this.flushAll() })
  }

  /**
   * @param openBacking opens what the header names; not called for images without
   * @throws DiskFormatError, VmmError `disk-io` or `unsupported`, each naming file and place
   */
  static async open(path: string, readOnly: boolean, openBacking: OpenBacking, options: ImageOptions = {}): Promise<Qcow2Image> {
    return Qcow2Image.from(await DiskFile.open(path, readOnly, options.cache), readOnly, openBacking, options)
  }

  /** As `open`, of a file that is open already; it is closed with the image, and where that cannot be opened. */
  static async from(file: DiskFile, readOnly: boolean, openBacking: OpenBacking, { sizeBytes }: ImageOptions = {}): Promise<Qcow2Image> {
    let backing: BackingSource | undefined
    try {
      const read = await readHeader(file)
      const header = sizeBytes === undefined ? read : { ...read, sizeBytes }
      if (!readOnly) await makeSound(file, read)
      if (header.backing) backing = await openBacking(header.backing)
      const refcounts = readOnly ? undefined : new Refcounts(file, header)
      await refcounts?.load()
      const image = new Qcow2Image({ file, header, refcounts, backing })
      await image.l2.load()
      // Bitmaps and the like are not kept up: the bits that say they are must go before the first write.
      if (!readOnly && header.autoclear !== 0n) await file.write(AUTOCLEAR_AT, new Uint8Array(8))
      return image
    } catch (error) {
      await backing?.close()
      await file.close()
      throw error
    }
  }

  get path(): string {
    return this.parts.file.path
  }

  get sizeBytes(): number {
    return this.header.sizeBytes
  }

  get readOnly(): boolean {
    return this.writer === undefined
  }

  private requireWithin(offset: number, length: number): void {
    if (offset >= 0 && offset + length <= this.sizeBytes) return
    throw new VmmError('disk-io', `${this.path}: ${length} bytes at ${offset} are not within the disk of ${this.sizeBytes} bytes`)
  }

  private requireWriter(): Writer {
    if (this.writer) return this.writer
    throw refuseWrite(this.path)
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    this.requireWithin(offset, target.length)
    return this.queue.shared(() => this.reader.read(offset, target))
  }

  /** How long the range from the offset on is zero because nothing is stored anywhere in the chain, or else may be stored. */
  extent(offset: number, length: number): Promise<{ readonly length: number; readonly zero: boolean }> {
    const end = Math.min(offset + length, this.sizeBytes)
    let below = { end: 0, zero: false }
    const isHole = async (cluster: number): Promise<boolean> => {
      const { kind } = await this.map.at(cluster)
      if (kind !== 'none') return kind === 'zero'
      const [from, to] = [cluster * this.clusterSize, (cluster + 1) * this.clusterSize]
      if (below.end < to) below = await this.reader.below(from, Math.max(end, to) - from)
      return below.zero && below.end >= to
    }
    return this.queue.shared(async () => {
      let cluster = Math.floor(offset / this.clusterSize)
      const zero = await isHole(cluster)
      while (++cluster * this.clusterSize < end && await isHole(cluster) === zero) { /* as long as it is the same */ }
      return { zero, length: Math.min(cluster * this.clusterSize, end) - offset }
    })
  }

  async write(offset: number, source: Uint8Array): Promise<void> {
    this.requireWithin(offset, source.length)
    const writer = this.requireWriter()
    if (await this.queue.shared(() => writer.overwrite(offset, source))) return
    await this.queue.exclusive(() => writer.write(offset, source))
  }

  discard(offset: number, length: number): Promise<void> {
    return this.clear(offset, length, { must: false, keepSpace: false })
  }

  writeZeroes(offset: number, length: number, keepSpace = false): Promise<void> {
    return this.clear(offset, length, { must: true, keepSpace })
  }

  private async clear(offset: number, length: number, how: { must: boolean; keepSpace: boolean }): Promise<void> {
    this.requireWithin(offset, length)
    const writer = this.requireWriter()
    return this.queue.exclusive(() => writer.clear(offset, length, how))
  }

  /** One that has not begun is everybody's who asks meanwhile. */
  flush(): Promise<void> {
    // Never begins within this line: what it clears at its start must be set by then.
    this.waitingFlush ??= Promise.resolve().then(() => this.runFlush())
    return this.waitingFlush
  }

  /** Reads go on while the medium is waited for. */
  private async runFlush(): Promise<void> {
    const { file, refcounts } = this.parts
    const freed = await this.queue.exclusive(() => {
      this.waitingFlush = undefined
      return this.writeTables()
    })
    if (!refcounts) return
    try {
      await this.queue.shared(() => file.sync())
    } catch (error) {
      this.writer?.giveBack(freed)
      throw error
    }
    if (freed.length > 0) await this.queue.exclusive(() => release(refcounts, freed))
  }

  /** Everything but the last barrier. @returns what is free after that */
  private async writeTables(): Promise<readonly Extent[]> {
    const { parts: { refcounts, file }, l2, writer } = this
    if (!refcounts || !writer) return []
    if (refcounts.isDirty || l2.isDirty) {
      await refcounts.write()
      await l2.writeFresh()
      await file.sync()
      await l2.writeChanged()
    }
    return writer.takeFreed()
  }

  settle(): Promise<void> {
    // What is freed by it is free once somebody flushes.
    return this.queue.exclusive(async () => this.writer?.giveBack(await this.writeTables()))
  }

  keepBefore(side: string): Promise<BeforeImages> {
    return BeforeImages.begin(this.parts.file, side)
  }

  private async flushAll(): Promise<void> {
    const { refcounts, file } = this.parts
    if (!refcounts) return
    const freed = await this.writeTables()
    try {
      await file.sync()
    } catch (error) {
      this.writer?.giveBack(freed)
      throw error
    }
    await release(refcounts, freed)
  }

  /** Flushes; counts of clusters freed by that are written too. */
  async close(): Promise<void> {
    const { backing, file, refcounts } = this.parts
    try {
      await this.queue.exclusive(async () => {
        await this.flushAll()
        await refcounts?.write()
      })
    } finally {
      await backing?.close()
      await file.close()
    }
  }
}

async function release(refcounts: Refcounts, freed: readonly Extent[]): Promise<void> {
  for (const { offset, length } of freed) await refcounts.release(offset, length)
}

/**
 * Before an image is written to. A program that was killed leaves counts behind that are to be made anew; damage is for its
 * owner to look at. @throws DiskFormatError
 */
export async function makeSound(file: DiskFile, header: Header, options: WalkOptions = {}): Promise<void> {
  if ((header.incompatible & Incompatible.CORRUPT) !== 0n) throw file.fail('header', 72, 'the image is marked as corrupt: repair it with "qemu-img check -r all" before it is written to')
  if ((header.incompatible & Incompatible.DIRTY) !== 0n) await repairRefcounts(file, header, options)
}
