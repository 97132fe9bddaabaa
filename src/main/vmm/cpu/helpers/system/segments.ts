/** Segment register loads and reads. SDM vol. 2: MOV, POP, LDS and family. */
import type { CpuContext } from '../../core/context'
import type { Helper } from '../../emit/emitter'
import { loadSegment } from '../../events/descriptors'
import { Seg } from '../../state/layout'

/** Interrupts and debug traps are held off for the instruction after a load of SS. */
const SHADOW_SS = 2

export const loadSegmentHelper: Helper = {
  name: 'loadSegment', args: ['i32', 'i32'], faults: true,
  run(cpu: CpuContext, seg: number, selector: number): void {
    loadSegment(cpu, seg, selector & 0xffff)
    cpu.modeChanged()
  },
}

/** MOV SS and POP SS; LSS has no shadow. */
export const loadStackSegmentHelper: Helper = {
  name: 'loadSegmentShadowed', args: ['i32', 'i32'], faults: true,
  run(cpu: CpuContext, seg: number, selector: number): void {
    loadSegment(cpu, seg, selector & 0xffff)
    if (seg === Seg.SS) cpu.state.set('intShadow', SHADOW_SS)
    cpu.modeChanged()
    // The next instruction is run alone, so that the shadow ends with it.
    if (seg === Seg.SS) cpu.requestExit?.()
  },
}

export const readSelectorHelper: Helper = {
  name: 'readSelector', args: ['i32'], returns: 'i32', faults: false,
  run(cpu: CpuContext, seg: number): number {
    return cpu.state.get('segSelector', seg)
  },
}

export const segmentHelpers: readonly Helper[] = [loadSegmentHelper, loadStackSegmentHelper, readSelectorHelper]
