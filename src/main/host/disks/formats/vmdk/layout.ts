/** Numbers of the VMDK format (VMware, Virtual Disk Format 5.0); all fields are little-endian, offsets count sectors. */
export const SECTOR = 512
export const MAGIC = 0x564d_444b
/** Other sparse formats of VMware, named when they are refused. */
export const MAGIC_COWD = 0x4457_4f43
export const MAGIC_SESPARSE = 0xcafe_babe
export const FLAG = { newlines: 1, redundantTables: 2, zeroGrains: 4, compressed: 0x1_0000, markers: 0x2_0000 } as const
/** The directory's place is told by the footer. */
export const DIRECTORY_AT_END = 0xffff_ffff_ffff_ffffn
export const COMPRESSION_DEFLATE = 1
/** Grain table entries: nothing stored; zeroes, where the flag for it is set. */
export const GRAIN_FREE = 0
export const GRAIN_ZERO = 1
/** Before each compressed grain: its first sector (64 bit) and the length of what follows (32 bit). */
export const GRAIN_MARKER_BYTES = 12
export const MARKER = { endOfStream: 0, table: 1, directory: 2, footer: 3 } as const
/** The line ends of the header, which a transfer as text would have changed. */
export const NEWLINES = [0x0a, 0x20, 0x0d, 0x0a] as const
/** No parent. */
export const NO_PARENT = 'ffffffff'
export const DESCRIPTOR_START = '# Disk DescriptorFile'
