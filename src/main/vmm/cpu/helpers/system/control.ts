/** Control registers, XCR0, and TLB instructions. SDM vol. 2 (MOV CR, LMSW, CLTS, XSETBV, INVPCID) and vol. 3, 2.5. */
import { CpuFault, Vector, type CpuContext } from '../../core/context'
import type { Helper } from '../../emit/emitter'
import { Attr, isLongMode } from '../../events/descriptors'
import { isCanonical } from '../../../mmu/segment'
import { Seg, offsetOf } from '../../state/layout'

const CR0 = { PE: 1n, ET: 1n << 4n, WP: 1n << 16n, NW: 1n << 29n, CD: 1n << 30n, PG: 1n << 31n } as const
/** PE MP EM TS ET NE WP AM NW CD PG. */
const CR0_DEFINED = 0xe005_003fn
const CR4_PAE = 1n << 5n
const CR4_PCIDE = 1n << 17n
const CR4_OSXSAVE = 1n << 18n
const EFER_LME = 1n << 8n
const EFER_LMA = 1n << 10n
/** A change of any of these changes what translations mean. */
const CR0_PAGING = CR0.PG | CR0.WP | CR0.PE
/** PSE PAE PGE PCIDE SMEP SMAP. */
const CR4_PAGING = (1n << 4n) | CR4_PAE | (1n << 7n) | CR4_PCIDE | (1n << 20n) | (1n << 21n)
/** Bit 63 of CR3, in its upper half. */
const CR3_NO_FLUSH_HIGH = 2 ** 31
const AT_CR3 = offsetOf('cr3')
const AT_CR4 = offsetOf('cr4')

const gp = (): never => { throw new CpuFault(Vector.GP, 0) }

/** True where the PDPTE registers are in use after this change. */
const usesPdptes = (cr0: bigint, cr4: bigint, efer: bigint): boolean =>
  (cr0 & CR0.PG) !== 0n && (cr4 & CR4_PAE) !== 0n && (efer & EFER_LMA) === 0n

function loadPdptes(cpu: CpuContext, cr3: bigint): void {
  if (cpu.loadPdptes && !cpu.loadPdptes(Number(cr3 & 0xffff_ffffn))) gp()
}

/** EFER after CR0.PG changes. @throws CpuFault #GP(0) for combinations that do not exist */
function eferFor(cpu: CpuContext, cr0: bigint, old: bigint): bigint {
  const { state } = cpu
  const efer = state.get64('efer')
  const csLong = (state.get('segAttr', Seg.CS) & Attr.L) !== 0
  const turnsOn = (cr0 & CR0.PG) !== 0n && (old & CR0.PG) === 0n
  const turnsOff = (cr0 & CR0.PG) === 0n && (old & CR0.PG) !== 0n
  if (turnsOn && (efer & EFER_LME) !== 0n) {
    if ((state.get64('cr4') & CR4_PAE) === 0n || csLong) gp()
    return efer | EFER_LMA
  }
  if (turnsOff) {
    if ((state.get64('cr4') & CR4_PCIDE) !== 0n || ((efer & EFER_LMA) !== 0n && csLong)) gp()
    return efer & ~EFER_LMA
  }
  return efer
}

function writeCr0(cpu: CpuContext, value: bigint): void {
  const { state } = cpu
  if (value >> 32n !== 0n) gp()
  const cr0 = (value & CR0_DEFINED) | CR0.ET
  if ((cr0 & CR0.PG) !== 0n && (cr0 & CR0.PE) === 0n) gp()
  if ((cr0 & CR0.NW) !== 0n && (cr0 & CR0.CD) === 0n) gp()
  const old = state.get64('cr0')
  const efer = eferFor(cpu, cr0, old)
  const changed = cr0 ^ old
  if ((changed & CR0.PG) !== 0n && usesPdptes(cr0, state.get64('cr4'), efer)) loadPdptes(cpu, state.get64('cr3'))
  state.set64('cr0', cr0)
  state.set64('efer', efer)
  if ((changed & CR0_PAGING) !== 0n) cpu.flushTlb(false)
}

/** At every switch of processes: halves, and no state by name. */
function writeCr3(cpu: CpuContext, value: bigint): void {
  const { state, model } = cpu
  const { view } = state
  const tagged = (view.getInt32(AT_CR4, true) & Number(CR4_PCIDE)) !== 0
  const lo = Number(value & 0xffff_ffffn)
  const written = Number(value >> 32n)
  const keep = tagged && written >= CR3_NO_FLUSH_HIGH
  const hi = keep ? written - CR3_NO_FLUSH_HIGH : written
  if (isLongMode(state)) {
    if (hi >= 2 ** (model.physicalAddressBits - 32)) gp()
  } else if ((view.getInt32(AT_CR4, true) & Number(CR4_PAE)) !== 0 && usesPdptes(state.get64('cr0'), state.get64('cr4'), state.get64('efer'))) loadPdptes(cpu, value)
  view.setUint32(AT_CR3, lo, true)
  view.setUint32(AT_CR3 + 4, hi, true)
  if (cpu.enterAddressSpace) return cpu.enterAddressSpace(tagged ? lo & 0xfff : 0, keep)
  cpu.flushTlb(true)
  cpu.modeChanged()
}

