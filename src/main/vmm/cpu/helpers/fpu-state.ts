/** Loading and storing the x87, MMX and SSE state as a whole. SDM vol. 1, chapters 8 and 10.5. */
import { checkSegment } from '../../mmu/segment'
import { CpuFault, Vector, type CpuContext } from '../core/context'
import type { Helper } from '../emit/emitter'
import type { CpuState } from '../state/access'
import { offsetOf } from '../state/layout'
import { Mode } from '../state/mode'

const AT_FPR = offsetOf('fpr')
const AT_XMM = offsetOf('xmm')
const AT_FCW = offsetOf('fcw')
const AT_FSW = offsetOf('fsw')
const AT_FTW = offsetOf('ftw')
const AT_FP_OPCODE = offsetOf('fpOpcode')
const AT_FP_IP = offsetOf('fpIp')
const AT_FP_DP = offsetOf('fpDp')
const AT_FP_CS = offsetOf('fpCs')
const AT_FP_DS = offsetOf('fpDs')
const AT_MODE_KEY = offsetOf('modeKey')
/** For what is done at every switch of processes: loads by name would cost more than the rest. */
export const AT_MXCSR = offsetOf('mxcsr')

/** Byte offsets in the image of FXSAVE. SDM vol. 1, table 10-2. CS and DS where pointers have 32 bits. */
export const AT_IMAGE = { fcw: 0, fsw: 2, ftw: 4, opcode: 6, ip: 8, cs: 12, dp: 16, ds: 20, mxcsr: 24, registers: 32, xmm: 160 } as const
/** MXCSR bits that may be set. */
export const MXCSR_MASK = 0xffff
/** Registers lie in the stack's order in memory, in physical order in the state: byte offset of ST(0) … ST(7) there. */
const placeOf = (top: number, st: number): number => AT_FPR + 16 * ((top + st) & 7)
const topOf = (state: CpuState): number => (state.view.getInt32(AT_FSW, true) >> 11) & 7
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
  const { view } = state
  image.setUint16(AT_IMAGE.fcw, view.getInt32(AT_FCW, true), true)
  image.setUint16(AT_IMAGE.fsw, view.getInt32(AT_FSW, true), true)
  image.setUint8(AT_IMAGE.ftw, view.getInt32(AT_FTW, true))
  image.setUint16(AT_IMAGE.opcode, view.getInt32(AT_FP_OPCODE, true), true)
  image.setInt32(AT_IMAGE.ip, view.getInt32(AT_FP_IP, true), true)
  image.setInt32(AT_IMAGE.dp, view.getInt32(AT_FP_DP, true), true)
  if (wide) {
    image.setInt32(AT_IMAGE.ip + 4, view.getInt32(AT_FP_IP + 4, true), true)
    image.setInt32(AT_IMAGE.dp + 4, view.getInt32(AT_FP_DP + 4, true), true)
  } else {
    image.setUint16(AT_IMAGE.cs, view.getInt32(AT_FP_CS, true), true)
    image.setUint16(AT_IMAGE.ds, view.getInt32(AT_FP_DS, true), true)
  }
  const top = topOf(state)
  for (let st = 0; st < 8; st++) {
    const at = placeOf(top, st)
    const to = AT_IMAGE.registers + 16 * st
    image.setInt32(to, view.getInt32(at, true), true)
    image.setInt32(to + 4, view.getInt32(at + 4, true), true)
    image.setUint16(to + 8, view.getUint16(at + 8, true), true)
  }
}

export function loadX87(state: CpuState, image: DataView, wide: boolean): void {
  const { view } = state
  view.setInt32(AT_FCW, image.getUint16(AT_IMAGE.fcw, true), true)
  view.setInt32(AT_FSW, image.getUint16(AT_IMAGE.fsw, true), true)
  view.setInt32(AT_FTW, image.getUint8(AT_IMAGE.ftw), true)
  view.setInt32(AT_FP_OPCODE, image.getUint16(AT_IMAGE.opcode, true) & 0x7ff, true)
  view.setInt32(AT_FP_IP, image.getInt32(AT_IMAGE.ip, true), true)
  view.setInt32(AT_FP_IP + 4, wide ? image.getInt32(AT_IMAGE.ip + 4, true) : 0, true)
  view.setInt32(AT_FP_DP, image.getInt32(AT_IMAGE.dp, true), true)
  view.setInt32(AT_FP_DP + 4, wide ? image.getInt32(AT_IMAGE.dp + 4, true) : 0, true)
  if (!wide) {
    view.setInt32(AT_FP_CS, image.getUint16(AT_IMAGE.cs, true), true)
    view.setInt32(AT_FP_DS, image.getUint16(AT_IMAGE.ds, true), true)
  }
  const top = topOf(state)
  for (let st = 0; st < 8; st++) {
    const at = placeOf(top, st)
    const from = AT_IMAGE.registers + 16 * st
    view.setInt32(at, image.getInt32(from, true), true)
    view.setInt32(at + 4, image.getInt32(from + 4, true), true)
    view.setUint16(at + 8, image.getUint16(from + 8, true), true)
  }
}

const xmmBytes = ({ view }: CpuState): number => ((view.getInt32(AT_MODE_KEY, true) & Mode.CODE64) !== 0 ? 256 : 128)

export function storeXmm(state: CpuState, image: Uint8Array): void {
  image.set(state.bytes.subarray(AT_XMM, AT_XMM + xmmBytes(state)), AT_IMAGE.xmm)
}

export function loadXmm(state: CpuState, image: Uint8Array): void {
  state.bytes.set(image.subarray(AT_IMAGE.xmm, AT_IMAGE.xmm + xmmBytes(state)), AT_XMM)
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
