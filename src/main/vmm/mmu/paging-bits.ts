/** Bits of control registers and of table entries that paging goes by. Intel SDM vol. 3, 2.5, 4.1 and tables 4-4 to 4-20. */
export const CR0_WP = 1 << 16
export const CR0_PG = 1 << 31
export const CR4_PSE = 1 << 4
export const CR4_PAE = 1 << 5
export const CR4_PGE = 1 << 7
export const CR4_SMEP = 1 << 20
export const CR4_SMAP = 1 << 21
export const EFER_LMA = 1 << 10
export const EFER_NXE = 1 << 11

/** Of an entry's lower half. */
export const P = 1
export const RW = 2
export const US = 4
export const A = 0x20
export const D = 0x40
export const PS = 0x80
export const G = 0x100
/** Of the upper half. */
export const NX = 0x8000_0000
