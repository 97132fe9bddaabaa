/**
 * Rebuilds refcounts from what the tables use. For images whose dirty bit is set: a program with lazy refcounts was killed, and
 * its tables are right where its counts are not. The bit goes last, so that a kill in between leaves it set.
 */
import { VmmError } from '../../../vmm/errors'
import { withDiskLock } from '../lock'
import { countsPerBlock, getCount, maxCount, setCount } from './counts'
import { DiskFile } from './disk-file'
import { readHeader, type Header } from './header'
import { COMPRESSED, COPIED, Incompatible, OFFSET_MASK } from './layout'
import { countUses, type Uses, type WalkOptions } from './uses'

const INCOMPATIBLE_AT = 72

export interface Repaired {
  /** Clusters that were counted more often than they are used. */
  readonly leaks: number
  /** Clusters that were counted less often, and entries that were wrong about being alone. */
  readonly errors: number
}

/** Offsets of the refcount blocks; every cluster in use gets one, if need be at the end of the file. */
class Blocks {
  private readonly perBlock: number
  private readonly made = new Set<number>()

  constructor(private readonly file: DiskFile, private readonly header: Header, private readonly table: DataView, private readonly uses: Uses) {
    this.perBlock = countsPerBlock(2 ** header.clusterBits, header.refcountOrder)
  }

  private isUsed(block: number): boolean {
    const end = Math.min(this.uses.length, (block + 1) * this.perBlock)
    for (let cluster = block * this.perBlock; cluster < end; cluster++) if (this.uses.of(cluster) > 0) return true
    return false
  }

  /** @throws VmmError `unsupported` where the refcount table has no room */
  complete(): void {
    const clusterSize = 2 ** this.header.clusterBits
    for (let block = 0; block * this.perBlock < this.uses.length; block++) {
      if (block * 8 >= this.table.byteLength) throw new VmmError('unsupported', `${this.file.path}: the refcount table is too short; repair the image with "qemu-img check -r all"`, { path: this.file.path })
      if (this.table.getBigUint64(block * 8) !== 0n || !this.isUsed(block)) continue
      const offset = this.uses.append() * clusterSize
      this.table.setBigUint64(block * 8, BigInt(offset))
      this.made.add(offset)
    }
  }

  async write(): Promise<Repaired> {
    const { file, header: { refcountOrder: order, clusterBits, refcountTableOffset }, uses } = this
    let leaks = 0
    let errors = 0
    for (let block = 0; block * 8 < this.table.byteLength; block++) {
      const offset = Number(this.table.getBigUint64(block * 8) & OFFSET_MASK)
      if (offset === 0) continue
      const isNew = this.made.has(offset)
      const view = isNew ? new DataView(new ArrayBuffer(2 ** clusterBits)) : await file.structure('refcount block', offset, 2 ** clusterBits)
      let dirty = isNew
      for (let i = 0; i < this.perBlock; i++) {
        const is = getCount(view, order, i)
        const should = uses.of(block * this.perBlock + i)
        if (is === should) continue
        if (should > maxCount(order)) throw file.fail('refcount block', offset, `a cluster is used ${should} times, which ${2 ** order} bits cannot count`)
        if (is > should) leaks++
        else errors++
        setCount(view, order, i, should)
        dirty = true
      }
      if (dirty) await file.write(offset, new Uint8Array(view.buffer))
    }
    if (this.made.size > 0) {
      await file.sync()
      await file.write(refcountTableOffset, new Uint8Array(this.table.buffer))
    }
    return { leaks, errors }
  }
}

/** Entries say of their target whether it is used once. @returns how many did not tell the truth */
async function repairEntries(file: DiskFile, offset: number, length: number, clusterBits: number, uses: Uses): Promise<number> {
  const view = await file.structure('table', offset, length)
  let wrong = 0
  for (let at = 0; at < length; at += 8) {
    const entry = view.getBigUint64(at)
    if ((entry & COMPRESSED) !== 0n || (entry & OFFSET_MASK) === 0n) continue
    const alone = uses.of(Number(entry & OFFSET_MASK) / 2 ** clusterBits) === 1
    if (alone === ((entry & COPIED) !== 0n)) continue
    view.setBigUint64(at, alone ? entry | COPIED : entry & ~COPIED)
    wrong++
  }
  if (wrong > 0) await file.write(offset, new Uint8Array(view.buffer))
  return wrong
}

/**
 * Makes the counts of an image right, and takes its dirty bit away.
 * @throws DiskFormatError where tables are damaged: then nothing was written; AbortError; VmmError `disk-io`, `unsupported`
 */
export async function repairRefcounts(file: DiskFile, header: Header, options: WalkOptions = {}): Promise<Repaired> {
  const uses = await countUses(file, header, options)
  const clusterSize = 2 ** header.clusterBits
  const table = await file.structure('refcount table', header.refcountTableOffset, header.refcountTableClusters * clusterSize)
  const l1 = await file.structure('L1 table', header.l1Offset, header.l1Entries * 8)
  const blocks = new Blocks(file, header, table, uses)
  blocks.complete()
  const counts = await blocks.write()
  let wrong = await repairEntries(file, header.l1Offset, l1.byteLength, header.clusterBits, uses)
  for (let i = 0; i < header.l1Entries; i++) {
    const l2 = Number(l1.getBigUint64(i * 8) & OFFSET_MASK)
    if (l2 !== 0) wrong += await repairEntries(file, l2, clusterSize, header.clusterBits, uses)
  }
  await file.sync()
  if ((header.incompatible & Incompatible.DIRTY) !== 0n) {
    const bits = new DataView(new ArrayBuffer(8))
    bits.setBigUint64(0, header.incompatible & ~Incompatible.DIRTY)
    await file.write(INCOMPATIBLE_AT, new Uint8Array(bits.buffer))
    await file.sync()
  }
  return { leaks: counts.leaks, errors: counts.errors + wrong }
}

/**
 * Makes the counts of an image right: errors and wasted clusters.
 * @throws DiskFormatError where its tables are damaged or it is marked as corrupt: then nothing was written; AbortError
 */
export function repairQcow2(path: string, options: WalkOptions = {}): Promise<Repaired> {
  return withDiskLock(path, () => repairLocked(path, options))
}

async function repairLocked(path: string, options: WalkOptions): Promise<Repaired> {
  const file = await DiskFile.open(path, false)
  try {
    const header = await readHeader(file)
    if ((header.incompatible & Incompatible.CORRUPT) !== 0n) throw file.fail('header', 72, 'the image is marked as corrupt: repair it with "qemu-img check -r all"')
    return await repairRefcounts(file, header, options)
  } finally {
    await file.close()
  }
}
