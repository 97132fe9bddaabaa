/** What the services ask of one another. Classes that implement these stand in the services' own folders. */
import type { ConsolePort, LogLine, MachineFigures, MachineSettings, MachineState } from '../../preload/contract'

export interface MachineRecord {
  /** UUID. */
  readonly id: string
  readonly settings: MachineSettings
  /** ISO 8601. */
  readonly createdAt: string
  /** The machine's own folder, absolute; holds `machine.json`, `logs/`, `disks/`. */
  readonly dir: string
  /** Set where `machine.json` could not be used: the machine is shown as damaged and cannot start. */
  readonly damage?: string
}

/** Ends a subscription. */
export type Stop = () => void

export interface MachineStore {
  get(id: string): MachineRecord | undefined
  list(): MachineRecord[]
  onDidChange(listener: (id: string) => void): Stop
}

export interface RuntimeState {
  readonly state: Exclude<MachineState, 'damaged'>
  /** Why it is crashed, for people. */
  readonly problem?: string
  readonly pid?: number
  /** ISO 8601. */
  readonly startedAt?: string
}

/** Runs machines. Every refusal is a `ServiceError` (services/errors.ts) with a code of the contract. */
export interface Runtime {
  /** `{ state: 'stopped' }` for a machine it knows nothing of. */
  state(id: string): RuntimeState
  /** Resolves when the guest runs. */
  start(record: MachineRecord): Promise<void>
  pause(id: string): Promise<void>
  resume(id: string): Promise<void>
  /** Presses the power button; resolves at once. */
  powerOff(id: string): Promise<void>
  /** Resolves when the machine is stopped. */
  forceStop(id: string): Promise<void>
  reset(id: string): Promise<void>
  figures(id: string): MachineFigures | null
  runningCount(): number
  onDidChangeState(listener: (id: string) => void): Stop
  onFigures(listener: (id: string, figures: MachineFigures) => void): Stop
  /** The last lines of the machine's log, oldest first; survives the machine's end and the manager's. */
  log(record: MachineRecord, lines: number): Promise<LogLine[]>
  /** Forgets a machine that was deleted. */
  forget(id: string): void
  /** Ends every machine. */
  shutdown(): Promise<void>
}

export interface ConsoleAttachment {
  /** The reader has shown this many bytes. */
  ack(bytes: number): void
  detach(): void
}

export interface Consoles {
  /** Everything the port said so far, as far as it is kept; from disk where the machine is stopped. */
  history(id: string, port: ConsolePort): Promise<Uint8Array>
  /**
   * Output from now on. At most CONSOLE_WINDOW_BYTES are handed out ahead of `ack`; a caller that wants no gap and no repeat calls
   * `attach` and `history` in the same tick (history is a snapshot of the moment of the call).
   */
  attach(id: string, port: ConsolePort, onChunk: (bytes: Uint8Array) => void): ConsoleAttachment
  /** @throws ServiceError wrong-state where the machine does not run */
  write(id: string, port: ConsolePort, text: string): void
  /** Forgets a machine that was deleted, and what is buffered for it. */
  forget(id: string): void
}
