/**
 * Refcounts and allocation of clusters. Counts are kept in memory and written by `write`, which the image calls before it
 * writes tables that point at new clusters: a kill then leaves clusters that nothing uses, never one that is used twice.
 */
import { VmmError } from '../../../vmm/errors'
import { countsPerBlock, getCount, setCount } from './counts'
import type { DiskFile } from './disk-file'
import type { Header } from './header'
import { MAX_REFCOUNT_TABLE_BYTES } from './layout'

interface Block { readonly offset: number; readonly view: DataView; dirty: boolean }

/** Blocks kept, in bytes. */
const CACHE_BYTES = 8 << 20
/** Of the refcount table: its offset (64 bits), then its length in clusters (32 bits), in one sector. */
const TABLE_FIELDS_AT = 48

export class Refcounts {
  private readonly clusterSize: number
  private readonly order: number
  private readonly perBlock: number
  private readonly blocks = new Map<number, Block>()
  private table: DataView = new DataView(new ArrayBuffer(0))
  private tableDirty = false
  private tableOffset: number
  /** Earlier tables that the file's header may name still. */
  private readonly outgrown: { readonly offset: number; readonly length: number }[] = []
  /** No cluster below is free. */
  private hint = 0

  /** @param cacheBytes blocks kept in memory, where none of them waits to be written */
  constructor(private readonly file: DiskFile, private readonly header: Header, private readonly cacheBytes = CACHE_BYTES) {
    this.clusterSize = 2 ** header.clusterBits
    this.tableOffset = header.refcountTableOffset
    this.order = header.refcountOrder
    this.perBlock = countsPerBlock(this.clusterSize, this.order)
  }

  /** @throws DiskFormatError */
  async load(): Promise<void> {
    const { file, header } = this
    this.table = await file.structure('refcount table', header.refcountTableOffset, header.refcountTableClusters * this.clusterSize)
  }

  private async block(index: number): Promise<Block | undefined> {
    const known = this.blocks.get(index)
    if (known) return known
    const offset = Number(this.table.getBigUint64(index * 8))
    if (offset === 0) return undefined
    if (offset % this.clusterSize !== 0) throw this.file.fail('refcount table', this.tableOffset + index * 8, `the block at ${offset} does not begin at a cluster`)
    const made = { offset, view: await this.file.structure('refcount block', offset, this.clusterSize), dirty: false }
    this.blocks.set(index, made)
    this.trim(index)
    return made
  }

  private get tableEntries(): number {
    return this.table.byteLength / 8
  }

  /** The block that counts a cluster, made where there is none: it then counts itself, in that very cluster. */
  private async blockFor(cluster: number): Promise<Block> {
    const index = Math.floor(cluster / this.perBlock)
    if (index >= this.tableEntries) this.growTable(index)
    const found = await this.block(index)
    if (found) return found
    const made = { offset: cluster * this.clusterSize, view: new DataView(new ArrayBuffer(this.clusterSize)), dirty: true }
    setCount(made.view, this.order, cluster % this.perBlock, 1)
    this.blocks.set(index, made)
    this.table.setBigUint64(index * 8, BigInt(made.offset))
    this.tableDirty = true
    return made
  }

  /**
   * A larger table, in the first clusters that the old one cannot count (so nothing is there), behind the blocks that count
   * both. The file's header names it after the next `write`.
   */
  private growTable(index: number): void {
    const { clusterSize, perBlock, tableEntries: oldEntries } = this
    const first = oldEntries * perBlock
    let tableClusters = Math.ceil(Math.max(oldEntries * 1.5, index + 1) * 8 / clusterSize)
    let blocks = 1
    const entries = (): number => tableClusters * clusterSize / 8
    for (;;) {
      if (blocks * perBlock < tableClusters + blocks) blocks++
      else if (entries() < oldEntries + blocks) tableClusters++
      else break
    }
    if (tableClusters * clusterSize > MAX_REFCOUNT_TABLE_BYTES) {
      throw new VmmError('disk-io', `${this.file.path}: the image cannot grow past ${first * clusterSize} bytes, the most that clusters of ${clusterSize} bytes allow; convert it with larger clusters`)
    }
    const table = new DataView(new ArrayBuffer(tableClusters * clusterSize))
    new Uint8Array(table.buffer).set(new Uint8Array(this.table.buffer))
    for (let b = 0; b < blocks; b++) {
      const view = new DataView(new ArrayBuffer(clusterSize))
      const used = Math.min(perBlock, blocks + tableClusters - b * perBlock)
      for (let i = 0; i < used; i++) setCount(view, this.order, i, 1)
      const offset = (first + b) * clusterSize
      this.blocks.set(oldEntries + b, { offset, view, dirty: true })
      table.setBigUint64((oldEntries + b) * 8, BigInt(offset))
    }
    this.outgrown.push({ offset: this.tableOffset, length: this.table.byteLength })
    this.table = table
    this.tableOffset = (first + blocks) * clusterSize
    this.tableDirty = true
  }

  async get(offset: number): Promise<number> {
    const cluster = Math.floor(offset / this.clusterSize)
    const index = Math.floor(cluster / this.perBlock)
    const block = index < this.tableEntries ? await this.block(index) : undefined
    return block ? getCount(block.view, this.order, cluster % this.perBlock) : 0
  }

