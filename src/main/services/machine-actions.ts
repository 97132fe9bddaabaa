/** What is done with one machine: made, started, deleted; and how it is shown. */
import { realpath } from 'node:fs/promises'
import type { z } from 'zod'
import { phrase, type Calls, type Machine, type MachineSettings, type TrashItem } from '../../preload/contract'
import { requireBaseUnchanged } from './clones/disks'
import { requireNoLinkedClones, requireNoTemplate } from './clones/lineage'
import { addSeed } from './clones/seed'
import { addDataDisk } from './disks/data-disk'
import { ServiceError } from './errors'
import type { Services } from './handler-types'
import { copyBootFiles, type BootFiles } from './images'
import { requireSound } from './library/machine-file'
import { logFolder } from './machine-log'
import type { RuntimeStatus } from './runtime'
import { checkSettings } from './settings-check'
import { SavedState } from './snapshots/saved-state'
import type { UnderWay } from './snapshots/under-way'
import type { MachineRecord } from './types'

export function viewOf(record: MachineRecord, status: RuntimeStatus): Machine {
  const { id, settings, createdAt, damage, isTemplate, origin } = record
  const about = { ...settings, id, createdAt, ...(isTemplate && { isTemplate }), ...(origin && { origin }) }
  return damage === undefined ? { ...about, ...status } : { ...about, state: 'damaged', problem: damage }
}

/** Two machines that write one disk destroy it. @throws ServiceError machine-busy */
export async function checkDisksFree({ library, runtime }: Pick<Services, 'library' | 'runtime'>, record: MachineRecord): Promise<void> {
  const resolve = (path: string): Promise<string> => realpath(path).catch(() => path)
  const own = await Promise.all(record.settings.disks.map(async (disk) => ({ ...disk, path: await resolve(disk.path) })))
  if (own.length === 0) return
  for (const other of library.list()) {
    const { state } = runtime.status(other.id)
    if (other.id === record.id || (!other.isTemplate && (state === 'stopped' || state === 'crashed'))) continue
    for (const theirs of other.settings.disks) {
      const path = await resolve(theirs.path)
      const clash = own.find((disk) => disk.path === path && !(disk.readOnly && theirs.readOnly))
      if (clash) throw new ServiceError('machine-busy', phrase(other.isTemplate ? 'disk.ofTemplateNamed' : 'disk.inUse', { path, name: other.settings.name }), { path })
    }
  }
}

type CreateParams = z.output<Calls['machine.create']['params']>

async function createFromTemplate({ clones, tasks }: Services, { settings, template, linked, withState, cloudInit }: CreateParams & { template: string }): Promise<MachineRecord> {
  const { kernel: _kernel, initrd: _initrd, disks: _disks, ...rest } = settings
  await checkSettings(rest)
  const wanted = { settings, ...(linked !== undefined && { linked }), ...(withState !== undefined && { withState }), ...(cloudInit && { cloudInit }) }
  return tasks.start('machine.create', settings.name, (progress) => clones.createFrom(template, wanted, progress)).result
}

export async function createMachine(services: Services, params: CreateParams): Promise<MachineRecord> {
  const { library, images } = services
  const { settings, image, template, cloudInit } = params
  library.checkName(settings.name)
  if (template !== undefined) {
    if (image !== undefined) throw new ServiceError('invalid-argument', phrase('create.bothSources'))
    return createFromTemplate(services, { ...params, template })
  }
  if (params.linked || params.withState) throw new ServiceError('invalid-argument', phrase('create.onlyTemplate'))
  if (image === undefined && !settings.kernel) throw new ServiceError('invalid-argument', phrase('create.noSource'))
  const { kernel: _kernel, initrd: _initrd, ...rest } = settings
  await checkSettings(image === undefined ? settings : rest)
  // The name is taken while the image is fetched or built.
  return library.make({ exactly: settings.name }, async (folder) => {
    const files = image === undefined ? undefined : await (await images.prepare(image)).result
    const copies = files && await copyBootFiles(files, folder.dir, folder.finalDir)
    const { hasDataDisk = false, ...boot }: Partial<BootFiles> = copies ?? {}
    const plain = copies ? { ...boot, ...rest } : settings
    const all = hasDataDisk ? await addDataDisk(plain, folder) : plain
    return { settings: cloudInit ? await addSeed(all, cloudInit, folder) : all }
  })
}

/** How it is called and filed is all that changes of a template. @throws ServiceError wrong-state */
export function checkTemplateChanges(record: MachineRecord, { name: _name, group: _group, tags: _tags, notes: _notes, ...hardware }: Partial<MachineSettings>): void {
  const changes = (Object.keys(hardware) as (keyof typeof hardware)[]).filter((key) => JSON.stringify(record.settings[key]) !== JSON.stringify(hardware[key]))
  if (changes.length > 0) requireNoTemplate(record, phrase('template.readOnlySettings', { settings: changes.map((key) => phrase(`setting.${key}`)) }))
}

/** A saved machine goes on where it was, unless `fresh`. */
export async function startMachine(services: Services, id: string, fresh: boolean): Promise<void> {
  const record = services.library.require(id)
  requireSound(record)
  requireNoTemplate(record, phrase('template.cannotStart'))
  services.use.requireStartable(id, record.settings.name)
  const filling = await services.snapshots.recoverForStart(id)
  await launch(services, services.library.require(id), fresh, filling?.sources)
  if (filling) followFilling(services, id, filling)
}

/** The machine gets its disks once they are there; without them it cannot go on. */
function followFilling({ runtime, tasks, library }: Services, id: string, filling: UnderWay): void {
  void tasks.start('snapshot.fill', library.require(id).settings.name, async (progress) => {
    filling.onProgress = (fraction) => progress.report(fraction)
    try {
      await filling.done
      runtime.disksThere(id)
    } catch (error) {
      await runtime.disksFailed(id, error)
      throw error
    }
  }, { cancellable: false })
}

/** @param sources images that disks are copied from meanwhile, by the disks' paths */
async function launch(services: Services, record: MachineRecord, fresh: boolean, sources: ReadonlyMap<string, string> = new Map()): Promise<void> {
  const { id } = record
  await checkSettings({ ...record.settings, disks: record.settings.disks.filter(({ path }) => !sources.has(path)) })
  if (record.base) await requireBaseUnchanged(record.settings.name, record.base)
  await checkDisksFree(services, record)
  const saved = new SavedState(record.dir)
  if (['saved', 'stopped', 'crashed'].includes(services.runtime.status(id).state)) await saved.clearLeftovers()
  await services.runtime.start({ id, settings: record.settings, logDir: logFolder(record.dir), sources, ...(record.generationId && { generationId: record.generationId }) }, fresh)
  await saved.clearResume()
}

/** Moves it to the trash. @throws ServiceError machine-busy, has-clones */
export async function deleteMachine(services: Services, id: string): Promise<TrashItem> {
  const { library, runtime, consoles, sessions } = services
  const { settings } = library.require(id)
  const { state } = runtime.status(id)
  if (state !== 'stopped' && state !== 'crashed' && state !== 'saved') throw new ServiceError('machine-busy', phrase('machine.stopFirst', { name: settings.name, state: phrase(`state.${state}`) }), { state })
  services.use.requireUnused(id, settings.name)
  requireNoLinkedClones(library, phrase('needed.machine', { name: settings.name }), id)
  for (const session of sessions) session.closeConsolesOf(id)
  consoles.release(id)
  const { item } = await library.delete(id)
  services.trashChanged()
  return item
}
