/**
 * Runs that end at an exact place, so that two CPUs can be brought to the same one.
 *
 * A slice ends where generated code looks at it: at block heads on tiers 0 and 1, at the heads of loops on tier 2. So the same
 * number of instructions ends elsewhere on each tier, and interrupts are taken elsewhere. Here one CPU *leads*: it stops where
 * its tier happens to. Another one *follows* to that very place: freely while it is far, then one instruction at a time on
 * tier 0. Both take interrupts before their first instruction only.
 */
import type { RunResult, Vcpu } from './vcpu'

/** What an exact run wants of `Vcpu.run`. */
export interface ExactControl {
  /** No interrupt is taken. Set by the CPU itself after the first entry. */
  holdEvents: boolean
  /** Every entry runs one instruction on tier 0, and `run` comes back after it. */
  single: boolean
  /** Something asked for the run to end: `run` comes back once an instruction was executed. */
  asked: boolean
  /** Called before each entry into generated code: the CPU stands at the first instruction of it. */
  readonly onEntry: (() => void) | undefined
}

/** A place in a run; the counts since power-on name it, for every step of the CPU adds to one of them. */
export interface RunPosition {
  readonly instructions: number
  readonly exceptions: number
}

/**
 * Instructions that a slice may run over on each tier: a block of the decode cache; on tier 2 a region, whose forward jumps
 * do not look at the slice.
 */
export const OVERSHOOT = { 0: 64, 1: 64, 2: 1024 } as const

/** Where a CPU stands, also when its run was ended by an error. */
export function positionOf(cpu: Vcpu): RunPosition {
  return { instructions: cpu.counters.instructions + cpu.executedInSlice(), exceptions: cpu.counters.exceptions }
}

/**
 * Runs about `instructions` instructions. Ends early where something asks for it: an interrupt became pending.
 * @param events interrupts may be taken before the first instruction
 * @throws TripleFault
 */
export function lead(cpu: Vcpu, instructions: number, events: boolean, onEntry?: () => void): RunResult {
  cpu.exact = { holdEvents: !events, single: false, asked: false, onEntry }
  try {
    // Interrupts held off for one instruction are due after it.
    return cpu.run(cpu.state.get('intShadow') !== 0 ? 1 : instructions)
  } finally {
    cpu.exact = undefined
  }
}

export interface FollowOptions {
  /** The last this many instructions are run alone: at least `OVERSHOOT` of this CPU's highest tier. */
  readonly alone: number
  /** As for `lead`. */
  readonly events: boolean
  /** Called before each entry into generated code: before every instruction that is run alone. */
  readonly onEntry: (() => void) | undefined
}

/**
 * Runs to a place another CPU led to; at least one instruction, or exception.
 * @returns false where this CPU does not come by that place: it passed it, or halted before
 * @throws TripleFault
 */
export function follow(cpu: Vcpu, target: RunPosition, { alone, events, onEntry }: FollowOptions): boolean {
  const exact: ExactControl = cpu.exact = { holdEvents: !events, single: false, asked: false, onEntry }
  try {
    for (;;) {
      const left = target.instructions - cpu.counters.instructions
      exact.single = left <= alone
      const result = cpu.run(exact.single ? 1 : left - alone)
      const { instructions, exceptions } = cpu.counters
      if (instructions > target.instructions || exceptions > target.exceptions) return false
      if (instructions === target.instructions && exceptions === target.exceptions) return true
      if (result === 'halted') return false
    }
  } finally {
    cpu.exact = undefined
  }
}
