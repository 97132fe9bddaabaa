/** The XSAVE area of the x87 and SSE states, standard form. SDM vol. 1, 13.4. */
export const X87 = 1
export const SSE = 2
export const BOTH = X87 | SSE
/** Byte offset of the header, behind the image of FXSAVE; bytes of both. */
export const HEADER = 512
export const AREA = 576
export const CR0_TS = 8
export const CR4_OSXSAVE = 1 << 18
