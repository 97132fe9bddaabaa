/** Snapshots of machines: a tree of named points with disks, and with memory where the machine ran. */
import { randomUUID } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { phrase, type MachineReference, type Snapshot, type SnapshotTree, type Phrase } from '../../../preload/contract'
import { clonesBySnapshot, linkedClonesOf } from '../clones/lineage'
import { requireOpenable } from '../disks/openable'
import { ServiceError } from '../errors'
import type { Library } from '../library'
import { sameName } from '../library/names'
import type { MachineUse } from '../machine-use'
import type { MachineRuntime } from '../runtime'
import type { MachineRecord, Progress } from '../types'
import { copyAtRest, plannedSnapshot, presenceOf } from './present'
import { SnapshotRecords, type SnapshotRecord } from './records'
import { Restore } from './restore'
import { RESTORED_SUFFIX, SavedState } from './saved-state'
import { SnapshotStore, STATE_FILE } from './store'
import { finishSwitch, hasSwitch, performSwitch, type Filling, type Switch } from './switch'
import { UnderWay } from './under-way'

export interface SnapshotsOptions {
  readonly library: Library
  readonly runtime: MachineRuntime
  readonly use: MachineUse
  /** Nobody else writes the machine's disks. @throws ServiceError machine-busy */
  readonly checkDisksFree: (record: MachineRecord) => Promise<void>
  readonly changed: (id: string) => void
  /** What the machine's console shows now, as plain text. */
  readonly screen: (id: string) => string
}

export interface RestoreOptions {
  /** What is there now becomes a snapshot. */
  readonly keepCurrent: boolean
  /** What it is called; `Before` and the name of the target unless given. */
  readonly undoName?: string
  /** The machine will be started as soon as it is restored. */
  readonly start: boolean
  /** Of a snapshot with memory: it comes back too. */
  readonly withState: boolean
}

export interface TakeOptions {
  readonly name?: string
  readonly notes?: string
}

/** A linked clone will be made over it: see `Snapshots.cloned`. */
export interface BaseOptions extends TakeOptions { readonly awaitsClone?: boolean }

export class Snapshots {
  /** By the machine's folder. */
  private readonly known = new Map<string, SnapshotRecords>()
  /** By the machine's id: disks of one that runs which are not there yet. */
  private readonly filling = new Map<string, UnderWay>()

  constructor(private readonly options: SnapshotsOptions) {}

  private storeOf(dir: string): SnapshotStore {
    const known = this.known.get(dir) ?? new SnapshotRecords()
    this.known.set(dir, known)
    return new SnapshotStore(dir, known)
  }

  private alone<T>(id: string, what: Phrase, work: (record: MachineRecord, store: SnapshotStore) => Promise<T>): Promise<T> {
    const { library, use } = this.options
    const { settings, dir } = library.require(id)
    return use.during(id, settings.name, 'change', what, async () => {
      await this.recover(id)
      return work(library.require(id), this.storeOf(dir))
    })
  }

  /** Waits for a restore that is under way, finishes one that was interrupted. To be called before the machine's files are touched. */
  async recover(id: string): Promise<void> {
    const { library } = this.options
    await this.filling.get(id)?.ended
    const { dir } = library.require(id)
    const store = new SnapshotStore(dir)
    if (!hasSwitch(store.folder)) return
    await finishSwitch(store.folder, (change) => this.apply(id, store, change))
  }

  /** As `recover`; what takes long goes on beside. */
  private async recoverBeside({ id, dir }: MachineRecord): Promise<void> {
    const store = new SnapshotStore(dir)
    const filling = await performSwitch(store.folder, (change) => this.apply(id, store, change))
    if (filling) this.fill(id, filling)
  }

  /** As `recover`, of a machine that will be started. @returns disks that are still being made: it can start without them */
  async recoverForStart(id: string): Promise<UnderWay | undefined> {
    const filling = this.filling.get(id)
    if (!filling) await this.recover(id)
    return filling
  }

