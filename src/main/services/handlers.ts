/** What each call of the contract does. The type makes the table complete. */
import { basename } from 'node:path'
import { phrase, type CallName, type Machine } from '../../preload/contract'
import { templateHandlers, transferHandlers, type TransferCall } from './clones/handlers'
import { requireNoLinkedClones, requireNoTemplate } from './clones/lineage'
import { isAnswer } from './console/queries'
import { ServiceError } from './errors'
import type { Handlers, Services } from './handler-types'
import { listFolder } from './host-folder'
import { CPU_PROFILE_NAMES, DEFAULT_SETTINGS } from './library/defaults'
import { checkTemplateChanges, createMachine, deleteMachine, startMachine, viewOf } from './machine-actions'
import { readMachineLog } from './machine-log'
import { checkSettings } from './settings-check'
import type { Snapshots } from './snapshots'
import { SavedState } from './snapshots/saved-state'
import type { MachineRecord, Progress } from './types'
import { VERSION } from './version'

const LOG_LINES = 500
const HOT_BLOCKS = 20

function machineHandlers(services: Services): Omit<Pick<Handlers, Extract<CallName, `machine.${string}`>>, SavedStateCall | TransferCall> {
  const { library, runtime, reached } = services
  const view = (record: MachineRecord): Machine => viewOf(record, runtime.status(record.id))
  const known = (id: string): string => library.require(id).id
  return {
    'machine.list': () => library.list().map(view),
    'machine.claimedNames': () => library.claimedNames,
    'machine.get': ({ id }) => view(library.require(id)),
    'machine.create': async (params) => view(await createMachine(services, params)),
    'machine.update': async ({ id, settings }) => {
      checkTemplateChanges(library.require(id), settings)
      await checkSettings(settings)
      return view(await library.update(id, settings))
    },
    'machine.start': ({ id, fresh }) => startMachine(services, id, fresh ?? false),
    'machine.pause': async ({ id }) => {
      runtime.pause(known(id))
      await reached(id, 'paused')
    },
    'machine.resume': async ({ id }) => {
      runtime.resume(known(id))
      await reached(id, 'running')
    },
    'machine.powerOff': ({ id }) => runtime.powerOff(known(id)),
    'machine.forceStop': ({ id }) => runtime.forceStop(known(id)),
    'machine.reset': ({ id }) => runtime.reset(known(id)),
    'machine.figures': ({ id }) => runtime.figures(known(id)),
    'machine.hotBlocks': ({ id, count }) => runtime.hotBlocks(known(id), count ?? HOT_BLOCKS),
    'machine.wasmOf': async ({ id, address, modeKey }) => ({ text: await runtime.wasmOf(known(id), address, modeKey) }),
    'machine.log': ({ id, lines }) => readMachineLog(library.require(id).dir, lines ?? LOG_LINES),
    'machine.delete': ({ id }) => deleteMachine(services, id),
  }
}

type SavedStateCall = 'machine.suspend' | 'machine.discardSaved'

function savedStateHandlers(services: Services): Pick<Handlers, SavedStateCall> {
  const { library, runtime, tasks } = services
  return {
    'machine.suspend': async ({ id }) => {
      const { settings } = library.require(id)
      const { result } = tasks.start('machine.suspend', settings.name, (progress) => runtime.suspend(id, progress))
      const { pauseMs, ms, fileBytes, memoryBytes } = await result
      return { pauseMs, ms, fileBytes, memoryBytes }
    },
    'machine.discardSaved': async ({ id }) => {
      const record = library.require(id)
      const { dir, settings } = record
      requireNoTemplate(record, phrase('template.readOnly'))
      const { state } = runtime.status(id)
      if (state !== 'saved') throw new ServiceError('wrong-state', phrase('machine.noSaved', { name: settings.name, state: phrase(`state.${state}`) }), { state })
      await new SavedState(dir).discard()
      services.stateChanged(id)
    },
  }
}

function snapshotHandlers(services: Services): Pick<Handlers, Extract<CallName, `snapshot.${string}`>> {
  const { library, snapshots, tasks } = services
  const asTask = <T>(kind: string, id: string, work: (progress: Progress) => Promise<T>): Promise<T> =>
    tasks.start(kind, library.require(id).settings.name, work).result
  const unlessTemplate = (id: string): Snapshots => {
    requireNoTemplate(library.require(id), phrase('template.readOnly'))
    return snapshots
  }
  return {
    'snapshot.list': ({ id }) => snapshots.list(id),
    'snapshot.take': ({ id, name, notes }) => asTask('snapshot.take', id, (progress) =>
      unlessTemplate(id).take(id, { ...(name === undefined ? {} : { name }), ...(notes === undefined ? {} : { notes }) }, progress)),
    'snapshot.restore': async ({ id, snapshotId, keepCurrent = true, start = false, withState = true, undoName }) => {
      const result = await asTask('snapshot.restore', id, (progress) =>
        unlessTemplate(id).restore(id, snapshotId, { keepCurrent, start, withState, ...(undoName !== undefined && { undoName }) }, progress))
      if (start) await startMachine(services, id, false).finally(() => services.runtime.unprepare(id))
      return result
    },
    'snapshot.delete': ({ id, snapshotId }) => {
      requireNoLinkedClones(library, phrase('needed.snapshot'), id, snapshotId)
      return snapshots.delete(id, snapshotId)
    },
    'snapshot.change': ({ id, snapshotId, name, notes }) =>
      snapshots.change(id, snapshotId, { ...(name === undefined ? {} : { name }), ...(notes === undefined ? {} : { notes }) }),
  }
}

