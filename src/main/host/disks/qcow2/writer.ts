/** Writes ranges of an image: in place where a cluster is the image's own, else into new clusters that then take its place. */
import { VmmError } from '../../../vmm/errors'
import type { Cluster } from './cluster'
import { addToRuns, partsOf, type ClusterMap, type Part, type Run } from './cluster-map'
import type { DiskFile } from './disk-file'
import type { Header } from './header'
import type { L2Cache } from './l2-cache'
import { COPIED, ZERO } from './layout'
import { together, type Reader } from './reader'
import type { Refcounts } from './refcounts'

/** Clusters given places before their data and tables are seen to. */
const AT_ONCE = 256
/** Clusters that wait to be free. */
const MAX_FREED = 65536
/** Bytes that wait to be free: a write that needs places waits for the medium rather than let the file grow by as much. */
const WORTH_A_FLUSH = 32 << 20

export interface Extent { readonly offset: number; readonly length: number }

/** A part of a write and its place. `fresh`: the cluster at `offset` was taken for it. */
interface Placed { readonly part: Part; readonly old: Cluster; readonly offset: number; readonly fresh: boolean }

export interface WriterParts {
  readonly file: DiskFile
  readonly header: Header
  readonly map: ClusterMap
  readonly l2: L2Cache
  readonly refcounts: Refcounts
  readonly reader: Reader
  readonly hasBacking: boolean
  /** Writes what waits, so that memory can be let go of. */
  readonly flush: () => Promise<void>
}

export class Writer {
  private readonly clusterSize: number
  /** Counted still, until the tables that no longer use them are in the file. */
  private freed: Extent[] = []
  private freedBytes = 0

  constructor(private readonly parts: WriterParts) {
    this.clusterSize = 2 ** parts.header.clusterBits
  }

  /** What may be free once the tables of now are on stable storage; `giveBack` where they did not get there. */
  takeFreed(): readonly Extent[] {
    const { freed } = this
    this.freed = []
    this.freedBytes = 0
    return freed
  }

  giveBack(freed: readonly Extent[]): void {
    for (const extent of freed) this.letGo(extent)
  }

  private letGo(extent: Extent): void {
    this.freed.push(extent)
    this.freedBytes += extent.length
  }

  /** Writes where every cluster of the range is the image's own; false, with nothing written, where one is not. May run beside others. */
  async overwrite(offset: number, source: Uint8Array): Promise<boolean> {
    const { map } = this.parts
    const runs: Run[] = []
    for (const { index, within, from, length } of partsOf(offset, source.length, this.clusterSize)) {
      const cluster = await map.at(index)
      if (cluster.kind !== 'data' || !map.isOwn(index, cluster)) return false
      addToRuns(runs, cluster.offset + within, from, length)
    }
    await this.writeRuns(runs, source)
    return true
  }

  private writeRuns(runs: readonly Run[], source: Uint8Array): Promise<void> {
    return together(runs.map(({ at, from, length }) => () => this.parts.file.write(at, source.subarray(from, from + length))))
  }

  /** @throws VmmError `disk-full`: nothing is lost, and the same write can be done later; `disk-io` */
  async write(offset: number, source: Uint8Array): Promise<void> {
    let some: Part[] = []
    for (const part of partsOf(offset, source.length, this.clusterSize)) {
      some.push(part)
      if (some.length < AT_ONCE) continue
      await this.writeParts(some, source)
      some = []
    }
    if (some.length > 0) await this.writeParts(some, source)
  }

  private async writeParts(parts: readonly Part[], source: Uint8Array): Promise<void> {
    await this.relieve(true)
    const placed: Placed[] = []
    let pointed = 0
    try {
      // Nothing was ever written from here on: it is a hole that reads as zeroes.
      const end = this.parts.file.size
      for (const part of parts) placed.push(await this.place(part))
      await this.writePlaced(placed, source, end)
      for (const { part: { index }, old, offset, fresh } of placed) {
        if (fresh || old.kind === 'zero') await this.point(index, BigInt(offset) | COPIED, old, fresh)
        pointed++
      }
    } catch (error) {
      for (const { offset, fresh } of placed.slice(pointed)) if (fresh) await this.parts.refcounts.release(offset, this.clusterSize)
      throw error
    }
  }

