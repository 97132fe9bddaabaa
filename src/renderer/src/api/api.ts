/** What the interface asks of the manager, whatever carries it. `client.ts` implements it over the contract. */
import type { AppCommand, ArchiveFormat, CloudInit, Disk, DiskCheck, DiskCompacted, Exported, Folder, HotBlock, ImageFormat, Imported, PickRequest, Preferences } from '@contract/index'
import type { ConsoleSource } from '../console/terminal-session'
import type { FigureCounters } from '../stores/figure-series'
import type { CatalogImage, ConsolePort, HostInfo, LogLine, Machine, MachineSettings, Snapshot, SnapshotTree, Task, Template, TrashItem } from './types'

/** Ends a subscription. */
export type Stop = () => void

export interface RebaseOptions {
  /** Undefined: the file it has, as that is now. */
  readonly backing?: string
  /** Though it is not as the image knows it. */
  readonly acceptChange: boolean
}

/** How a new machine gets its kernel. */
export type CreateSource =
  | { readonly kind: 'starter' }
  | { readonly kind: 'image'; readonly imageId: string }
  | { readonly kind: 'kernel' }
  | { readonly kind: 'template'; readonly templateId: string; readonly withState: boolean; readonly linked: boolean; readonly cloudInit?: CloudInit }

export interface CloneOptions {
  readonly snapshotId?: string
  /** The disks hold only what differs. */
  readonly linked?: boolean
  /** Of the snapshot that is taken where a linked clone needs one. */
  readonly snapshotName?: string
}

export interface ExportOptions {
  readonly path: string
  readonly format: ArchiveFormat
  readonly snapshots: boolean
  readonly overwrite: boolean
}

export interface SnapshotText {
  readonly name?: string
  readonly notes?: string
}

export interface RestoreOptions {
  /** False: what is there now is lost. */
  readonly keepCurrent: boolean
  /** Go on at once. */
  readonly start: boolean
  /** False: disks and settings come back without the memory that the snapshot has. */
  readonly withState?: boolean
  /** Of the snapshot that keeps what is there now. */
  readonly undoName?: string
}

export interface Api {
  host(): Promise<HostInfo>
  /** A folder of the manager's computer; the home folder unless named. */
  folder(path?: string): Promise<Folder>
  /** The desktop's own dialog. @returns null where none was chosen, undefined where there is no such dialog */
  pickFile(request: PickRequest): Promise<string | null | undefined>
  preferences(): Promise<Preferences>
  setPreferences(changes: Partial<Preferences>): Promise<Preferences>

  machines(): Promise<Machine[]>
  /** Names of machines that are being made. */
  claimedNames(): Promise<readonly string[]>
  create(source: CreateSource, settings: MachineSettings): Promise<Machine>
  /** As it is now, or as in a snapshot. */
  clone(id: string, name: string, options?: CloneOptions): Promise<Machine>
  /** A second machine that goes on from this instant of a running one. */
  fork(id: string, name: string): Promise<Machine>
  exportMachine(id: string, options: ExportOptions): Promise<Exported>
  /** @param name '' for the one in the file */
  importMachine(path: string, name: string): Promise<Imported>
  templates(): Promise<Template[]>
  /** The machine itself, or with a name a copy of it. */
  makeTemplate(id: string, name?: string): Promise<Machine>
  /** It is a machine like others again. */
  releaseTemplate(id: string): Promise<Machine>
  update(id: string, settings: Partial<MachineSettings>): Promise<Machine>
  start(id: string): Promise<void>
  pause(id: string): Promise<void>
  resume(id: string): Promise<void>
  /** Presses the power button. */
  powerOff(id: string): Promise<void>
  forceStop(id: string): Promise<void>
  reset(id: string): Promise<void>
  /** Writes the machine to disk and ends it; `start` goes on. */
  suspend(id: string): Promise<void>
  /** Boots a suspended machine; its saved state is lost. */
  startFresh(id: string): Promise<void>
  discardSaved(id: string): Promise<void>
  log(id: string): Promise<LogLine[]>
  /** Guest code of a running machine that took the most time, most first. */
  hotBlocks(id: string): Promise<HotBlock[]>
  /** The WebAssembly such a block is now; null where it is interpreted. */
  wasmOf(id: string, block: HotBlock): Promise<string | null>

  snapshots(id: string): Promise<SnapshotTree>
  takeSnapshot(id: string, text: SnapshotText): Promise<Snapshot>
  /** @returns the snapshot that keeps what was there, or null */
  restoreSnapshot(id: string, snapshotId: string, options: RestoreOptions): Promise<string | null>
  deleteSnapshot(id: string, snapshotId: string): Promise<void>
  changeSnapshot(id: string, snapshotId: string, text: SnapshotText): Promise<Snapshot>

  trash(): Promise<TrashItem[]>
  /** Moves a stopped machine to the trash. @returns the id in the trash */
  remove(id: string): Promise<string>
  restore(trashId: string): Promise<Machine>
  purge(trashId: string): Promise<void>

  /** Of all machines, with what they lie over. */
  disks(): Promise<Disk[]>
  createDisk(path: string, format: 'raw' | 'qcow2', sizeBytes: number): Promise<Disk>
  checkDisk(path: string): Promise<DiskCheck>
  /** @returns what a check finds afterwards */
  repairDisk(path: string): Promise<DiskCheck>
  compactDisk(path: string): Promise<DiskCompacted>
  /** Says where the file is that the image lies over. */
  rebaseDisk(path: string, options: RebaseOptions): Promise<Disk>
  /** @param shrink that what is past a smaller size is lost is meant */
  resizeDisk(path: string, sizeBytes: number, shrink: boolean): Promise<Disk>
  /** A copy in another format. */
  convertDisk(path: string, target: string, format: ImageFormat): Promise<Disk>

  tasks(): Promise<Task[]>
  cancelTask(id: string): Promise<void>
  images(): Promise<CatalogImage[]>

  console(machineId: string, port: ConsolePort): ConsoleSource

  onMachine(handler: (machine: Machine) => void): Stop
  /** Of machines that are being made. */
  onNamesClaimed(handler: (names: readonly string[]) => void): Stop
  onMachineGone(handler: (id: string) => void): Stop
  onFigures(handler: (id: string, counters: FigureCounters) => void): Stop
  onTask(handler: (task: Task) => void): Stop
  /** The snapshots of this machine changed in any way. */
  onSnapshots(handler: (id: string) => void): Stop
  onPreferences(handler: (value: Preferences) => void): Stop
  onTrash(handler: () => void): Stop
  /** From the application's menu. */
  onCommand(handler: (command: AppCommand) => void): Stop
  /** The connection was lost (false) or is back (true); never called where there is nothing to lose. */
  onConnection(handler: (isConnected: boolean) => void): Stop
}
