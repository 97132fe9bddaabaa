/** Writes dynamic VDI images. */
import { randomBytes } from 'node:crypto'
import { forEachBlock, writeImage, type DiskSource, type WriteOptions } from '../common/write'
import { BLOCK_FREE, HEADER_BYTES, HEADER_SELF_BYTES, SIGNATURE, VERSION } from './layout'

const BLOCK_BYTES = 1 << 20
const TYPE_DYNAMIC = 1
/** The data begins on such a boundary, as in images VirtualBox makes. */
const DATA_ALIGNMENT = 1 << 20
/** The block table's 32-bit entries, without the two special ones. */
const MAX_BLOCKS = 0xffff_fffe

function header(sizeBytes: number, blocks: number, allocated: number, dataOffset: number): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES)
  const view = new DataView(bytes.buffer)
  const le = (at: number, value: number): void => view.setUint32(at, value, true)
  bytes.set(Buffer.from('<<< Nestbox VM Disk Image >>>\n', 'latin1'))
  le(0x40, SIGNATURE)
  le(0x44, VERSION)
  le(0x48, HEADER_SELF_BYTES)
  le(0x4c, TYPE_DYNAMIC)
  le(0x154, HEADER_BYTES)
  le(0x158, dataOffset)
  le(0x168, 512)
  view.setBigUint64(0x170, BigInt(sizeBytes), true)
  le(0x178, BLOCK_BYTES)
  le(0x180, blocks)
  le(0x184, allocated)
  // Of the image and of its last change; those of a parent stay zero.
  bytes.set(uuid(), 0x188)
  bytes.set(uuid(), 0x198)
  return bytes
}

/** A random UUID (version 4) as bytes. */
function uuid(): Uint8Array {
  const bytes = randomBytes(16)
  bytes[7] = (bytes[7] & 0x0f) | 0x40
  bytes[8] = (bytes[8] & 0x3f) | 0x80
  return bytes
}

/** @param path of a new file @throws system errors; AbortError; RangeError where the disk is too large for the format */
export async function writeVdi(source: DiskSource, path: string, options: WriteOptions = {}): Promise<void> {
  const blocks = Math.ceil(source.sizeBytes / BLOCK_BYTES)
  if (blocks > MAX_BLOCKS) throw new RangeError('the disk is too large for a VDI')
  const table = new Uint32Array(blocks).fill(BLOCK_FREE)
  const dataOffset = Math.ceil((HEADER_BYTES + table.byteLength) / DATA_ALIGNMENT) * DATA_ALIGNMENT
  await writeImage(path, async (out) => {
    out.position = dataOffset
    let allocated = 0
    await forEachBlock(source, BLOCK_BYTES, options, async (index, bytes) => {
      table[index] = allocated++
      await out.append(bytes)
    })
    if (allocated === 0) await out.growTo(dataOffset)
    const entries = new DataView(new ArrayBuffer(table.byteLength))
    table.forEach((entry, index) => entries.setUint32(index * 4, entry, true))
    await out.write(HEADER_BYTES, new Uint8Array(entries.buffer))
    await out.write(0, header(source.sizeBytes, blocks, allocated, dataOffset))
  })
}
