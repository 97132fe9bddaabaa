/** Collects the machine's state, and puts it back. */
import type { DeviceState } from '../../bus/types'
import type { Vcpu } from '../../cpu/core/vcpu'
import { VmmError } from '../../errors'
import type { MachineClock } from '../../timers/virtual-clock'
import { VirtioPci } from '../../virtio/transport/pci'
import type { Board } from '../board'
import type { KvmClock } from '../kvm-clock'
import { CPU_STATE_VERSION, restoreCpu, saveCpu } from './cpu-state'
import { MACHINE_STATE_VERSION, requireFitting, type HardwareManifest, type MachineState, type SavedDevice } from './machine-state'
import { requireShape } from './shape'

export interface MachineParts {
  readonly board: Board
  readonly cpu: Vcpu
  readonly clock: MachineClock
  readonly kvmClock: KvmClock
  readonly hardware: HardwareManifest
}

interface Part { readonly id: string; readonly stateVersion: number; save(): DeviceState; restore(state: DeviceState, version: number): void }

/** Everything with state, in the order of restoring: time first, for devices arm timers; interrupt controllers after who drives them. */
function partsOf({ board, clock, kvmClock }: MachineParts): readonly Part[] {
  const plain = (id: string, part: { save(): DeviceState; restore(state: DeviceState): void }): Part =>
    ({ id, stateVersion: 1, save: () => part.save(), restore: (state) => part.restore(state) })
  const controllers = board.interrupts.devices
  return [
    plain('clock', clock), plain('tsc', board.tsc), plain('kvm-clock', kvmClock),
    ...board.devices.filter((device) => !controllers.includes(device)), ...controllers,
  ]
}

/** Only between two slices. */
export function saveMachine(parts: MachineParts): MachineState {
  const devices: Record<string, SavedDevice> = {}
  for (const part of partsOf(parts)) devices[part.id] = { version: part.stateVersion, state: part.save() }
  const { cpu } = parts
  devices.cpu0 = { version: CPU_STATE_VERSION, state: { ...saveCpu(cpu), instructions: cpu.counters.instructions } }
  return { version: MACHINE_STATE_VERSION, hardware: parts.hardware, devices }
}

/** Devices that saved states of earlier programs do not have: in such a machine they are as after power-on. */
const ADDED_LATER: ReadonlySet<string> = new Set(['reset'])

function requireDevice(devices: MachineState['devices'], id: string, newest: number): SavedDevice {
  const saved = devices[id] as SavedDevice | undefined
  if (!saved) throw new VmmError('state-mismatch', `the saved state has no device ${id}`, { differences: [{ what: `device ${id}`, saved: 'missing', now: 'present' }] })
  if (saved.version > newest) {
    const difference = { what: `version of ${id}`, saved: String(saved.version), now: String(newest) }
    throw new VmmError('state-mismatch', `the state of ${id} has version ${saved.version}; this program knows ${newest}`, { differences: [difference] })
  }
  return saved
}

/**
 * Into a fresh machine whose memory is in place (or marked absent).
 * @throws VmmError `state-mismatch` naming what differs, `bad-state` naming device and field
 */
export function restoreMachine(parts: MachineParts, state: MachineState): void {
  requireFitting(state, parts.hardware)
  const { cpu } = parts
  const all = partsOf(parts)
  const known = new Set([...all.map(({ id }) => id), 'cpu0'])
  const unknown = Object.keys(state.devices).filter((id) => !known.has(id))
  if (unknown.length > 0) {
    throw new VmmError('state-mismatch', `the saved state has devices this machine has not: ${unknown.join(', ')}`,
      { differences: unknown.map((id) => ({ what: `device ${id}`, saved: 'present', now: 'missing' })) })
  }
  const saved = requireDevice(state.devices, 'cpu0', CPU_STATE_VERSION).state
  // First of all: in deterministic mode time is made of it.
  cpu.counters.instructions = Number(saved.instructions)
  for (const part of all) {
    if (!(part.id in state.devices) && ADDED_LATER.has(part.id)) continue
    const { version, state: saved } = requireDevice(state.devices, part.id, part.stateVersion)
    // Of an older version only the device knows what it held.
    if (version === part.stateVersion) requireShape(part.id, part.save(), saved)
    part.restore(saved, version)
  }
  restoreCpu(cpu, saved)
  // In deterministic mode no time was lost, and the guest must not see a difference.
  if (parts.hardware.nsPerInstruction === null) parts.kvmClock.noteStopped()
}

/** Disk requests that were under way start again. Once the machine is whole. */
export function resumeDevices(board: Board): void {
  for (const device of board.devices) if (device instanceof VirtioPci) device.resume()
}
