/** What the handlers of the contract's calls work with, and the table that they fill. */
import type { z } from 'zod'
import type { CallName, CallResult, Calls } from '../../preload/contract'
import type { Clones } from './clones'
import type { ConsoleHub } from './console'
import type { Disks } from './disks'
import type { DiskChanges } from './disks/changes'
import type { Images } from './images'
import type { Library } from './library'
import type { MachineUse } from './machine-use'
import type { MachineRuntime, RuntimeStatus } from './runtime'
import type { Session } from './session'
import type { Settings } from './settings'
import type { Snapshots } from './snapshots'
import type { Tasks } from './tasks'
import type { ExportJournal } from './transfer/journal'
import type { MachineRecord } from './types'

export interface Services {
  readonly library: Library
  readonly runtime: MachineRuntime
  readonly consoles: ConsoleHub
  readonly images: Images
  readonly disks: Disks
  readonly diskChanges: DiskChanges
  readonly snapshots: Snapshots
  readonly tasks: Tasks
  readonly settings: Settings
  readonly use: MachineUse
  readonly clones: Clones
  readonly exports: ExportJournal
  /** Nobody else writes the machine's disks. @throws ServiceError machine-busy */
  readonly checkDisksFree: (record: MachineRecord) => Promise<void>
  /** Every client; a deleted machine's consoles end everywhere. */
  readonly sessions: ReadonlySet<Session>
  /** Resolves when the machine is in the state, or after a few seconds anyway. */
  readonly reached: (id: string, state: RuntimeStatus['state']) => Promise<void>
  readonly trashChanged: () => void
  /** Snapshots of this machine are other ones, or needed by others, than before. */
  readonly snapshotsChanged: (id: string) => void
  /** Something outside the runtime changed what state a machine is in. */
  readonly stateChanged: (id: string) => void
}

/** A call without a result may come from a function without one. */
type Answer<R> = undefined extends R ? R | void : R

export type Handlers = {
  readonly [N in CallName]: (params: z.output<Calls[N]['params']>, session: Session) => Answer<CallResult<N>> | Promise<Answer<CallResult<N>>>
}
