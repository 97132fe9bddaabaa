/** Snapshots of machines: a tree of named points with disks, and with memory where the machine ran. */
import { randomUUID } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { phrase, type MachineSettings, type Snapshot, type SnapshotTree, type Phrase } from '../../../preload/contract'
import { copyImage } from '../../host/copy-file'
import { ServiceError, writeError } from '../errors'
import { makeFolder } from '../files'
import type { Library } from '../library'
import { sameName } from '../library/names'
import type { MachineUse } from '../machine-use'
import type { MachineRuntime } from '../runtime'
import type { MachineRecord, Progress } from '../types'
import { giveName } from './memory'
import { SnapshotRecords, type SnapshotRecord } from './records'
import { RESTORED_SUFFIX, SavedState } from './saved-state'
import { SnapshotStore, STATE_FILE } from './store'
import { beginSwitch, finishSwitch, hasSwitch, type Switch } from './switch'

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

export interface TakeOptions {
  readonly name?: string
  readonly notes?: string
}

/** What a snapshot brings back: everything the guest or its boot sees. How the machine is called and filed stays. */
function hardwareOf({ memoryMiB, cpuProfile, kernel, initrd, commandLine, disks, onReset, maxTier }: MachineSettings): Partial<MachineSettings> {
  return { memoryMiB, cpuProfile, kernel, initrd, commandLine, disks, onReset, maxTier }
}

export class Snapshots {
  /** By the machine's folder. */
  private readonly known = new Map<string, SnapshotRecords>()

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

  /** Finishes a restore that was interrupted. To be called before the machine is touched. */
  async recover(id: string): Promise<void> {
    const { library } = this.options
    const { dir } = library.require(id)
    const store = new SnapshotStore(dir)
    if (!hasSwitch(store.folder)) return
    await finishSwitch(store.folder, (change) => this.apply(id, store, change))
  }

  /** At the start of the manager: what the last one left. */
  async recoverAll(): Promise<void> {
    for (const record of this.options.library.list()) {
      try {
        await this.recover(record.id)
        await new SnapshotStore(record.dir).clean()
        if (record.damage !== undefined) continue
        const saved = new SavedState(record.dir)
        await saved.clearLeftovers()
        await saved.memory.collect()
        for (const { path } of record.settings.disks) await rm(path + RESTORED_SUFFIX, { force: true })
      } catch (error) {
        console.error(`nestbox: ${record.settings.name}: ${String(error)}`)
      }
    }
  }

  private async apply(id: string, store: SnapshotStore, { settings, current }: Switch): Promise<void> {
    // The guest goes back in time, perhaps for the second time from there.
    await this.options.library.update(id, settings, { generationId: randomUUID() })
    await store.setCurrent(current)
  }

  async list(id: string): Promise<SnapshotTree> {
    const store = this.storeOf(this.options.library.require(id).dir)
    const [records, damaged] = await Promise.all([store.list(), store.damaged()])
    const snapshots = await Promise.all(records.map((record) => this.view(store, record)))
    return { current: await store.current(), snapshots, ...(damaged.length > 0 && { damaged }) }
  }

