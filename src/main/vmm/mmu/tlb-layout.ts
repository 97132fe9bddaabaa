/**
 * The software TLB in linear memory, as generated code probes it. One set per privilege view (see `TLB_VIEWS`).
 * A data entry matches when its tag equals (linear + size - 1) & ~0xfff: one compare covers hit, right and page crossing.
 */
export const TLB_ENTRIES = 4096
export const TLB_ENTRY_SIZE = 32
/** Byte offsets in an entry. */
export const TlbEntry = {
  /** i64: page address readable without further checks, or TLB_EMPTY. */
  readTag: 0,
  /** i64: page address writable without further checks. */
  writeTag: 8,
  /** i32: host offset = low 32 bits of the linear address + addend. */
  addend: 16,
} as const
/** Never equal to a page address. */
export const TLB_EMPTY = 1n
export const TLB_BYTES = TLB_ENTRIES * TLB_ENTRY_SIZE

/** Views: supervisor, user, supervisor with RFLAGS.AC set (SMAP override). */
export const TLB_VIEWS = 3
/** Address spaces whose entries are kept at the same time, by PCID: Linux uses six. The views of one lie together. */
export const TLB_SPACES = 8
/** Of all sets together. */
export const TLB_AREA_BYTES = TLB_SPACES * TLB_VIEWS * TLB_BYTES
export const TlbView = { SUPERVISOR: 0, USER: 1, SUPERVISOR_AC: 2 } as const

/** Code lookup: direct-mapped by page number ^ (page number >> CODE_TLB_HASH_SHIFT), one set per mode key. */
export const CODE_TLB_ENTRIES = 4096
/** Kernels lay hot pages out at multiples of large pages: without the shift they would share entries. */
export const CODE_TLB_HASH_SHIFT = 12
export const CODE_TLB_ENTRY_SIZE = 16
export const CodeTlbEntry = {
  /** i64: linear page address, or TLB_EMPTY. */
  tag: 0,
  /** u32: address of the page's map of records; see `cpu/interp/decode-cache.ts`. */
  map: 8,
  /** u32: 1 where jumps to the page may be kept in the jump cache: global pages, and all pages of user modes. */
  kept: 12,
} as const
export const CODE_TLB_BYTES = CODE_TLB_ENTRIES * CODE_TLB_ENTRY_SIZE
/** Mode keys, with the address space for user code, whose code lookups are kept at the same time. */
export const CODE_TLB_SETS = 16
