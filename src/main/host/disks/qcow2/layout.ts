/** Constants of the qcow2 format, as QEMU's docs/interop/qcow2.txt names them. All numbers in a file are big-endian. */

export const MAGIC = 0x514649fb
export const HEADER_V2_BYTES = 72
export const HEADER_V3_BYTES = 104
export const MIN_CLUSTER_BITS = 9
export const MAX_CLUSTER_BITS = 21
/** Fields of the header, in bytes from its start. */
export const SIZE_AT = 24
export const AUTOCLEAR_AT = 88
/** What QEMU itself allows, in bytes. */
export const MAX_L1_BYTES = 32 << 20
export const MAX_REFCOUNT_TABLE_BYTES = 8 << 20
export const MAX_BACKING_NAME = 1023

/** Bits of the incompatible features field: a program that does not know one must not open the image. */
export const Incompatible = { DIRTY: 1n, CORRUPT: 2n, DATA_FILE: 4n, COMPRESSION_TYPE: 8n, EXTENDED_L2: 16n } as const
export const Extension = {
  END: 0, BACKING_FORMAT: 0xe2792aca, FEATURE_NAMES: 0x6803f857,
  BITMAPS: 0x23852875,
  /** Ours, "NBBI": what the backing file was. QEMU keeps extensions it does not know. */
  BACKING_IDENTITY: 0x4e424249,
  /** Ours, "NBSK": its data counts for nothing. */
  SKIPPED: 0x4e42534b,
} as const
/** Bits that a program clears when it writes to an image and does not know them. */
export const Autoclear = { BITMAPS: 1n } as const
export const Compression = { ZLIB: 0, ZSTD: 1 } as const

/** L1 and L2 entries: the refcount is exactly one, so the target may be written in place. */
export const COPIED = 1n << 63n
/** L2: the cluster is compressed, and the rest of the entry is a descriptor. */
export const COMPRESSED = 1n << 62n
/** L2, version 3: reads as zeroes, whatever the offset says. */
export const ZERO = 1n
export const OFFSET_MASK = 0x00ff_ffff_ffff_fe00n
