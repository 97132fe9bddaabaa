/** An in-memory manager for unit tests: keeps the rules the interface relies on, no more. Never part of the product's bundle. */
import { DEFAULT_PREFERENCES, type AppCommand, type Disk, type DiskCheck, type DiskCompacted, type Exported, type Folder, type ImageFormat, type Imported, type PickRequest, type Preferences } from '@contract/index'
import type { ConsoleSource } from '../console/terminal-session'
import type { FigureCounters } from '../stores/figure-series'
import type { Api, CloneOptions, CreateSource, ExportOptions, RebaseOptions, RestoreOptions, SnapshotText, Stop } from './api'
import { ApiError } from './errors'
import { newSettings } from './settings'
import type { CatalogImage, ConsolePort, HostInfo, HotBlock, LogLine, Machine, MachineSettings, MachineState, Snapshot, SnapshotTree, Task, Template, TrashItem } from './types'

class Emitter<T extends unknown[]> {
  private readonly handlers = new Set<(...args: T) => void>()
  readonly on = (handler: (...args: T) => void): Stop => {
    this.handlers.add(handler)
    return () => this.handlers.delete(handler)
  }

  emit(...args: T): void {
    for (const handler of this.handlers) handler(...args)
  }
}

const DEFAULTS: HostInfo['defaults'] = {
  group: '', tags: [], notes: '', memoryMiB: 512, cpuProfile: 'nestbox64', kernel: '', initrd: '', commandLine: 'console=ttyS0',
  disks: [], onReset: 'reboot', maxTier: 2,
}

export class FakeApi implements Api {
  readonly machineMap = new Map<string, Machine>()
  readonly trashMap = new Map<string, { machine: Machine; item: TrashItem }>()
  readonly snapshotMap = new Map<string, SnapshotTree>()
  readonly taskMap = new Map<string, Task>()
  readonly consoleText = new Map<string, string>()
  readonly typed: string[] = []
  preferenceValues: Preferences = { ...DEFAULT_PREFERENCES }
  /** What the desktop's file dialog answers; undefined: there is none. */
  picked: string | null | undefined
  readonly folders = new Map<string, Folder>()
  readonly calls: string[] = []
  /** The next call of this name fails with this error. */
  readonly failures = new Map<string, ApiError>()
  imageList: CatalogImage[] = [{ id: 'starter', name: 'Starter', description: '', ready: true }]
  private claimed: readonly string[] = []
  private next = 1
  private readonly machine = new Emitter<[Machine]>()
  private readonly claims = new Emitter<[readonly string[]]>()
  private readonly gone = new Emitter<[string]>()
  private readonly figures = new Emitter<[string, FigureCounters]>()
  private readonly task = new Emitter<[Task]>()
  private readonly snapshotsChanged = new Emitter<[string]>()
  private readonly preferencesChanged = new Emitter<[Preferences]>()
  private readonly trashChanged = new Emitter<[]>()
  private readonly command = new Emitter<[AppCommand]>()
  readonly connection = new Emitter<[boolean]>()

  readonly onMachine = this.machine.on
  readonly onNamesClaimed = this.claims.on
  readonly onMachineGone = this.gone.on
  readonly onFigures = this.figures.on
  readonly onTask = this.task.on
  readonly onSnapshots = this.snapshotsChanged.on
  readonly onPreferences = this.preferencesChanged.on
  readonly onTrash = this.trashChanged.on
  readonly onCommand = this.command.on
  readonly onConnection = this.connection.on

  /** Adds a machine without a call. */
  add(name: string, changes: Partial<Machine> = {}): Machine {
    const id = `m${this.next++}`
    const machine: Machine = { ...newSettings(name, DEFAULTS), id, state: 'stopped', createdAt: '2026-11-23T07:00:00Z', ...changes }
    this.machineMap.set(machine.id, machine)
    return machine
  }

  /** Somebody makes machines of these names, and none else. */
  claim(...names: readonly string[]): void {
    this.claimed = names
    this.claims.emit(names)
  }

  emitMachine(machine: Machine): void {
    this.machineMap.set(machine.id, machine)
    this.machine.emit(machine)
  }

  emitFigures(id: string, counters: FigureCounters): void {
    this.figures.emit(id, counters)
  }

  emitTask(task: Task): void {
    this.taskMap.set(task.id, task)
    this.task.emit(task)
  }

  emitCommand(command: AppCommand): void {
    this.command.emit(command)
  }

