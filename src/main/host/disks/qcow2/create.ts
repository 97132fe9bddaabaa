/** New qcow2 images, version 3: empty, or filled from another disk. */
import { dirname, resolve } from 'node:path'
import { writeImage, forEachBlock, type DiskSource, type OutputFile, type WriteOptions } from '../formats/common/write'
import { encodeHeader, type Backing } from './header'
import { identityOf } from './identity'
import { COPIED, MAX_CLUSTER_BITS, MAX_L1_BYTES, MIN_CLUSTER_BITS } from './layout'

export interface CreateOptions {
  readonly sizeBytes: number
  /** log2 of the cluster size; default 16, 64 KiB. */
  readonly clusterBits?: number
  readonly backing?: Backing
}

const DEFAULT_CLUSTER_BITS = 16
const REFCOUNT_ORDER = 4

/** Where everything lies in a new image: header, refcount table, L1 table, then refcount blocks, L2 tables and data. */
export interface Plan {
  readonly cluster: number
  readonly l1Entries: number
  readonly l1Clusters: number
  readonly tableClusters: number
  /** First cluster behind the fixed parts. */
  readonly first: number
}

export function plan(sizeBytes: number, clusterBits: number): Plan {
  const cluster = 2 ** clusterBits
  if (clusterBits < MIN_CLUSTER_BITS || clusterBits > MAX_CLUSTER_BITS) throw new RangeError(`clusters of 2^${clusterBits} bytes do not exist (2^${MIN_CLUSTER_BITS} to 2^${MAX_CLUSTER_BITS})`)
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % 512 !== 0) throw new RangeError(`a disk of ${sizeBytes} bytes does not exist: the size must be a multiple of 512`)
  const l1Entries = Math.ceil(sizeBytes / (cluster * (cluster / 8)))
  if (l1Entries * 8 > MAX_L1_BYTES) throw new RangeError(`a disk of ${sizeBytes} bytes needs larger clusters than ${cluster} bytes`)
  const l1Clusters = Math.max(1, Math.ceil((l1Entries * 8) / cluster))
  // Room for the counts of twice the disk: data, tables, and what is freed late.
  const blocks = Math.ceil((2 * (sizeBytes / cluster + l1Entries + l1Clusters + 64)) / (cluster / 2))
  const tableClusters = Math.ceil((blocks * 8) / cluster)
  return { cluster, l1Entries, l1Clusters, tableClusters, first: 1 + tableClusters + l1Clusters }
}

/** Counts and tables of an image that is written from front to back. */
class Writer {
  private next: number
  private readonly l1: DataView
  private readonly l2 = new Map<number, { readonly offset: number; readonly view: DataView }>()

  constructor(private readonly out: OutputFile, private readonly p: Plan) {
    this.next = p.first
    this.l1 = new DataView(new ArrayBuffer(p.l1Clusters * p.cluster))
  }

  async store(index: number, bytes: Uint8Array): Promise<void> {
    const { cluster } = this.p
    const perTable = cluster / 8
    const l1Index = Math.floor(index / perTable)
    let table = this.l2.get(l1Index)
    if (!table) {
      // Clusters come in order, so only the last table is still written to.
      await this.writeTables()
      table = { offset: this.next++ * cluster, view: new DataView(new ArrayBuffer(cluster)) }
      this.l2.set(l1Index, table)
      this.l1.setBigUint64(l1Index * 8, BigInt(table.offset) | COPIED)
    }
    const offset = this.next++ * cluster
    await this.out.write(offset, bytes)
    table.view.setBigUint64((index % perTable) * 8, BigInt(offset) | COPIED)
  }

  private async writeTables(): Promise<void> {
    for (const { offset, view } of this.l2.values()) await this.out.write(offset, new Uint8Array(view.buffer))
    this.l2.clear()
  }

  async finish(header: Uint8Array): Promise<void> {
    const { cluster, tableClusters } = this.p
    await this.writeTables()
    const perBlock = cluster / 2
    // The blocks count themselves: as many as are needed once they are there too.
    let blocks = 1
    while (blocks * perBlock < this.next + blocks) blocks++
    const used = this.next + blocks
    const table = new DataView(new ArrayBuffer(tableClusters * cluster))
    for (let b = 0; b < blocks; b++) {
      const view = new DataView(new ArrayBuffer(cluster))
      for (let i = 0; i < perBlock && b * perBlock + i < used; i++) view.setUint16(i * 2, 1)
      const offset = (this.next + b) * cluster
      table.setBigUint64(b * 8, BigInt(offset))
      await this.out.write(offset, new Uint8Array(view.buffer))
    }
    await this.out.write(cluster, new Uint8Array(table.buffer))
    await this.out.write(cluster * (1 + tableClusters), new Uint8Array(this.l1.buffer))
    await this.out.write(0, header)
  }
}

function headerOf({ sizeBytes, clusterBits = DEFAULT_CLUSTER_BITS, backing }: CreateOptions, p: Plan): Uint8Array {
  return encodeHeader({
    version: 3, clusterBits, sizeBytes, l1Entries: p.l1Entries, l1Offset: p.cluster * (1 + p.tableClusters), refcountTableOffset: p.cluster,
    refcountTableClusters: p.tableClusters, refcountOrder: REFCOUNT_ORDER, incompatible: 0n, autoclear: 0n, compression: 0, snapshots: 0, backing,
  })
}

/** What a backing file is now; left out where it cannot be seen from the image's present place. */
async function withIdentity(path: string, backing: Backing | undefined): Promise<Backing | undefined> {
  if (!backing || backing.identity) return backing
  return { ...backing, identity: await identityOf(resolve(dirname(path), backing.path)).catch(() => undefined) }
}

/**
 * What the backing file is now is recorded: once it changed, the image is refused.
 * @param path of a new file @throws RangeError for sizes and names that do not fit; system errors, EEXIST among them
 */
export async function createQcow2(path: string, options: CreateOptions): Promise<void> {
  const p = plan(options.sizeBytes, options.clusterBits ?? DEFAULT_CLUSTER_BITS)
  const header = headerOf({ ...options, backing: await withIdentity(path, options.backing) }, p)
  await writeImage(path, (out) => new Writer(out, p).finish(header))
}

/** Writes a disk as a new image; clusters of zeroes are not stored. @throws as `createQcow2`; AbortError */
export async function writeQcow2(source: DiskSource, path: string, options: WriteOptions & { readonly clusterBits?: number } = {}): Promise<void> {
  const clusterBits = options.clusterBits ?? DEFAULT_CLUSTER_BITS
  const p = plan(source.sizeBytes, clusterBits)
  const header = headerOf({ sizeBytes: source.sizeBytes, clusterBits }, p)
  await writeImage(path, async (out) => {
    const writer = new Writer(out, p)
    await forEachBlock(source, p.cluster, options, (index, bytes) => writer.store(index, bytes))
    await writer.finish(header)
  })
}
