/** FNSTENV, FLDENV, FNSAVE, FRSTOR: the environment in its four layouts (SDM vol. 1, 8.1.10), with the registers behind it. */
import { checkSegment } from '../../../mmu/segment'
import { CpuFault, type CpuContext } from '../../core/context'
import type { Helper } from '../../emit/emitter'
import type { CpuState } from '../../state/access'
import { Mode } from '../../state/mode'
import { resetX87 } from '../fpu-state'
import { isDenormal, kindOf } from './float80'
import { X87 } from './unit'

const MASKS = 0x3f
const SUMMARY = 0x8080
const STACK_BYTES = 80
const TAG_EMPTY = 3

const isReal = (state: CpuState): boolean => {
  const mode = state.get('modeKey')
  return (mode & Mode.PROTECTED) === 0 || (mode & Mode.V86) !== 0
}

/** Two bits for each physical register: valid, zero, special, empty. */
function fullTags(state: CpuState): number {
  const unit = new X87(state)
  let tags = 0
  for (let i = 0; i < 8; i++) {
    const physical = (unit.top + i) & 7
    const v = unit.read(i)
    const kind = kindOf(v)
    const tag = unit.isEmpty(i) ? TAG_EMPTY : kind === 'zero' ? 1 : kind !== 'finite' || isDenormal(v) ? 2 : 0
    tags |= tag << (2 * physical)
  }
  return tags
}

function abridged(tags: number): number {
  let out = 0
  for (let i = 0; i < 8; i++) if (((tags >> (2 * i)) & 3) !== TAG_EMPTY) out |= 1 << i
  return out
}

/** The last four fields: instruction and data pointer. Real mode keeps linear addresses, spread over two fields each. */
function pointerFields(state: CpuState, size: number): readonly number[] {
  const [ip, dp, opcode] = [state.lo('fpIp'), state.lo('fpDp'), state.get('fpOpcode') & 0x7ff]
  const [cs, ds] = [state.get('fpCs') & 0xffff, state.get('fpDs') & 0xffff]
  if (!isReal(state)) return size === 16 ? [ip & 0xffff, cs, dp & 0xffff, ds] : [ip, cs | (opcode << 16), dp, ds | 0xffff_0000]
  const [linearIp, linearDp] = [(ip + cs * 16) >>> 0, (dp + ds * 16) >>> 0]
  if (size === 16) return [linearIp & 0xffff, ((linearIp >>> 4) & 0xf000) | opcode, linearDp & 0xffff, (linearDp >>> 4) & 0xf000]
  const upper = (v: number): number => (v >>> 16) << 12
  return [(linearIp & 0xffff) | 0xffff_0000, upper(linearIp) | opcode, (linearDp & 0xffff) | 0xffff_0000, upper(linearDp)]
}

function storeEnvironment(state: CpuState, view: DataView, size: number): void {
  const words = [state.get('fcw'), state.get('fsw'), fullTags(state)]
  const step = size === 16 ? 2 : 4
  const put = (n: number, value: number): void => (size === 16 ? view.setUint16(n * 2, value, true) : view.setUint32(n * 4, value, true))
  words.forEach((word, n) => put(n, step === 4 ? word | 0xffff_0000 : word))
  pointerFields(state, size).forEach((value, n) => put(3 + n, value))
}

/** ES and B follow from what the control word leaves unmasked. */
function settleSummary(state: CpuState): void {
  const status = state.get('fsw') & ~SUMMARY
  state.set('fsw', (status & ~state.get('fcw') & MASKS) !== 0 ? status | SUMMARY : status)
}

function loadPointers(state: CpuState, fields: readonly number[], size: number): void {
  const [ip, second, dp, fourth] = fields
  if (!isReal(state)) {
    state.set64('fpIp', BigInt(ip))
    state.set64('fpDp', BigInt(dp))
    state.set('fpCs', second & 0xffff)
    state.set('fpDs', fourth & 0xffff)
    if (size !== 16) state.set('fpOpcode', (second >>> 16) & 0x7ff)
    return
  }
  const linear = (low: number, high: number): bigint =>
    BigInt(((low & 0xffff) | (size === 16 ? (high & 0xf000) << 4 : ((high >>> 12) & 0xffff) << 16)) >>> 0)
  state.set64('fpIp', linear(ip, second))
  state.set64('fpDp', linear(dp, fourth))
  state.set('fpCs', 0)
  state.set('fpDs', 0)
  state.set('fpOpcode', second & 0x7ff)
}