  private async view(store: SnapshotStore, { id, name, notes, createdAt, parent, kind, hasState, settings }: SnapshotRecord): Promise<Snapshot> {
    const { bytes, screen } = await store.facts(id)
    return { id, name, notes, createdAt, parent, kind, hasState, memoryMiB: settings.memoryMiB, bytes, ...(screen === '' ? {} : { screen }) }
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

  /** @throws ServiceError wrong-state, name-taken, disk-full, library-read-only, machine-busy */
  take(id: string, { name, notes = '' }: TakeOptions, progress: Progress): Promise<Snapshot & { pauseMs?: number }> {
    return this.alone(id, phrase('use.takingSnapshot'), async (record, store) => {
      if (name !== undefined) await this.checkName(store, name)
      const given = name ?? await this.freeName(store, 'Snapshot', true)
      const taken = await this.add(record, store, { name: given, notes, kind: 'user' }, 'go-on', progress)
      this.options.changed(id)
      return { ...(await this.view(store, taken.entry)), ...(taken.pauseMs === undefined ? {} : { pauseMs: taken.pauseMs }) }
    })
  }

  private async add(
    record: MachineRecord, store: SnapshotStore, what: Pick<SnapshotRecord, 'name' | 'notes' | 'kind'>, then: 'go-on' | 'end', progress: Progress,
  ): Promise<{ entry: SnapshotRecord; pauseMs: number | undefined }> {
    const { runtime } = this.options
    const { state } = runtime.status(record.id)
    if (!['stopped', 'crashed', 'saved', 'running', 'paused'].includes(state)) {
      throw new ServiceError('wrong-state', phrase('snapshot.notNow', { name: record.settings.name, state: phrase(`state.${state}`) }), { state })
    }
    const isOn = state === 'running' || state === 'paused'
    const settings = runtime.settingsOf(record.id) ?? record.settings
    const disks = settings.disks.filter(({ readOnly }) => !readOnly).map(({ path }, i) => ({ path, file: `disk${i}.img` }))
    let pauseMs: number | undefined
    const hasState = isOn || state === 'saved'
    const planned: SnapshotRecord = {
      version: 1, id: randomUUID(), createdAt: new Date().toISOString(), parent: await store.current(), hasState, settings, disks, ...what,
    }
    const entry = await store.add(planned, this.options.screen(record.id), what.kind === 'user', async (folder) => {
      const copies = disks.map(({ path, file }) => ({ from: path, to: join(folder, file) }))
      if (isOn) pauseMs = (await runtime.saveTo(record.id, join(folder, STATE_FILE), copies, then, progress)).pauseMs
      else await this.copyAtRest(record, copies, hasState ? join(folder, STATE_FILE) : undefined, progress)
    })
    return { entry, pauseMs }
  }

  /** Of a machine that has no process: nothing changes meanwhile. */
  private async copyAtRest(record: MachineRecord, copies: readonly { from: string; to: string }[], stateTo: string | undefined, progress: Progress): Promise<void> {
    await this.options.checkDisksFree(record)
    for (const [i, { from, to }] of copies.entries()) {
      progress.signal.throwIfAborted()
      progress.report(i / copies.length)
      await copyImage(from, to).catch((error: unknown) => {
        throw writeError(error, to)
      })
    }
    if (stateTo !== undefined) await giveName(new SavedState(record.dir).path, stateTo)
  }

  /**
   * The machine is as it was: settings the guest sees, disks, and memory where it ran (then it is `saved`, and starts at once).
   * What is there now becomes a snapshot of its own first, unless `keepCurrent` is false.
   * @throws ServiceError not-found, disk-full, library-read-only, machine-busy
   */
  restore(id: string, snapshotId: string, keepCurrent: boolean, progress: Progress): Promise<{ undo: string | null }> {
    return this.alone(id, phrase('use.restoringSnapshot'), async (record, store) => {
      const { runtime } = this.options
      const target = await store.require(snapshotId)
      const isOn = ['running', 'paused'].includes(runtime.status(id).state)
      let undo: string | null = null
      if (keepCurrent) {
        const name = await this.freeName(store, `Before ${target.name}`.slice(0, 120), false)
        undo = (await this.add(record, store, { name, notes: '', kind: 'undo' }, 'end', progress)).entry.id
      } else if (isOn) await runtime.forceStop(id)
      if (!['stopped', 'crashed', 'saved'].includes(runtime.status(id).state)) throw new ServiceError('wrong-state', phrase('snapshot.wrongState'))
      await this.options.checkDisksFree({ ...record, settings: target.settings })
      await this.switchTo(record, store, target, progress)
      this.options.changed(id)
      return { undo }
    })
  }

  private async switchTo(record: MachineRecord, store: SnapshotStore, target: SnapshotRecord, progress: Progress): Promise<void> {
    const saved = new SavedState(record.dir)
    const made: string[] = []
    try {
      const moves: Switch['moves'] = []
      for (const [i, { path, file }] of target.disks.entries()) {
        progress.signal.throwIfAborted()
        progress.report(i / target.disks.length)
        const beside = path + RESTORED_SUFFIX
        await rm(beside, { force: true })
        made.push(beside)
        await copyImage(store.pathOf(target.id, file), beside)
        moves.push({ from: beside, to: path })
      }
      if (target.hasState) {
        await saved.prepare()
        const beside = saved.path + RESTORED_SUFFIX
        await rm(beside, { force: true })
        made.push(beside)
        await giveName(store.pathOf(target.id, STATE_FILE), beside)
        moves.push({ from: beside, to: saved.path })
      }
      await makeFolder(store.folder)
      const change: Switch = { version: 1, moves, removals: target.hasState ? [] : [saved.path], settings: hardwareOf(target.settings), current: target.id }
      await beginSwitch(store.folder, change)
    } catch (error) {
      for (const path of made) await rm(path, { force: true }).catch(() => undefined)
      throw writeError(error, record.dir)
    }
    await finishSwitch(store.folder, (change) => this.apply(record.id, store, change))
    await saved.clearResume()
    await saved.memory.collect()
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
      return this.view(store, changed)
    })
  }
}
