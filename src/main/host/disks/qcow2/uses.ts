/** How often each cluster of an image's file is used, by walking all that can use one. Refcounts should say the same. */
import { VmmError } from '../../../vmm/errors'
import { clusterOf } from './cluster'
import type { DiskFile } from './disk-file'
import type { Header } from './header'
import { Autoclear, MAX_L1_BYTES, OFFSET_MASK } from './layout'

/** 128 MiB of counts: 4 TiB of file in clusters of 64 KiB. */
const MAX_CLUSTERS = 1 << 26
const MAX_USES = 0xffff
const MAX_SNAPSHOTS = 65536
const SNAPSHOT_BYTES = 40
const BITMAP_BYTES = 24
const MAX_BITMAPS = 65535
const MAX_BITMAP_TABLE_BYTES = 64 << 20

export interface WalkOptions {
  readonly signal?: AbortSignal
  /** @param done tables looked at, of `total` */
  readonly onProgress?: (done: number, total: number) => void
}

export class Uses {
  private readonly counts: Uint16Array
  private appended = 0
  private readonly clusterSize: number
  /** Clusters of the file as it was. */
  readonly clusters: number

  constructor(private readonly file: DiskFile, clusterSize: number) {
    this.clusterSize = clusterSize
    this.clusters = Math.ceil(file.size / clusterSize)
    if (this.clusters > MAX_CLUSTERS) throw new VmmError('unsupported', `${file.path}: ${file.size} bytes in clusters of ${clusterSize} are too many to be counted`, { path: file.path })
    this.counts = new Uint16Array(this.clusters)
  }

  get length(): number {
    return this.clusters + this.appended
  }

  of(cluster: number): number {
    return this.counts[cluster] ?? (cluster < this.length ? 1 : 0)
  }

  /** One more cluster, at the end, used once. @returns its index */
  append(): number {
    return this.clusters + this.appended++
  }

  /** @param where the structure and byte that say so, for errors @throws DiskFormatError where the range leaves the file */
  add(offset: number, length: number, times: number, where: readonly [string, number]): void {
    if (length === 0) return
    const last = Math.floor((offset + length - 1) / this.clusterSize)
    if (!(offset < this.file.size && last < this.clusters)) throw this.file.fail(where[0], where[1], `it points to byte ${offset}, past the end of the file (${this.file.size} bytes)`)
    for (let cluster = Math.floor(offset / this.clusterSize); cluster <= last; cluster++) {
      const count = this.counts[cluster] + times
      if (count > MAX_USES) throw this.file.fail(where[0], where[1], `the cluster at ${cluster * this.clusterSize} is used more than ${MAX_USES} times`)
      this.counts[cluster] = count
    }
  }
}

/** An L1 table: that of the disk, or of a snapshot. */
interface Root { readonly name: string; readonly offset: number; readonly entries: number }

class Walk {
  readonly uses: Uses
  private readonly clusterSize: number
  /** How many L1 tables use an L2 table. */
  private readonly l2 = new Map<number, number>()
  /** Bytes of the file that must not be used for anything else. */
  private readonly alone: (readonly [name: string, offset: number, length: number])[] = []

  constructor(private readonly file: DiskFile, private readonly header: Header, private readonly options: WalkOptions) {
    this.clusterSize = 2 ** header.clusterBits
    this.uses = new Uses(file, this.clusterSize)
  }

  async run(): Promise<Uses> {
    const { header, uses } = this
    this.addAlone('header', 0, 1, ['header', 0])
    await this.addRefcounts()
    await this.addRoot({ name: 'L1 table', offset: header.l1Offset, entries: header.l1Entries })
    for await (const root of this.snapshots()) await this.addRoot(root)
    if (header.bitmaps && (header.autoclear & Autoclear.BITMAPS) !== 0n) await this.addBitmaps(header.bitmaps)
    let done = 0
    for (const [offset, times] of this.l2) {
      this.options.signal?.throwIfAborted()
      await this.addL2(offset, times)
      this.options.onProgress?.(++done, this.l2.size)
    }
    this.checkAlone()
    return uses
  }

  private addAlone(name: string, offset: number, length: number, where: readonly [string, number]): void {
    this.uses.add(offset, length, 1, where)
    this.alone.push([name, offset, length])
  }

  /** What a repair writes to must not be data of the guest. @throws DiskFormatError */
  private checkAlone(): void {
    const fail = (name: string, offset: number): never => { throw this.file.fail(name, offset, 'its place in the file is used for something else too') }
    for (const [name, offset, length] of this.alone) {
      for (let at = offset; at < offset + length; at += this.clusterSize) if (this.uses.of(Math.floor(at / this.clusterSize)) !== 1) fail(name, at)
    }
    for (const [offset, times] of this.l2) if (this.uses.of(offset / this.clusterSize) !== times) fail('L2 table', offset)
  }

