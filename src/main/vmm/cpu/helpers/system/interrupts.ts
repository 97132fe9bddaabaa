/** Software interrupts, HLT and what follows STI. SDM vol. 2: INT n, INTO, INT3, INT1, HLT, STI. */
import { Vector, type CpuContext } from '../../core/context'
import type { Helper } from '../../emit/emitter'
import { deliverEvent, deliverSoftware } from '../../events/deliver'
import { requireIoplForInt } from '../../events/protected-mode'
import { TaskFault } from '../../events/task-switch'
import { redirectInterrupt } from './virtual-interrupts'

function interrupt(cpu: CpuContext, vector: number, returnRip: bigint): void {
  if (cpu.interruptQuickly?.(vector, returnRip)) return
  try {
    deliverSoftware(cpu, vector, returnRip)
    cpu.noteSoftwareInterrupt?.()
  } catch (error) {
    if (!(error instanceof TaskFault)) throw error
    deliverEvent(cpu, error.vector, 'fault', error.errorCode)
  }
}

/** INT n. */
export const softInterruptHelper: Helper = {
  name: 'softInterrupt', args: ['i32', 'i64'], faults: true,
  run(cpu: CpuContext, vector: number, returnRip: bigint): void {
    if (redirectInterrupt(cpu, vector & 0xff, returnRip)) return cpu.noteSoftwareInterrupt?.()
    requireIoplForInt(cpu)
    interrupt(cpu, vector & 0xff, returnRip)
  },
}

/** INT3 and INTO: as INT n, but IOPL does not matter in virtual-8086 mode. */
export const softExceptionHelper: Helper = {
  name: 'softException', args: ['i32', 'i64'], faults: true,
  run(cpu: CpuContext, vector: number, returnRip: bigint): void {
    interrupt(cpu, vector & 0xff, returnRip)
  },
}

/** INT1: a debug trap no gate privilege keeps out. */
export const int1Helper: Helper = {
  name: 'int1', args: ['i64'], faults: true,
  run(cpu: CpuContext, returnRip: bigint): void {
    deliverEvent(cpu, Vector.DB, 'trap', undefined, returnRip)
  },
}

export const haltHelper: Helper = {
  name: 'halt', args: [], faults: false,
  run(cpu: CpuContext): void {
    cpu.state.set('halted', 1)
    // HLT itself is the instruction the shadow of STI covers.
    cpu.state.set('intShadow', 0)
    cpu.requestExit?.()
  },
}

export const interruptsEnabledHelper: Helper = {
  name: 'interruptsEnabled', args: [], faults: false,
  run(cpu: CpuContext): void {
    if (cpu.interruptsEnabled) cpu.interruptsEnabled()
    else cpu.modeChanged()
  },
}

export const interruptHelpers: readonly Helper[] = [
  softInterruptHelper, softExceptionHelper, int1Helper, haltHelper, interruptsEnabledHelper,
]