function trashHandlers({ library, runtime, trashChanged, snapshotsChanged }: Services): Pick<Handlers, Extract<CallName, `trash.${string}`>> {
  return {
    'trash.list': () => library.trash.list(),
    'trash.restore': async ({ id }) => {
      const record = await library.restore(id)
      trashChanged()
      return viewOf(record, runtime.status(record.id))
    },
    'trash.purge': async ({ id }) => {
      const base = library.trash.records().find((record) => record.id === id)?.base
      await library.purge(id)
      if (base) snapshotsChanged(base.machineId)
      trashChanged()
    },
  }
}

function consoleHandlers({ library, consoles }: Services): Pick<Handlers, Extract<CallName, `console.${string}`>> {
  return {
    'console.open': ({ id, port, answers }, session) => ({ consoleId: session.openConsole(library.require(id).id, port, answers) }),
    'console.history': ({ id, port }) => ({ text: new TextDecoder().decode(consoles.history(library.require(id).id, port)) }),
    'console.write': ({ id, port, text }, session) => {
      const { settings } = library.require(id)
      if (!consoles.write(id, port, text)) throw new ServiceError('wrong-state', phrase('machine.nobodyReads', { name: settings.name }))
      if (!isAnswer(text)) session.typedInto(id, port)
    },
    'console.focus': ({ consoleId }, session) => session.focusConsole(consoleId),
    'console.ack': ({ consoleId, bytes }, session) => session.acknowledge(consoleId, bytes),
    'console.close': ({ consoleId }, session) => session.closeConsole(consoleId),
  }
}

function diskHandlers({ disks, diskChanges, tasks, exports }: Services): Pick<Handlers, Extract<CallName, `disk.${string}`>> {
  const asTask = <T>(kind: string, path: string, work: (progress: Progress) => Promise<T>): Promise<T> => tasks.start(kind, basename(path), work).result
  return {
    'disk.list': () => disks.list(),
    'disk.info': ({ path }) => disks.info(path),
    'disk.create': (wanted) => exports.duringDisk(wanted.path, () => disks.create(wanted)),
    'disk.check': ({ path }) => asTask('disk.check', path, (progress) => disks.check(path, progress)),
    'disk.repair': ({ path }) => asTask('disk.repair', path, (progress) => diskChanges.repair(path, progress)),
    'disk.compact': ({ path }) => asTask('disk.compact', path, (progress) => exports.duringDisk(path, () => diskChanges.compact(path, progress))),
    'disk.rebase': ({ path, backing, acceptChange }) => exports.duringDisk(path, () => diskChanges.rebase(path, backing, acceptChange ?? false)),
    'disk.resize': ({ path, sizeBytes, shrink }) => asTask('disk.resize', path, (progress) => diskChanges.resize(path, sizeBytes, shrink ?? false, progress)),
    'disk.convert': ({ path, target, format }) => asTask('disk.convert', path, (progress) => exports.duringDisk(target, () => disks.convert(path, target, format, progress))),
  }
}

export function createHandlers(services: Services): Handlers {
  const { library, images, tasks, settings } = services
  return {
    'host.info': () => ({ version: VERSION, libraryPath: library.home, cpuProfiles: [...CPU_PROFILE_NAMES], defaults: DEFAULT_SETTINGS, pid: process.pid }),
    'host.folder': ({ path }) => listFolder(path),
    // The desktop app answers this one itself (ipc/electron); who asks here has no desktop.
    'host.pickFile': () => {
      throw new ServiceError('unsupported', phrase('host.noDialog'))
    },
    'preferences.get': () => settings.get(),
    'preferences.set': (changes) => settings.set(changes),
    ...machineHandlers(services),
    ...savedStateHandlers(services),
    ...snapshotHandlers(services),
    ...transferHandlers(services),
    ...templateHandlers(services),
    ...trashHandlers(services),
    ...consoleHandlers(services),
    ...diskHandlers(services),
    'image.list': () => images.list(),
    'image.prepare': async ({ id }) => images.taskOf(await images.prepare(id)),
    'task.list': () => tasks.list(),
    'task.cancel': ({ id }) => tasks.cancel(id),
  }
}
