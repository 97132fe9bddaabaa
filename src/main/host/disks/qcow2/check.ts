/**
 * Whether an image's reference counts say the truth: counts everything the tables refer to and compares. What is counted too
 * low can be given away twice and destroy data; what is counted too high is only wasted.
 */
import type { WriteOptions } from '../formats/common/write'
import { clusterOf, type Cluster } from './cluster'
import { countsPerBlock, getCount } from './counts'
import { DiskFile } from './disk-file'
import { readHeader, type Header } from './header'
import { COPIED, Incompatible, OFFSET_MASK } from './layout'

export interface CheckReport {
  /** Places where data is or will be damaged. */
  readonly corruptions: number
  /** Clusters that nothing uses and that are not free. */
  readonly leaks: number
  /** The first of the corruptions, for people. */
  readonly problems: readonly string[]
  /** Clusters of the disk that have data in this file, and all clusters of the disk. */
  readonly dataClusters: number
  readonly compressedClusters: number
  readonly totalClusters: number
  readonly clusterBytes: number
  /** The image says of itself that it may be wrong. */
  readonly isMarkedDirty: boolean
  readonly isMarkedCorrupt: boolean
}

const MAX_PROBLEMS = 50
/** Two bytes of memory each for what is counted and what is stored. */
const MAX_CLUSTERS = 2 ** 27
const MANY = 0xffff
const BITMAPS_EXTENSION = 0x23852875
const MAX_TABLE_BYTES = 32 << 20

class Checker {
  private readonly clusterBytes: number
  private readonly counted: Uint16Array
  private readonly stored: Uint16Array
  private readonly problems: string[] = []
  private corruptions = 0
  private data = 0
  private compressed = 0

  constructor(private readonly file: DiskFile, private readonly header: Header, private readonly options: WriteOptions) {
    this.clusterBytes = 2 ** header.clusterBits
    const clusters = Math.ceil(file.size / this.clusterBytes)
    if (clusters > MAX_CLUSTERS) throw file.fail('file', 0, `it is too long to be checked: ${clusters} clusters, at most ${MAX_CLUSTERS} can be`)
    this.counted = new Uint16Array(clusters)
    this.stored = new Uint16Array(clusters)
  }

  private problem(text: string): void {
    this.corruptions++
    if (this.problems.length < MAX_PROBLEMS) this.problems.push(text)
  }

  /** One more use of every cluster that the bytes lie in. @returns false where they are not within the file */
  private count(offset: number, bytes: number, what: string): boolean {
    if (offset >= this.file.size) {
      this.problem(`${what} at ${offset} is past the end of the file`)
      return false
    }
    const last = Math.min(this.counted.length - 1, Math.floor((offset + Math.max(1, bytes) - 1) / this.clusterBytes))
    for (let i = Math.floor(offset / this.clusterBytes); i <= last; i++) if (this.counted[i] < MANY) this.counted[i]++
    return true
  }

  /** A table on a cluster boundary; undefined, and a problem, where it is not one. */
  private async table(offset: number, bytes: number, what: string): Promise<DataView | undefined> {
    if (offset % this.clusterBytes !== 0) this.problem(`${what} at ${offset} does not begin at a cluster`)
    else if (bytes > MAX_TABLE_BYTES || offset + bytes > this.file.size + this.clusterBytes) this.problem(`${what} at ${offset} is too long: ${bytes} bytes`)
    else if (this.count(offset, bytes, what)) {
      const view = new DataView(new ArrayBuffer(bytes))
      await this.file.read(offset, new Uint8Array(view.buffer))
      return view
    }
    return undefined
  }

  private async readRefcounts(): Promise<void> {
    const { refcountTableOffset, refcountTableClusters, refcountOrder } = this.header
    const table = await this.table(refcountTableOffset, refcountTableClusters * this.clusterBytes, 'the refcount table')
    const perBlock = countsPerBlock(this.clusterBytes, refcountOrder)
    for (let i = 0; table && i < table.byteLength / 8; i++) {
      const entry = table.getBigUint64(i * 8)
      if (entry === 0n) continue
      const block = await this.table(Number(entry), this.clusterBytes, `refcount block ${i}`)
      for (let n = 0; block && n < perBlock && i * perBlock + n < this.stored.length; n++) this.stored[i * perBlock + n] = Math.min(MANY, getCount(block, refcountOrder, n))
    }
  }

  private checkCopied(offset: number, ours: boolean, what: string): void {
    const stored = this.stored[Math.floor(offset / this.clusterBytes)]
    if (ours !== (stored === 1)) this.problem(`${what} at ${offset} is ${ours ? '' : 'not '}marked as used once, its refcount is ${stored}`)
  }

  private checkCluster(cluster: Cluster, index: number, isActive: boolean): void {
    if (cluster.kind === 'none' || (cluster.kind === 'zero' && cluster.offset === 0)) return
    const what = `cluster ${index} of the disk`
    const isCompressed = cluster.kind === 'compressed'
    if (!this.count(cluster.offset, isCompressed ? cluster.bytes : this.clusterBytes, what) || !isActive) return
    if (cluster.kind !== 'zero') this.data++
    if (isCompressed) this.compressed++
    else this.checkCopied(cluster.offset, cluster.ours, what)
  }

