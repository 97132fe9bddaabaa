/** The whole machine but its memory, as plain data; and whether a machine as it is configured now can continue it. */
import type { DeviceState } from '../../bus/types'
import { FEATURE_BITS } from '../../cpu/cpuid/features'
import type { CpuModel } from '../../cpu/core/context'
import { VmmError } from '../../errors'
import type { MachineConfig } from '../types'
import { decodeState, encodeState } from './encoding'

/** Of the manifest itself; devices have versions of their own. */
export const MACHINE_STATE_VERSION = 1

/** What the guest has seen of the machine and cannot be told otherwise while it runs. */
export interface HardwareManifest {
  readonly memoryMiB: number
  readonly cpuProfile: string
  /** Names of the CPU's features. */
  readonly cpuFeatures: readonly string[]
  readonly disks: readonly { readonly id: string; readonly sizeBytes: number; readonly readOnly: boolean; readonly queues?: number }[]
  /** Virtual time counts instructions: nanoseconds of one; null where time is the host's. */
  readonly nsPerInstruction: number | null
}

export interface SavedDevice { readonly version: number; readonly state: DeviceState }

export interface MachineState {
  readonly version: number
  readonly hardware: HardwareManifest
  readonly devices: Readonly<Record<string, SavedDevice>>
}

/** One thing in which the machine is not what it was. */
export interface HardwareDifference { readonly what: string; readonly saved: string; readonly now: string }

export function describeHardware(config: MachineConfig, model: CpuModel): HardwareManifest {
  return {
    memoryMiB: config.memoryMiB, cpuProfile: config.cpuProfile,
    cpuFeatures: Object.keys(FEATURE_BITS).filter((name) => model.has(name)),
    disks: config.disks.map(({ id, backend, queues = 1 }) => ({ id, sizeBytes: backend.sizeBytes, readOnly: backend.readOnly, queues })),
    nsPerInstruction: config.deterministic?.nsPerInstruction ?? null,
  }
}

function diskDifferences(saved: HardwareManifest, now: HardwareManifest): HardwareDifference[] {
  if (saved.disks.length !== now.disks.length) return [{ what: 'number of disks', saved: String(saved.disks.length), now: String(now.disks.length) }]
  const text = ({ sizeBytes, readOnly, queues = 1 }: HardwareManifest['disks'][number]): string =>
    `${sizeBytes} bytes, ${readOnly ? 'read-only' : 'writable'}${queues === 1 ? '' : `, ${queues} queues`}`
  return saved.disks.flatMap((disk, i) => (disk.id === now.disks[i].id && text(disk) === text(now.disks[i])
    ? [] : [{ what: `disk ${disk.id}`, saved: text(disk), now: text(now.disks[i]) }]))
}

/** Everything that keeps a saved state from continuing on this hardware. More CPU features than before do no harm. */
export function hardwareDifferences(saved: HardwareManifest, now: HardwareManifest): HardwareDifference[] {
  const differences: HardwareDifference[] = []
  const compare = (what: string, a: string | number | null, b: string | number | null): void => {
    if (a !== b) differences.push({ what, saved: String(a ?? 'none'), now: String(b ?? 'none') })
  }
  compare('memory in MiB', saved.memoryMiB, now.memoryMiB)
  compare('CPU model', saved.cpuProfile, now.cpuProfile)
  const missing = saved.cpuFeatures.filter((name) => !now.cpuFeatures.includes(name))
  if (missing.length > 0) differences.push({ what: 'CPU features', saved: missing.join(' '), now: 'missing' })
  compare('nanoseconds per instruction', saved.nsPerInstruction, now.nsPerInstruction)
  return [...differences, ...diskDifferences(saved, now)]
}

/** @throws VmmError `state-mismatch` with `differences` and a message that names them */
export function requireFitting(saved: MachineState, now: HardwareManifest): void {
  if (saved.version > MACHINE_STATE_VERSION) {
    throw new VmmError('state-mismatch', `the saved state has version ${saved.version}; this program knows ${MACHINE_STATE_VERSION}`, { version: saved.version })
  }
  const differences = hardwareDifferences(saved.hardware, now)
  if (differences.length === 0) return
  const text = differences.map(({ what, saved: was, now: is }) => `${what} (saved: ${was}; now: ${is})`).join(', ')
  throw new VmmError('state-mismatch', `the saved state is of another hardware: ${text}`, { differences, reason: 'stateHardware', detail: text })
}

export function encodeMachineState(state: MachineState): string {
  return encodeState(state as unknown as DeviceState)
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value)

/** In MiB: no machine has more than its linear memory can be. */
const isMemorySize = (value: unknown): boolean => Number.isInteger(value) && Number(value) > 0 && Number(value) <= 4096

/** @throws VmmError `bad-state` where the text is not a machine's state */
export function decodeMachineState(text: string): MachineState {
  const state: unknown = decodeState(text)
  const fail = (what: string): never => {
    throw new VmmError('bad-state', `the saved state has no usable ${what}`)
  }
  if (!isObject(state) || typeof state.version !== 'number') return fail('version')
  const { hardware, devices } = state
  if (!isObject(hardware) || !isMemorySize(hardware.memoryMiB) || !Array.isArray(hardware.disks) || !Array.isArray(hardware.cpuFeatures)) return fail('hardware')
  if (!isObject(devices)) return fail('devices')
  for (const [id, saved] of Object.entries(devices)) if (!isObject(saved) || typeof saved.version !== 'number' || !isObject(saved.state)) return fail(`state of ${id}`)
  return state as unknown as MachineState
}
