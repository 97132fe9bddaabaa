/** A sparse extent: a directory of tables of grains; grains may be compressed (stream-optimised). */
import { inflate } from 'node:zlib'
import { promisify } from 'node:util'
import { isPowerOfTwo, type Piece } from '../common/foreign-image'
import { type ImageFile, u64 } from '../common/image-file'
import { PagedTable } from '../common/paged-table'
import {
  COMPRESSION_DEFLATE, DIRECTORY_AT_END, FLAG, GRAIN_FREE, GRAIN_MARKER_BYTES, GRAIN_ZERO, MAGIC, MAGIC_COWD, MAGIC_SESPARSE, NEWLINES, SECTOR,
} from './layout'

const HEADER = 'VMDK header'
const inflateAsync = promisify<Uint8Array, { maxOutputLength: number }, Buffer>(inflate)
/** Of the directory: a 64 TiB disk has 2 million tables of 32 MiB. */
const MAX_TABLES = 1 << 22
/** Tables of which some entries are kept in memory. */
const TABLES_KEPT = 32

export interface SparseHeader {
  readonly capacitySectors: number
  readonly grainSectors: number
  readonly entriesPerTable: number
  readonly flags: number
  readonly directorySector: number
  readonly descriptorSector: number
  readonly descriptorSectors: number
}

function checkMagic(file: ImageFile, magic: number, at: number): void {
  if (magic === MAGIC) return
  if (magic === MAGIC_COWD) throw file.fail(HEADER, at, 'it is a VMFS sparse disk (COWD) of an ESX server, which is not supported')
  if (magic === MAGIC_SESPARSE) throw file.fail(HEADER, at, 'it is an SE sparse disk of an ESX server, which is not supported')
  throw file.fail(HEADER, at, 'it has not the signature of a VMDK')
}

function checkHeader(file: ImageFile, view: DataView, at: number): void {
  const fail = (field: number, why: string): Error => file.fail(HEADER, at + field, why)
  const version = view.getUint32(4, true)
  if (version < 1 || version > 3) throw fail(4, `version ${version} is not supported, only 1 to 3`)
  const flags = view.getUint32(8, true)
  if (flags & FLAG.newlines && NEWLINES.some((byte, i) => view.getUint8(73 + i) !== byte)) {
    throw fail(73, 'its line ends were changed: it was transferred as text, and its data is damaged')
  }
  const compression = view.getUint16(77, true)
  if (flags & FLAG.compressed && compression !== COMPRESSION_DEFLATE) throw fail(77, `compression ${compression} is unknown`)
  if (flags & FLAG.compressed && !(flags & FLAG.markers)) throw fail(8, 'its grains are compressed and have no markers, which is not supported')
}

async function headerAt(file: ImageFile, at: number): Promise<{ header: Omit<SparseHeader, 'directorySector'>; directory: bigint }> {
  const view = await file.bytes(HEADER, at, SECTOR)
  checkMagic(file, view.getUint32(0, true), at)
  checkHeader(file, view, at)
  const header = {
    capacitySectors: u64(file, HEADER, view, 12, true), grainSectors: u64(file, HEADER, view, 20, true), entriesPerTable: view.getUint32(44, true),
    flags: view.getUint32(8, true), descriptorSector: u64(file, HEADER, view, 28, true), descriptorSectors: u64(file, HEADER, view, 36, true),
  }
  if (!isPowerOfTwo(header.grainSectors) || header.grainSectors > 4096) throw file.fail(HEADER, at + 20, `a grain of ${header.grainSectors} sectors is not possible`)
  if (!isPowerOfTwo(header.entriesPerTable) || header.entriesPerTable > 1 << 16) throw file.fail(HEADER, at + 44, `${header.entriesPerTable} entries in a table are not possible`)
  if (header.capacitySectors > 2 ** 37) throw file.fail(HEADER, at + 12, `${header.capacitySectors} sectors are more than any disk has`)
  return { header, directory: view.getBigUint64(56, true) }
}

