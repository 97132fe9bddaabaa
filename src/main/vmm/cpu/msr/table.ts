/** The model-specific registers, as data. Intel SDM vol. 4; AMD APM vol. 2, appendix A. */
import { isCanonical } from '../../mmu/segment'
import type { CpuContext, CpuModel } from '../core/context'
import type { CpuState } from '../state/access'
import { Seg, type FieldName } from '../state/layout'

export const Msr = {
  P5_MC_ADDR: 0, P5_MC_TYPE: 1, TSC: 0x10, APIC_BASE: 0x1b, TSC_ADJUST: 0x3b, UCODE_REV: 0x8b, MTRR_CAP: 0xfe, MCG_CAP: 0x179, MCG_STATUS: 0x17a, MCG_CTL: 0x17b, MC0_CTL: 0x400, SYSENTER_CS: 0x174, SYSENTER_ESP: 0x175,
  SYSENTER_EIP: 0x176,
  MISC_ENABLE: 0x1a0, DEBUGCTL: 0x1d9, MTRR_PHYS_BASE0: 0x200, PAT: 0x277, MTRR_DEF_TYPE: 0x2ff, EFER: 0xc000_0080, STAR: 0xc000_0081,
  LSTAR: 0xc000_0082, CSTAR: 0xc000_0083, FMASK: 0xc000_0084, FS_BASE: 0xc000_0100, GS_BASE: 0xc000_0101, KERNEL_GS_BASE: 0xc000_0102,
  TSC_AUX: 0xc000_0103,
} as const

export interface MsrEntry {
  read(cpu: CpuContext): bigint
  /** False: a reserved bit is set, or the register cannot be written. */
  write(cpu: CpuContext, value: bigint): boolean
}

type BigField = Extract<FieldName,
  'star' | 'lstar' | 'cstar' | 'sfmask' | 'kernelGsBase' | 'sysenterCs' | 'sysenterEsp' | 'sysenterEip' | 'pat' | 'tscAux'>
type Valid = (value: bigint, model: CpuModel) => boolean

const any: Valid = () => true
const fits32: Valid = (value) => value >> 32n === 0n
const within = (mask: bigint): Valid => (value) => (value & ~mask) === 0n

/** A register with a place of its own in the state. */
const field = (name: BigField, valid: Valid = any): MsrEntry => ({
  read: ({ state }) => state.get64(name),
  write({ state, model }, value) {
    if (!valid(value, model)) return false
    state.set64(name, value)
    return true
  },
})

/** Memory types of MTRRs: UC, WC, WT, WP, WB. The PAT has UC- (7) too. SDM vol. 3, 12.11.2.1, 12.12.2. */
const MTRR_TYPES: ReadonlySet<number> = new Set([0, 1, 4, 5, 6])
const PAT_TYPES: ReadonlySet<number> = new Set([...MTRR_TYPES, 7])

/** Eight bytes, each a memory type. */
const eachByte = (types: ReadonlySet<number>): Valid => (value) => [0n, 8n, 16n, 24n, 32n, 40n, 48n, 56n].every((i) => types.has(Number((value >> i) & 0xffn)))
/** Low byte a memory type, and no bit outside `mask`. */
const typed = (mask: bigint): Valid => (value) => (value & ~mask) === 0n && MTRR_TYPES.has(Number(value & 0xffn))
const addressMask = ({ physicalAddressBits }: CpuModel): bigint => ((1n << BigInt(physicalAddressBits)) - 1n) & ~0xfffn
const rangeBase: Valid = (value, model) => typed(addressMask(model) | 0xffn)(value, model)
/** Bit 11: the range is in use. */
const rangeMask: Valid = (value, model) => (value & ~(addressMask(model) | 0x800n)) === 0n

const constant = (value: bigint): MsrEntry => ({ read: () => value, write: () => false })
/** Reads as a constant; writes are taken and forgotten. */
const ignoring = (value: bigint): MsrEntry => ({ read: () => value, write: () => true })

