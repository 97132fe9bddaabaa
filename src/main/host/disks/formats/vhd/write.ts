/** Writes dynamic VHD images. */
import { randomBytes } from 'node:crypto'
import { forEachBlock, writeImage, type DiskSource, type WriteOptions } from '../common/write'
import {
  bitmapBytes, BLOCK_FREE, checksum, DYNAMIC_CHECKSUM_AT, DYNAMIC_COOKIE, DYNAMIC_HEADER_BYTES, EPOCH, FOOTER_BYTES, FOOTER_CHECKSUM_AT, FOOTER_COOKIE,
  MAX_VHD_BYTES, NO_OFFSET, TYPE, VERSION,
} from './layout'

const BLOCK_BYTES = 2 << 20
const TABLE_OFFSET = FOOTER_BYTES + DYNAMIC_HEADER_BYTES
/** Reserved bit that is always set. */
const FEATURES = 2
/** The largest geometry. Readers that otherwise trust the geometry take the size field instead when they see it. */
const LARGEST_GEOMETRY = { cylinders: 65535, heads: 16, sectors: 255 }

const ascii = (text: string): Uint8Array => Buffer.from(text, 'latin1')

function footer(sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(FOOTER_BYTES)
  const view = new DataView(bytes.buffer)
  bytes.set(ascii(FOOTER_COOKIE))
  view.setUint32(8, FEATURES)
  view.setUint32(12, VERSION)
  view.setBigUint64(16, BigInt(FOOTER_BYTES))
  view.setUint32(24, Math.floor(Date.now() / 1000) - EPOCH)
  bytes.set(ascii('nest'), 28)
  view.setUint32(32, VERSION)
  bytes.set(ascii('Wi2k'), 36)
  view.setBigUint64(40, BigInt(sizeBytes))
  view.setBigUint64(48, BigInt(sizeBytes))
  view.setUint16(56, LARGEST_GEOMETRY.cylinders)
  view.setUint8(58, LARGEST_GEOMETRY.heads)
  view.setUint8(59, LARGEST_GEOMETRY.sectors)
  view.setUint32(60, TYPE.dynamic)
  bytes.set(randomBytes(16), 68)
  view.setUint32(FOOTER_CHECKSUM_AT, checksum(bytes, FOOTER_CHECKSUM_AT))
  return bytes
}

function dynamicHeader(blocks: number): Uint8Array {
  const bytes = new Uint8Array(DYNAMIC_HEADER_BYTES)
  const view = new DataView(bytes.buffer)
  bytes.set(ascii(DYNAMIC_COOKIE))
  view.setBigUint64(8, NO_OFFSET)
  view.setBigUint64(16, BigInt(TABLE_OFFSET))
  view.setUint32(24, VERSION)
  view.setUint32(28, blocks)
  view.setUint32(32, BLOCK_BYTES)
  view.setUint32(DYNAMIC_CHECKSUM_AT, checksum(bytes, DYNAMIC_CHECKSUM_AT))
  return bytes
}

/** @param path of a new file @throws system errors; AbortError; RangeError where the disk is too large for the format */
export async function writeVhd(source: DiskSource, path: string, options: WriteOptions = {}): Promise<void> {
  if (source.sizeBytes > MAX_VHD_BYTES) throw new RangeError('the disk is too large for a VHD, which holds up to 2040 GiB')
  const blocks = Math.ceil(source.sizeBytes / BLOCK_BYTES)
  const table = new DataView(new ArrayBuffer(Math.ceil((blocks * 4) / 512) * 512))
  for (let at = 0; at < table.byteLength; at += 4) table.setUint32(at, BLOCK_FREE)
  const written = new Uint8Array(bitmapBytes(BLOCK_BYTES)).fill(0xff)
  await writeImage(path, async (out) => {
    out.position = TABLE_OFFSET + table.byteLength
    await forEachBlock(source, BLOCK_BYTES, options, async (index, bytes) => {
      table.setUint32(index * 4, out.position / 512)
      await out.append(written)
      await out.append(bytes)
    })
    const end = footer(source.sizeBytes)
    await out.append(end)
    await out.write(0, end)
    await out.write(FOOTER_BYTES, dynamicHeader(blocks))
    await out.write(TABLE_OFFSET, new Uint8Array(table.buffer))
  })
}