  emitConnection(isConnected: boolean): void {
    this.connection.emit(isConnected)
  }

  async host() {
    return { version: '0.1.0', libraryPath: '/home/user/Nestbox', cpuProfiles: ['nestbox64', 'qemu64', 'i686'], defaults: DEFAULTS, pid: 1 }
  }

  async folder(path = '/home/user'): Promise<Folder> {
    this.begin('folder')
    const found = this.folders.get(path)
    if (!found) throw new ApiError('file-missing', `There is no folder ${path}.`)
    return found
  }

  async pickFile(_request: PickRequest): Promise<string | null | undefined> {
    this.begin('pickFile')
    return this.picked
  }

  async preferences(): Promise<Preferences> {
    return this.preferenceValues
  }

  async setPreferences(changes: Partial<Preferences>): Promise<Preferences> {
    this.begin('setPreferences')
    this.preferenceValues = { ...this.preferenceValues, ...changes }
    this.preferencesChanged.emit(this.preferenceValues)
    return this.preferenceValues
  }

  async machines(): Promise<Machine[]> {
    this.begin('machines')
    return [...this.machineMap.values()]
  }

  async claimedNames(): Promise<readonly string[]> {
    return this.claimed
  }

  readonly sources: CreateSource[] = []

  async create(source: CreateSource, settings: MachineSettings): Promise<Machine> {
    this.begin('create')
    this.sources.push(source)
    this.refuseTaken(settings.name)
    const machine = this.add(settings.name, settings)
    this.machine.emit(machine)
    return machine
  }

  async clone(id: string, name: string, { snapshotId, linked, snapshotName }: CloneOptions = {}): Promise<Machine> {
    this.begin(`clone${snapshotId ? ` ${snapshotId}` : ''}${linked ? ' linked' : ''}${snapshotName ? ` over ${snapshotName}` : ''}`)
    this.refuseTaken(name)
    return this.copy(id, name, 'clone', {})
  }

  async fork(id: string, name: string): Promise<Machine> {
    this.begin('fork')
    return this.copy(id, name, 'fork', { state: 'running' })
  }

  async exportMachine(_id: string, options: ExportOptions): Promise<Exported> {
    this.begin(`export ${options.path} ${options.format}${options.snapshots ? ' snapshots' : ''}${options.overwrite ? ' overwrite' : ''}`)
    return { path: options.path, format: options.format, bytes: 1 << 20, warnings: [] }
  }

  async importMachine(path: string, name: string): Promise<Imported> {
    this.begin(`import ${path}`)
    const machine = this.add(name || 'imported')
    this.machine.emit(machine)
    return { machine, warnings: ['The sound card was left out.'] }
  }

  async templates(): Promise<Template[]> {
    return [...this.machineMap.values()].filter(({ isTemplate }) => isTemplate).map((machine) => ({ ...machine, hasState: machine.state === 'saved', madeFrom: [], bytes: 1 << 20 }))
  }

  async makeTemplate(id: string, name?: string): Promise<Machine> {
    this.begin('makeTemplate')
    return name === undefined ? this.change(id, { isTemplate: true }) : this.copy(id, name, 'clone', { isTemplate: true })
  }

  async releaseTemplate(id: string): Promise<Machine> {
    this.begin('releaseTemplate')
    return this.change(id, { isTemplate: false })
  }

  private copy(id: string, name: string, kind: 'clone' | 'fork', changes: Partial<Machine>): Machine {
    const { id: _id, ...from } = this.get(id)
    const machine = this.add(name, { ...from, name, origin: { kind, machineId: id, name: from.name, linked: false }, ...changes })
    this.machine.emit(machine)
    return machine
  }

  async update(id: string, settings: Partial<MachineSettings>): Promise<Machine> {
    this.begin('update')
    if (settings.name !== undefined) this.refuseTaken(settings.name, id)
    return this.change(id, settings)
  }

  async start(id: string): Promise<void> {
    this.move('start', id, ['stopped', 'crashed', 'saved'], 'running')
  }

  async pause(id: string): Promise<void> {
    this.move('pause', id, ['running'], 'paused')
  }

  async resume(id: string): Promise<void> {
    this.move('resume', id, ['paused'], 'running')
  }

  async powerOff(id: string): Promise<void> {
    this.move('powerOff', id, ['running'], 'stopped')
  }

  async forceStop(id: string): Promise<void> {
    this.move('forceStop', id, ['running', 'paused', 'starting', 'stopping'], 'stopped')
  }

