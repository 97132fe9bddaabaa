/** Reading the running task's state segment: inner stacks, and the I/O permission map. SDM vol. 3, 7.2 and vol. 1, 18.5.2. */
import { CpuFault, Vector, type CpuContext } from '../core/context'
import { Seg } from '../state/layout'
import { Attr, SystemType, isLongMode, isV86, selectorError, wrapLinear } from './descriptors'

const isWide = (attr: number): boolean => (attr & 15 & ~2) === SystemType.TSS32

/** SS:ESP for a privilege level from a 16- or 32-bit TSS. @throws CpuFault #TS where the TSS is too short */
export function readInnerStack(cpu: CpuContext, privilege: number, ext: number): { readonly ss: number; readonly esp: number } {
  const { state, memory } = cpu
  const wide = isWide(state.get('segAttr', Seg.TR))
  const offset = wide ? 4 + privilege * 8 : 2 + privilege * 4
  const last = offset + (wide ? 5 : 3)
  if (last > state.get('segLimit', Seg.TR)) throw new CpuFault(Vector.TS, selectorError(state.get('segSelector', Seg.TR), ext))
  const at = wrapLinear(state, state.get64('segBase', Seg.TR) + BigInt(offset))
  if (wide) return { esp: memory.read(at, 4, 'system'), ss: memory.read(at + 4n, 2, 'system') }
  return { esp: memory.read(at, 2, 'system'), ss: memory.read(at + 2n, 2, 'system') }
}

/** RSP0 … RSP2 of a 64-bit TSS. @throws CpuFault #TS */
export function readInnerRsp(cpu: CpuContext, privilege: number): bigint {
  const { state } = cpu
  const offset = 4 + privilege * 8
  if (offset + 7 > state.get('segLimit', Seg.TR)) throw new CpuFault(Vector.TS, selectorError(state.get('segSelector', Seg.TR)))
  return cpu.memory.read64(state.get64('segBase', Seg.TR) + BigInt(offset), 'system')
}

const FLAG_IOPL_SHIFT = 12

/**
 * May the program use these ports? By IOPL, else by the I/O permission bit map.
 * @throws CpuFault #GP(0)
 */
export function checkPorts(cpu: CpuContext, port: number, size: number): void {
  const { state } = cpu
  const cpl = state.get('cpl')
  const iopl = (state.lo('rflags') >> FLAG_IOPL_SHIFT) & 3
  if (!isV86(state) && cpl <= iopl) return
  const attr = state.get('segAttr', Seg.TR)
  const limit = state.get('segLimit', Seg.TR)
  if ((attr & Attr.UNUSABLE) !== 0 || (!isLongMode(state) && !isWide(attr)) || limit < 0x67) throw new CpuFault(Vector.GP, 0)
  const base = state.get64('segBase', Seg.TR)
  const map = cpu.memory.read(wrapLinear(state, base + 0x66n), 2, 'system')
  // Two bytes are always read, so that a range across a byte is covered.
  const at = map + (port >>> 3)
  if (at + 1 > limit) throw new CpuFault(Vector.GP, 0)
  const bits = cpu.memory.read(wrapLinear(state, base + BigInt(at)), 2, 'system')
  if (((bits >>> (port & 7)) & ((1 << size) - 1)) !== 0) throw new CpuFault(Vector.GP, 0)
}
