/** Segment checks of data accesses: limit, expand-down, rights, canonical form. SDM vol. 3, 5.3, 5.4.1, 5.5; vol. 1, 3.3.7.1. */
import { CpuFault, Vector, type CpuContext } from '../cpu/core/context'
import { Seg, offsetOf } from '../cpu/state/layout'
import { Mode } from '../cpu/state/mode'

const AT_MODE_KEY = offsetOf('modeKey')
/** By segment: loads of a state field by name would take as long as the checks. */
const SEGMENTS = Array.from({ length: Seg.GS + 1 }, (_, seg) => ({ base: offsetOf('segBase', seg), limit: offsetOf('segLimit', seg), attr: offsetOf('segAttr', seg) }))
const ATTR_CODE = 8
const ATTR_WRITABLE_OR_READABLE = 2
const ATTR_PRESENT = 0x80
const ATTR_DB = 0x4000
const ATTR_UNUSABLE = 0x1_0000
const HALF = 0x8000_0000_0000n

/** True for a 48-bit canonical address (unsigned 64-bit value). */
export function isCanonical(address: bigint): boolean {
  return address < HALF || (address >= 0xffff_8000_0000_0000n && address <= 0xffff_ffff_ffff_ffffn)
}

/** The stack segment's faults have a vector of their own. */
function refuse(segment: number): never {
  throw new CpuFault(segment === Seg.SS ? Vector.SS : Vector.GP, 0)
}

function checkRights(attr: number, segment: number, write: boolean): void {
  if ((attr & ATTR_UNUSABLE) !== 0 || (attr & ATTR_PRESENT) === 0) refuse(segment)
  const isCode = (attr & ATTR_CODE) !== 0
  const flag = (attr & ATTR_WRITABLE_OR_READABLE) !== 0
  const allowed = write ? !isCode && flag : !isCode || flag
  if (!allowed) throw new CpuFault(Vector.GP, 0)
}

/** @returns true where [offset, offset + size) lies within the segment */
export function withinLimit(attr: number, limit: number, offset: number, size: number): boolean {
  const last = offset + Math.max(size, 1) - 1
  const expandDown = (attr & (ATTR_CODE | 4)) === 4 && (attr & 0x10) !== 0
  if (!expandDown) return last <= limit
  return offset > limit && last <= ((attr & ATTR_DB) !== 0 ? 0xffff_ffff : 0xffff)
}

/**
 * Linear address of a data access after every segment check.
 * @param seg Seg index ES … GS @param ea effective address, already wrapped to the address size @param size in bytes
 * @throws CpuFault #SS(0) for SS, else #GP(0)
 */
export function checkSegment(cpu: CpuContext, seg: number, ea: bigint, size: number, write: boolean): bigint {
  const { view } = cpu.state
  const mode = view.getInt32(AT_MODE_KEY, true)
  const at = SEGMENTS[seg]
  if ((mode & Mode.CODE64) !== 0) {
    const linear = seg >= Seg.FS ? BigInt.asUintN(64, view.getBigUint64(at.base, true) + ea) : ea
    if (!isCanonical(linear) || !isCanonical(BigInt.asUintN(64, linear + BigInt(Math.max(size, 1) - 1)))) refuse(seg)
    return linear
  }
  const attr = view.getUint32(at.attr, true)
  if ((mode & (Mode.PROTECTED | Mode.V86)) === Mode.PROTECTED) checkRights(attr, seg, write)
  if (ea > 0xffff_ffffn || !withinLimit(attr, view.getUint32(at.limit, true), Number(ea), size)) refuse(seg)
  return BigInt.asUintN(32, view.getBigUint64(at.base, true) + ea)
}
