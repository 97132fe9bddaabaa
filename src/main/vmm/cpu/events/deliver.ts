/** Delivery of exceptions and interrupts: real mode, protected mode, long mode. Intel SDM vol. 3, chapter 6. */
import { CpuFault, Vector, type CpuContext } from '../core/context'
import { Gpr, Seg } from '../state/layout'
import { isProtected, isLongMode } from './descriptors'
import type { EventKind, PendingEvent } from './event'
import { deliverLong } from './long-mode'
import { deliverProtected } from './protected-mode'
import { deliverReal } from './real-mode'

export type { EventKind } from './event'

/** The guest cannot go on: an exception while delivering a double fault. The machine resets or stops. */
export class TripleFault extends Error {
  constructor(readonly description: string) {
    super(`triple fault: ${description}`)
    this.name = 'TripleFault'
  }
}

const CONTRIBUTORY: ReadonlySet<number> = new Set([Vector.DE, Vector.TS, Vector.NP, Vector.SS, Vector.GP])

/** SDM vol. 3, table 6-5. */
function becomesDoubleFault(first: PendingEvent, second: number): boolean {
  if (first.kind !== 'fault' && first.kind !== 'trap') return false
  if (first.vector === Vector.PF) return second === Vector.PF || CONTRIBUTORY.has(second)
  return CONTRIBUTORY.has(first.vector) && CONTRIBUTORY.has(second)
}

const DR7_GD = 1 << 13

/** One attempt. @throws CpuFault where delivery itself faults; nothing has changed then */
function attempt(cpu: CpuContext, event: PendingEvent): void {
  const { state } = cpu
  const long = isProtected(state) && isLongMode(state)
  if (long) deliverLong(cpu, event)
  else if (isProtected(state)) deliverProtected(cpu, event)
  else deliverReal(cpu, event)
  if (event.vector === Vector.DB) state.setLoHi('dr', state.lo('dr', 7) & ~DR7_GD, 0, 7)
  state.set('intShadow', 0)
  if (long && cpu.privilegeChanged) cpu.privilegeChanged()
  else cpu.modeChanged()
}

const hex = (value: bigint | number): string => `0x${value.toString(16)}`

function describe(cpu: CpuContext, chain: readonly PendingEvent[], last: CpuFault): string {
  const { state } = cpu
  const events = chain.map(({ vector, errorCode }) => `#${vector}${errorCode === undefined ? '' : `(${hex(errorCode)})`}`)
  const where = `cs:rip ${hex(state.get('segSelector', Seg.CS))}:${hex(state.get64('rip'))} rsp ${hex(state.gpr(Gpr.RSP))}`
  return `${[...events, last.message].join(' -> ')} at ${where} cr2 ${hex(state.get64('cr2'))} cr3 ${hex(state.get64('cr3'))}`
}

/**
 * Delivers an event; faults on the way are combined as the architecture says.
 * @param errorCode pushed for exceptions that have one
 * @param returnRip address to come back to; default `rip`, for software interrupts `nextRip`
 * @throws TripleFault
 */
export function deliverEvent(
  cpu: CpuContext, vector: number, kind: EventKind, errorCode?: number,
  returnRip: bigint = kind === 'software' ? cpu.state.get64('nextRip') : cpu.state.get64('rip'),
): void {
  let event: PendingEvent = { vector, kind, errorCode, returnRip }
  let chain: PendingEvent[] | undefined
  for (;;) {
    try {
      return attempt(cpu, event)
    } catch (error) {
      if (!(error instanceof CpuFault)) throw error
      chain = [...(chain ?? []), event]
      if (event.vector === Vector.DF && event.kind === 'fault') throw new TripleFault(describe(cpu, chain, error))
      const double = becomesDoubleFault(event, error.vector)
      event = {
        vector: double ? Vector.DF : error.vector, kind: 'fault', errorCode: double ? 0 : error.errorCode,
        returnRip: cpu.state.get64('rip'),
      }
    }
  }
}

/**
 * A software interrupt inside an instruction's helper: its faults are the instruction's own.
 * @throws CpuFault
 */
export function deliverSoftware(cpu: CpuContext, vector: number, returnRip: bigint): void {
  attempt(cpu, { vector, kind: 'software', errorCode: undefined, returnRip })
}
