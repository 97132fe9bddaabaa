/**
 * Smaller qcow2 images. One sector of the header decides: until it is written nothing of the disk has changed, from then on nothing
 * past the new end is there. What was cut off is freed behind it: a kill on the way leaves clusters that are counted and not used.
 */
import type { WriteOptions } from '../formats/common/write'
import { clusterOf } from './cluster'
import type { DiskFile } from './disk-file'
import type { Header } from './header'
import { AUTOCLEAR_AT, COPIED, OFFSET_MASK, SIZE_AT } from './layout'
import { Refcounts } from './refcounts'
import type { Extent } from './writer'

/** From the size up to the length of the L1 table; between them the encryption, of which there is none. */
const SIZE_TO_L1_BYTES = 16

export interface OpenTables { readonly file: DiskFile; readonly header: Header; readonly counts: Refcounts }

const clusterSizeOf = ({ clusterBits }: Header): number => 2 ** clusterBits
const perTableOf = (header: Header): number => clusterSizeOf(header) / 8

/** Entries of an L1 table for a disk of that size. */
export const l1EntriesFor = (header: Header, sizeBytes: number): number => Math.ceil(sizeBytes / (clusterSizeOf(header) * perTableOf(header)))

export async function openTables(file: DiskFile, header: Header): Promise<OpenTables> {
  const counts = new Refcounts(file, header)
  await counts.load()
  return { file, header, counts }
}

interface L2 { readonly index: number; readonly offset: number; readonly isOurs: boolean; readonly view: DataView }

/** @throws DiskFormatError */
async function readL2({ file, header }: OpenTables, l1: DataView, index: number): Promise<L2 | undefined> {
  const entry = l1.getBigUint64(index * 8)
  const offset = Number(entry & OFFSET_MASK)
  if (offset === 0) return undefined
  return { index, offset, isOurs: (entry & COPIED) !== 0n, view: await file.structure('L2 table', offset, clusterSizeOf(header)) }
}

/** What the entries of a table have places for, from one on. @throws DiskFormatError */
function placesOf({ file, header }: OpenTables, { offset, view }: L2, from = 0): Extent[] {
  const places: Extent[] = []
  for (let at = from * 8; at < view.byteLength; at += 8) {
    const cluster = clusterOf(view.getBigUint64(at), header.clusterBits, header.version, file, offset + at)
    if (cluster.kind === 'compressed') places.push({ offset: cluster.offset, length: Math.min(cluster.bytes, file.size - cluster.offset) })
    else if (cluster.kind !== 'none' && cluster.offset !== 0) places.push({ offset: cluster.offset, length: clusterSizeOf(header) })
  }
  return places
}

async function release({ counts }: OpenTables, places: readonly Extent[]): Promise<void> {
  for (const { offset, length } of places) await counts.release(offset, length)
  if (!counts.isCrowded) return
  await counts.write()
  counts.trim()
}

/** The table with entries on both sides of the end, and the first one past it. */
async function tableAtEnd(tables: OpenTables, sizeBytes: number): Promise<(L2 & { readonly from: number }) | undefined> {
  const { file, header } = tables
  const clusters = Math.ceil(sizeBytes / clusterSizeOf(header))
  const [index, from] = [Math.floor(clusters / perTableOf(header)), clusters % perTableOf(header)]
  if (from === 0 || index >= header.l1Entries) return undefined
  const l1 = await file.structure('L1 table', header.l1Offset, header.l1Entries * 8)
  const table = await readL2(tables, l1, index)
  return table && { ...table, from }
}

/** A table that a snapshot of the image has too stays as it is: the disk gets a copy. @returns what is free once that is in the file */
async function replaceShared({ file, header, counts }: OpenTables, { index, offset: old, view }: L2): Promise<Extent> {
  // A snapshot that shares the table shares its clusters.
  for (let at = 0; at < view.byteLength; at += 8) view.setBigUint64(at, view.getBigUint64(at) & ~COPIED)
  const offset = await counts.allocate()
  await counts.write()
  await file.write(offset, new Uint8Array(view.buffer))
  await file.sync()
  const entry = new DataView(new ArrayBuffer(8))
  entry.setBigUint64(0, BigInt(offset) | COPIED)
  await file.write(header.l1Offset + index * 8, new Uint8Array(entry.buffer))
  return { offset: old, length: clusterSizeOf(header) }
}

