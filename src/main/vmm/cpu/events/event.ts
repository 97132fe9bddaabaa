/** An exception or interrupt on its way to the guest. */

/**
 * fault: RIP is the faulting instruction. trap: RIP is the next instruction. interrupt: maskable, from outside.
 * software: INT n, INT3, INTO (gate privilege is checked; the return address is `nextRip`). nmi: vector 2 from outside.
 */
export type EventKind = 'fault' | 'trap' | 'interrupt' | 'software' | 'nmi'

export interface PendingEvent {
  readonly vector: number
  readonly kind: EventKind
  readonly errorCode: number | undefined
  readonly returnRip: bigint
}

/** EXT bit of error codes: the fault came while delivering something the program did not ask for. */
export const extOf = (event: PendingEvent): 0 | 1 => (event.kind === 'software' ? 0 : 1)