  /** Copies what a restored machine still lacks. */
  private fill(id: string, filling: Filling): void {
    const underWay = new UnderWay(filling)
    this.filling.set(id, underWay)
    void underWay.ended.then(() => this.filling.delete(id))
    this.options.use.whilePassing(id, phrase('use.fillingDisks'), underWay.ended)
  }

  /** Resolves when nothing is written any more. */
  async settled(): Promise<void> {
    await Promise.all([...this.filling.values()].map(({ ended }) => ended))
  }

  /** The clone that a snapshot was taken for is there. Where this cannot be written now, the next start looks for the clone itself. */
  async cloned(id: string): Promise<void> {
    await this.alone(id, phrase('use.cloningSnapshot'), (_record, store) => this.settleAwaited(id, store)).catch(() => undefined)
  }

  private settleAwaited(id: string, store: SnapshotStore): Promise<void> {
    const { library } = this.options
    // A machine whose record is damaged may be the clone.
    const mayBeThere = library.list().some(({ damage }) => damage !== undefined)
    return store.settleAwaited((snapshotId) => mayBeThere || linkedClonesOf(library, id, snapshotId).length > 0)
  }

  /** At the start of the manager: what the last one left. */
  async recoverAll(): Promise<void> {
    for (const record of this.options.library.list()) {
      try {
        await this.recoverBeside(record)
        const store = new SnapshotStore(record.dir)
        await store.clean()
        await this.settleAwaited(record.id, store)
        if (record.damage !== undefined) continue
        const saved = new SavedState(record.dir)
        await saved.clearLeftovers()
        await saved.memory.collect()
        if (!this.filling.has(record.id)) for (const { path } of record.settings.disks) await rm(path + RESTORED_SUFFIX, { force: true })
      } catch (error) {
        console.error(`nestbox: ${record.settings.name}: ${String(error)}`)
      }
    }
  }

  private async apply(id: string, store: SnapshotStore, { settings, current, generationId = randomUUID() }: Switch): Promise<void> {
    // The guest goes back in time, perhaps for the second time from there.
    await this.options.library.update(id, settings, { generationId })
    await store.setCurrent(current)
  }

  async list(id: string): Promise<SnapshotTree> {
    const store = this.storeOf(this.options.library.require(id).dir)
    const [records, damaged] = await Promise.all([store.list(), store.damaged()])
    const clones = clonesBySnapshot(this.options.library, id)
    const snapshots = await Promise.all(records.map((record) => this.view(store, record, clones.get(record.id))))
    return { current: await store.current(), snapshots, ...(damaged.length > 0 && { damaged }) }
  }

  private async view(store: SnapshotStore, { id, name, notes, createdAt, parent, kind, hasState, settings }: SnapshotRecord, neededBy?: MachineReference[]): Promise<Snapshot> {
    const { bytes, screen } = await store.facts(id)
    return { id, name, notes, createdAt, parent, kind, hasState, memoryMiB: settings.memoryMiB, bytes, ...(screen === '' ? {} : { screen }), ...(neededBy && { neededBy }) }
  }

  private async checkName(store: SnapshotStore, name: string, exceptId?: string): Promise<void> {
    const taken = (await store.list()).find((entry) => entry.id !== exceptId && sameName(entry.name, name))
    if (taken) throw new ServiceError('name-taken', phrase('snapshot.nameTaken', { name: taken.name }), { name: taken.name })
  }

  private async freeName(store: SnapshotStore, stem: string, numbered: boolean): Promise<string> {
    const names = (await store.list()).map(({ name }) => name)
    if (!numbered && !names.some((name) => sameName(name, stem))) return stem
    for (let n = numbered ? names.length + 1 : 2; ; n++) {
      const name = `${stem} ${n}`
      if (!names.some((other) => sameName(other, name))) return name
    }
  }

