/** Features and configuration space of a virtio block device. Virtio 1.2, 5.2.3 and 5.2.4. */
import type { BlockBackend } from '../../ports'
import { MAX_DATA, MAX_RANGE_SECTORS, MAX_RANGES, SECTOR } from './request'

/** Feature bits, VIRTIO_BLK_F_…. */
export const F = {
  SIZE_MAX: 1n << 1n, SEG_MAX: 1n << 2n, RO: 1n << 5n, BLK_SIZE: 1n << 6n, FLUSH: 1n << 9n, TOPOLOGY: 1n << 10n, CONFIG_WCE: 1n << 11n,
  MQ: 1n << 12n, DISCARD: 1n << 13n, WRITE_ZEROES: 1n << 14n,
} as const

export const CONFIG_BYTES = 96
/** Offset of `writeback`, the one field a driver may write. */
export const CONFIG_WRITEBACK = 32
/** Data segments of a request: a queue's entries less header and status. */
const SEG_MAX = 254
/** So that no request of SEG_MAX segments is larger than what is taken. */
const SIZE_MAX = MAX_DATA / 256
/** What the host's page cache and most media write at once: 4 KiB, as a power of two of sectors. */
const PHYSICAL_BLOCK_EXP = 3

export interface ConfigFields {
  readonly backend: Pick<BlockBackend, 'sizeBytes' | 'blockSize' | 'clusterSize'>
  readonly queues: number
  readonly writeback: boolean
}

/** struct virtio_blk_config, little-endian. Fields of features that are not offered are zero or ignored by the driver. */
export function encodeConfig({ backend, queues, writeback }: ConfigFields): Uint8Array {
  const bytes = new Uint8Array(CONFIG_BYTES)
  const view = new DataView(bytes.buffer)
  const cluster = (backend.clusterSize ?? backend.blockSize) / SECTOR
  view.setBigUint64(0, BigInt(Math.floor(backend.sizeBytes / SECTOR)), true)
  view.setUint32(8, SIZE_MAX, true)
  view.setUint32(12, SEG_MAX, true)
  view.setUint32(20, SECTOR, true)
  // topology: physical_block_exp, alignment_offset, then min_io_size and opt_io_size in blocks.
  view.setUint8(24, PHYSICAL_BLOCK_EXP)
  view.setUint16(26, 1 << PHYSICAL_BLOCK_EXP, true)
  view.setUint32(28, backend.clusterSize === undefined ? 0 : Math.max(cluster, 1 << PHYSICAL_BLOCK_EXP), true)
  view.setUint8(CONFIG_WRITEBACK, writeback ? 1 : 0)
  view.setUint16(34, queues, true)
  view.setUint32(36, MAX_RANGE_SECTORS, true)
  view.setUint32(40, MAX_RANGES, true)
  // discard_sector_alignment: less than a cluster frees nothing.
  view.setUint32(44, cluster, true)
  view.setUint32(48, MAX_RANGE_SECTORS, true)
  view.setUint32(52, MAX_RANGES, true)
  // write_zeroes_may_unmap
  view.setUint8(56, 1)
  return bytes
}
