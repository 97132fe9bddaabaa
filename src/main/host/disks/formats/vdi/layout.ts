/** Numbers of the VDI format (VirtualBox, VDICore.h). */
export const SIGNATURE = 0xbeda107f
export const VERSION = 0x0001_0001
/** Signature, version and the header of version 1.1 with its reserved end. */
export const HEADER_BYTES = 512
/** Size of the version 1.1 header proper, as it says of itself. */
export const HEADER_SELF_BYTES = 0x190
export const TYPES: Readonly<Record<number, 'dynamic' | 'fixed' | 'undo' | 'differencing'>> = { 1: 'dynamic', 2: 'fixed', 3: 'undo', 4: 'differencing' }
/** Table entries of blocks that are not stored. */
export const BLOCK_FREE = 0xffff_ffff
export const BLOCK_ZERO = 0xffff_fffe
