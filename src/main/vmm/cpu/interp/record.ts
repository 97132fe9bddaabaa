/**
 * A decoded instruction as tier 0 runs it: a fixed-size record in linear memory. The handler named by the first word
 * gets the record's address and reads its operands from it. Records of one block lie one after the other.
 */

/** Bytes of a record. */
export const RECORD_SIZE = 32

/** Byte offsets within a record. */
export const Rec = {
  /** u32: function table slot of the handler. */
  handler: 0,
  /** u16 each: offsets into the vCPU block of the register operand (ModRM.reg or opcode) and of the r/m register. */
  regA: 4,
  regB: 6,
  /** i32: immediate or branch displacement. i64 for the forms whose constant has 64 bits: they need no `displacement`. */
  imm: 8,
  /** u32, of jumps to an address known at run time: its low half, when a translation went there last. */
  went: 8,
  /** i32: displacement of the memory operand; second immediate of ENTER; selector of a far pointer. */
  displacement: 12,
  /** u32, of relative branches: record of the target in the same page, 0 = not linked. */
  link: 12,
  /** u16: base and index registers of the memory operand (the `zero` field where there is none). */
  base: 16,
  index: 18,
  /** u32, of relative branches: jumps back by a translation of the block. */
  loops: 16,
  /** u16: the field holding the segment base (the `zero` field where it is 0). */
  segBase: 20,
  /** u16: the field holding the address-size mask. */
  addressMask: 22,
  /** u8: log2 of the scale. */
  scale: 24,
  /** u8: Seg index of the memory operand's segment. */
  segment: 25,
  /** u8: 1 = segment limits and rights must be checked. */
  checked: 26,
  /** u8: bytes of the instruction; 0 in pseudo-instructions. */
  length: 27,
  /** u16: distance from the block's first instruction. */
  delta: 28,
  /** u8: instructions from the block's head up to and including this one. */
  count: 30,
  /** u8: 0 where the linear address is base + index + displacement, cut as the stack's addresses are: no segment base, no check. */
  special: 31,
} as const

/** What the words of a block's head record hold instead. */
export const Head = {
  /** u16: offset of the first instruction in its page, and records of the block behind the head. */
  pageOffset: Rec.regA,
  records: Rec.regB,
  /** i32: entries until the block is hot. */
  entries: Rec.imm,
  /** u32: number of its `CodePage` in the decode cache. */
  code: Rec.displacement,
  /** u32: address of a list of u32 that its translation reads: the maps of the further pages it was made from, and constants of its code. */
  list: Rec.base,
} as const

/** u32, of the guard before an instruction that crosses a page: map of the second page it was decoded from. */
export const GUARD_MAP = Rec.loops

/**
 * A page's map has an entry for each of its lines: the address of the line's map, which has an entry for each byte offset: the
 * address of the record of a block that begins there, or 0. Most lines of a page begin no block, and share one map.
 */
export const LINE_SHIFT = 4
export const LINE_OFFSETS = 1 << LINE_SHIFT
export const LINES = 4096 >> LINE_SHIFT

/**
 * First table slots: the handlers of pseudo-instructions, in this order, and the first of the frequent forms. The switch takes
 * the place of `head`, `countedHead` keeps its handler.
 */
export const PSEUDO_SLOTS = { resync: 1, next: 2, unitCheck: 3, raise: 4, crossing: 5, countedHead: 6, head: 7, frequent: 8 } as const