function writeCr4(cpu: CpuContext, value: bigint): void {
  const { state, model } = cpu
  if ((value & ~model.cr4Allowed) !== 0n) gp()
  const old = state.get64('cr4')
  const changed = value ^ old
  if (isLongMode(state) && (value & CR4_PAE) === 0n) gp()
  const pcidTurnsOn = (changed & value & CR4_PCIDE) !== 0n
  if (pcidTurnsOn && (!isLongMode(state) || (state.get64('cr3') & 0xfffn) !== 0n)) gp()
  if ((changed & CR4_PAGING) !== 0n && usesPdptes(state.get64('cr0'), value, state.get64('efer'))) loadPdptes(cpu, state.get64('cr3'))
  state.set64('cr4', value)
  if ((changed & CR4_PAGING) !== 0n) cpu.flushTlb(false)
}

function writeCr8(cpu: CpuContext, value: bigint): void {
  if (value > 15n) gp()
  cpu.platform.writeTpr(Number(value))
  cpu.state.set64('cr8', value)
}

const undefinedRegister = (): never => { throw new CpuFault(Vector.UD) }

export const readControlHelper: Helper = {
  name: 'readControl', args: ['i32'], returns: 'i64', faults: true,
  run({ state, platform }: CpuContext, index: number): bigint {
    switch (index) {
      case 0: return state.get64('cr0')
      case 2: return state.get64('cr2')
      case 3: return state.get64('cr3')
      case 4: return state.get64('cr4')
      case 8: return BigInt(platform.readTpr())
      default: return undefinedRegister()
    }
  },
}

export const writeControlHelper: Helper = {
  name: 'writeControl', args: ['i32', 'i64'], faults: true,
  run(cpu: CpuContext, index: number, value: bigint): void {
    switch (index) {
      case 0: writeCr0(cpu, value); break
      case 2: cpu.state.set64('cr2', value); break
      // Nothing of the mode changes.
      case 3: return writeCr3(cpu, value)
      case 4: writeCr4(cpu, value); break
      case 8: writeCr8(cpu, value); break
      default: undefinedRegister()
    }
    cpu.modeChanged()
  },
}

/** LMSW: PE (set only), MP, EM, TS. */
export const loadStatusWordHelper: Helper = {
  name: 'loadStatusWord', args: ['i32'], faults: true,
  run(cpu: CpuContext, value: number): void {
    const old = cpu.state.get64('cr0')
    writeCr0(cpu, (old & ~0xen) | BigInt(value & 15))
    cpu.modeChanged()
  },
}

export const clearTaskSwitchedHelper: Helper = {
  name: 'clearTaskSwitched', args: [], faults: false,
  run(cpu: CpuContext): void {
    const { state } = cpu
    if ((state.lo('cr0') & 8) === 0) return
    state.set64('cr0', state.get64('cr0') & ~8n)
    cpu.modeChanged()
  },
}

function requireXsave(cpu: CpuContext): void {
  if ((cpu.state.get64('cr4') & CR4_OSXSAVE) === 0n) throw new CpuFault(Vector.UD)
}

export const xgetbvHelper: Helper = {
  name: 'xgetbv', args: ['i32'], returns: 'i64', faults: true,
  run(cpu: CpuContext, index: number): bigint {
    requireXsave(cpu)
    return index === 0 ? cpu.state.get64('xcr0') : gp()
  },
}

export const xsetbvHelper: Helper = {
  name: 'xsetbv', args: ['i32', 'i64'], faults: true,
  run(cpu: CpuContext, index: number, value: bigint): void {
    requireXsave(cpu)
    if (cpu.state.get('cpl') !== 0 || index !== 0 || (value & 1n) === 0n || (value & ~cpu.model.xcr0Allowed) !== 0n) gp()
    cpu.state.set64('xcr0', value)
  },
}

/** A non-canonical address is no fault: nothing is cached for it. */
export const invalidatePageHelper: Helper = {
  name: 'invalidatePage', args: ['i64'], faults: false,
  run(cpu: CpuContext, linear: bigint): void {
    cpu.invalidatePage(isLongMode(cpu.state) ? linear : linear & 0xffff_ffffn)
  },
}

const INVPCID_ADDRESS = 0n
const INVPCID_ALL_AND_GLOBAL = 2n
const INVPCID_LAST = 3n

export const invalidatePcidHelper: Helper = {
  name: 'invalidatePcid', args: ['i64', 'i64', 'i64'], faults: true,
  /** @param kind 0 address, 1 one space, 2 all with global, 3 all but global @param low PCID @param linear address of kind 0 */
  run(cpu: CpuContext, kind: bigint, low: bigint, linear: bigint): void {
    const usesPcid = (cpu.state.get64('cr4') & CR4_PCIDE) !== 0n
    if (kind > INVPCID_LAST || low >> 12n !== 0n) gp()
    if (kind < INVPCID_ALL_AND_GLOBAL && !usesPcid && low !== 0n) gp()
    if (kind === INVPCID_ADDRESS) {
      if (!isCanonical(linear)) gp()
      return cpu.invalidatePage(linear, true)
    }
    cpu.flushTlb(kind !== INVPCID_ALL_AND_GLOBAL)
  },
}

export const controlHelpers: readonly Helper[] = [
  readControlHelper, writeControlHelper, loadStatusWordHelper, clearTaskSwitchedHelper, xgetbvHelper, xsetbvHelper,
  invalidatePageHelper, invalidatePcidHelper,
]
