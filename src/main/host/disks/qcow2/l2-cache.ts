/** L1 and L2 tables of an open image. Changed tables stay in memory until the image flushes them. */
import { VmmError } from '../../../vmm/errors'
import type { DiskFile } from './disk-file'
import type { Header } from './header'
import { COPIED, OFFSET_MASK } from './layout'
import type { Refcounts } from './refcounts'

/** Tables kept, in bytes. */
const CACHE_BYTES = 16 << 20

export interface L2Table {
  readonly offset: number
  readonly view: DataView
  dirty: boolean
  /** Nothing in the file points at it yet. */
  fresh: boolean
}

export class L2Cache {
  private readonly clusterSize: number
  readonly perTable: number
  private l1: DataView = new DataView(new ArrayBuffer(0))
  private readonly dirtyL1 = new Set<number>()
  /** In order of use, the oldest first. */
  private readonly tables = new Map<number, L2Table>()
  private readonly maxTables: number

  /** @param refcounts undefined: the image is open for reading */
  constructor(private readonly file: DiskFile, private readonly header: Header, private readonly refcounts: Refcounts | undefined) {
    this.clusterSize = 2 ** header.clusterBits
    this.perTable = this.clusterSize / 8
    this.maxTables = Math.max(8, Math.floor(CACHE_BYTES / this.clusterSize))
  }

  async load(): Promise<void> {
    this.l1 = await this.file.structure('L1 table', this.header.l1Offset, this.header.l1Entries * 8)
  }

  private offsetIn(entry: bigint, structure: string, at: number): number {
    const offset = Number(entry & OFFSET_MASK)
    if (offset % this.clusterSize !== 0) throw this.file.fail(structure, at, `the offset ${offset} is not that of a cluster`)
    return offset
  }

  /** The table for an L1 index; undefined where there is none. */
  async read(index: number): Promise<L2Table | undefined> {
    const known = this.tables.get(index)
    if (known) {
      this.tables.delete(index)
      this.tables.set(index, known)
      return known
    }
    const offset = this.offsetIn(this.l1.getBigUint64(index * 8), 'L1 table', this.header.l1Offset + index * 8)
    if (offset === 0) return undefined
    const table = { offset, view: await this.file.structure('L2 table', offset, this.clusterSize), dirty: false, fresh: false }
    this.keep(index, table)
    return table
  }

  private keep(index: number, table: L2Table): void {
    this.tables.set(index, table)
    this.trim(index)
  }

  /**
   * Lets go of the oldest tables that are in the file, as far as there are too many.
   * @param inUse index of one that stays: whoever asked for it is about to change it
   */
  trim(inUse?: number): void {
    for (const [key, { dirty, fresh }] of this.tables) {
      if (this.tables.size <= this.maxTables) break
      if (!dirty && !fresh && key !== inUse) this.tables.delete(key)
    }
  }

  /** So many changed tables are in memory that they should be written. */
  get isCrowded(): boolean {
    return this.tables.size > this.maxTables
  }

  /**
   * The table for an L1 index, for changing: a new one where there is none, a copy where a snapshot shares it.
   * @param onReplaced told the offset of a table that is no longer in use once the change is in the file
   */
  async change(index: number, onReplaced: (offset: number) => void): Promise<L2Table> {
    if (!this.refcounts) throw new VmmError('disk-io', `${this.file.path}: the disk is open for reading only`)
    const old = await this.read(index)
    const entry = this.l1.getBigUint64(index * 8)
    if (old && (entry & COPIED) !== 0n) {
      old.dirty = true
      return old
    }
    const view = new DataView(old ? old.view.buffer.slice(0) : new ArrayBuffer(this.clusterSize))
    // A snapshot that shares the table shares its clusters.
    if (old) for (let i = 0; i < this.perTable; i++) view.setBigUint64(i * 8, view.getBigUint64(i * 8) & ~COPIED)
    const table = { offset: await this.refcounts.allocate(), view, dirty: true, fresh: true }
    this.keep(index, table)
    this.l1.setBigUint64(index * 8, BigInt(table.offset) | COPIED)
    this.dirtyL1.add(index)
    if (old) onReplaced(old.offset)
    return table
  }

  /** True where a table is this image's alone: only then do its entries say the truth about sharing. */
  isOurs(index: number): boolean {
    return (this.l1.getBigUint64(index * 8) & COPIED) !== 0n
  }

  get isDirty(): boolean {
    if (this.dirtyL1.size > 0) return true
    for (const { dirty } of this.tables.values()) if (dirty) return true
    return false
  }

  /** Tables nothing in the file points at. */
  async writeFresh(): Promise<void> {
    for (const table of this.tables.values()) if (table.fresh) await this.writeTable(table)
  }

  /** Tables that are in use, and the L1 entries of new ones. */
  async writeChanged(): Promise<void> {
    for (const table of this.tables.values()) if (table.dirty) await this.writeTable(table)
    for (const index of this.dirtyL1) await this.file.write(this.header.l1Offset + index * 8, new Uint8Array(this.l1.buffer, index * 8, 8))
    this.dirtyL1.clear()
  }

  private async writeTable(table: L2Table): Promise<void> {
    await this.file.write(table.offset, new Uint8Array(table.view.buffer))
    table.dirty = table.fresh = false
  }
}
