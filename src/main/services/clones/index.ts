/** Machines made from others: full and linked clones of machines and snapshots, forks, templates, and machines made from those. */
import { phrase, type CloudInit, type MachineOrigin, type MachineSettings, type Template, type Phrase } from '../../../preload/contract'
import { syncFile } from '../../host/copy-file'
import { ServiceError, writeError } from '../errors'
import { folderSize } from '../files'
import type { Library, NewFolder, NewMachine, NewName } from '../library'
import { requireSound } from '../library/machine-file'
import type { MachineUse, Use } from '../machine-use'
import type { MachineRuntime, RuntimeStatus } from '../runtime'
import type { Snapshots } from '../snapshots'
import { SavedState } from '../snapshots/saved-state'
import type { MachineBase, MachineRecord, Progress } from '../types'
import { hasBacking } from './disks'
import { madeFrom, requireNoLinkedClones, requireNoTemplate } from './lineage'
import { addSeed } from './seed'
import { copyFiles, layOverAll, linkState, makeFoldersFor, planCopy, sourceOf, sourceOfSnapshot, type Source } from './source'

export interface ClonesOptions {
  readonly library: Library
  readonly runtime: MachineRuntime
  readonly snapshots: Snapshots
  readonly use: MachineUse
  /** Nobody writes the machine's disks now. @throws ServiceError machine-busy */
  readonly checkDisksFree: (record: MachineRecord) => Promise<void>
}

export interface CloneOptions {
  readonly name?: string
  readonly snapshotId?: string
  readonly linked?: boolean
  /** Of the snapshot that is taken where a linked clone needs one. */
  readonly snapshotName?: string
  readonly isTemplate?: boolean
}

export interface Forked {
  readonly record: MachineRecord
  /** How long the guest stood. */
  readonly pauseMs: number
  /** Makes its disks durable: nobody needs to wait for that. */
  readonly settle: () => Promise<void>
}

/** What a machine made from a template has of its own. */
export interface FromTemplate {
  readonly settings: Partial<MachineSettings> & Pick<MachineSettings, 'name'>
  /** True unless given: disks are laid over the template's, which then is needed. */
  readonly linked?: boolean
  readonly withState?: boolean
  readonly cloudInit?: CloudInit
}

const OFF: readonly RuntimeStatus['state'][] = ['stopped', 'crashed', 'saved']
/** The guest has seen them: a state goes on with these only. */
const SEEN = ['memoryMiB', 'cpuProfile', 'commandLine'] as const
/** Come from the template, always. */
const FIXED = ['kernel', 'initrd', 'disks'] as const

const differs = (a: unknown, b: unknown): boolean => a !== undefined && JSON.stringify(a) !== JSON.stringify(b)

export class Clones {
  constructor(private readonly options: ClonesOptions) {}

  /** The machine, with what was interrupted finished. @throws ServiceError not-found, machine-damaged */
  private async sound(id: string): Promise<MachineRecord> {
    const { library, snapshots } = this.options
    requireSound(library.require(id))
    await snapshots.recover(id)
    return library.require(id)
  }

  /** @throws ServiceError wrong-state, machine-busy */
  private async requireOff(record: MachineRecord, advice: Phrase): Promise<void> {
    const { state } = this.options.runtime.status(record.id)
    if (!OFF.includes(state)) throw new ServiceError('wrong-state', phrase('machine.isState', { name: record.settings.name, state: phrase(`state.${state}`), advice }), { state })
    await this.options.checkDisksFree(record)
  }

  /**
   * A machine of its own; of a suspended machine and of a snapshot with memory it goes on where that stood. `linked`: its disks
   * are laid over those of a template or a snapshot; of a machine that is neither, one is taken first.
   * @throws ServiceError not-found, wrong-state, name-taken, machine-busy, file-missing, bad-disk, disk-full, library-read-only; AbortError
   */
  async clone(id: string, options: CloneOptions, progress: Progress): Promise<MachineRecord> {
    const { library, use } = this.options
    const { settings: { name: called }, isTemplate } = library.require(id)
    const { linked = false, snapshotId } = options
    if (linked && snapshotId === undefined && !isTemplate) return this.linkToNewSnapshot(id, options, progress)
    const [kind, what]: [Use, Phrase] = snapshotId === undefined ? ['read', phrase('use.cloning')] : ['read-snapshots', phrase('use.cloningSnapshot')]
    return use.during(id, called, kind, what, () => this.cloneNow(id, options, progress))
  }

  private async cloneNow(id: string, { name, snapshotId, linked = false, isTemplate = false }: CloneOptions, progress: Progress): Promise<MachineRecord> {
    const record = await this.sound(id)
    if (snapshotId === undefined) await this.requireOff(record, phrase('advice.beforeClone'))
    const source = snapshotId === undefined ? sourceOf(record) : await sourceOfSnapshot(record, snapshotId)
    const newName: NewName = name === undefined ? { like: record.settings.name } : { exactly: name }
    return this.options.library.make(newName, async (folder) => {
      const { settings, base } = await this.fill(source, { machineId: id, snapshotId }, linked, folder, progress)
      const origin: MachineOrigin = { kind: 'clone', machineId: id, name: record.settings.name, linked: base !== undefined, ...(snapshotId !== undefined && { snapshotId }) }
      return { settings, origin, ...(base && { base }), ...(isTemplate && { isTemplate }) }
    })
  }