  private async place(part: Part): Promise<Placed> {
    const { map, refcounts } = this.parts
    const old = await map.at(part.index)
    if (map.isOwn(part.index, old)) return { part, old, offset: old.offset, fresh: false }
    return { part, old, offset: await refcounts.allocate(), fresh: true }
  }

  private async writePlaced(placed: readonly Placed[], source: Uint8Array, end: number): Promise<void> {
    const runs: Run[] = []
    for (const { part: { index, within, from, length }, old, offset, fresh } of placed) {
      const isPart = length < this.clusterSize && (fresh || old.kind === 'zero')
      const restIsZero = fresh && offset >= end && (old.kind === 'zero' || (old.kind === 'none' && !this.parts.hasBacking))
      if (!isPart || restIsZero) {
        addToRuns(runs, offset + within, from, length)
        continue
      }
      const whole = await this.parts.reader.cluster(index)
      whole.set(source.subarray(from, from + length), within)
      await this.parts.file.write(offset, whole)
    }
    await this.writeRuns(runs, source)
  }

  /** Makes an entry say something else. @param replaces what it said is let go of */
  private async point(index: number, entry: bigint, old: Cluster, replaces: boolean): Promise<void> {
    const { l2 } = this.parts
    const table = await l2.change(Math.floor(index / l2.perTable), (offset) => this.letGo({ offset, length: this.clusterSize }))
    table.view.setBigUint64((index % l2.perTable) * 8, entry)
    if (!replaces || old.kind === 'none') return
    if (old.kind === 'compressed') this.letGo({ offset: old.offset, length: old.bytes })
    else if (old.offset !== 0) this.letGo({ offset: old.offset, length: this.clusterSize })
  }

  /** A guest that never flushes must not fill the memory: what waits is written when it is too much. @param needsPlaces new clusters are to be taken */
  private async relieve(needsPlaces: boolean): Promise<void> {
    const { l2, refcounts, flush } = this.parts
    const isReused = needsPlaces && this.freedBytes >= WORTH_A_FLUSH
    if (!isReused && !l2.isCrowded && !refcounts.isCrowded && this.freed.length < MAX_FREED) return
    await flush()
    l2.trim()
    refcounts.trim()
  }

  /**
   * Makes a range read as zeroes. @param must parts of clusters too, else they stay as they are
   * @param keepSpace clusters keep their places, so that a later write needs no room
   */
  async clear(offset: number, length: number, { must, keepSpace }: { must: boolean; keepSpace: boolean }): Promise<void> {
    const { map, header, hasBacking } = this.parts
    for (const part of partsOf(offset, length, this.clusterSize)) {
      const old = await map.at(part.index)
      if (old.kind === 'zero' && (old.offset === 0 || keepSpace)) continue
      if (old.kind === 'none' && !hasBacking) continue
      const reachesEnd = part.index * this.clusterSize + part.within + part.length === header.sizeBytes
      const whole = part.within === 0 && (part.length === this.clusterSize || reachesEnd)
      // Version 2 has no way to say that a cluster of the backing file is zero.
      if (whole && (header.version === 3 || !hasBacking)) await this.clearCluster(part.index, old, keepSpace && header.version === 3)
      else if (must || whole) await this.write(offset + part.from, new Uint8Array(part.length))
    }
  }

  private async clearCluster(index: number, old: Cluster, keepSpace: boolean): Promise<void> {
    await this.relieve(false)
    const { map, hasBacking } = this.parts
    if (keepSpace && map.isOwn(index, old)) await this.point(index, BigInt(old.offset) | COPIED | ZERO, old, false)
    else await this.point(index, hasBacking ? ZERO : 0n, old, true)
  }
}

/** For images that are open for reading. */
export function refuseWrite(path: string): VmmError {
  return new VmmError('disk-io', `${path}: the disk is open for reading only`)
}
