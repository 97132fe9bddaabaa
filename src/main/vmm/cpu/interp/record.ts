/**
 * A decoded instruction as tier 0 runs it: a fixed-size record in linear memory. The handler named by the first word
 * gets the record's address and reads its operands from it. Records of one block lie one after the other.
 */

/** Bytes of a record. */
export const RECORD_SIZE = 48

/** Byte offsets within a record. */
export const Rec = {
  /** u32: function table slot of the handler. */
  handler: 0,
  /** u32: record of the branch target in the same page, 0 = not linked. */
  link: 4,
  /** i64: immediate, or branch displacement. */
  imm: 8,
  /** i64: displacement of the memory operand; selector of a far pointer. */
  displacement: 16,
  /** u16 each: offsets into the vCPU block of the register operand (ModRM.reg or opcode) and of the r/m register. */
  regA: 24,
  regB: 26,
  /** u16: base and index registers of the memory operand (the `zero` field where there is none). */
  base: 28,
  index: 30,
  /** u16: the field holding the segment base (the `zero` field where it is 0). */
  segBase: 32,
  /** u16: the field holding the address-size mask. */
  addressMask: 34,
  /** u8: log2 of the scale. */
  scale: 36,
  /** u8: Seg index of the memory operand's segment. */
  segment: 37,
  /** u8: 1 = segment limits and rights must be checked. */
  checked: 38,
  /** u8: bytes of the instruction. */
  length: 39,
  /** u16: distance from the block's first instruction. */
  delta: 40,
  /** u16: instructions from the block's head up to and including this one. */
  count: 42,
  /** u32: address of the code page's map, for counters and links. */
  page: 44,
} as const

/** First table slots: the handlers of pseudo-instructions, in this order. */
export const PSEUDO_SLOTS = { resync: 1, next: 2, unitCheck: 3, raise: 4, crossing: 5, head: 6 } as const
