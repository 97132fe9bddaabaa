/**
 * Writes an image anew with what it needs only: no freed clusters, no zeroes, compressed clusters as they are. What the image is
 * laid over stays where it is, and is not even opened: this layer says the same about it afterwards.
 */
import { isZero, writeImage, type OutputFile, type WriteOptions } from '../formats/common/write'
import { VmmError } from '../../../vmm/errors'
import { clusterOf, type Cluster } from './cluster'
import { plan } from './create'
import { DiskFile } from './disk-file'
import { readHeader, type Header } from './header'
import { L2Cache } from './l2-cache'
import { COMPRESSED, COPIED, Incompatible, ZERO } from './layout'

const SECTOR = 512
const REFCOUNT_ORDER = 4
/** Zeroes of this length stay holes of the file. */
const GRAIN = 4096

/** Counts of the new file: one for each cluster, more where compressed ones share it. */
class Counts {
  private counts = new Uint16Array(1024)
  /** Clusters so far. */
  length = 0

  constructor(private readonly clusterSize: number) {}

  /** One use more of each cluster in the range. */
  add(offset: number, length: number): void {
    const end = Math.ceil((offset + length) / this.clusterSize)
    if (end > this.counts.length) {
      const longer = new Uint16Array(2 * end)
      longer.set(this.counts)
      this.counts = longer
    }
    for (let cluster = Math.floor(offset / this.clusterSize); cluster < end; cluster++) this.counts[cluster]++
    this.length = Math.max(this.length, end)
  }

  block(index: number): Uint8Array {
    const view = new DataView(new ArrayBuffer(this.clusterSize))
    const perBlock = this.clusterSize / 2
    for (let i = 0; i < perBlock && index * perBlock + i < this.length; i++) view.setUint16(i * 2, this.counts[index * perBlock + i])
    return new Uint8Array(view.buffer)
  }
}

class Compaction {
  private readonly clusterSize: number
  private readonly counts: Counts
  private readonly place: ReturnType<typeof plan>
  private readonly l1: DataView
  /** Where compressed data goes next within a cluster begun; 0: nowhere. */
  private packedAt = 0

  constructor(private readonly file: DiskFile, private readonly header: Header, private readonly out: OutputFile, private readonly options: WriteOptions) {
    this.clusterSize = 2 ** header.clusterBits
    this.place = plan(header.sizeBytes, header.clusterBits)
    this.counts = new Counts(this.clusterSize)
    this.l1 = new DataView(new ArrayBuffer(this.place.l1Clusters * this.clusterSize))
  }

  async run(): Promise<void> {
    const { place, header, options, clusterSize } = this
    this.counts.add(0, place.first * clusterSize)
    const tables = new L2Cache(this.file, header, undefined)
    await tables.load()
    for (let i = 0; i < place.l1Entries; i++) {
      const table = await tables.read(i)
      if (table) await this.copyTable(i, table.offset, table.view)
      options.onProgress?.(Math.min(header.sizeBytes, (i + 1) * clusterSize * tables.perTable), header.sizeBytes)
    }
    await this.writeCounts()
    await this.put((1 + place.tableClusters) * clusterSize, new Uint8Array(this.l1.buffer))
    await this.put(0, await this.head())
    await this.out.growTo(this.counts.length * clusterSize)
  }