  /** Byte offset of a cluster that nothing uses, now counted once. */
  async allocate(): Promise<number> {
    for (let cluster = this.hint; ; cluster++) {
      const block = await this.blockFor(cluster)
      if (getCount(block.view, this.order, cluster % this.perBlock) !== 0) continue
      setCount(block.view, this.order, cluster % this.perBlock, 1)
      block.dirty = true
      this.hint = cluster + 1
      return cluster * this.clusterSize
    }
  }

  /**
   * As `allocate`, several in a row, behind everything in the file. Blocks that are missing for them lie before them: a block within would
   * end a run, and none longer than what a block counts could be had.
   */
  async allocateRun(count: number): Promise<number> {
    let first = Math.ceil(this.file.size / this.clusterSize)
    let missing = await this.missingFor(first, count)
    for (let used = await this.lastUsed(first, missing.length + count); used !== undefined; used = await this.lastUsed(first, missing.length + count)) {
      first = used + 1
      missing = await this.missingFor(first, count)
    }
    missing.forEach((index, i) => {
      this.blocks.set(index, { offset: (first + i) * this.clusterSize, view: new DataView(new ArrayBuffer(this.clusterSize)), dirty: true })
      this.table.setBigUint64(index * 8, BigInt((first + i) * this.clusterSize))
      this.tableDirty = true
    })
    for (let cluster = first; cluster < first + missing.length + count; cluster++) {
      const block = await this.blockFor(cluster)
      setCount(block.view, this.order, cluster % this.perBlock, 1)
      block.dirty = true
    }
    return (first + missing.length) * this.clusterSize
  }

  /** Blocks that are not there yet, of those that count so many clusters and these blocks themselves. @returns their places in the table */
  private async missingFor(first: number, count: number): Promise<number[]> {
    const missing: number[] = []
    for (let index = Math.floor(first / this.perBlock); index * this.perBlock < first + missing.length + count; index++) {
      if (index >= this.tableEntries) this.growTable(index)
      if (!(await this.block(index))) missing.push(index)
    }
    return missing
  }

  /** The last cluster of a range that is counted. */
  private async lastUsed(first: number, count: number): Promise<number | undefined> {
    for (let cluster = first + count - 1; cluster >= first; cluster--) if (await this.get(cluster * this.clusterSize) !== 0) return cluster
    return undefined
  }

  /** One use less of every cluster in the range. @throws DiskFormatError where one was not in use: the image is damaged */
  async release(offset: number, length: number): Promise<void> {
    const last = Math.floor((offset + length - 1) / this.clusterSize)
    for (let cluster = Math.floor(offset / this.clusterSize); cluster <= last; cluster++) {
      const block = await this.block(Math.floor(cluster / this.perBlock))
      const count = block ? getCount(block.view, this.order, cluster % this.perBlock) : 0
      if (!block || count === 0) throw this.file.fail('refcounts', cluster * this.clusterSize, 'a cluster in use is counted as free: check the image')
      setCount(block.view, this.order, cluster % this.perBlock, count - 1)
      block.dirty = true
      if (count === 1) this.hint = Math.min(this.hint, cluster)
    }
  }

  private get maxBlocks(): number {
    return Math.max(8, this.cacheBytes / this.clusterSize)
  }

  /** So many changed blocks are in memory that they should be written. */
  get isCrowded(): boolean {
    return this.blocks.size > this.maxBlocks
  }

  /**
   * Lets go of the oldest blocks that are in the file, as far as there are too many.
   * @param inUse index of one that stays: whoever asked for it is about to change it
   */
  trim(inUse?: number): void {
    for (const [index, { dirty }] of this.blocks) {
      if (this.blocks.size <= this.maxBlocks) break
      if (!dirty && index !== inUse) this.blocks.delete(index)
    }
  }

  get isDirty(): boolean {
    if (this.tableDirty) return true
    for (const { dirty } of this.blocks.values()) if (dirty) return true
    return false
  }

  /** Blocks first, and a barrier behind them: the table must never point at one that is not there, not after a power cut either. */
  async write(): Promise<void> {
    for (const block of this.blocks.values()) {
      if (!block.dirty) continue
      await this.file.write(block.offset, new Uint8Array(block.view.buffer))
      block.dirty = false
    }
    if (!this.tableDirty) return
    await this.file.sync()
    await this.file.write(this.tableOffset, new Uint8Array(this.table.buffer))
    if (this.outgrown.length > 0) await this.moveTable()
    this.tableDirty = false
  }

  /** The header changes at once and when the new table is on stable storage; the old one is free when the header is. */
  private async moveTable(): Promise<void> {
    const { file, tableOffset, table, clusterSize, outgrown } = this
    await file.sync()
    const fields = new DataView(new ArrayBuffer(12))
    fields.setBigUint64(0, BigInt(tableOffset))
    fields.setUint32(8, table.byteLength / clusterSize)
    await file.write(TABLE_FIELDS_AT, new Uint8Array(fields.buffer))
    await file.sync()
    for (const { offset, length } of outgrown.splice(0)) await this.release(offset, length)
  }
}