/** Registers that keep a value, without an effect here but for DEBUGCTL.BTF: index, reset value, writable bits. */
const STORED: readonly (readonly [index: number, reset: bigint, valid: Valid])[] = [
  // Bit 0: fast strings.
  [Msr.MISC_ENABLE, 1n, any],
  [Msr.DEBUGCTL, 0n, within(3n)],
  // MTRRs on, default type write-back: what firmware leaves behind on a machine whose memory is all alike.
  [Msr.MTRR_DEF_TYPE, 0xc06n, typed(0xcffn)],
  ...Array.from({ length: 16 }, (_, i) => [Msr.MTRR_PHYS_BASE0 + i, 0n, i % 2 === 0 ? rangeBase : rangeMask] as const),
  // Fixed ranges, all write-back.
  ...[0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f]
    .map((index) => [index, 0x0606_0606_0606_0606n, eachByte(MTRR_TYPES)] as const),
  // HWCR: bit 24, the TSC counts at a constant rate.
  [0xc001_0015, 1n << 24n, any],
  // SYSCFG, NB_CFG, interrupt pending message, MMIO configuration base.
  [0xc001_0010, 0n, any], [0xc001_001f, 0n, any], [0xc001_0055, 0n, any], [0xc001_0058, 0n, any],
  // LS_CFG, IC_CFG, DC_CFG, BU_CFG, DE_CFG (bit 1: LFENCE serializes), BU_CFG2, BU_CFG3.
  [0xc001_1020, 0n, any], [0xc001_1021, 0n, any], [0xc001_1022, 0n, any], [0xc001_1023, 0n, any],
  [0xc001_1029, 2n, any], [0xc001_102a, 0n, any], [0xc001_102b, 0n, any],
  // Machine check: RIPV, EIPV and MCIP; the enables, which enable nothing, for there is nothing here that errs.
  [Msr.MCG_STATUS, 0n, within(7n)], [Msr.MCG_CTL, 0n, any], [Msr.MC0_CTL, 0n, any],
]

/** Slot of TSC_ADJUST, before the stored registers. */
const SLOT_TSC_ADJUST = 0
const FIRST_STORED_SLOT = 1

const stored = (slot: number, reset: bigint, valid: Valid): MsrEntry => ({
  read: ({ state }) => state.get64('msrStore', slot) ^ reset,
  write({ state, model }, value) {
    if (!valid(value, model)) return false
    state.set64('msrStore', value ^ reset, slot)
    return true
  },
})

const tsc: MsrEntry = {
  read: ({ platform }) => platform.readTsc(),
  write(cpu, value) {
    const { state, platform } = cpu
    const adjust = state.get64('msrStore', SLOT_TSC_ADJUST)
    state.set64('msrStore', adjust + value - platform.readTsc(), SLOT_TSC_ADJUST)
    platform.writeTsc(value)
    return true
  },
}

const tscAdjust: MsrEntry = {
  read: ({ state }) => state.get64('msrStore', SLOT_TSC_ADJUST),
  write({ state, platform }, value) {
    const delta = value - state.get64('msrStore', SLOT_TSC_ADJUST)
    state.set64('msrStore', value, SLOT_TSC_ADJUST)
    platform.writeTsc(BigInt.asUintN(64, platform.readTsc() + delta))
    return true
  },
}

const EFER_LME = 1n << 8n
const EFER_LMA = 1n << 10n
const EFER_NXE = 1n << 11n
const CR0_PG = 0x8000_0000

const efer: MsrEntry = {
  read: ({ state }) => state.get64('efer'),
  write(cpu, value) {
    const { state, model } = cpu
    const old = state.get64('efer')
    if ((value & ~(model.eferAllowed | EFER_LMA)) !== 0n) return false
    const changed = value ^ old
    if ((changed & EFER_LME) !== 0n && (state.lo('cr0') & CR0_PG) !== 0) return false
    state.set64('efer', (value & ~EFER_LMA) | (old & EFER_LMA))
    if ((changed & EFER_NXE) !== 0n) cpu.flushTlb(false)
    return true
  },
}

const segmentBase = (seg: number): MsrEntry => ({
  read: ({ state }) => state.get64('segBase', seg),
  write({ state }, value) {
    if (!isCanonical(value)) return false
    state.set64('segBase', value, seg)
    return true
  },
})

/** Machine check: one bank, and MCG_CTL. SDM vol. 3, 16.3.1.1. */
const MCG_CAP_VALUE = 0x101n
/** Status, address and further facts of an error that never comes: they can be cleared. */
const noError: MsrEntry = { read: () => 0n, write: (_cpu, value) => value === 0n }

/** Fixed and variable ranges (8) and write combining. */
const MTRR_CAP_VALUE = 0x508n

