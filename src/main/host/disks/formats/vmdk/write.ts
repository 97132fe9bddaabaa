/**
 * Writes stream-optimised VMDK images, the form that OVA files hold: compressed grains, each table of grains after them, at the end
 * the directory, a footer that knows where it is, and an end mark.
 */
import { randomBytes } from 'node:crypto'
import { promisify } from 'node:util'
import { deflate } from 'node:zlib'
import { forEachBlock, isZero, writeImage, type DiskSource, type OutputFile, type WriteOptions } from '../common/write'
import { COMPRESSION_DEFLATE, DIRECTORY_AT_END, FLAG, GRAIN_MARKER_BYTES, MAGIC, MARKER, NEWLINES, SECTOR } from './layout'

const deflateAsync = promisify<Uint8Array, Buffer>(deflate)
const GRAIN_SECTORS = 128
const GRAIN_BYTES = GRAIN_SECTORS * SECTOR
const TABLE_ENTRIES = 512
/** All that one table is for. */
const TABLE_SPAN = TABLE_ENTRIES * GRAIN_BYTES
/** Read at once; its grains are compressed side by side. */
const BATCH_BYTES = 32 * GRAIN_BYTES
const DESCRIPTOR_SECTOR = 1
const DESCRIPTOR_SECTORS = 20
/** Sectors before the first grain. */
const OVERHEAD = 128
/** VMware's limit for hosted disks. */
const MAX_VMDK_BYTES = 62 * 2 ** 40

function header(sizeBytes: number, directory: bigint): Uint8Array {
  const bytes = new Uint8Array(SECTOR)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, MAGIC, true)
  view.setUint32(4, 3, true)
  view.setUint32(8, FLAG.newlines | FLAG.compressed | FLAG.markers, true)
  view.setBigUint64(12, BigInt(sizeBytes / SECTOR), true)
  view.setBigUint64(20, BigInt(GRAIN_SECTORS), true)
  view.setBigUint64(28, BigInt(DESCRIPTOR_SECTOR), true)
  view.setBigUint64(36, BigInt(DESCRIPTOR_SECTORS), true)
  view.setUint32(44, TABLE_ENTRIES, true)
  view.setBigUint64(56, directory, true)
  view.setBigUint64(64, BigInt(OVERHEAD), true)
  bytes.set(NEWLINES, 73)
  view.setUint16(77, COMPRESSION_DEFLATE, true)
  return bytes
}

function descriptor(sizeBytes: number, fileName: string): Uint8Array {
  const sectors = sizeBytes / SECTOR
  // Geometry as of a SCSI disk: readers want one, and guests do not see it.
  const cylinders = Math.min(65535, Math.max(1, Math.floor(sectors / (255 * 63))))
  const text = [
    '# Disk DescriptorFile', 'version=1', 'encoding="UTF-8"', `CID=${contentId()}`,
    'parentCID=ffffffff', 'createType="streamOptimized"', '', '# Extent description', `RW ${sectors} SPARSE "${fileName}"`, '',
    '# The Disk Data Base', '#DDB', '', 'ddb.virtualHWVersion = "4"', `ddb.geometry.cylinders = "${cylinders}"`, 'ddb.geometry.heads = "255"',
    'ddb.geometry.sectors = "63"', 'ddb.adapterType = "lsilogic"', '',
  ].join('\n')
  const bytes = new Uint8Array(DESCRIPTOR_SECTORS * SECTOR)
  bytes.set(Buffer.from(text, 'utf8'))
  return bytes
}

/** Random; `ffffffff` means none. */
function contentId(): string {
  return Math.min(randomBytes(4).readUInt32LE(), 0xffff_fffe).toString(16).padStart(8, '0')
}

/** Tells what the following sectors are. */
function marker(sectors: number, type: number): Uint8Array {
  const bytes = new Uint8Array(SECTOR)
  const view = new DataView(bytes.buffer)
  view.setBigUint64(0, BigInt(sectors), true)
  view.setUint32(12, type, true)
  return bytes
}

