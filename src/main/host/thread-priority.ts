/** Whose turn it is where the computer has fewer processors than there are threads with work. */
import { constants, getPriority, setPriority } from 'node:os'

/**
 * Nice levels below the guest's thread. The guest, the translator and the engine's compiler are three threads: on two processors the guest
 * waited for an eighth of a boot. Lower than this, and the translator gets too little of a computer that is busy with other things (decision 6).
 */
const BELOW_GUEST = 7

/** Puts the calling thread behind the thread that started it. Only Linux gives threads priorities of their own: elsewhere nothing changes. */
export function giveWayToGuest(): void {
  if (process.platform !== 'linux') return
  try {
    // 0, which is left out here, is the calling thread: setpriority(2), "C library/kernel differences".
    setPriority(Math.min(getPriority() + BELOW_GUEST, constants.priority.PRIORITY_LOW))
  } catch {
    // Where the system does not allow it the two take turns.
  }
}