  /** @throws ServiceError wrong-state, name-taken, disk-full, library-read-only, machine-busy, bad-disk, file-missing */
  take(id: string, { name, notes = '', awaitsClone = false }: BaseOptions, progress: Progress): Promise<Snapshot & { pauseMs?: number }> {
    return this.alone(id, phrase('use.takingSnapshot'), async (record, store) => {
      if (name !== undefined) await this.checkName(store, name)
      const given = name ?? await this.freeName(store, 'Snapshot', true)
      const taken = await this.add(record, store, { name: given, notes, awaitsClone }, progress)
      this.options.changed(id)
      return { ...(await this.view(store, taken.entry)), ...(taken.pauseMs === undefined ? {} : { pauseMs: taken.pauseMs }) }
    })
  }

  private async add(
    record: MachineRecord, store: SnapshotStore, { awaitsClone, ...what }: Pick<SnapshotRecord, 'name' | 'notes'> & { readonly awaitsClone: boolean }, progress: Progress,
  ): Promise<{ entry: SnapshotRecord; pauseMs: number | undefined }> {
    const { runtime, screen } = this.options
    const { isOn, hasState } = presenceOf(runtime, record)
    const planned = { ...await plannedSnapshot(runtime, record, store), ...what, kind: 'user' as const }
    let pauseMs: number | undefined
    const entry = await store.add(planned, screen(record.id), async (folder) => {
      const copies = planned.disks.map(({ path, file }) => ({ from: path, to: join(folder, file) }))
      if (isOn) pauseMs = (await runtime.saveTo(record.id, join(folder, STATE_FILE), copies, 'go-on', progress)).pauseMs
      else {
        await this.options.checkDisksFree(record)
        for (const { path, format } of planned.settings.disks) await requireOpenable(path, format)
        await copyAtRest(record, copies, hasState ? join(folder, STATE_FILE) : undefined, progress)
      }
    }, awaitsClone)
    return { entry, pauseMs }
  }

  /**
   * The machine is as it was: settings the guest sees, disks, and memory where it ran (then it is `saved`, and starts at once).
   * What is there now becomes a snapshot of its own, unless `keepCurrent` is false: then the machine that will run is built first, and
   * all of its memory checked. All of it happens or nothing: where it fails, a machine that ran runs on. One that will be started may
   * be restored before its disks are: see `recoverForStart`.
   * @throws ServiceError not-found, and as `Restore.perform`
   */
  restore(id: string, snapshotId: string, how: RestoreOptions, progress: Progress): Promise<{ undo: string | null }> {
    return this.alone(id, phrase('use.restoringSnapshot'), async (record, store) => {
      const target = await store.require(snapshotId)
      await this.options.checkDisksFree({ ...record, settings: target.settings })
      const undoName = how.keepCurrent ? await this.freeName(store, (how.undoName ?? `Before ${target.name}`).slice(0, 120), false) : undefined
      const restore = new Restore({ ...this.options, record, store, target, undoName, withState: how.withState, apply: (change) => this.apply(id, store, change) })
      const { undo, filling } = await restore.perform(how.start, progress)
      if (filling) this.fill(id, filling)
      this.options.changed(id)
      return { undo }
    })
  }

  /** Its children stay as they are. @throws ServiceError not-found */
  delete(id: string, snapshotId: string): Promise<void> {
    return this.alone(id, phrase('use.deletingSnapshot'), async ({ dir }, store) => {
      await store.remove(snapshotId)
      // What is left goes at the next start.
      await new SavedState(dir).memory.collect().catch(() => undefined)
      this.options.changed(id)
    })
  }

  /** @throws ServiceError not-found, name-taken */
  change(id: string, snapshotId: string, { name, notes }: TakeOptions): Promise<Snapshot> {
    return this.alone(id, phrase('use.renamingSnapshot'), async (_record, store) => {
      const entry = await store.require(snapshotId)
      if (name !== undefined) await this.checkName(store, name, snapshotId)
      const changed = { ...entry, ...(name === undefined ? {} : { name }), ...(notes === undefined ? {} : { notes }) }
      await store.write(changed)
      this.options.changed(id)
      return this.view(store, changed, clonesBySnapshot(this.options.library, id).get(snapshotId))
    })
  }
}
