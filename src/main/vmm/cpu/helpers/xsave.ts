/** XSAVE and XRSTOR of the x87 and SSE states, standard form. SDM vol. 1, 13.4 and 13.7 to 13.9. */
import { checkSegment } from '../../mmu/segment'
import { CpuFault, Vector, type CpuContext } from '../core/context'
import type { Helper } from '../emit/emitter'
import type { CpuState } from '../state/access'
import { offsetOf } from '../state/layout'
import { AT_MXCSR, MXCSR_MASK, loadX87, loadXmm, resetX87, storeX87, storeXmm } from './fpu-state'
import { AREA, CR0_TS, CR4_OSXSAVE, HEADER, SSE, X87 } from './xsave-area'
import { commonXrstor, commonXsave } from './xsave-common'

/** With AVX the SSE part of the image also carries MXCSR; kept so for models that may offer it. */
const MXCSR_OWNERS = 6
const AT_CR0 = offsetOf('cr0')
const AT_CR4 = offsetOf('cr4')
/** Its upper half is zeros: the components there are are below bit 32. */
const AT_XCR0 = offsetOf('xcr0')

/** Checks in the manual's order and returns the linear address of the area. @throws CpuFault */
function area(cpu: CpuContext, segment: number, address: bigint, write: boolean): bigint {
  const { state } = cpu
  if ((state.view.getInt32(AT_CR4, true) & CR4_OSXSAVE) === 0) throw new CpuFault(Vector.UD)
  if ((state.view.getInt32(AT_CR0, true) & CR0_TS) !== 0) throw new CpuFault(Vector.NM)
  const linear = checkSegment(cpu, segment, address, AREA, write)
  if ((linear & 63n) !== 0n) throw new CpuFault(Vector.GP, 0)
  return linear
}

/** Every state component counts as in use: the initial-state optimisation is the processor's choice. */
export const xsaveHelper: Helper = {
  name: 'xsave', args: ['i32', 'i64', 'i64', 'i32'], faults: true, common: commonXsave,
  run(cpu: CpuContext, segment: number, address: bigint, requested: bigint, wide: number): void {
    const { state, memory } = cpu
    const linear = area(cpu, segment, address, true)
    const wanted = Number(requested & 0xffff_ffffn) & state.view.getInt32(AT_XCR0, true)
    const direct = memory.directBytes(linear, AREA, true)
    if (direct) return storeImage(state, direct, wanted, wide !== 0)
    const image = new Uint8Array(AREA)
    memory.probe(linear, AREA, true)
    // What is not requested, and bytes that belong to software, keep what memory holds.
    memory.readBytes(linear, image)
    storeImage(state, image, wanted, wide !== 0)
    memory.writeBytes(linear, image)
  },
}

export const xrstorHelper: Helper = {
  name: 'xrstor', args: ['i32', 'i64', 'i64', 'i32'], faults: true, common: commonXrstor,
  run(cpu: CpuContext, segment: number, address: bigint, requested: bigint, wide: number): void {
    const { state, memory } = cpu
    const linear = area(cpu, segment, address, false)
    const image = memory.directBytes(linear, AREA, false) ?? copyOf(cpu, linear)
    const view = new DataView(image.buffer, image.byteOffset, AREA)
    const enabled = state.view.getInt32(AT_XCR0, true)
    const present = view.getUint32(HEADER, true)
    let reserved = view.getUint32(HEADER + 4, true) | (present & ~enabled)
    for (let i = 8; i < 24; i += 4) reserved |= view.getUint32(HEADER + i, true)
    if (reserved !== 0) throw new CpuFault(Vector.GP, 0)
    const wanted = Number(requested & 0xffff_ffffn) & enabled
    const mxcsr = view.getUint32(24, true)
    if ((wanted & MXCSR_OWNERS) !== 0) {
      if ((mxcsr & ~MXCSR_MASK) !== 0) throw new CpuFault(Vector.GP, 0)
      state.view.setInt32(AT_MXCSR, mxcsr, true)
    }
    if ((wanted & X87) !== 0) restoreX87(cpu, view, (present & X87) !== 0, wide !== 0)
    if ((wanted & SSE) !== 0) loadXmm(state, (present & SSE) !== 0 ? image : new Uint8Array(AREA))
  },
}

function copyOf({ memory }: CpuContext, linear: bigint): Uint8Array {
  const image = new Uint8Array(AREA)
  memory.readBytes(linear, image)
  return image
}

/** XSAVE into an image that holds what memory held. */
function storeImage(state: CpuState, image: Uint8Array, wanted: number, wide: boolean): void {
  const view = new DataView(image.buffer, image.byteOffset, AREA)
  if ((wanted & X87) !== 0) storeX87(state, view, wide)
  if ((wanted & MXCSR_OWNERS) !== 0) {
    view.setUint32(24, state.view.getInt32(AT_MXCSR, true), true)
    view.setUint32(28, MXCSR_MASK, true)
  }
  if ((wanted & SSE) !== 0) storeXmm(state, image)
  // Components are below bit 32: the model offers x87 and SSE.
  view.setUint32(HEADER, (view.getUint32(HEADER, true) & ~wanted) | (wanted & (X87 | SSE)), true)
}

function restoreX87({ state }: CpuContext, view: DataView, present: boolean, wide: boolean): void {
  if (present) return loadX87(state, view, wide)
  resetX87(state)
  for (let i = 0; i < 8; i++) state.vec('fpr', i).fill(0)
}