  /** Nothing that changes can be a foundation. Where there is no clone in the end, there is no snapshot either. */
  private async linkToNewSnapshot(id: string, options: CloneOptions, progress: Progress): Promise<MachineRecord> {
    const { snapshots, library } = this.options
    if (options.name !== undefined) library.checkName(options.name)
    const { snapshotName: called } = options
    const { id: snapshotId } = await snapshots.take(id, { ...(called !== undefined && { name: called }), awaitsClone: true }, progress)
    try {
      const made = await this.clone(id, { ...options, snapshotId }, progress)
      await snapshots.cloned(id)
      return made
    } catch (error) {
      await snapshots.delete(id, snapshotId).catch(() => undefined)
      throw error
    }
  }

  /** Files of the new machine. @returns `base` where its disks are laid over others */
  private async fill(
    source: Source, from: { readonly machineId: string; readonly snapshotId: string | undefined }, linked: boolean, folder: NewFolder, progress: Progress,
  ): Promise<{ settings: MachineSettings; base?: MachineBase }> {
    const plan = planCopy(source, folder, linked)
    const isLinked = linked && plan.writable.length > 0
    await copyFiles([...plan.boot, ...plan.readOnly, ...(isLinked ? [] : plan.writable)], progress)
    const files = isLinked ? await layOverAll(plan.writable, progress) : []
    if (plan.state) await linkState(plan.state, source.dir, folder.dir)
    if (!isLinked) return { settings: plan.settings }
    return { settings: plan.settings, base: { machineId: from.machineId, files, ...(from.snapshotId !== undefined && { snapshotId: from.snapshotId }) } }
  }

  /**
   * A machine that goes on from this instant of a running one, which goes on too. It is `saved` and has to be started.
   * @throws ServiceError not-found, wrong-state, name-taken, machine-busy, disk-full, library-read-only; AbortError
   */
  fork(id: string, name: string | undefined, progress: Progress): Promise<Forked> {
    return this.forkAs(id, name, {}, progress)
  }

  /** @param about `isTemplate`: it stays as it is, so all of it is durable before it appears */
  private async forkAs(id: string, name: string | undefined, about: Pick<NewMachine, 'isTemplate'>, progress: Progress): Promise<Forked> {
    const { library, use } = this.options
    const { settings: { name: called } } = library.require(id)
    return use.during(id, called, 'change', phrase('use.forking'), async () => {
      const record = library.require(id)
      let pauseMs = 0
      // Its disks are copies of disks that may be laid over others: then they are so too.
      const { base } = record
      const origin: MachineOrigin = { kind: 'fork', machineId: id, name: called, linked: base !== undefined }
      const child = await library.make(name === undefined ? { like: called } : { exactly: name }, async (folder) => {
        const made = await this.capture(record, folder, progress)
        pauseMs = made.pauseMs
        if (about.isTemplate) await syncAll([...made.disks, new SavedState(folder.dir).path])
        return { settings: made.settings, origin, ...(base && { base }), ...about }
      })
      const written = child.settings.disks.filter(({ readOnly }) => !readOnly)
      return { record: child, pauseMs, settle: () => syncAll(written.map(({ path }) => path)) }
    })
  }

  /** Disks and memory of a running machine, of one instant. */
  private async capture(record: MachineRecord, folder: NewFolder, progress: Progress): Promise<{ settings: MachineSettings; disks: string[]; pauseMs: number }> {
    const { runtime } = this.options
    const settings = runtime.settingsOf(record.id)
    const { state } = runtime.status(record.id)
    if (!settings || (state !== 'running' && state !== 'paused')) throw new ServiceError('wrong-state', phrase('clone.forkNeedsRunning', { name: record.settings.name, state: phrase(`state.${state}`) }), { state })
    // What it is called and how it is filed may have changed since it was started.
    const { name, group, tags, notes } = record.settings
    const plan = planCopy({ settings: { ...settings, name, group, tags, notes }, dir: record.dir, contentOf: (path) => path }, folder)
    for (const { from: path, format } of plan.writable) {
      if (record.base || !(await hasBacking({ path, format }))) continue
      throw new ServiceError('unsupported', phrase('clone.forkOverlay', { path }), { path })
    }
    await copyFiles([...plan.boot, ...plan.readOnly], progress)
    await makeFoldersFor(plan.writable)
    const saved = new SavedState(folder.dir)
    await saved.prepare()
    const { pauseMs } = await runtime.saveTo(record.id, saved.path, plan.writable.map(({ from, to }) => ({ from, to })), 'go-on', progress, true)
    await new SavedState(record.dir).memory.provide(saved.path, saved.memory)
    return { settings: plan.settings, disks: plan.writable.map(({ to }) => to), pauseMs }
  }

