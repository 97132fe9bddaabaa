/**
 * A decoded instruction as tier 0 runs it: a fixed-size record in linear memory. The handler named by its first field
 * gets the record's address and reads its operands from it. Records of one block lie one after the other.
 */

/** Bytes of a record. Records begin at multiples of it. */
export const RECORD_SIZE = 16

/** Most instructions of a block: bounds the work between two looks at the slice, and what `Place` must tell. */
export const MAX_BLOCK = 31

/** Byte offsets within a record. */
export const Rec = {
  /** u16: function table slot of the handler. */
  handler: 0,
  /**
   * u8 each: the register operand (ModRM.reg or opcode) and the r/m register: bytes from the first register of its kind (general, XMM, MMX), or
   * the number of a segment, control or debug register.
   */
  regA: 2,
  regB: 3,
  /** u8: base register of the memory operand, in bytes from ADDRESS_FIELDS. */
  base: 3,
  /** u16, of relative branches: distance of the next instruction from the block's first. */
  next: 2,
  /** i32: immediate or branch displacement. i64 for the forms whose constant has 64 bits: they need no `displacement`. */
  imm: 4,
  /** u32, of jumps to an address known at run time: its low half, when a translation went there last. */
  went: 4,
  /** i32: displacement of the memory operand; second immediate of ENTER; selector of a far pointer. */
  displacement: 8,
  /** u32, of relative branches: record of the target in the same page, 0 = not linked. */
  link: 8,
  /** u32: the fields of `Place`. Its first two bytes are `address`, its first `index`, its second `access`. */
  place: 12,
  address: 12,
  index: 12,
  access: 13,
} as const

/** Fields within `Rec.place`, by their first bits. */
export const Place = {
  /** 2 bits: log2 of the scale. */
  scale: 0,
  /** The block's last record. */
  last: 2,
  /** 5 bits: index register of the memory operand, the number of a field from ADDRESS_FIELDS; 0 none. */
  index: 3,
  /**
   * 2 bits: address size, 1, 2 and 3 for 16, 32 and 64 bits. 0 where linear addresses are cut as the stack's are and need neither
   * segment base nor check.
   */
  addressSize: 8,
  /** Segment limits and rights must be checked. */
  checked: 10,
  /** 3 bits: Seg index of the memory operand's segment, or of what DS is where operands are implicit. */
  segment: 11,
  /** 4 bits: bytes of the instruction; 0 in pseudo-instructions. */
  length: 14,
  /** 5 bits: instructions from the block's head up to and including this one. */
  count: 18,
  /** 9 bits: distance from the block's first instruction. */
  delta: 23,
} as const

/** What of `Rec.address` is not 0 where a linear address is more than base and displacement, cut as the stack's are. */
export const MORE_ADDRESS = (0x1f << Place.index) | (7 << Place.addressSize)
/** The part of `Rec.index` that is bytes from ADDRESS_FIELDS. */
export const INDEX_BYTES = 0x1f << Place.index
/** From the fields of `Rec.access`: its own bits. */
export const ACCESS_SHIFT = 8
/** Where a base or index register's bytes count from: the fields of 64 bits that may be one. */
export const ADDRESS_FIELDS = 'zero'

/** What the words of a block's head record hold instead. */
export const Head = {
  /** u16: offset of the first instruction in its page. Guards of instructions that cross a page have it too. */
  pageOffset: 2,
  /** i32: entries until the block is hot. */
  entries: 4,
  /** u32, once it is translated: jumps back of its branches. */
  loops: 4,
  /** u32: address of a list of u32 that its translation reads: the maps of the further pages it was made from, and constants of its code. */
  list: 8,
  /** u16: number of its `CodePage` in the decode cache. */
  code: 12,
} as const

/** What the guard before an instruction that crosses a page holds, beside `Head.pageOffset`. */
export const Guard = {
  /** u32: map of the second page it was decoded from. */
  map: 4,
  /** u16 each: numbers of the `CodePage`s of its first and of its second page. */
  first: 8,
  second: 10,
} as const

/** The most `CodePage`s that have a number. */
export const MAX_CODE_PAGES = 0xffff

/**
 * A page's map has an entry for each of its lines: 0 where no block begins in it, the address of the record that begins the only block there, or
 * the address of the line's map, plus 1. That has an entry for each byte offset: the address of the record of a block that begins there, or 0.
 */
export const LINE_SHIFT = 4
export const LINE_OFFSETS = 1 << LINE_SHIFT
export const LINES = 4096 >> LINE_SHIFT

/**
 * First table slots: the handlers of pseudo-instructions, in this order, and the first of the frequent forms. The switch takes
 * the place of `head`, `countedHead` keeps its handler.
 */
export const PSEUDO_SLOTS = { resync: 1, next: 2, unitCheck: 3, raise: 4, crossing: 5, countedHead: 6, head: 7, frequent: 8 } as const