/** @throws DiskFormatError */
export async function readSparseHeader(file: ImageFile): Promise<SparseHeader> {
  let { header, directory } = await headerAt(file, 0)
  if (directory === DIRECTORY_AT_END) {
    // The last sector marks the end of the stream, the one before is a copy of the header that knows where the directory is.
    const footerAt = file.size - 2 * SECTOR
    if (footerAt < SECTOR || file.size % SECTOR !== 0) throw file.fail('VMDK footer', Math.max(0, footerAt), 'the file is cut off')
    ;({ header, directory } = await headerAt(file, footerAt))
    if (directory === DIRECTORY_AT_END) throw file.fail('VMDK footer', footerAt + 56, 'it does not say where the grain directory is')
  }
  const directorySector = Number(directory)
  file.checkRange('VMDK grain directory', directorySector * SECTOR, 4)
  return { ...header, directorySector }
}

export class SparseExtent {
  private readonly directory: PagedTable
  private readonly tables = new Map<number, PagedTable>()
  private readonly grainBytes: number
  private unpacked: { readonly at: number; readonly bytes: Uint8Array } | undefined

  constructor(private readonly file: ImageFile, readonly header: SparseHeader) {
    this.grainBytes = header.grainSectors * SECTOR
    const tables = Math.ceil(header.capacitySectors / (header.grainSectors * header.entriesPerTable))
    if (tables > MAX_TABLES) throw file.fail(HEADER, 12, `${tables} grain tables are more than are supported`)
    this.directory = new PagedTable(file, 'VMDK grain directory', header.directorySector * SECTOR, tables, 4, true)
  }

  private table(index: number, sector: number): PagedTable {
    const known = this.tables.get(index)
    if (known) return known
    const table = new PagedTable(this.file, 'VMDK grain table', sector * SECTOR, this.header.entriesPerTable, 4, true)
    const oldest = this.tables.keys().next()
    if (this.tables.size >= TABLES_KEPT && !oldest.done) this.tables.delete(oldest.value)
    this.tables.set(index, table)
    return table
  }

  /** @param offset in bytes within the extent */
  async locate(offset: number): Promise<Piece> {
    const { entriesPerTable, flags } = this.header
    const grain = Math.floor(offset / this.grainBytes)
    const within = offset % this.grainBytes
    const index = Math.floor(grain / entriesPerTable)
    const tableSector = await this.directory.u32(index)
    if (tableSector === 0) {
      const tableBytes = this.grainBytes * entriesPerTable
      return { kind: 'zero', length: tableBytes - (offset % tableBytes) }
    }
    const length = this.grainBytes - within
    const table = this.table(index, tableSector)
    const sector = await table.u32(grain % entriesPerTable)
    if (sector === GRAIN_FREE || (sector === GRAIN_ZERO && flags & FLAG.zeroGrains)) return { kind: 'zero', length }
    const at = sector * SECTOR
    if (at >= this.file.size) throw this.file.fail('VMDK grain table', table.offsetOf(grain % entriesPerTable), `grain ${grain} is said to be at byte ${at}, past the end of the file`)
    if (!(flags & FLAG.compressed)) return { kind: 'data', length, file: this.file, at: at + within }
    return { kind: 'packed', length, load: async () => (await this.unpack(at, grain)).subarray(within) }
  }

  private async unpack(at: number, grain: number): Promise<Uint8Array> {
    if (this.unpacked?.at === at) return this.unpacked.bytes
    const marker = await this.file.bytes('VMDK grain', at, GRAIN_MARKER_BYTES)
    const first = marker.getBigUint64(0, true)
    const packedBytes = marker.getUint32(8, true)
    if (first !== BigInt(grain * this.header.grainSectors)) throw this.file.fail('VMDK grain', at, `it says that it begins at sector ${first}, but is grain ${grain}`)
    // Data that cannot be compressed grows by a few bytes only.
    if (packedBytes === 0 || packedBytes > 2 * this.grainBytes) throw this.file.fail('VMDK grain', at + 8, `a length of ${packedBytes} bytes is not possible`)
    const packed = await this.file.bytes('VMDK grain', at + GRAIN_MARKER_BYTES, packedBytes)
    const bytes = await inflateAsync(new Uint8Array(packed.buffer), { maxOutputLength: this.grainBytes }).catch((error: Error) => {
      throw this.file.fail('VMDK grain', at, `it cannot be decompressed: ${error.message}`)
    })
    // The last grain may be shorter than the others; the disk ends within it.
    const whole = bytes.length === this.grainBytes ? bytes : new Uint8Array(this.grainBytes)
    if (whole !== bytes) whole.set(bytes)
    this.unpacked = { at, bytes: whole }
    return whole
  }
}
