/** Where the clusters of the guest's disk are: L2 entries, looked up and understood. */
import { clusterOf, type Cluster } from './cluster'
import type { DiskFile } from './disk-file'
import type { Header } from './header'
import type { L2Cache } from './l2-cache'

/** A part of a range that lies within one cluster. All but `index` in bytes. */
export interface Part {
  /** Of the cluster on the guest's disk. */
  readonly index: number
  /** First byte within the cluster. */
  readonly within: number
  /** First byte within the range. */
  readonly from: number
  readonly length: number
}

/** Every cluster that a range touches, in order. */
export function* partsOf(offset: number, length: number, clusterSize: number): Generator<Part> {
  for (let from = 0; from < length;) {
    const at = offset + from
    const within = at % clusterSize
    const part = Math.min(clusterSize - within, length - from)
    yield { index: Math.floor(at / clusterSize), within, from, length: part }
    from += part
  }
}

/** A piece of a range and where it is in a file; neighbours in both are one. */
export interface Run { readonly at: number; readonly from: number; length: number }

export function addToRuns(runs: Run[], at: number, from: number, length: number): void {
  const last = runs.at(-1)
  if (last && last.at + last.length === at && last.from + last.length === from) last.length += length
  else runs.push({ at, from, length })
}

export class ClusterMap {
  constructor(private readonly file: DiskFile, private readonly header: Header, private readonly l2: L2Cache) {}

  async at(index: number): Promise<Cluster> {
    const table = await this.l2.read(Math.floor(index / this.l2.perTable))
    if (!table) return { kind: 'none' }
    const at = (index % this.l2.perTable) * 8
    return clusterOf(table.view.getBigUint64(at), this.header.clusterBits, this.header.version, this.file, table.offset + at)
  }

  /**
   * True where the cluster has a place in the file that nothing else refers to.
   * Entries of a table that a snapshot shares are shared too, whatever they say.
   */
  isOwn(index: number, cluster: Cluster): cluster is Cluster & { kind: 'data' | 'zero' } {
    if (cluster.kind !== 'data' && cluster.kind !== 'zero') return false
    return cluster.offset !== 0 && cluster.ours && this.l2.isOurs(Math.floor(index / this.l2.perTable))
  }
}