  private async addRefcounts(): Promise<void> {
    const { refcountTableOffset: offset, refcountTableClusters } = this.header
    const length = refcountTableClusters * this.clusterSize
    this.addAlone('refcount table', offset, length, ['header', 48])
    const table = await this.file.structure('refcount table', offset, length)
    for (let i = 0; i < length / 8; i++) {
      const block = this.clusterAt(table.getBigUint64(i * 8), 'refcount table', offset + i * 8)
      if (block !== 0) this.addAlone('refcount block', block, this.clusterSize, ['refcount table', offset + i * 8])
    }
  }

  private clusterAt(entry: bigint, structure: string, at: number): number {
    const offset = Number(entry & OFFSET_MASK)
    if (offset % this.clusterSize !== 0) throw this.file.fail(structure, at, `the offset ${offset} is not that of a cluster`)
    return offset
  }

  private async addRoot({ name, offset, entries }: Root): Promise<void> {
    this.options.signal?.throwIfAborted()
    if (entries * 8 > MAX_L1_BYTES) throw this.file.fail(name, offset, `a table of ${entries} entries is too large`)
    const table = await this.file.structure(name, offset, entries * 8)
    this.addAlone(name, offset, entries * 8, [name, offset])
    const seen = new Set<number>()
    for (let i = 0; i < entries; i++) {
      const at = offset + i * 8
      const l2 = this.clusterAt(table.getBigUint64(i * 8), name, at)
      if (l2 === 0) continue
      if (seen.has(l2)) throw this.file.fail(name, at, `the L2 table at ${l2} is used twice`)
      seen.add(l2)
      this.uses.add(l2, this.clusterSize, 1, [name, at])
      this.l2.set(l2, (this.l2.get(l2) ?? 0) + 1)
    }
  }

  private async addL2(offset: number, times: number): Promise<void> {
    const { file, header, uses } = this
    const table = await file.structure('L2 table', offset, this.clusterSize)
    for (let at = 0; at < this.clusterSize; at += 8) {
      const cluster = clusterOf(table.getBigUint64(at), header.clusterBits, header.version, file, offset + at)
      if (cluster.kind === 'none') continue
      if (cluster.kind === 'compressed') uses.add(cluster.offset, Math.min(cluster.bytes, file.size - cluster.offset), times, ['L2 table', offset + at])
      else if (cluster.offset !== 0) uses.add(cluster.offset, this.clusterSize, times, ['L2 table', offset + at])
    }
  }

  /** The table's own clusters are counted on the way. */
  private async* snapshots(): AsyncGenerator<Root> {
    const { file, header } = this
    if (header.snapshots > MAX_SNAPSHOTS) throw file.fail('header', 60, `${header.snapshots} snapshots are too many`)
    let at = header.snapshotsOffset
    for (let i = 0; i < header.snapshots; i++) {
      const entry = await file.structure('snapshot table', at, SNAPSHOT_BYTES)
      yield { name: `L1 table of snapshot ${i + 1}`, offset: this.clusterAt(entry.getBigUint64(0), 'snapshot table', at), entries: entry.getUint32(8) }
      at += Math.ceil((SNAPSHOT_BYTES + entry.getUint32(36) + entry.getUint16(12) + entry.getUint16(14)) / 8) * 8
    }
    this.uses.add(header.snapshotsOffset, at - header.snapshotsOffset, 1, ['header', 64])
  }

  private async addBitmaps({ count, offset, length }: NonNullable<Header['bitmaps']>): Promise<void> {
    const { file, uses } = this
    if (count > MAX_BITMAPS) throw file.fail('header extensions', 0, `${count} bitmaps are too many`)
    uses.add(offset, length, 1, ['header extensions', 0])
    for (let i = 0, at = offset; i < count; i++) {
      const entry = await file.structure('bitmap directory', at, BITMAP_BYTES)
      const start = this.clusterAt(entry.getBigUint64(0), 'bitmap directory', at)
      const bytes = entry.getUint32(8) * 8
      if (bytes > MAX_BITMAP_TABLE_BYTES) throw file.fail('bitmap directory', at, `a bitmap table of ${bytes} bytes is too large`)
      const table = await file.structure('bitmap table', start, bytes)
      uses.add(start, bytes, 1, ['bitmap directory', at])
      for (let t = 0; t < bytes; t += 8) {
        const cluster = this.clusterAt(table.getBigUint64(t), 'bitmap table', start + t)
        if (cluster !== 0) uses.add(cluster, this.clusterSize, 1, ['bitmap table', start + t])
      }
      at += Math.ceil((BITMAP_BYTES + entry.getUint16(18) + entry.getUint32(20)) / 8) * 8
    }
  }
}

/** @throws DiskFormatError where the tables are damaged; AbortError; VmmError `unsupported` where the file is too large */
export function countUses(file: DiskFile, header: Header, options: WalkOptions = {}): Promise<Uses> {
  return new Walk(file, header, options).run()
}
