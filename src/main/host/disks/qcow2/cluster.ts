/** What an L2 entry says of its cluster, and unpacking of compressed ones. */
import { constants, inflateRawSync } from 'node:zlib'
import { decompress } from 'fzstd'
import type { DiskFile } from './disk-file'
import { COMPRESSED, COPIED, Compression, OFFSET_MASK, ZERO } from './layout'

export type Cluster =
  | { readonly kind: 'none' }
  /** `offset`: kept all the same, 0 where nothing is. */
  | { readonly kind: 'zero'; readonly offset: number; readonly ours: boolean }
  | { readonly kind: 'data'; readonly offset: number; readonly ours: boolean }
  /** `bytes`: at most this many from `offset` on. */
  | { readonly kind: 'compressed'; readonly offset: number; readonly bytes: number }

const SECTOR = 512
const ZSTD_MAGIC = 0xfd2fb528
/** Bits of a standard entry that no version gives a meaning. */
const RESERVED = 0x3f00_0000_0000_01fen

/** @param at byte of the entry in the file, for errors @throws DiskFormatError */
export function clusterOf(entry: bigint, clusterBits: number, version: number, file: DiskFile, at: number): Cluster {
  if ((entry & COMPRESSED) !== 0n) {
    const offsetBits = BigInt(62 - (clusterBits - 8))
    const offset = Number(entry & ((1n << offsetBits) - 1n))
    const sectors = Number((entry & ~COMPRESSED & ~COPIED) >> offsetBits) + 1
    return { kind: 'compressed', offset, bytes: sectors * SECTOR - (offset % SECTOR) }
  }
  if ((entry & RESERVED) !== 0n) throw file.fail('L2 table', at, 'the entry has bits set that must be zero')
  const offset = Number(entry & OFFSET_MASK)
  if (offset % 2 ** clusterBits !== 0) throw file.fail('L2 table', at, `the offset ${offset} is not that of a cluster`)
  const ours = (entry & COPIED) !== 0n
  if (version === 3 && (entry & ZERO) !== 0n) return { kind: 'zero', offset, ours }
  if (offset === 0) return { kind: 'none' }
  if (offset >= file.size) throw file.fail('L2 table', at, `the data is said to be at ${offset}, past the end of the file (${file.size} bytes)`)
  return { kind: 'data', offset, ours }
}

/** @throws DiskFormatError where the data is damaged or makes another length */
export async function unpack(file: DiskFile, cluster: Cluster & { kind: 'compressed' }, clusterSize: number, type: number): Promise<Uint8Array> {
  const fail = (why: string): never => { throw file.fail('compressed cluster', cluster.offset, why) }
  if (cluster.offset >= file.size) return fail(`it lies past the end of the file (${file.size} bytes)`)
  const packed = new Uint8Array(Math.min(cluster.bytes, file.size - cluster.offset))
  await file.read(cluster.offset, packed)
  try {
    const bytes = type === Compression.ZSTD ? unpackZstd(packed, clusterSize)
      : inflateRawSync(packed, { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: clusterSize })
    return bytes.length === clusterSize ? bytes : fail(`it unpacks to ${bytes.length} bytes instead of ${clusterSize}`)
  } catch (error) {
    if (error instanceof Error && error.name === 'DiskFormatError') throw error
    return fail(`it cannot be unpacked: ${error instanceof Error ? error.message : String(error)}`)
  }
}

/**
 * Length of the zstd frame the data starts with (RFC 8878 3.1.1), for the library would read on behind it.
 * @throws Error, RangeError where it is none, or one of another size
 */
function zstdFrameBytes(data: Uint8Array, clusterBytes: number): number {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  if (view.getUint32(0, true) !== ZSTD_MAGIC) throw new Error('it is no zstd frame')
  const flags = view.getUint8(4)
  const single = (flags & 0x20) !== 0
  const sizeField = [single ? 1 : 0, 2, 4, 8][flags >> 6]
  let at = 5 + (single ? 0 : 1) + [0, 1, 2, 4][flags & 3]
  if (sizeField > 0) {
    const size = sizeField === 1 ? view.getUint8(at) : sizeField === 2 ? view.getUint16(at, true) + 256 : view.getUint32(at, true)
    if (size !== clusterBytes || (sizeField === 8 && view.getUint32(at + 4, true) !== 0)) throw new Error(`its zstd frame is for ${size} bytes instead of ${clusterBytes}`)
  }
  at += sizeField
  for (let last = false; !last;) {
    const head = view.getUint16(at, true) | (view.getUint8(at + 2) << 16)
    last = (head & 1) !== 0
    at += 3 + (((head >> 1) & 3) === 1 ? 1 : head >> 3)
  }
  at += (flags & 4) !== 0 ? 4 : 0
  if (at > data.length) throw new Error('its zstd frame is cut off')
  return at
}

function unpackZstd(data: Uint8Array, clusterBytes: number): Uint8Array {
  const frame = data.subarray(0, zstdFrameBytes(data, clusterBytes))
  // With a target of its own the library takes no memory after what the frame claims to need.
  return decompress(frame, new Uint8Array(clusterBytes))
}
