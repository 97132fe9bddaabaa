/**
 * A virtual CPU as a saved state keeps it: by the names of the layout table, so that moving a field does not break old states.
 * Derived cells and those of the engine are not saved; they are computed again.
 */
import type { DeviceState, StateValue } from '../../bus/types'
import { VmmError } from '../../errors'
import { powerOnState } from '../../boot/apply'
import type { Vcpu } from '../../cpu/core/vcpu'
import type { CpuState } from '../../cpu/state/access'
import { packRflags, unpackRflags } from '../../cpu/state/flags'
import { FIELDS, offsetOf, type FieldName } from '../../cpu/state/layout'
import { restoreStoredMsr, storedMsrs } from '../../cpu/msr/table'

export const CPU_STATE_VERSION = 1

/** Fields that are registers of the architecture, or events it has pending. A test holds every field to be here or in DERIVED. */
export const SAVED_FIELDS = [
  'gpr', 'xmm', 'fpr', 'rip', 'segBase', 'segLimit', 'segSelector', 'segAttr', 'gdtrBase', 'idtrBase', 'gdtrLimit', 'idtrLimit',
  'cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'xcr0', 'efer', 'star', 'lstar', 'cstar', 'sfmask', 'kernelGsBase', 'sysenterCs', 'sysenterEsp',
  'sysenterEip', 'pat', 'tscAux', 'dr', 'fpIp', 'fpDp', 'fpCs', 'fpDs', 'fpOpcode', 'fcw', 'fsw', 'ftw', 'mxcsr', 'cpl', 'intShadow',
  'nmiBlocked', 'halted', 'pendingDebug',
] as const satisfies readonly FieldName[]

/** Constants, what follows from saved fields, the lazy flags (saved as RFLAGS), `msrStore` (saved by register), and engine cells. */
export const DERIVED_FIELDS = [
  'zero', 'mask16', 'mask32', 'mask64', 'nextRip', 'blockRip', 'ccResult', 'ccCarry', 'rflags', 'segFlat', 'stackMask', 'stackBase',
  'dataBase', 'codeBase', 'modeKey', 'faultVector', 'faultError', 'faultHasError', 'gateFaults', 'gateShut', 'exitReason', 'sliceLeft',
  'tlbBase', 'codeTlbBase', 'viewBases', 'ringTables', 'interruptWaits', 'renewals', 'renewed', 'codeEpoch', 'jumps', 'walkKind', 'walkReserved', 'frameTable',
  'framePages', 'tlbFills', 'largePages', 'scratch', 'msrStore',
] as const satisfies readonly FieldName[]

function saveElement({ view, bytes }: CpuState, name: FieldName, index: number): StateValue {
  const at = offsetOf(name, index)
  switch (FIELDS[name].type) {
    case 'i64': return view.getBigUint64(at, true)
    case 'i32': return view.getUint32(at, true)
    case 'v128': return bytes.slice(at, at + 16)
  }
}

function restoreElement({ view, bytes }: CpuState, name: FieldName, index: number, value: StateValue): void {
  const at = offsetOf(name, index)
  const { type } = FIELDS[name]
  if (type === 'i64' && typeof value === 'bigint') view.setBigUint64(at, value, true)
  else if (type === 'i32' && typeof value === 'number') view.setUint32(at, value, true)
  else if (type === 'v128' && value instanceof Uint8Array && value.length === 16) bytes.set(value, at)
  else throw new VmmError('bad-state', `cpu: ${name}[${index}] has a value of the wrong kind`)
}

/** The CPU's registers. Only between two calls of `run`. */
export function saveCpu({ state, walker }: Vcpu): DeviceState {
  const fields = Object.fromEntries(SAVED_FIELDS.map((name) =>
    [name, Array.from({ length: FIELDS[name].count }, (_, i) => saveElement(state, name, i))]))
  const pdptes = walker.pdpteRegisters()
  return {
    ...fields, rflags: packRflags(state),
    msrs: storedMsrs(state).map(([index, value]) => ({ index, value })),
    pdptes: pdptes ? { cr3: pdptes.cr3, halves: [...pdptes.halves] } : null,
  }
}

function restoreMsrs(state: CpuState, msrs: StateValue): void {
  if (!Array.isArray(msrs)) throw new VmmError('bad-state', 'cpu: msrs must be a list')
  for (const { index, value } of msrs as readonly DeviceState[]) {
    if (typeof index !== 'number' || typeof value !== 'bigint') throw new VmmError('bad-state', 'cpu: msrs')
    if (!restoreStoredMsr(state, index, value)) throw new VmmError('bad-state', `cpu: MSR 0x${index.toString(16)} does not exist here`)
  }
}

/** Puts the registers back; all code and translations of before are dropped. @throws VmmError `bad-state` naming the field */
export function restoreCpu(cpu: Vcpu, saved: DeviceState): void {
  const { state } = cpu
  // The engine's account of the slice is no register: exits asked for meanwhile are counted in it.
  const sliceLeft = state.getI32('sliceLeft')
  powerOnState(state)
  state.set('sliceLeft', sliceLeft)
  for (const name of SAVED_FIELDS) {
    const values = saved[name]
    // A register that did not exist when the state was written has its power-on value.
    if (values === undefined) continue
    if (!Array.isArray(values) || values.length !== FIELDS[name].count) throw new VmmError('bad-state', `cpu: ${name} must be ${FIELDS[name].count} values`)
    values.forEach((value: StateValue, i) => restoreElement(state, name, i, value))
  }
  if (typeof saved.rflags !== 'bigint') throw new VmmError('bad-state', 'cpu: rflags must be an integer')
  unpackRflags(state, saved.rflags)
  restoreMsrs(state, saved.msrs)
  cpu.afterReset()
  const pdptes = saved.pdptes as DeviceState | null | undefined
  if (!pdptes) return
  if (typeof pdptes.cr3 !== 'number' || !Array.isArray(pdptes.halves) || pdptes.halves.length !== 8) throw new VmmError('bad-state', 'cpu: pdptes')
  cpu.walker.restorePdptes(pdptes.cr3, pdptes.halves.map(Number))
}
