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
