/** Reads ranges of an image: neighbouring clusters at once, what is missing from below. */
import type { DiskSource } from '../formats/common/write'
import { unpack, type Cluster } from './cluster'
import { addToRuns, partsOf, type ClusterMap, type Run } from './cluster-map'
import type { DiskFile } from './disk-file'
import type { Header } from './header'

/** What an image is laid over: only ever read. */
export interface BackingSource extends DiskSource {
  close(): Promise<void>
}

/** Reads of one range under way at the same time. */
const AT_ONCE = 16

export class Reader {
  private readonly clusterSize: number
  private unpacked: { readonly offset: number; readonly bytes: Uint8Array } | undefined

  constructor(
    private readonly file: DiskFile, private readonly header: Header, private readonly map: ClusterMap,
    private readonly backing: BackingSource | undefined,
  ) {
    this.clusterSize = 2 ** header.clusterBits
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    const stored: Run[] = []
    const below: Run[] = []
    const packed: (() => Promise<void>)[] = []
    for (const { index, within, from, length } of partsOf(offset, target.length, this.clusterSize)) {
      const cluster = await this.map.at(index)
      switch (cluster.kind) {
        case 'zero': target.fill(0, from, from + length); break
        case 'data': addToRuns(stored, cluster.offset + within, from, length); break
        case 'none': addToRuns(below, offset + from, from, length); break
        case 'compressed': packed.push(() => this.readPacked(cluster, within, target.subarray(from, from + length)))
      }
    }
    await together([
      ...stored.map(({ at, from, length }) => () => this.file.read(at, target.subarray(from, from + length))),
      ...below.map(({ at, from, length }) => () => this.readBelow(at, target.subarray(from, from + length))),
      ...packed,
    ])
  }

  /** A whole cluster as the guest sees it. */
  async cluster(index: number): Promise<Uint8Array> {
    const bytes = new Uint8Array(this.clusterSize)
    await this.read(index * this.clusterSize, bytes)
    return bytes
  }

  /** Up to the offset `end` nothing is stored below for a range, or something may be: as `extent` of what lies below, and zero past its end. */
  async below(offset: number, length: number): Promise<{ readonly end: number; readonly zero: boolean }> {
    const left = (this.backing?.sizeBytes ?? 0) - offset
    if (left <= 0) return { end: offset + length, zero: true }
    const within = Math.min(length, left)
    if (!this.backing?.extent) return { end: offset + within, zero: false }
    const { length: known, zero } = await this.backing.extent(offset, within)
    // A hole at the end goes on behind it.
    return { end: zero && known === left ? offset + length : offset + known, zero }
  }

  private async readBelow(offset: number, target: Uint8Array): Promise<void> {
    const available = Math.max(0, Math.min(target.length, (this.backing?.sizeBytes ?? 0) - offset))
    if (available > 0) await this.backing?.read(offset, target.subarray(0, available))
    target.fill(0, available)
  }

  /** The last one is kept: guests read a cluster in pieces. */
  private async readPacked(cluster: Cluster & { kind: 'compressed' }, within: number, target: Uint8Array): Promise<void> {
    let { unpacked } = this
    if (unpacked?.offset !== cluster.offset) {
      unpacked = { offset: cluster.offset, bytes: await unpack(this.file, cluster, this.clusterSize, this.header.compression) }
      this.unpacked = unpacked
    }
    target.set(unpacked.bytes.subarray(within, within + target.length))
  }
}

/** Runs jobs side by side, a few at a time. */
export async function together(jobs: readonly (() => Promise<void>)[]): Promise<void> {
  if (jobs.length === 1) return jobs[0]()
  for (let i = 0; i < jobs.length; i += AT_ONCE) await settled(jobs.slice(i, i + AT_ONCE).map((job) => job()))
}

/** All have ended when this does, whether well or not. */
async function settled(jobs: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(jobs)) if (result.status === 'rejected') throw result.reason
}