function loadEnvironment(state: CpuState, view: DataView, size: number): void {
  const get = (n: number): number => (size === 16 ? view.getUint16(n * 2, true) : view.getUint32(n * 4, true))
  state.set('fcw', (get(0) & 0x1f7f) | 0x40)
  state.set('fsw', get(1) & 0xffff)
  state.set('ftw', abridged(get(2) & 0xffff))
  loadPointers(state, [get(3), get(4), get(5), get(6)], size)
  settleSummary(state)
}

/** Registers in the stack's order, ten bytes each. */
function eachRegister(state: CpuState, image: Uint8Array, at: number, move: (register: Uint8Array, slot: Uint8Array) => void): void {
  const { top } = new X87(state)
  for (let i = 0; i < 8; i++) move(state.vec('fpr', (top + i) & 7).subarray(0, 10), image.subarray(at + 10 * i, at + 10 * i + 10))
}

const environmentBytes = (size: number): number => (size === 16 ? 14 : 28)

export const storeEnvironmentHelper: Helper = {
  name: 'x87StoreEnvironment', args: ['i32', 'i64', 'i32', 'i32'], faults: true,
  /** @param whole FNSAVE: the registers too, and reset afterwards */
  run(cpu: CpuContext, segment: number, address: bigint, size: number, whole: number): void {
    const { state } = cpu
    const head = environmentBytes(size)
    const image = new Uint8Array(head + (whole ? STACK_BYTES : 0))
    const linear = checkSegment(cpu, segment, address, image.length, true)
    storeEnvironment(state, new DataView(image.buffer), size)
    if (whole) eachRegister(state, image, head, (register, slot) => slot.set(register))
    cpu.memory.probe(linear, image.length, true)
    cpu.memory.writeBytes(linear, image)
    if (whole) return resetX87(state)
    state.set('fcw', state.get('fcw') | MASKS)
    settleSummary(state)
  },
}

export const loadEnvironmentHelper: Helper = {
  name: 'x87LoadEnvironment', args: ['i32', 'i64', 'i32', 'i32'], faults: true,
  /** @param whole FRSTOR: the registers too */
  run(cpu: CpuContext, segment: number, address: bigint, size: number, whole: number): void {
    const { state } = cpu
    const head = environmentBytes(size)
    const image = new Uint8Array(head + (whole ? STACK_BYTES : 0))
    const linear = checkSegment(cpu, segment, address, image.length, false)
    cpu.memory.readBytes(linear, image)
    loadEnvironment(state, new DataView(image.buffer), size)
    if (whole) eachRegister(state, image, head, (register, slot) => register.set(slot))
  },
}

/** Checks that a store could be made, where an unmasked exception keeps it from being made. */
export const probeStoreHelper: Helper = {
  name: 'x87ProbeStore', args: ['i32', 'i64', 'i32'], faults: true, isolated: true,
  run(cpu: CpuContext, segment: number, address: bigint, bytes: number): void {
    cpu.memory.probe(checkSegment(cpu, segment, address, bytes, true), bytes, true)
  },
}

const PREFIXES = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]
const MAX_PREFIXES = 13

/** First opcode byte and ModRM byte of the last x87 instruction. @throws CpuFault where code cannot be read as data */
function lastOpcode({ state, memory }: CpuContext): number {
  const long = (state.get('modeKey') & Mode.CODE64) !== 0
  let at = state.get64('codeBase') + state.get64('fpIp')
  const next = (): number => {
    const byte = memory.read(BigInt.asUintN(long ? 64 : 32, at), 1)
    at += 1n
    return byte
  }
  let byte = next()
  for (let n = 0; n < MAX_PREFIXES && (PREFIXES.includes(byte) || (long && (byte & 0xf0) === 0x40)); n++) byte = next()
  return ((byte & 7) << 8) | next()
}

/**
 * Keeps the opcode of an instruction that raised an unmasked exception: as CPUs do since the Pentium 4 (SDM vol. 1, 8.1.9.1). The
 * instruction pointer is that instruction's already.
 */
export function keepOpcode(cpu: CpuContext): void {
  const cr2 = cpu.state.get64('cr2')
  try {
    cpu.state.set('fpOpcode', lastOpcode(cpu))
  } catch (reason) {
    if (!(reason instanceof CpuFault)) throw reason
    // Code that may be run but not read (SMAP): the instruction itself has succeeded, so only the opcode is lost.
    cpu.state.set64('cr2', cr2)
    cpu.state.set('fpOpcode', 0)
  }
}

/** As `keepOpcode`, for instructions whose exceptions come after their memory access: stores. */
export const noteOpcodeHelper: Helper = { name: 'x87NoteOpcode', args: [], faults: false, isolated: true, run: keepOpcode }
