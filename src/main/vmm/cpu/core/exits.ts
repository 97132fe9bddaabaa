/** Why generated code returns to the run loop: the i32 result of an entry. */
export const Exit = {
  /** The time slice is over, or something asked to be looked at; `rip` is the next instruction. */
  SLICE: 0,
  /** No code for `rip`: decode it. */
  LOOKUP: 1,
  /** An exception is pending in `faultVector`; `rip` is the faulting instruction. */
  FAULT: 2,
  /** Running code was changed under way; continue at `rip`. */
  RESYNC: 3,
  /** Translated code must not execute the instruction at `rip`: tier 0 does, alone. */
  AGAIN: 4,
} as const

/** Status of slow-path calls from generated code into TypeScript. */
export const Slow = {
  /** Done: the value is in `scratch`, the store is made. */
  OK: 0,
  /** A fault is pending. */
  FAULT: 1,
  /** Nothing was done: tier 0 must execute the instruction. No exception is pending. */
  AGAIN: 2,
} as const
