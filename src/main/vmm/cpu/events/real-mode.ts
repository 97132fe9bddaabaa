/** Real-mode delivery through the interrupt vector table. SDM vol. 3, 21.1.4. */
import { CpuFault, Vector, type CpuContext } from '../core/context'
import { packRflags } from '../state/flags'
import { Gpr, Seg } from '../state/layout'
import { Attr, setRealSegment } from './descriptors'
import type { PendingEvent } from './event'
import { LegacyStack, currentStackSegment, setStackPointer } from './stack'

/** IF, TF and AC. */
const CLEARED = 0x4_0300

export function deliverReal(cpu: CpuContext, event: PendingEvent): void {
  const { state } = cpu
  const at = event.vector * 4
  if (at + 3 > state.get('idtrLimit')) throw new CpuFault(Vector.GP, 0)
  const entry = cpu.memory.read(state.get64('idtrBase') + BigInt(at), 4, 'system')
  const stack = new LegacyStack(cpu, currentStackSegment(state), state.lo('gpr', Gpr.RSP), 2, 'system')
  stack.push(Number(packRflags(state) & 0xffffn))
  stack.push(state.get('segSelector', Seg.CS))
  stack.push(Number(event.returnRip & 0xffffn))
  stack.check(0)
  stack.write()
  setStackPointer(state, stack.pointer, (state.get('segAttr', Seg.SS) & Attr.DB) !== 0)
  state.setLoHi('rflags', state.lo('rflags') & ~CLEARED, 0)
  setRealSegment(state, Seg.CS, entry >>> 16)
  state.setLoHi('rip', entry & 0xffff, 0)
}
