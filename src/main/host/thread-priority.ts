/** Whose turn it is where the computer has fewer processors than there are threads with work. */
import { constants, getPriority, setPriority } from 'node:os'

/** Nice levels by which one gives way to others. */
export const Behind = {
  /**
   * The guest, the translator and the engine's compiler are three threads: on two processors the guest waited for an eighth of a boot.
   * Lower than this, and the translator gets too little of a computer that is busy with other things (decision 6).
   */
  GUEST: 7,
  /** For whoever starts a machine now. */
  NEXT_MACHINE: constants.priority.PRIORITY_BELOW_NORMAL,
  EVERYBODY: constants.priority.PRIORITY_LOW,
} as const

/** Puts the calling thread behind: on Linux that one alone, elsewhere its whole process. */
export function giveWay(levels: number): void {
  try {
    // 0, which is left out here, is the calling thread: setpriority(2), "C library/kernel differences".
    setPriority(Math.min(getPriority() + levels, constants.priority.PRIORITY_LOW))
  } catch {
    // Where the system does not allow it they take turns.
  }
}

/** Puts the calling thread behind the one that runs the guest. Nothing is done where that would lose its place too. */
export function giveWayToGuest(): void {
  if (process.platform === 'linux') giveWay(Behind.GUEST)
}