  private async put(offset: number, bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      let end = at
      while (end < bytes.length && !isZero(bytes.subarray(end, end + GRAIN))) end += GRAIN
      if (end > at) await this.out.write(offset + at, bytes.subarray(at, end))
      at = Math.max(end, at + GRAIN)
    }
  }

  /** @returns the offset of a new cluster */
  private next(): number {
    const offset = this.counts.length * this.clusterSize
    this.counts.add(offset, this.clusterSize)
    return offset
  }

  private async copyTable(index: number, at: number, view: DataView): Promise<void> {
    const { file, header, clusterSize } = this
    const made = new DataView(new ArrayBuffer(clusterSize))
    let used = false
    for (let entry = 0; entry < clusterSize; entry += 8) {
      this.options.signal?.throwIfAborted()
      const said = await this.copyCluster(clusterOf(view.getBigUint64(entry), header.clusterBits, header.version, file, at + entry))
      if (said === 0n) continue
      made.setBigUint64(entry, said)
      used = true
    }
    if (!used) return
    const offset = this.next()
    await this.put(offset, new Uint8Array(made.buffer))
    this.l1.setBigUint64(index * 8, BigInt(offset) | COPIED)
  }

  /** @returns the entry for the new table */
  private async copyCluster(cluster: Cluster): Promise<bigint> {
    if (cluster.kind === 'none') return 0n
    if (cluster.kind === 'compressed') return this.copyPacked(cluster)
    // Over nothing a cluster that is not there is zero too.
    const zero = this.header.backing ? ZERO : 0n
    if (cluster.kind === 'zero') return zero
    const bytes = new Uint8Array(this.clusterSize)
    await this.file.read(cluster.offset, bytes)
    if (isZero(bytes) && (zero === 0n || this.header.version === 3)) return zero
    const offset = this.next()
    await this.put(offset, bytes)
    return BigInt(offset) | COPIED
  }

  private async copyPacked({ offset, bytes: length }: Cluster & { kind: 'compressed' }): Promise<bigint> {
    const { file, clusterSize } = this
    if (offset >= file.size) throw file.fail('compressed cluster', offset, `it lies past the end of the file (${file.size} bytes)`)
    const bytes = new Uint8Array(Math.ceil(length / SECTOR) * SECTOR)
    await file.read(offset, bytes.subarray(0, Math.min(length, file.size - offset)))
    // Goes on in the next cluster only where that is the one behind.
    const isOpen = this.packedAt !== 0 && Math.ceil(this.packedAt / clusterSize) === this.counts.length && this.packedAt % clusterSize !== 0
    const to = isOpen ? this.packedAt : this.counts.length * clusterSize
    this.counts.add(to, bytes.length)
    await this.put(to, bytes)
    this.packedAt = to + bytes.length
    const offsetBits = BigInt(62 - (this.header.clusterBits - 8))
    return COMPRESSED | (BigInt(bytes.length / SECTOR - 1) << offsetBits) | BigInt(to)
  }

  /** The blocks count themselves: as many as are needed once they are there too. */
  private async writeCounts(): Promise<void> {
    const { counts, clusterSize, place } = this
    const table = new DataView(new ArrayBuffer(place.tableClusters * clusterSize))
    const first = counts.length
    let blocks = 0
    while (blocks * (clusterSize / 2) < counts.length) {
      const offset = this.next()
      if (blocks * 8 >= table.byteLength) throw new RangeError(`${this.file.path}: the refcount table has no room for ${counts.length} clusters`)
      table.setBigUint64(blocks++ * 8, BigInt(offset))
    }
    for (let i = 0; i < blocks; i++) await this.put((first + i) * clusterSize, counts.block(i))
    await this.put(clusterSize, new Uint8Array(table.buffer))
  }

  /** The old first cluster, with its extensions and backing file, pointing to the new tables. */
  private async head(): Promise<Uint8Array> {
    const { file, header, place, clusterSize } = this
    const bytes = new Uint8Array(clusterSize)
    await file.read(0, bytes)
    const view = new DataView(bytes.buffer)
    view.setUint32(36, place.l1Entries)
    view.setBigUint64(40, BigInt((1 + place.tableClusters) * clusterSize))
    view.setBigUint64(48, BigInt(clusterSize))
    view.setUint32(56, place.tableClusters)
    bytes.fill(0, 60, 72) // internal snapshots: there are none
    if (header.version === 2) return bytes
    view.setBigUint64(72, header.incompatible & ~Incompatible.DIRTY)
    // Bitmaps are not taken along.
    view.setBigUint64(88, 0n)
    view.setUint32(96, REFCOUNT_ORDER)
    return bytes
  }
}

/**
 * @param target a new file; a failure or cancel leaves a part of it behind
 * @throws VmmError `unsupported` for images with internal snapshots, `disk-io`; DiskFormatError; AbortError; system errors
 */
export async function compactQcow2(path: string, target: string, options: WriteOptions = {}): Promise<void> {
  const file = await DiskFile.open(path, true)
  try {
    const header = await readHeader(file)
    if ((header.incompatible & Incompatible.CORRUPT) !== 0n) throw file.fail('header', 72, 'the image is marked as corrupt: repair it with "qemu-img check -r all" before it is written anew')
    if (header.snapshots > 0) throw new VmmError('unsupported', `${path} has ${header.snapshots} internal snapshots, which would be lost: delete them first, or convert the image`, { path })
    await writeImage(target, (out) => new Compaction(file, header, out, options).run())
  } finally {
    await file.close()
  }
}