function u32Table(values: Uint32Array): Uint8Array {
  const view = new DataView(new ArrayBuffer(Math.ceil((values.length * 4) / SECTOR) * SECTOR))
  values.forEach((value, i) => view.setUint32(i * 4, value, true))
  return new Uint8Array(view.buffer)
}

async function packGrain(firstSector: number, grain: Uint8Array): Promise<Uint8Array> {
  const packed = await deflateAsync(grain)
  const bytes = new Uint8Array(Math.ceil((GRAIN_MARKER_BYTES + packed.length) / SECTOR) * SECTOR)
  const view = new DataView(bytes.buffer)
  view.setBigUint64(0, BigInt(firstSector), true)
  view.setUint32(8, packed.length, true)
  bytes.set(packed, GRAIN_MARKER_BYTES)
  return bytes
}

/** Follows the grains with their tables as soon as a table is complete. */
class TableWriter {
  readonly directory: Uint32Array
  private table = new Uint32Array(TABLE_ENTRIES)
  private current = 0
  private used = false

  constructor(private readonly out: OutputFile, sizeBytes: number) {
    this.directory = new Uint32Array(Math.ceil(sizeBytes / TABLE_SPAN))
  }

  async add(grain: number, bytes: Uint8Array): Promise<void> {
    const index = Math.floor(grain / TABLE_ENTRIES)
    if (index !== this.current) {
      await this.end()
      this.current = index
    }
    const sector = this.out.position / SECTOR
    if (sector > 0xffff_ffff) throw new RangeError('the disk does not fit into a stream-optimised VMDK: its compressed data passes 2 TiB')
    this.table[grain % TABLE_ENTRIES] = sector
    this.used = true
    await this.out.append(bytes)
  }

  async end(): Promise<void> {
    if (!this.used) return
    const bytes = u32Table(this.table)
    await this.out.append(marker(bytes.length / SECTOR, MARKER.table))
    this.directory[this.current] = this.out.position / SECTOR
    await this.out.append(bytes)
    this.table = new Uint32Array(TABLE_ENTRIES)
    this.used = false
  }
}

/**
 * @param path of a new file @param fileName name that the file will have, written into it
 * @throws system errors; AbortError; RangeError where the disk is too large for the format
 */
export async function writeVmdk(source: DiskSource, path: string, fileName: string, options: WriteOptions = {}): Promise<void> {
  if (source.sizeBytes > MAX_VMDK_BYTES) throw new RangeError('the disk is too large for a stream-optimised VMDK, which holds up to 62 TiB')
  await writeImage(path, async (out) => {
    await out.append(header(source.sizeBytes, DIRECTORY_AT_END))
    await out.append(descriptor(source.sizeBytes, fileName))
    out.position = OVERHEAD * SECTOR
    const tables = new TableWriter(out, source.sizeBytes)
    await forEachBlock(source, BATCH_BYTES, options, async (batch, bytes) => {
      const first = batch * (BATCH_BYTES / GRAIN_BYTES)
      const grains = Array.from({ length: BATCH_BYTES / GRAIN_BYTES }, (_, i) => bytes.subarray(i * GRAIN_BYTES, (i + 1) * GRAIN_BYTES))
      const packed = await Promise.all(grains.map((grain, i) => (isZero(grain) ? undefined : packGrain((first + i) * GRAIN_SECTORS, grain))))
      for (const [i, grain] of packed.entries()) if (grain) await tables.add(first + i, grain)
    })
    await tables.end()
    const directory = u32Table(tables.directory)
    await out.append(marker(directory.length / SECTOR, MARKER.directory))
    const directorySector = BigInt(out.position / SECTOR)
    await out.append(directory)
    await out.append(marker(1, MARKER.footer))
    await out.append(header(source.sizeBytes, directorySector))
    await out.append(marker(0, MARKER.endOfStream))
  })
}