/**
 * Frees what the last table in use says of clusters past the end of the disk. A disk that grows must not show it.
 * @throws DiskFormatError, VmmError `disk-full`, `disk-io`: the disk is then as it was
 */
export async function freePastEnd(tables: OpenTables, sizeBytes: number): Promise<void> {
  const { file, counts } = tables
  const table = await tableAtEnd(tables, sizeBytes)
  if (!table) return
  const { from, view, offset, isOurs } = table
  const past = new Uint8Array(view.buffer, from * 8)
  if (past.every((byte) => byte === 0)) return
  const freed = placesOf(tables, table, from)
  past.fill(0)
  if (isOurs) await file.write(offset + from * 8, past)
  else freed.push(await replaceShared(tables, table))
  await file.sync()
  await release(tables, freed)
  await counts.write()
}

/** Damage is found before anything is changed. @throws DiskFormatError */
async function requireCounted({ file, header, counts }: OpenTables, places: readonly Extent[]): Promise<void> {
  const cluster = clusterSizeOf(header)
  for (const { offset, length } of places) {
    for (let at = offset - offset % cluster; at < offset + length; at += cluster) {
      if (await counts.get(at) === 0) throw file.fail('refcounts', at, 'a cluster in use is counted as free: check the image')
    }
  }
}

async function decide({ file, header }: OpenTables, sizeBytes: number, l1Entries: number): Promise<void> {
  // Bitmaps of what changed are of the old size.
  if (header.autoclear !== 0n) await file.write(AUTOCLEAR_AT, new Uint8Array(8))
  const fields = new DataView(new ArrayBuffer(SIZE_TO_L1_BYTES))
  fields.setBigUint64(0, BigInt(sizeBytes))
  fields.setUint32(12, l1Entries)
  await file.sync()
  await file.write(SIZE_AT, new Uint8Array(fields.buffer))
  await file.sync()
}

/**
 * @param sizeBytes less than the disk has @throws AbortError, DiskFormatError: the disk is as it was; VmmError `disk-io`: it is as it was, or
 *   smaller, and the image is sound
 */
export async function shrinkQcow2(file: DiskFile, header: Header, sizeBytes: number, { signal, onProgress }: WriteOptions): Promise<void> {
  const tables = await openTables(file, header)
  const cluster = clusterSizeOf(header)
  const l1 = await file.structure('L1 table', header.l1Offset, header.l1Entries * 8)
  const kept = l1EntriesFor(header, sizeBytes)
  const total = 2 * header.l1Entries - kept
  let done = 0
  const each = async (from: number, work: (table: L2) => Promise<void>): Promise<void> => {
    for (let index = from; index < header.l1Entries; index++) {
      const table = await readL2(tables, l1, index)
      if (table) await work(table)
      onProgress?.(++done, total)
    }
  }
  const own = ({ offset }: L2): Extent => ({ offset, length: cluster })
  const atEnd = await tableAtEnd(tables, sizeBytes)
  await each(0, async (table) => {
    signal?.throwIfAborted()
    const places = placesOf(tables, table)
    if (table.index >= kept) await requireCounted(tables, [own(table), ...places])
  })
  if (atEnd) await requireCounted(tables, placesOf(tables, atEnd, atEnd.from))
  signal?.throwIfAborted()
  await decide(tables, sizeBytes, kept)
  await freePastEnd({ ...tables, header: { ...header, l1Entries: kept } }, sizeBytes)
  await each(kept, (table) => release(tables, [...placesOf(tables, table), own(table)]))
  const [used, had] = [kept, header.l1Entries].map((entries) => Math.ceil(entries * 8 / cluster))
  if (had > used) await release(tables, [{ offset: header.l1Offset + used * cluster, length: (had - used) * cluster }])
  await tables.counts.write()
}
