/** Which events one CPU takes, and when. SDM vol. 3, 6.8 and 6.9. */
import { deliverEvent, type EventKind } from '../events/deliver'
import type { QuickDelivery } from '../events/quick'
import { stopStepsOnBranches } from '../msr/table'
import { offsetOf } from '../state/layout'
import { Vector, type CpuContext } from './context'
import type { InterruptSource, VcpuCounters } from './types'

const FLAG_IF = 1 << 9

const AT_RFLAGS = offsetOf('rflags')
const AT_PENDING_DEBUG = offsetOf('pendingDebug')
const AT_HALTED = offsetOf('halted')
const AT_NMI_BLOCKED = offsetOf('nmiBlocked')
const AT_INTERRUPT_WAITS = offsetOf('interruptWaits')

export interface EventUnitOptions {
  readonly cpu: CpuContext
  readonly interrupts: InterruptSource
  readonly quick: QuickDelivery
  readonly counters: Pick<VcpuCounters, 'exceptions' | 'interrupts'>
}

export class EventUnit {
  private readonly view: DataView

  constructor(private readonly options: EventUnitOptions) {
    this.view = options.cpu.state.view
  }

  /** An interrupt would be taken if RFLAGS.IF were set. Asks the controllers only after something asked for an exit: whoever has an interrupt does. */
  waits(): boolean {
    if (this.view.getInt32(AT_INTERRUPT_WAITS, true) === 0) return false
    if (this.options.interrupts.pendingVector() >= 0) return true
    this.view.setInt32(AT_INTERRUPT_WAITS, 0, true)
    return false
  }

  /** Delivers an NMI or an interrupt that may be taken now, between two instructions. */
  take(): void {
    const { interrupts, counters } = this.options
    if (this.view.getInt32(AT_NMI_BLOCKED, true) === 0 && interrupts.takeNmi()) {
      this.view.setInt32(AT_NMI_BLOCKED, 1, true)
      counters.interrupts++
      return this.deliver(Vector.NMI, 'nmi')
    }
    if ((this.view.getInt32(AT_RFLAGS, true) & FLAG_IF) === 0 || !this.waits()) return
    counters.interrupts++
    this.deliver(interrupts.acknowledge(), 'interrupt')
  }

  /** A fault of the instruction at RIP. */
  raise(vector: number, errorCode?: number): void {
    this.options.counters.exceptions++
    this.view.setInt32(AT_PENDING_DEBUG, 0, true)
    this.deliver(vector, 'fault', errorCode)
  }

  /** What the last instruction met: data and port breakpoints, its own single step, a task that asks for it. */
  debugTrap(): void {
    const { cpu: { state }, counters } = this.options
    state.setLoHi('dr', state.lo('dr', 6) | state.get('pendingDebug'), 0, 6)
    state.set('pendingDebug', 0)
    counters.exceptions++
    this.deliver(Vector.DB, 'trap')
  }

  private deliver(vector: number, kind: EventKind, errorCode?: number): void {
    const { cpu, quick } = this.options
    this.view.setInt32(AT_HALTED, 0, true)
    if (vector === Vector.DB) stopStepsOnBranches(cpu.state)
    if (!quick.deliver(vector, kind, errorCode)) deliverEvent(cpu, vector, kind, errorCode)
  }

  /** INT n where it is the common case. False: nothing was done. */
  deliverSoftware(vector: number, returnRip: bigint): boolean {
    return this.options.quick.deliverSoftware(vector, returnRip)
  }
}
