/** What the interface knows of machines: the contract's types under short names. */
export type {
  ConsolePort, DiskSettings, Image as CatalogImage, LogLine, Machine, MachineSettings, MachineState, Snapshot, SnapshotTree, Task, TrashItem,
} from '@contract/index'
import type { CallResult } from '@contract/index'

export type HostInfo = CallResult<'host.info'>