  /** @throws ServiceError wrong-state, machine-busy, not-found, as `clone` where it is a copy */
  async createTemplate(id: string, name: string | undefined, progress: Progress): Promise<MachineRecord> {
    if (name !== undefined) return this.copyAsTemplate(id, name, progress)
    const { library, use } = this.options
    return use.during(id, library.require(id).settings.name, 'change', phrase('use.becomingTemplate'), async () => {
      const record = await this.sound(id)
      requireNoTemplate(record, phrase('template.already'))
      await this.requireOff(record, phrase('advice.beforeTemplate'))
      this.requireOwnDisks(record)
      return library.setTemplate(id, true)
    })
  }

  /** Of a running machine it has the memory too: machines made from it go on from this instant. */
  private async copyAsTemplate(id: string, name: string, progress: Progress): Promise<MachineRecord> {
    if (OFF.includes(this.options.runtime.status(id).state)) return this.clone(id, { name, isTemplate: true }, progress)
    return (await this.forkAs(id, name, { isTemplate: true }, progress)).record
  }

  /** A disk that others may write is no foundation. @throws ServiceError machine-busy */
  private requireOwnDisks({ id, settings }: MachineRecord): void {
    const writable = new Set(settings.disks.filter(({ readOnly }) => !readOnly).map(({ path }) => path))
    for (const other of this.options.library.list()) {
      const shared = other.id === id ? undefined : other.settings.disks.find(({ path }) => writable.has(path))
      if (shared) throw new ServiceError('machine-busy', phrase('clone.sharedDisk', { path: shared.path, name: other.settings.name }), { path: shared.path })
    }
  }

  /** @throws ServiceError not-found, wrong-state, has-clones, machine-busy */
  async releaseTemplate(id: string): Promise<MachineRecord> {
    const { library, use } = this.options
    return use.during(id, library.require(id).settings.name, 'change', phrase('use.becomingMachine'), async () => {
      const record = this.requireTemplate(await this.sound(id))
      requireNoLinkedClones(library, phrase('needed.template', { name: record.settings.name }), id)
      return library.setTemplate(id, false)
    })
  }

  /** @throws ServiceError wrong-state */
  requireTemplate(record: MachineRecord): MachineRecord {
    if (!record.isTemplate) throw new ServiceError('wrong-state', phrase('template.none', { name: record.settings.name }))
    return record
  }

  /** By name. */
  async listTemplates(): Promise<(Pick<Template, 'hasState' | 'madeFrom' | 'bytes'> & { readonly record: MachineRecord })[]> {
    const { library } = this.options
    return Promise.all(library.list().filter(({ isTemplate }) => isTemplate).map(async (record) => ({
      record, hasState: new SavedState(record.dir).exists, madeFrom: madeFrom(library, record.id), bytes: await folderSize(record.dir),
    })))
  }

  /** @throws as `clone`; invalid-argument for settings that a template's state cannot have */
  async createFrom(templateId: string, wanted: FromTemplate, progress: Progress): Promise<MachineRecord> {
    const { library, use } = this.options
    const { settings: { name: called } } = library.require(templateId)
    return use.during(templateId, called, 'read', phrase('use.makingFrom'), async () => {
      const template = this.requireTemplate(await this.sound(templateId))
      const { statePath, ...rest } = sourceOf(template)
      const source: Source = wanted.withState === false || statePath === undefined ? rest : { ...rest, statePath }
      checkWanted(template, wanted, source)
      return library.make({ exactly: wanted.settings.name }, (folder) => this.fillFrom(template, wanted, source, folder, progress))
    })
  }

  private async fillFrom(template: MachineRecord, wanted: FromTemplate, source: Source, folder: NewFolder, progress: Progress): Promise<NewMachine> {
    const from = { machineId: template.id, snapshotId: undefined }
    const { settings: copied, base } = await this.fill(source, from, wanted.linked ?? true, folder, progress)
    const { kernel: _kernel, initrd: _initrd, disks: _disks, ...own } = wanted.settings
    const settings = { ...copied, ...own }
    const origin: MachineOrigin = { kind: 'template', machineId: template.id, name: template.settings.name, linked: base !== undefined }
    return { settings: wanted.cloudInit ? await addSeed(settings, wanted.cloudInit, folder) : settings, origin, ...(base && { base }) }
  }
}

/** @throws ServiceError disk-full, internal */
async function syncAll(paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    await syncFile(path).catch((error: unknown) => {
      throw writeError(error, path)
    })
  }
}

/** @throws ServiceError invalid-argument */
function checkWanted({ settings: has }: MachineRecord, { settings, cloudInit }: FromTemplate, source: Source): void {
  for (const key of FIXED) {
    if (differs(settings[key], has[key]) && settings[key] !== '') throw new ServiceError('invalid-argument', phrase('template.fixed', { setting: phrase(`setting.${key}`) }))
  }
  if (source.statePath === undefined) return
  const changed = SEEN.filter((key) => differs(settings[key], has[key]))
  if (changed.length > 0 || cloudInit) {
    const settings = [...changed, ...(cloudInit ? ['cloudInit' as const] : [])].map((key) => phrase(`setting.${key}`))
    throw new ServiceError('invalid-argument', phrase('template.goesOn', { name: has.name, settings }))
  }
}
