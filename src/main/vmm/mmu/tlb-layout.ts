/**
 * The software TLB in linear memory, as generated code probes it: a set of entries for each privilege view (see `TLB_VIEWS`).
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
  /** i32: bits of `TlbFlag`. */
  flags: 20,
  /** i32: address of the next entry of the set's list of local or of global entries; 0 ends it. */
  nextLocal: 24,
  nextGlobal: 28,
} as const
/** A list tells which entries a flush must look at. An entry may stand in a list it does not belong to any more. */
export const TlbFlag = {
  IN_LOCAL: 1,
  IN_GLOBAL: 2,
  /** What the entry holds is a global page. */
  GLOBAL: 4,
} as const
/** Never equal to a page address. */
export const TLB_EMPTY = 1n
/** Behind the entries of a set, i32: its lists. */
export const TlbList = { local: TLB_ENTRIES * TLB_ENTRY_SIZE, global: TLB_ENTRIES * TLB_ENTRY_SIZE + 4 } as const
/** From set to set: entries, lists. */
export const TLB_BYTES = TLB_ENTRIES * TLB_ENTRY_SIZE + 64

/** Views: supervisor, user, supervisor with RFLAGS.AC set (SMAP override). */
export const TLB_VIEWS = 3
/** Address spaces whose entries are kept at the same time, by PCID: Linux uses six. */
export const TLB_SPACES = 8
/** The supervisor's pages are global: its two views serve every space. The user view has a set for each. */
export const TLB_SETS = TLB_VIEWS - 1 + TLB_SPACES
/** Of all sets together. */
export const TLB_AREA_BYTES = TLB_SETS * TLB_BYTES
export const TlbView = { SUPERVISOR: 0, USER: 1, SUPERVISOR_AC: 2 } as const

/** Code lookup: direct-mapped by page number ^ (page number >> CODE_TLB_HASH_SHIFT), one set per mode key. */
export const CODE_TLB_ENTRIES = 4096
/** Kernels lay hot pages out at multiples of large pages: without the shift they would share entries. */
export const CODE_TLB_HASH_SHIFT = 12
export const CODE_TLB_ENTRY_SIZE = 16
export const CodeTlbEntry = {
  /** i64: linear page address, or TLB_EMPTY; with CODE_LAPSED, what was found there before a load of CR3. */
  tag: 0,
  /** u32: address of the page's map of records; see `cpu/interp/decode-cache.ts`. */
  map: 8,
  /** u32: guest-physical page number the map is for; 0 where only TypeScript may renew a lapsed entry. */
  page: 12,
} as const
/** Bit of a tag. Never set for the linear page at 0, whose tag would be TLB_EMPTY. */
export const CODE_LAPSED = 1
export const CODE_TLB_BYTES = CODE_TLB_ENTRIES * CODE_TLB_ENTRY_SIZE
/** Mode keys, with the address space for user code, whose code lookups are kept at the same time. */
export const CODE_TLB_SETS = 16