/** Registers common to every model, by index. */
export const MSR_TABLE: ReadonlyMap<number, MsrEntry> = new Map<number, MsrEntry>([
  [Msr.TSC, tsc], [Msr.TSC_ADJUST, tscAdjust], [Msr.UCODE_REV, ignoring(0x0100_0065n << 32n | 0x0100_0065n)],
  [Msr.MTRR_CAP, constant(MTRR_CAP_VALUE)], [Msr.PAT, field('pat', eachByte(PAT_TYPES))],
  [Msr.SYSENTER_CS, field('sysenterCs', fits32)], [Msr.SYSENTER_ESP, field('sysenterEsp', isCanonical)],
  [Msr.SYSENTER_EIP, field('sysenterEip', isCanonical)],
  [Msr.P5_MC_ADDR, noError], [Msr.P5_MC_TYPE, noError], [Msr.MCG_CAP, constant(MCG_CAP_VALUE)],
  [Msr.MC0_CTL + 1, noError], [Msr.MC0_CTL + 2, noError], [Msr.MC0_CTL + 3, noError],
  [Msr.EFER, efer], [Msr.STAR, field('star')], [Msr.LSTAR, field('lstar', isCanonical)], [Msr.CSTAR, field('cstar', isCanonical)],
  [Msr.FMASK, field('sfmask', fits32)], [Msr.FS_BASE, segmentBase(Seg.FS)], [Msr.GS_BASE, segmentBase(Seg.GS)],
  [Msr.KERNEL_GS_BASE, field('kernelGsBase', isCanonical)], [Msr.TSC_AUX, field('tscAux', fits32)],
  // VM_CR: bit 4, virtualization is switched off by firmware.
  [0xc001_0114, constant(0x10n)],
  ...STORED.map(([index, reset, valid], i) => [index, stored(FIRST_STORED_SLOT + i, reset, valid)] as const),
])

const SLOT_DEBUGCTL = FIRST_STORED_SLOT + STORED.findIndex(([index]) => index === Msr.DEBUGCTL)
/** Single-step on branches. SDM vol. 3, 18.4.2. */
const DEBUGCTL_BTF = 2n

/** RFLAGS.TF means a trap after branches alone. */
export const stepsOnBranches = (state: CpuState): boolean => (state.get64('msrStore', SLOT_DEBUGCTL) & DEBUGCTL_BTF) !== 0n

/** The processor does this as it generates a debug exception. */
export function stopStepsOnBranches(state: CpuState): void {
  if (stepsOnBranches(state)) state.set64('msrStore', state.get64('msrStore', SLOT_DEBUGCTL) & ~DEBUGCTL_BTF, SLOT_DEBUGCTL)
}

/** Registers that only keep what is written, with their values: for saved states. */
export function storedMsrs(state: CpuState): [index: number, value: bigint][] {
  return [
    [Msr.TSC_ADJUST, state.get64('msrStore', SLOT_TSC_ADJUST)],
    ...STORED.map(([index, reset], i): [number, bigint] => [index, state.get64('msrStore', FIRST_STORED_SLOT + i) ^ reset]),
  ]
}

/** Puts one of them back, without the effects of a WRMSR. False: there is no such register. */
export function restoreStoredMsr(state: CpuState, index: number, value: bigint): boolean {
  if (index === Msr.TSC_ADJUST) {
    state.set64('msrStore', value, SLOT_TSC_ADJUST)
    return true
  }
  const i = STORED.findIndex(([stored]) => stored === index)
  if (i < 0) return false
  state.set64('msrStore', value ^ STORED[i][1], FIRST_STORED_SLOT + i)
  return true
}

/** Registers that exist only with long mode. */
const LONG_MODE_ONLY: ReadonlySet<number> = new Set([
  Msr.STAR, Msr.LSTAR, Msr.CSTAR, Msr.FMASK, Msr.FS_BASE, Msr.GS_BASE, Msr.KERNEL_GS_BASE,
])

function entryOf(cpu: CpuContext, index: number): MsrEntry | undefined {
  if (LONG_MODE_ONLY.has(index) && !cpu.model.has('lm')) return undefined
  if (index === Msr.TSC_AUX && !cpu.model.has('rdtscp') && !cpu.model.has('rdpid')) return undefined
  return MSR_TABLE.get(index)
}

/** BSP, x2APIC mode, enabled. SDM vol. 3, figure 11-26. */
const APIC_BASE_FLAGS = 0xd00n

/** undefined: no such register. */
export function readMsr(cpu: CpuContext, index: number): bigint | undefined {
  const entry = entryOf(cpu, index)
  return entry ? entry.read(cpu) : cpu.platform.readMsr(index)
}

/** False: no such register, or a value it does not take. */
export function writeMsr(cpu: CpuContext, index: number, value: bigint): boolean {
  const entry = entryOf(cpu, index)
  if (entry) return entry.write(cpu, value)
  if (index === Msr.APIC_BASE && (value & ~(addressMask(cpu.model) | APIC_BASE_FLAGS)) !== 0n) return false
  if (!cpu.platform.writeMsr(index, value)) return false
  // Its page may lie over memory from now on, or no more.
  if (index === Msr.APIC_BASE) cpu.flushTlb(false)
  return true
}
