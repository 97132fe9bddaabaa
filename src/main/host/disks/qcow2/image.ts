/**
 * A qcow2 image as a disk, read and written. After QEMU's docs/interop/qcow2.txt.
 *
 * Data goes to the file at once, tables stay in memory until a flush. A flush writes in an order that a kill or a power cut
 * at any instant leaves sound: counts and tables nothing points at yet, then a barrier, then the tables in use. What is
 * freed can be used again only after that. At worst clusters stay counted that nothing uses.
 */
import { VmmError } from '../../../vmm/errors'
import type { BlockBackend } from '../../../vmm/ports'
import { clusterOf, unpack, type Cluster } from './cluster'
import { DiskFile } from './disk-file'
import { readHeader, type Header } from './header'
import { L2Cache, type L2Table } from './l2-cache'
import { COPIED, Incompatible, ZERO } from './layout'
import { Refcounts } from './refcounts'
import { repairRefcounts } from './repair'

/** What an image is laid over: only ever read. */
export interface BackingSource {
  readonly sizeBytes: number
  read(offset: number, target: Uint8Array): Promise<void>
  close(): Promise<void>
}

const AUTOCLEAR_AT = 88
/** Clusters that wait to be free. */
const MAX_FREED = 65536

export class Qcow2Image implements BlockBackend {
  readonly blockSize = 512
  readonly clusterSize: number
  private readonly l2: L2Cache
  /** Counted still, until the tables that no longer use them are in the file. */
  private readonly freed: { readonly offset: number; readonly length: number }[] = []
  private unpacked: { readonly offset: number; readonly bytes: Uint8Array } | undefined
  /** Operations run one after the other: each sees whole tables. */
  private last: Promise<unknown> = Promise.resolve()

  private constructor(
    private readonly file: DiskFile, readonly header: Header, private readonly refcounts: Refcounts | undefined,
    private readonly backing: BackingSource | undefined,
  ) {
    this.clusterSize = 2 ** header.clusterBits
    this.l2 = new L2Cache(file, header, refcounts)
  }