  /** @param isActive of the present disk, not of a snapshot */
  private async checkL1(offset: number, entries: number, isActive: boolean, name: string): Promise<void> {
    const l1 = entries === 0 ? undefined : await this.table(offset, entries * 8, `the L1 table of ${name}`)
    const perTable = this.clusterBytes / 8
    for (let i = 0; l1 && i < entries; i++) {
      this.options.signal?.throwIfAborted()
      if (isActive) this.options.onProgress?.(i, entries)
      const entry = l1.getBigUint64(i * 8)
      const at = Number(entry & OFFSET_MASK)
      const l2 = at === 0 ? undefined : await this.table(at, this.clusterBytes, `L2 table ${i} of ${name}`)
      if (l2 && isActive) this.checkCopied(at, (entry & COPIED) !== 0n, `L2 table ${i}`)
      for (let n = 0; l2 && n < perTable; n++) {
        const value = l2.getBigUint64(n * 8)
        if (value !== 0n) this.checkEntry(value, at + n * 8, i * perTable + n, isActive)
      }
    }
  }

  private checkEntry(value: bigint, at: number, index: number, isActive: boolean): void {
    const { header, file } = this
    let cluster: Cluster
    try {
      cluster = clusterOf(value, header.clusterBits, header.version, file, at)
    } catch (error) {
      return this.problem(error instanceof Error ? error.message : String(error))
    }
    this.checkCluster(cluster, index, isActive)
  }

  private async checkSnapshots(): Promise<void> {
    const head = await this.file.structure('header', 0, 72)
    const offset = Number(head.getBigUint64(64))
    let at = offset
    for (let i = 0; i < this.header.snapshots; i++) {
      const entry = await this.file.structure(`snapshot ${i}`, at, 40)
      const l1Offset = Number(entry.getBigUint64(0))
      at += Math.ceil((40 + entry.getUint32(36) + entry.getUint16(12) + entry.getUint16(14)) / 8) * 8
      await this.checkL1(l1Offset, entry.getUint32(8), false, `snapshot ${i}`)
    }
    if (at > this.counted.length * this.clusterBytes) this.problem(`the snapshot table at ${offset} reaches past the end of the file`)
    else if (at > offset) this.count(offset, at - offset, 'the snapshot table')
  }

  /** Bitmaps of changes that QEMU keeps; they count only while the image says that they are kept up. */
  private async checkBitmaps(): Promise<void> {
    if (this.header.version !== 3 || (this.header.autoclear & 1n) === 0n) return
    const first = await this.file.structure('header extensions', 0, Math.min(this.clusterBytes, this.file.size))
    for (let at = first.getUint32(100); at + 8 <= first.byteLength && first.getUint32(at) !== 0;) {
      if (first.getUint32(at) === BITMAPS_EXTENSION && at + 32 <= first.byteLength) {
        await this.checkBitmapDirectory(Number(first.getBigUint64(at + 24)), Number(first.getBigUint64(at + 16)), first.getUint32(at + 8))
      }
      at += 8 + Math.ceil(first.getUint32(at + 4) / 8) * 8
    }
  }

  private async checkBitmapDirectory(offset: number, bytes: number, bitmaps: number): Promise<void> {
    const directory = await this.table(offset, bytes, 'the bitmap directory')
    for (let i = 0, at = 0; directory && i < bitmaps && at + 24 <= bytes; i++) {
      const entries = directory.getUint32(at + 8)
      const table = await this.table(Number(directory.getBigUint64(at)), entries * 8, `bitmap table ${i}`)
      for (let n = 0; table && n < entries; n++) {
        const cluster = Number(table.getBigUint64(n * 8) & OFFSET_MASK)
        if (cluster !== 0) this.count(cluster, this.clusterBytes, `bitmap ${i}`)
      }
      at += Math.ceil((24 + directory.getUint32(at + 20) + directory.getUint16(at + 18)) / 8) * 8
    }
  }

  private compare(): number {
    let leaks = 0
    for (let i = 0; i < this.counted.length; i++) {
      if (this.stored[i] > this.counted[i]) leaks++
      else if (this.stored[i] < this.counted[i]) this.problem(`the cluster at ${i * this.clusterBytes} is used ${this.counted[i]} times, its refcount is ${this.stored[i]}`)
    }
    return leaks
  }

  async run(): Promise<CheckReport> {
    const { header } = this
    this.count(0, this.clusterBytes, 'the header')
    await this.readRefcounts()
    await this.checkL1(header.l1Offset, header.l1Entries, true, 'the disk')
    await this.checkSnapshots()
    await this.checkBitmaps()
    const leaks = this.compare()
    return {
      corruptions: this.corruptions, leaks, problems: this.problems, dataClusters: this.data, compressedClusters: this.compressed,
      totalClusters: Math.ceil(header.sizeBytes / this.clusterBytes), clusterBytes: this.clusterBytes,
      isMarkedDirty: (header.incompatible & Incompatible.DIRTY) !== 0n, isMarkedCorrupt: (header.incompatible & Incompatible.CORRUPT) !== 0n,
    }
  }
}

/**
 * Looks at one image, not at what it is laid over; changes nothing. No machine may be writing to it.
 * @throws DiskFormatError where the header cannot be understood; VmmError `disk-io`; AbortError
 */
export async function checkQcow2(path: string, options: WriteOptions = {}): Promise<CheckReport> {
  const file = await DiskFile.open(path, true)
  try {
    return await new Checker(file, await readHeader(file), options).run()
  } finally {
    await file.close()
  }
}
