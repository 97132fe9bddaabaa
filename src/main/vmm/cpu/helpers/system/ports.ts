/** Port access: rights, then the platform. SDM vol. 1, chapter 18. */
import type { CpuContext } from '../../core/context'
import type { Helper } from '../../emit/emitter'
import { notePortBreakpoints } from '../../events/breakpoints'
import { isProtected } from '../../events/descriptors'
import { checkPorts } from '../../events/tss'

/** IOPL and the I/O permission map. @throws CpuFault #GP(0) */
function check(cpu: CpuContext, port: number, size: number): void {
  if (cpu.state.get('cpl') !== 0 && isProtected(cpu.state)) checkPorts(cpu, port, size)
}

/** For INS and OUTS: rights are looked at before memory is. */
export const checkPortHelper: Helper = {
  name: 'checkPort', args: ['i32', 'i32'], faults: true,
  run(cpu: CpuContext, port: number, size: number): void {
    check(cpu, port & 0xffff, size)
  },
}

export const portInHelper: Helper = {
  name: 'portIn', args: ['i32', 'i32'], returns: 'i32', faults: true,
  run(cpu: CpuContext, port: number, size: number): number {
    check(cpu, port & 0xffff, size)
    notePortBreakpoints(cpu.state, port & 0xffff, size)
    return cpu.platform.portIn(port & 0xffff, size as 1 | 2 | 4) >>> 0
  },
}

export const portOutHelper: Helper = {
  name: 'portOut', args: ['i32', 'i32', 'i32'], faults: true,
  run(cpu: CpuContext, port: number, size: number, value: number): void {
    check(cpu, port & 0xffff, size)
    notePortBreakpoints(cpu.state, port & 0xffff, size)
    cpu.platform.portOut(port & 0xffff, size as 1 | 2 | 4, value >>> 0)
  },
}

export const portHelpers: readonly Helper[] = [checkPortHelper, portInHelper, portOutHelper]