  async reset(id: string): Promise<void> {
    this.move('reset', id, ['running', 'paused'], 'running')
  }

  async suspend(id: string): Promise<void> {
    this.move('suspend', id, ['running', 'paused'], 'saved')
  }

  async startFresh(id: string): Promise<void> {
    this.move('startFresh', id, ['saved'], 'running')
  }

  async discardSaved(id: string): Promise<void> {
    this.move('discardSaved', id, ['saved'], 'stopped')
  }

  blocks: HotBlock[] = []
  wasm: string | null = null

  async hotBlocks(): Promise<HotBlock[]> {
    this.begin('hotBlocks')
    return this.blocks
  }

  async wasmOf(_id: string, { address }: HotBlock): Promise<string | null> {
    this.begin(`wasmOf ${address}`)
    return this.wasm
  }

  logLines: LogLine[] = [{ time: '2026-11-23T07:00:00Z', level: 'info', text: 'machine started' }]

  async log(): Promise<LogLine[]> {
    return this.logLines
  }

  async snapshots(id: string): Promise<SnapshotTree> {
    this.begin('snapshots')
    return this.treeOf(id)
  }

  async takeSnapshot(id: string, { name, notes = '' }: SnapshotText): Promise<Snapshot> {
    this.begin('takeSnapshot')
    return this.addSnapshot(id, { name: name ?? `Snapshot ${this.treeOf(id).snapshots.length + 1}`, notes })
  }

  async restoreSnapshot(id: string, snapshotId: string, { keepCurrent, start, withState = true, undoName }: RestoreOptions): Promise<string | null> {
    this.begin(`restoreSnapshot ${snapshotId}${keepCurrent ? ' keep' : ''}${start ? ' start' : ''}${withState ? '' : ' fresh'}`)
    const target = this.treeOf(id).snapshots.find((entry) => entry.id === snapshotId)
    if (!target) throw new ApiError('not-found', snapshotId)
    const undo = keepCurrent ? this.addSnapshot(id, { name: undoName ?? `Before ${target.name}`, kind: 'undo' }).id : null
    this.setTree(id, { ...this.treeOf(id), current: snapshotId })
    return undo
  }

  async deleteSnapshot(id: string, snapshotId: string): Promise<void> {
    this.begin('deleteSnapshot')
    const { current, snapshots } = this.treeOf(id)
    const parent = snapshots.find((entry) => entry.id === snapshotId)?.parent ?? null
    this.setTree(id, {
      current: current === snapshotId ? parent : current,
      snapshots: snapshots.filter((entry) => entry.id !== snapshotId).map((entry) => (entry.parent === snapshotId ? { ...entry, parent } : entry)),
    })
  }

  async changeSnapshot(id: string, snapshotId: string, text: SnapshotText): Promise<Snapshot> {
    this.begin('changeSnapshot')
    const tree = this.treeOf(id)
    this.setTree(id, { ...tree, snapshots: tree.snapshots.map((entry) => (entry.id === snapshotId ? { ...entry, ...text } : entry)) })
    const changed = this.treeOf(id).snapshots.find((entry) => entry.id === snapshotId)
    if (!changed) throw new ApiError('not-found', snapshotId)
    return changed
  }

  /** Adds a snapshot below the current one without a call. */
  addSnapshot(id: string, changes: Partial<Snapshot>): Snapshot {
    const { current, snapshots } = this.treeOf(id)
    const added: Snapshot = {
      id: `s${this.next++}`, name: 'Snapshot', notes: '', createdAt: '2026-11-23T09:00:00Z', parent: current, kind: 'user', hasState: false,
      memoryMiB: 512, bytes: 1 << 20, ...changes,
    }
    this.setTree(id, { current: added.id, snapshots: [...snapshots, added] })
    return added
  }

  async trash(): Promise<TrashItem[]> {
    return [...this.trashMap.values()].map(({ item }) => item)
  }

  async remove(id: string): Promise<string> {
    this.begin('remove')
    const machine = this.get(id)
    if (machine.state !== 'stopped' && machine.state !== 'crashed') throw new ApiError('machine-busy', 'it runs')
    this.machineMap.delete(id)
    this.trashMap.set(`t-${id}`, { machine, item: { id: `t-${id}`, machineId: id, name: machine.name, deletedAt: '2026-11-23T08:00:00Z' } })
    this.gone.emit(id)
    this.trashChanged.emit()
    return `t-${id}`
  }

