/** Loading and storing the x87, MMX and SSE state as a whole. SDM vol. 1, chapters 8 and 10.5. */
import { checkSegment } from '../../mmu/segment'
import { CpuFault, Vector, type CpuContext } from '../core/context'
import type { Helper } from '../emit/emitter'
import type { CpuState } from '../state/access'
import { offsetOf } from '../state/layout'
import { Mode } from '../state/mode'

const AT_FPR = offsetOf('fpr')
const AT_XMM = offsetOf('xmm')

/** MXCSR bits that may be set. */
export const MXCSR_MASK = 0xffff
/** Registers lie in the stack's order in memory, in physical order in the state. */
const physical = (state: CpuState, st: number): number => (((state.get('fsw') >> 11) & 7) + st) & 7
const CR4_OSFXSR = 1 << 9
const EFER_FFXSR = 1n << 14n

export function resetX87(state: CpuState): void {
  state.set('fcw', 0x37f)
  state.set('fsw', 0)
  state.set('ftw', 0)
  state.set('fpOpcode', 0)
  state.set64('fpIp', 0n)
  state.set64('fpDp', 0n)
  state.set('fpCs', 0)
  state.set('fpDs', 0)
}

/** Bytes 0–159 of the FXSAVE image: control words and x87 registers. @param wide REX.W form: 64-bit pointers */
export function storeX87(state: CpuState, image: DataView, wide: boolean): void {
  image.setUint16(0, state.get('fcw'), true)
  image.setUint16(2, state.get('fsw'), true)
  image.setUint8(4, state.get('ftw'))
  image.setUint16(6, state.get('fpOpcode'), true)
  if (wide) {
    image.setBigUint64(8, state.get64('fpIp'), true)
    image.setBigUint64(16, state.get64('fpDp'), true)
  } else {
    image.setUint32(8, state.lo('fpIp'), true)
    image.setUint16(12, state.get('fpCs'), true)
    image.setUint32(16, state.lo('fpDp'), true)
    image.setUint16(20, state.get('fpDs'), true)
  }
  for (let st = 0; st < 8; st++) {
    const at = AT_FPR + 16 * physical(state, st)
    image.setInt32(32 + 16 * st, state.view.getInt32(at, true), true)
    image.setInt32(36 + 16 * st, state.view.getInt32(at + 4, true), true)
    image.setUint16(40 + 16 * st, state.view.getUint16(at + 8, true), true)
  }
}

export function loadX87(state: CpuState, image: DataView, wide: boolean): void {
  state.set('fcw', image.getUint16(0, true))
  state.set('fsw', image.getUint16(2, true))
  state.set('ftw', image.getUint8(4))
  state.set('fpOpcode', image.getUint16(6, true) & 0x7ff)
  state.set64('fpIp', wide ? image.getBigUint64(8, true) : BigInt(image.getUint32(8, true)))
  state.set64('fpDp', wide ? image.getBigUint64(16, true) : BigInt(image.getUint32(16, true)))
  if (!wide) {
    state.set('fpCs', image.getUint16(12, true))
    state.set('fpDs', image.getUint16(20, true))
  }
  for (let st = 0; st < 8; st++) {
    const at = AT_FPR + 16 * physical(state, st)
    state.view.setInt32(at, image.getInt32(32 + 16 * st, true), true)
    state.view.setInt32(at + 4, image.getInt32(36 + 16 * st, true), true)
    state.view.setUint16(at + 8, image.getUint16(40 + 16 * st, true), true)
  }
}

const xmmBytes = (state: CpuState): number => ((state.get('modeKey') & Mode.CODE64) !== 0 ? 256 : 128)

export function storeXmm(state: CpuState, image: Uint8Array): void {
  image.set(state.bytes.subarray(AT_XMM, AT_XMM + xmmBytes(state)), 160)
}

export function loadXmm(state: CpuState, image: Uint8Array): void {
  state.bytes.set(image.subarray(160, 160 + xmmBytes(state)), AT_XMM)
}

/** FFXSR lets ring 0 in 64-bit mode leave the XMM registers out. */
function includesXmm(state: CpuState): boolean {
  const fast = (state.get64('efer') & EFER_FFXSR) !== 0n && state.get('cpl') === 0 && (state.get('modeKey') & Mode.CODE64) !== 0
  return (state.lo('cr4') & CR4_OSFXSR) !== 0 && !fast
}

export const fxsaveHelper: Helper = {
  name: 'fxsave', args: ['i32', 'i64', 'i32'], faults: true,
  run(cpu: CpuContext, segment: number, address: bigint, wide: number): void {
    const { state } = cpu
    const linear = checkSegment(cpu, segment, address, 512, true)
    const image = new Uint8Array(512)
    // Bytes 464–511 are left to software: they keep what memory holds.
    cpu.memory.probe(linear, 512, true)
    cpu.memory.readBytes(linear, image)
    const view = new DataView(image.buffer)
    storeX87(state, view, wide !== 0)
    view.setUint32(24, state.get('mxcsr'), true)
    view.setUint32(28, MXCSR_MASK, true)
    if (includesXmm(state)) storeXmm(state, image)
    cpu.memory.writeBytes(linear, image)
  },
}

export const fxrstorHelper: Helper = {
  name: 'fxrstor', args: ['i32', 'i64', 'i32'], faults: true,
  run(cpu: CpuContext, segment: number, address: bigint, wide: number): void {
    const { state } = cpu
    const linear = checkSegment(cpu, segment, address, 512, false)
    const image = new Uint8Array(512)
    cpu.memory.readBytes(linear, image)
    const view = new DataView(image.buffer)
    const mxcsr = view.getUint32(24, true)
    if ((mxcsr & ~MXCSR_MASK) !== 0) throw new CpuFault(Vector.GP, 0)
    loadX87(state, view, wide !== 0)
    state.set('mxcsr', mxcsr)
    if (includesXmm(state)) loadXmm(state, image)
  },
}

export const loadMxcsrHelper: Helper = {
  name: 'loadMxcsr', args: ['i32'], faults: true,
  run(cpu: CpuContext, value: number): void {
    if ((value & ~MXCSR_MASK) !== 0) throw new CpuFault(Vector.GP, 0)
    cpu.state.set('mxcsr', value)
  },
}

export const initX87Helper: Helper = {
  name: 'initX87', args: [], faults: false,
  run(cpu: CpuContext): void {
    resetX87(cpu.state)
  },
}
