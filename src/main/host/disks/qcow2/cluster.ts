/** What an L2 entry says of its cluster, and unpacking of compressed ones. */
import { constants, inflateRawSync } from 'node:zlib'
import { Decompress } from 'fzstd'
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

/** @param at byte of the entry in the file, for errors @throws DiskFormatError */
export function clusterOf(entry: bigint, clusterBits: number, version: number, file: DiskFile, at: number): Cluster {
  if ((entry & COMPRESSED) !== 0n) {
    const offsetBits = BigInt(62 - (clusterBits - 8))
    const offset = Number(entry & ((1n << offsetBits) - 1n))
    const sectors = Number((entry & ~COMPRESSED & ~COPIED) >> offsetBits) + 1
    return { kind: 'compressed', offset, bytes: sectors * SECTOR - (offset % SECTOR) }
  }
  const offset = Number(entry & OFFSET_MASK)
  if (offset % 2 ** clusterBits !== 0) throw file.fail('L2 table', at, `the offset ${offset} is not that of a cluster`)
  const ours = (entry & COPIED) !== 0n
  if (version === 3 && (entry & ZERO) !== 0n) return { kind: 'zero', offset, ours }
  return offset === 0 ? { kind: 'none' } : { kind: 'data', offset, ours }
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

/** The data ends at some sector: what follows the frame is not looked at. */
function unpackZstd(packed: Uint8Array, length: number): Uint8Array {
  const out = new Uint8Array(length)
  let done = 0
  const stream = new Decompress((chunk) => {
    if (done < length) out.set(chunk.subarray(0, length - done), done)
    done += chunk.length
  })
  try {
    stream.push(packed)
  } catch (error) {
    if (done < length) throw error
  }
  return out.subarray(0, Math.min(done, length))
}