  /**
   * @param openBacking opens what the header names; not called for images without
   * @param sizeBytes the disk is taken to have this size, for a change of its size; the L1 table must have room for it
   * @throws DiskFormatError, VmmError `disk-io` or `unsupported`, each naming file and place
   */
  static async open(path: string, readOnly: boolean, openBacking: (backing: NonNullable<Header['backing']>) => Promise<BackingSource>, sizeBytes?: number): Promise<Qcow2Image> {
    const file = await DiskFile.open(path, readOnly)
    let backing: BackingSource | undefined
    try {
      const read = await readHeader(file)
      const header = sizeBytes === undefined ? read : { ...read, sizeBytes }
      if (!readOnly) await makeSound(file, read)
      if (header.backing) backing = await openBacking(header.backing)
      const refcounts = readOnly ? undefined : new Refcounts(file, header)
      await refcounts?.load()
      const image = new Qcow2Image(file, header, refcounts, backing)
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
    return this.file.path
  }

  get sizeBytes(): number {
    return this.header.sizeBytes
  }

  get readOnly(): boolean {
    return this.refcounts === undefined
  }

  private exclusive<T>(work: () => Promise<T>): Promise<T> {
    const result = this.last.then(work)
    this.last = result.catch(() => undefined)
    return result
  }

  // ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────

  read(offset: number, target: Uint8Array): Promise<void> {
    return this.exclusive(() => this.eachPart(offset, target.length, async (at, within, from, length) => {
      await this.readPart(await this.clusterAt(at), at, within, target.subarray(from, from + length))
    }))
  }

  /** Calls `use` for each cluster of a range: index, first byte in it, first byte of the range, bytes. */
  private async eachPart(offset: number, length: number, use: (cluster: number, within: number, from: number, length: number) => Promise<void>): Promise<void> {
    if (offset < 0 || offset + length > this.sizeBytes) throw new VmmError('disk-io', `${this.path}: ${length} bytes at ${offset} are not within the disk of ${this.sizeBytes} bytes`)
    for (let done = 0; done < length;) {
      const at = offset + done
      const within = at % this.clusterSize
      const part = Math.min(this.clusterSize - within, length - done)
      await use(Math.floor(at / this.clusterSize), within, done, part)
      done += part
    }
  }

  private async clusterAt(cluster: number): Promise<Cluster> {
    const table = await this.l2.read(Math.floor(cluster / this.l2.perTable))
    return table ? this.entryOf(table, cluster % this.l2.perTable) : { kind: 'none' }
  }

  private entryOf(table: L2Table, index: number): Cluster {
    return clusterOf(table.view.getBigUint64(index * 8), this.header.clusterBits, this.header.version, this.file, table.offset + index * 8)
  }

  private async readPart(cluster: Cluster, index: number, within: number, target: Uint8Array): Promise<void> {
    switch (cluster.kind) {
      case 'zero': return void target.fill(0)
      case 'data': return this.file.read(cluster.offset + within, target)
      case 'compressed': return void target.set((await this.unpack(cluster)).subarray(within, within + target.length))
      case 'none': return this.readBacking(index * this.clusterSize + within, target)
    }
  }

  private async readBacking(offset: number, target: Uint8Array): Promise<void> {
    const available = Math.max(0, Math.min(target.length, (this.backing?.sizeBytes ?? 0) - offset))
    if (available > 0) await this.backing?.read(offset, target.subarray(0, available))
    target.fill(0, available)
  }

  /** The last one is kept: guests read a cluster in pieces. */
  private async unpack(cluster: Cluster & { kind: 'compressed' }): Promise<Uint8Array> {
    if (this.unpacked?.offset !== cluster.offset) {
      this.unpacked = { offset: cluster.offset, bytes: await unpack(this.file, cluster, this.clusterSize, this.header.compression) }
    }
    return this.unpacked.bytes
  }

  /** How long the range from the offset on is zero because nothing is stored anywhere in the chain, or else may be stored. */
  extent(offset: number, length: number): Promise<{ readonly length: number; readonly zero: boolean }> {
    const isHole = ({ kind }: Cluster): boolean => kind === 'zero' || (kind === 'none' && this.backing === undefined)
    return this.exclusive(async () => {
      const end = Math.min(offset + length, this.sizeBytes)
      let cluster = Math.floor(offset / this.clusterSize)
      const zero = isHole(await this.clusterAt(cluster))
      while (++cluster * this.clusterSize < end && isHole(await this.clusterAt(cluster)) === zero) { /* as long as it is the same */ }
      return { zero, length: Math.min(cluster * this.clusterSize, end) - offset }
    })
  }

  // ── writing ───────────────────────────────────────────────────────────────────────────────────────────────────

  write(offset: number, source: Uint8Array): Promise<void> {
    return this.exclusive(() => this.eachPart(offset, source.length, (at, within, from, length) =>
      this.writePart(at, within, source.subarray(from, from + length))))
  }

  private changeTable(cluster: number): Promise<L2Table> {
    return this.l2.change(Math.floor(cluster / this.l2.perTable), (offset) => this.freed.push({ offset, length: this.clusterSize }))
  }

  /** A guest that never flushes must not fill the memory: what waits is written when it is too much. */
  private async relieve(): Promise<void> {
    if (!this.l2.isCrowded && !this.refcounts?.isCrowded && this.freed.length < MAX_FREED) return
    await this.flushAll()
    this.l2.trim()
    this.refcounts?.trim()
  }

  private async writePart(index: number, within: number, source: Uint8Array): Promise<void> {
    const old = await this.clusterAt(index)
    // Entries of a table that a snapshot shares are shared too, whatever they say.
    if (old.kind === 'data' && old.ours && this.l2.isOurs(Math.floor(index / this.l2.perTable))) return this.file.write(old.offset + within, source)
    const whole = await this.wholeCluster(old, index, within, source)
    const offset = await this.allocate()
    await this.file.write(offset, whole)
    await this.point(index, BigInt(offset) | COPIED, old)
  }

  private async wholeCluster(old: Cluster, index: number, within: number, source: Uint8Array): Promise<Uint8Array> {
    if (source.length === this.clusterSize) return source
    const whole = new Uint8Array(this.clusterSize)
    await this.readPart(old, index, 0, whole)
    whole.set(source, within)
    return whole
  }

  private async allocate(): Promise<number> {
    if (!this.refcounts) throw new VmmError('disk-io', `${this.path}: the disk is open for reading only`)
    return this.refcounts.allocate()
  }

  /** Makes an entry say something else, and lets go of what it said. */
  private async point(index: number, entry: bigint, old: Cluster): Promise<void> {
    await this.relieve()
    const table = await this.changeTable(index)
    table.view.setBigUint64((index % this.l2.perTable) * 8, entry)
    if (old.kind === 'compressed') this.freed.push({ offset: old.offset, length: old.bytes })
    else if (old.kind !== 'none' && old.offset !== 0) this.freed.push({ offset: old.offset, length: this.clusterSize })
  }

  discard(offset: number, length: number): Promise<void> {
    return this.exclusive(() => this.clear(offset, length, false))
  }

  writeZeroes(offset: number, length: number): Promise<void> {
    return this.exclusive(() => this.clear(offset, length, true))
  }

  /** @param must parts of clusters are written as zeroes too */
  private async clear(offset: number, length: number, must: boolean): Promise<void> {
    await this.eachPart(offset, length, async (index, within, _, part) => {
      const old = await this.clusterAt(index)
      if (old.kind === 'zero' && old.offset === 0) return
      if (old.kind === 'none' && !this.backing) return
      const reachesEnd = index * this.clusterSize + within + part === this.sizeBytes
      const whole = within === 0 && (part === this.clusterSize || reachesEnd)
      // Version 2 has no way to say that a cluster of the backing file is zero.
      if (whole && (this.header.version === 3 || !this.backing)) return this.point(index, this.backing ? ZERO : 0n, old)
      if (must || whole) await this.writePart(index, within, new Uint8Array(part))
    })
  }

  flush(): Promise<void> {
    return this.exclusive(() => this.flushAll())
  }

  private async flushAll(): Promise<void> {
    const { refcounts, l2, file } = this
    if (!refcounts) return
    if (refcounts.isDirty || l2.isDirty) {
      await refcounts.write()
      await l2.writeFresh()
      await file.sync()
      await l2.writeChanged()
    }
    await file.sync()
    for (const { offset, length } of this.freed.splice(0)) await refcounts.release(offset, length)
  }

  /** Flushes; counts of clusters freed by that are written too. */
  async close(): Promise<void> {
    try {
      await this.exclusive(async () => {
        await this.flushAll()
        await this.refcounts?.write()
      })
    } finally {
      await this.backing?.close()
      await this.file.close()
    }
  }
}

/**
 * Before an image is written to. A program that was killed leaves counts behind that are to be made anew; damage is for its
 * owner to look at. @throws DiskFormatError
 */
export async function makeSound(file: DiskFile, header: Header): Promise<void> {
  if ((header.incompatible & Incompatible.CORRUPT) !== 0n) throw file.fail('header', 72, 'the image is marked as corrupt: repair it with "qemu-img check -r all" before it is written to')
  if ((header.incompatible & Incompatible.DIRTY) !== 0n) await repairRefcounts(file, header)
}
