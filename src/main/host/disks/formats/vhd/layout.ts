/** Numbers of the VHD format (Microsoft, Virtual Hard Disk Image Format Specification 1.0); all fields are big-endian. */
export const FOOTER_BYTES = 512
export const FOOTER_COOKIE = 'conectix'
export const DYNAMIC_HEADER_BYTES = 1024
export const DYNAMIC_COOKIE = 'cxsparse'
export const VERSION = 0x0001_0000
export const TYPE = { fixed: 2, dynamic: 3, differencing: 4 } as const
/** Table entry of a block that is not stored. */
export const BLOCK_FREE = 0xffff_ffff
/** No next structure. */
export const NO_OFFSET = 0xffff_ffff_ffff_ffffn
/** The format's own limit. */
export const MAX_VHD_BYTES = 2040 * 2 ** 30
/** Seconds from the Unix epoch to the format's, 2000-01-01. */
export const EPOCH = 946_684_800

/** One's complement of the sum of all bytes but the checksum's own four. */
export function checksum(bytes: Uint8Array, checksumAt: number): number {
  let sum = 0
  for (let i = 0; i < bytes.length; i++) if (i < checksumAt || i >= checksumAt + 4) sum += bytes[i]
  return ~sum >>> 0
}

export const FOOTER_CHECKSUM_AT = 64
export const DYNAMIC_CHECKSUM_AT = 36

/** Bytes of the sector bitmap before each block. */
export const bitmapBytes = (blockBytes: number): number => Math.ceil(blockBytes / 512 / 8 / 512) * 512
