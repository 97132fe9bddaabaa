/** Calls for machines made from others, and machines that travel. */
import { basename } from 'node:path'
import { phrase, type CallName, type CallParams, type CallResult, type Imported, type Machine, type Template, type Phrase } from '../../../preload/contract'
import { ServiceError } from '../errors'
import type { Handlers, Services } from '../handler-types'
import { requireSound } from '../library/machine-file'
import { deleteMachine, startMachine, viewOf } from '../machine-actions'
import { checkTarget, exportMachine, formatOf } from '../transfer/export'
import { importMachine } from '../transfer/import'
import type { MachineRecord, Progress } from '../types'

export type TransferCall = 'machine.clone' | 'machine.fork' | 'machine.export' | 'machine.import'
export type TemplateCall = Extract<CallName, `template.${string}`>

const OFF = ['stopped', 'crashed', 'saved']

async function importFrom({ library, runtime, tasks }: Services, { path, name }: CallParams<'machine.import'>): Promise<Imported> {
  if (name !== undefined) library.checkName(name)
  return tasks.start('machine.import', basename(path), async (progress) => {
    let warnings: readonly Phrase[] = []
    const record = await library.make(name === undefined ? { within: true } : { exactly: name }, async (folder) => {
      const imported = await importMachine(path, folder, progress)
      warnings = imported.warnings
      return imported.machine
    })
    return { machine: viewOf(record, runtime.status(record.id)), warnings: [...warnings] }
  }).result
}

async function fork(services: Services, { id, name }: CallParams<'machine.fork'>): Promise<CallResult<'machine.fork'>> {
  const { library, runtime, clones, tasks } = services
  if (name !== undefined) library.checkName(name)
  return tasks.start('machine.fork', library.require(id).settings.name, async (progress) => {
    const { record, pauseMs, settle } = await clones.fork(id, name, progress)
    await startMachine(services, record.id, false)
    // Should that fail, the guest's own flush fails too, and tells it.
    void settle().catch(() => undefined)
    return { ...viewOf(library.require(record.id), runtime.status(record.id)), pauseMs }
  }).result
}

export function transferHandlers(services: Services): Pick<Handlers, TransferCall> {
  const { library, runtime, clones, tasks, use, exports } = services
  const view = (record: MachineRecord): Machine => viewOf(record, runtime.status(record.id))
  const asTask = <T>(kind: string, subject: string, work: (progress: Progress) => Promise<T>): Promise<T> => tasks.start(kind, subject, work).result
  const nameOf = (id: string): string => library.require(id).settings.name
  return {
    'machine.clone': async ({ id, name, snapshotId, linked, snapshotName }) => {
      if (name !== undefined) library.checkName(name)
      const options = {
        ...(name !== undefined && { name }), ...(snapshotId !== undefined && { snapshotId }), ...(linked !== undefined && { linked }), ...(snapshotName !== undefined && { snapshotName }),
      }
      return view(await asTask('machine.clone', nameOf(id), (progress) => clones.clone(id, options, progress)))
    },
    'machine.fork': (params) => fork(services, params),
    'machine.export': async ({ id, path, format, snapshots, overwrite }) => {
      const record = library.require(id)
      requireSound(record)
      const options = { path, format: formatOf(path, format), snapshots: snapshots ?? true }
      await checkTarget(path, library.home, record, overwrite ?? false)
      return use.during(id, record.settings.name, 'read', phrase('use.exporting'), async () => {
        await services.snapshots.recover(id)
        const { state } = runtime.status(id)
        if (!OFF.includes(state)) throw new ServiceError('wrong-state', phrase('machine.stopOrSuspend', { name: record.settings.name, state: phrase(`state.${state}`) }), { state })
        await services.checkDisksFree(record)
        return asTask('machine.export', record.settings.name, (progress) =>
          exports.during(path, () => exportMachine(library.require(id), options, progress)))
      })
    },
    'machine.import': (params) => importFrom(services, params),
  }
}

export function templateHandlers(services: Services): Pick<Handlers, TemplateCall> {
  const { library, runtime, clones, tasks } = services
  const view = (record: MachineRecord): Machine => viewOf(record, runtime.status(record.id))
  return {
    'template.list': async () => (await clones.listTemplates()).map(({ record, ...about }): Template => ({ ...view(record), ...about })),
    'template.create': async ({ id, name }) => {
      if (name !== undefined) library.checkName(name)
      return view(await tasks.start('template.create', library.require(id).settings.name, (progress) => clones.createTemplate(id, name, progress)).result)
    },
    'template.release': async ({ id }) => view(await clones.releaseTemplate(id)),
    'template.delete': async ({ id }) => {
      clones.requireTemplate(library.require(id))
      return deleteMachine(services, id)
    },
  }
}
