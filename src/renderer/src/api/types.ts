/** What the interface knows of machines. Filled from the contract's payloads in `client.ts`. */

export type MachineState = 'stopped' | 'starting' | 'running' | 'paused' | 'stopping' | 'crashed' | 'broken'

export interface DiskSettings {
  path: string
  format: 'raw' | 'qcow2'
  readOnly: boolean
}

/** What the user can set; the same shape is sent back to save it. */
export interface MachineSettings {
  name: string
  /** '' for none; `a/b` is a group in a group. */
  group: string
  tags: string[]
  notes: string
  memoryMiB: number
  cpuProfile: string
  kernel: string
  /** '' for none. */
  initrd: string
  commandLine: string
  disks: DiskSettings[]
  onReset: 'reboot' | 'stop'
  maxTier: 0 | 1 | 2
}

export interface Machine extends Readonly<MachineSettings> {
  readonly id: string
  readonly state: MachineState
  /** Why it is crashed or broken. */
  readonly problem?: string
  readonly pid?: number
  /** ISO 8601. */
  readonly createdAt?: string
  readonly startedAt?: string
}

export type ConsolePort = 'ttyS0' | 'hvc0'

export interface TrashItem {
  /** What restore and purge take. */
  readonly id: string
  readonly name: string
  /** ISO 8601. */
  readonly deletedAt: string
  readonly sizeBytes?: number
}

export type TaskState = 'queued' | 'running' | 'done' | 'failed' | 'cancelled'

export interface Task {
  readonly id: string
  readonly title: string
  readonly state: TaskState
  /** 0…1; undefined: not known. */
  readonly progress?: number
  readonly detail?: string
  readonly error?: { readonly code: string; readonly message: string }
  readonly isCancellable: boolean
}

export interface CatalogImage {
  readonly id: string
  readonly name: string
  readonly description: string
  readonly isReady: boolean
  /** Why it cannot be used here. */
  readonly unavailable?: string
  readonly isStarter: boolean
  readonly sizeBytes?: number
}

export interface LogLine {
  /** ISO 8601. */
  readonly time: string
  readonly level: 'debug' | 'info' | 'warn' | 'error'
  readonly text: string
}

export interface HostInfo {
  readonly version: string
  readonly libraryPath: string
  readonly cpuProfiles: readonly string[]
}