  async restore(trashId: string): Promise<Machine> {
    this.begin('restore')
    const entry = this.trashMap.get(trashId)
    if (!entry) throw new ApiError('not-found', trashId)
    this.trashMap.delete(trashId)
    this.emitMachine(entry.machine)
    return entry.machine
  }

  async purge(trashId: string): Promise<void> {
    this.begin('purge')
    this.trashMap.delete(trashId)
  }

  diskList: Disk[] = []

  async disks(): Promise<Disk[]> {
    this.begin('disks')
    return this.diskList
  }

  async createDisk(path: string, format: 'raw' | 'qcow2', sizeBytes: number): Promise<Disk> {
    this.begin(`createDisk ${path} ${format} ${sizeBytes}`)
    return { path, layers: [{ path, format, sizeBytes, storedBytes: 4096 }], usedBy: [] }
  }

  async checkDisk(path: string): Promise<DiskCheck> {
    this.begin(`checkDisk ${path}`)
    return this.diskFaults
  }

  /** What a check finds until the next repair. */
  diskFaults: DiskCheck = { corruptions: 0, wastedBytes: 0, problems: [] }

  async repairDisk(path: string): Promise<DiskCheck> {
    this.begin(`repairDisk ${path}`)
    this.diskFaults = { corruptions: 0, wastedBytes: 0, problems: [] }
    return this.diskFaults
  }

  async compactDisk(path: string): Promise<DiskCompacted> {
    this.begin(`compactDisk ${path}`)
    return { before: 5 << 20, after: 1 << 20 }
  }

  async rebaseDisk(path: string, { backing, acceptChange }: RebaseOptions): Promise<Disk> {
    this.begin(`rebaseDisk ${path} ${backing ?? 'same'}${acceptChange ? ' accept' : ''}`)
    return { path, layers: [{ path, format: 'qcow2' }, { path: backing ?? '/d/base.qcow2', format: 'qcow2' }], usedBy: [] }
  }

  async resizeDisk(path: string, sizeBytes: number, shrink: boolean): Promise<Disk> {
    this.begin(`resizeDisk ${path} ${sizeBytes}${shrink ? ' shrink' : ''}`)
    return { path, layers: [{ path, format: 'qcow2', sizeBytes }], usedBy: [] }
  }

  async convertDisk(path: string, target: string, format: ImageFormat): Promise<Disk> {
    this.begin(`convertDisk ${path} ${target} ${format}`)
    return { path: target, layers: [{ path: target, format }], usedBy: [] }
  }

  async tasks(): Promise<Task[]> {
    return [...this.taskMap.values()]
  }

  async cancelTask(id: string): Promise<void> {
    const task = this.taskMap.get(id)
    if (task) this.emitTask({ ...task, state: 'cancelled' })
  }

  async images(): Promise<CatalogImage[]> {
    return this.imageList
  }

  console(machineId: string, port: ConsolePort): ConsoleSource {
    return {
      open: async (onChunk) => {
        onChunk(this.consoleText.get(`${machineId}:${port}`) ?? '', () => undefined)
        return { focus: () => undefined, close: () => undefined }
      },
      write: (text) => void this.typed.push(text),
    }
  }

  private begin(call: string): void {
    this.calls.push(call)
    const failure = this.failures.get(call)
    if (!failure) return
    this.failures.delete(call)
    throw failure
  }

  private treeOf(id: string): SnapshotTree {
    return this.snapshotMap.get(id) ?? { current: null, snapshots: [] }
  }

  private setTree(id: string, tree: SnapshotTree): void {
    this.snapshotMap.set(id, tree)
    this.snapshotsChanged.emit(id)
  }

  private get(id: string): Machine {
    const machine = this.machineMap.get(id)
    if (!machine) throw new ApiError('not-found', id)
    return machine
  }

  private change(id: string, changes: Partial<Machine>): Machine {
    const machine = { ...this.get(id), ...changes }
    this.emitMachine(machine)
    return machine
  }

  private move(call: string, id: string, from: readonly MachineState[], to: MachineState): void {
    this.begin(call)
    if (!from.includes(this.get(id).state)) throw new ApiError('wrong-state', `cannot ${call} now`)
    this.change(id, { state: to })
  }

  private refuseTaken(name: string, except?: string): void {
    for (const machine of this.machineMap.values()) {
      if (machine.id !== except && machine.name === name) throw new ApiError('name-taken', name)
    }
  }
}
