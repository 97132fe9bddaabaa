/** Segment checks of data accesses, for the oracle: SDM vol. 3, 5.3, 5.4.1, 5.5. */
import { CpuFault, Vector } from '../core/context'
import type { CpuState } from '../state/access'
import { Seg } from '../state/layout'
import { Mode } from '../state/mode'

const isCanonical = (address: bigint): boolean => BigInt.asUintN(64, BigInt.asIntN(48, address)) === address

function refuse(segment: number): never {
  throw new CpuFault(segment === Seg.SS ? Vector.SS : Vector.GP, 0)
}

function checkRights(state: CpuState, segment: number, write: boolean): void {
  const attr = state.get('segAttr', segment)
  if (attr & 0x1_0000 || !(attr & 0x80)) refuse(segment)
  const isCode = (attr & 8) !== 0
  const writable = !isCode && (attr & 2) !== 0
  const readable = !isCode || (attr & 2) !== 0
  if (write ? !writable : !readable) throw new CpuFault(Vector.GP, 0)
}

function checkLimit(state: CpuState, segment: number, address: bigint, bytes: number): void {
  const attr = state.get('segAttr', segment)
  const limit = BigInt(state.get('segLimit', segment))
  const last = address + BigInt(bytes - 1)
  const expandDown = (attr & 0xc) === 4
  if (!expandDown) { if (last > limit) refuse(segment); return }
  const top = attr & 0x4000 ? 0xffff_ffffn : 0xffffn
  if (address <= limit || last > top) refuse(segment)
}

/** Linear address of a data access after every segment check. @throws CpuFault #GP(0) or #SS(0) */
export function linearAddress(state: CpuState, segment: number, address: bigint, bytes: number, write: boolean): bigint {
  if (state.get('modeKey') & Mode.CODE64) {
    const base = segment >= Seg.FS ? state.get64('segBase', segment) : 0n
    const linear = BigInt.asUintN(64, base + address)
    if (!isCanonical(linear) || !isCanonical(BigInt.asUintN(64, linear + BigInt(Math.max(bytes, 1) - 1)))) refuse(segment)
    return linear
  }
  const realOrV86 = !(state.get('modeKey') & Mode.PROTECTED) || (state.get('modeKey') & Mode.V86) !== 0
  if (!realOrV86) checkRights(state, segment, write)
  checkLimit(state, segment, address, Math.max(bytes, 1))
  return BigInt.asUintN(32, state.get64('segBase', segment) + address)
}
