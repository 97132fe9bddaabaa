/** What the interface knows of machines: the contract's types under short names. */
export type {
  ConsolePort, DamagedSnapshot, Disk, DiskCache, DiskCheck, DiskCompacted, DiskLayer, DiskSettings, Folder, FolderEntry, HotBlock, Image as CatalogImage, ImageFormat, LogLine, Machine, MachineSettings, MachineState, PickRequest, Phrase, Preferences, Said, Snapshot, SnapshotTree, Task, Template, TrashItem,
} from '@contract/index'
export { phraseSchema, sayValue } from '@contract/index'
import type { CallResult } from '@contract/index'

export type HostInfo = CallResult<'host.info'>
