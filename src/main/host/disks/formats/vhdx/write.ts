/** Writes dynamic VHDX images: headers, an empty log, metadata and block table, each on its own megabyte, then the blocks. */
import { randomUUID } from 'node:crypto'
import { MAX_DISK_BYTES } from '../common/foreign-image'
import { forEachBlock, writeImage, type DiskSource, type WriteOptions } from '../common/write'
import { crc32c } from './crc32c'
import {
  BLOCK, CHECKSUM_AT, chunkRatio, ENTRY_BYTES, FILE_SIGNATURE, GUID, HEADER_BYTES, HEADER_OFFSETS, META, METADATA_BYTES, MIB, putGuid, REGION_BYTES,
  REGION_ENTRIES_AT, REGION_OFFSETS,
} from './layout'

const LOG_OFFSET = MIB
const LOG_BYTES = MIB
const METADATA_OFFSET = 2 * MIB
const METADATA_REGION_BYTES = MIB
const BAT_OFFSET = 3 * MIB
const SECTOR = 512

const ascii = (text: string): Uint8Array => Buffer.from(text, 'latin1')
const roundUp = (value: number, to: number): number => Math.ceil(value / to) * to

/** Small blocks store less of a sparse disk; large ones keep the table of a large disk small. */
function blockBytesFor(sizeBytes: number): number {
  if (sizeBytes <= 128 * 2 ** 30) return MIB
  return sizeBytes <= 2 ** 40 ? 8 * MIB : 32 * MIB
}

function signed(bytes: Uint8Array): Uint8Array {
  new DataView(bytes.buffer).setUint32(CHECKSUM_AT, crc32c(bytes, CHECKSUM_AT), true)
  return bytes
}

function fileIdentifier(): Uint8Array {
  const bytes = new Uint8Array(8 + 512)
  bytes.set(ascii(FILE_SIGNATURE))
  bytes.set(Buffer.from('Nestbox', 'utf16le'), 8)
  return bytes
}

function header(sequence: number, fileWriteGuid: string, dataWriteGuid: string): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES)
  const view = new DataView(bytes.buffer)
  bytes.set(ascii('head'))
  view.setBigUint64(8, BigInt(sequence), true)
  putGuid(view, 16, fileWriteGuid)
  putGuid(view, 32, dataWriteGuid)
  view.setUint16(66, 1, true)
  view.setUint32(68, LOG_BYTES, true)
  view.setBigUint64(72, BigInt(LOG_OFFSET), true)
  return signed(bytes)
}

function regionTable(batBytes: number): Uint8Array {
  const bytes = new Uint8Array(REGION_BYTES)
  const view = new DataView(bytes.buffer)
  bytes.set(ascii('regi'))
  const regions: [string, number, number][] = [[GUID.bat, BAT_OFFSET, batBytes], [GUID.metadata, METADATA_OFFSET, METADATA_REGION_BYTES]]
  view.setUint32(8, regions.length, true)
  regions.forEach(([guid, offset, length], i) => {
    const at = REGION_ENTRIES_AT + i * ENTRY_BYTES
    putGuid(view, at, guid)
    view.setBigUint64(at + 16, BigInt(offset), true)
    view.setUint32(at + 24, length, true)
    view.setUint32(at + 28, 1, true)
  })
  return signed(bytes)
}

function metadata(sizeBytes: number, blockBytes: number): Uint8Array {
  const bytes = new Uint8Array(METADATA_BYTES + 4096)
  const view = new DataView(bytes.buffer)
  const { required, virtualDisk } = META
  const items: [string, number, number, (at: number) => void][] = [
    [GUID.fileParameters, 8, required, (at) => view.setUint32(at, blockBytes, true)],
    [GUID.diskSize, 8, required | virtualDisk, (at) => view.setBigUint64(at, BigInt(sizeBytes), true)],
    [GUID.diskId, 16, required | virtualDisk, (at) => putGuid(view, at, randomUUID())],
    [GUID.logicalSector, 4, required | virtualDisk, (at) => view.setUint32(at, SECTOR, true)],
    [GUID.physicalSector, 4, required | virtualDisk, (at) => view.setUint32(at, 4096, true)],
  ]
  bytes.set(ascii('metadata'))
  view.setUint16(10, items.length, true)
  let value = METADATA_BYTES
  items.forEach(([guid, length, flags, put], i) => {
    const at = (i + 1) * ENTRY_BYTES
    putGuid(view, at, guid)
    view.setUint32(at + 16, value, true)
    view.setUint32(at + 20, length, true)
    view.setUint32(at + 24, flags, true)
    put(value)
    value += roundUp(length, 8)
  })
  return bytes
}

/** @param path of a new file @throws system errors; AbortError; RangeError where the disk is too large for the format */
export async function writeVhdx(source: DiskSource, path: string, options: WriteOptions = {}): Promise<void> {
  if (source.sizeBytes > MAX_DISK_BYTES) throw new RangeError('the disk is too large for a VHDX, which holds up to 64 TiB')
  const blockBytes = blockBytesFor(source.sizeBytes)
  const ratio = chunkRatio(blockBytes, SECTOR)
  const blocks = Math.ceil(source.sizeBytes / blockBytes)
  const bat = new DataView(new ArrayBuffer(roundUp((blocks + Math.floor((blocks - 1) / ratio)) * 8, MIB)))
  await writeImage(path, async (out) => {
    out.position = BAT_OFFSET + bat.byteLength
    await out.growTo(out.position)
    await forEachBlock(source, blockBytes, options, async (index, bytes) => {
      const entry = (BigInt(out.position / MIB) << 20n) | BigInt(BLOCK.present)
      bat.setBigUint64((index + Math.floor(index / ratio)) * 8, entry, true)
      await out.append(bytes)
    })
    await out.write(BAT_OFFSET, new Uint8Array(bat.buffer))
    await out.write(METADATA_OFFSET, metadata(source.sizeBytes, blockBytes))
    for (const at of REGION_OFFSETS) await out.write(at, regionTable(bat.byteLength))
    const [fileWriteGuid, dataWriteGuid] = [randomUUID(), randomUUID()]
    for (const [i, at] of HEADER_OFFSETS.entries()) await out.write(at, header(i + 1, fileWriteGuid, dataWriteGuid))
    await out.write(0, fileIdentifier())
  })
}
