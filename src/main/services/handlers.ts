/** What each call of the contract does. The type makes the table complete. */
import { realpath } from 'node:fs/promises'
import type { z } from 'zod'
import type { CallName, CallResult, Calls, Machine, TrashItem } from '../../preload/contract'
import type { ConsoleHub } from './console'
import { transferHandlers, type TransferCall } from './clones/handlers'
import { ServiceError } from './errors'
import { copyBootFiles, type Images } from './images'
import type { Library } from './library'
import { CPU_PROFILE_NAMES, DEFAULT_SETTINGS } from './library/defaults'
import { requireSound } from './library/machine-file'
import { logFolder, readMachineLog } from './machine-log'
import type { MachineRuntime, RuntimeStatus } from './runtime'
import type { Session } from './session'
import { checkSettings } from './settings-check'
import type { Snapshots } from './snapshots'
import { SavedState } from './snapshots/saved-state'
import type { Tasks } from './tasks'
import type { MachineRecord, Progress } from './types'
import { VERSION } from './version'

export interface Services {
  readonly library: Library
  readonly runtime: MachineRuntime
  readonly consoles: ConsoleHub
  readonly images: Images
  readonly snapshots: Snapshots
  readonly tasks: Tasks
  /** Every client; a deleted machine's consoles end everywhere. */
  readonly sessions: ReadonlySet<Session>
  /** Resolves when the machine is in the state, or after a few seconds anyway. */
  readonly reached: (id: string, state: RuntimeStatus['state']) => Promise<void>
  readonly trashChanged: () => void
  /** Something outside the runtime changed what state a machine is in. */
  readonly stateChanged: (id: string) => void
}

/** A call without a result may come from a function without one. */
type Answer<R> = undefined extends R ? R | void : R

export type Handlers = {
  readonly [N in CallName]: (params: z.output<Calls[N]['params']>, session: Session) => Answer<CallResult<N>> | Promise<Answer<CallResult<N>>>
}

const LOG_LINES = 500

export function viewOf(record: MachineRecord, status: RuntimeStatus): Machine {
  const { id, settings, createdAt, damage } = record
  if (damage !== undefined) return { ...settings, id, createdAt, state: 'damaged', problem: damage }
  return { ...settings, id, createdAt, ...status }
}

/** Two machines that write one disk destroy it. @throws ServiceError machine-busy */
export async function checkDisksFree({ library, runtime }: Pick<Services, 'library' | 'runtime'>, record: MachineRecord): Promise<void> {
  const resolve = (path: string): Promise<string> => realpath(path).catch(() => path)
  const own = await Promise.all(record.settings.disks.map(async (disk) => ({ ...disk, path: await resolve(disk.path) })))
  if (own.length === 0) return
  for (const other of library.list()) {
    const { state } = runtime.status(other.id)
    if (other.id === record.id || state === 'stopped' || state === 'crashed') continue
    for (const theirs of other.settings.disks) {
      const path = await resolve(theirs.path)
      const clash = own.find((disk) => disk.path === path && !(disk.readOnly && theirs.readOnly))
      if (clash) throw new ServiceError('machine-busy', `The disk ${path} is in use by the running machine '${other.settings.name}'.`, { path })
    }
  }
}

type CreateParams = z.output<Calls['machine.create']['params']>

async function createMachine({ library, images }: Services, settings: CreateParams['settings'], image: string | undefined): Promise<MachineRecord> {
  // Before an image is fetched for minutes.
  library.checkName(settings.name)
  if (image === undefined) {
    if (!settings.kernel) throw new ServiceError('invalid-argument', 'A machine needs a kernel, or an image to be made from.')
    await checkSettings(settings)
    return library.create(settings)
  }
  const { kernel: _kernel, initrd: _initrd, ...rest } = settings
  await checkSettings(rest)
  const files = await (await images.prepare(image)).result
  return library.create(rest, async (dir, finalDir) => {
    const copies = await copyBootFiles(files, dir, finalDir)
    return rest.commandLine === undefined ? copies : { ...copies, commandLine: rest.commandLine }
  })
}

/** A saved machine goes on where it was, unless `fresh`. */
export async function startMachine(services: Services, id: string, fresh: boolean): Promise<void> {
  const record = services.library.require(id)
  requireSound(record)
  if (services.snapshots.isBusy(id)) throw new ServiceError('machine-busy', `A snapshot of '${record.settings.name}' is being made or restored.`)
  await services.snapshots.recover(id)
  return launch(services, services.library.require(id), fresh)
}

async function launch(services: Services, record: MachineRecord, fresh: boolean): Promise<void> {
  const { id } = record
  await checkSettings(record.settings)
  await checkDisksFree(services, record)
  const saved = new SavedState(record.dir)
  if (['saved', 'stopped', 'crashed'].includes(services.runtime.status(id).state)) await saved.clearLeftovers()
  await services.runtime.start({ id, settings: record.settings, logDir: logFolder(record.dir) }, fresh)
  await saved.clearResume()
}

async function deleteMachine(services: Services, id: string): Promise<TrashItem> {
  const { library, runtime, consoles, sessions } = services
  const { settings } = library.require(id)
  const { state } = runtime.status(id)
  if (state !== 'stopped' && state !== 'crashed' && state !== 'saved') throw new ServiceError('machine-busy', `The machine '${settings.name}' is ${state}. Stop it first.`, { state })
  for (const session of sessions) session.closeConsolesOf(id)
  consoles.release(id)
  const { item } = await library.delete(id)
  services.trashChanged()
  return item
}

function machineHandlers(services: Services): Omit<Pick<Handlers, Extract<CallName, `machine.${string}`>>, SavedStateCall | TransferCall> {
  const { library, runtime, reached } = services
  const view = (record: MachineRecord): Machine => viewOf(record, runtime.status(record.id))
  const known = (id: string): string => library.require(id).id
  return {
    'machine.list': () => library.list().map(view),
    'machine.get': ({ id }) => view(library.require(id)),
    'machine.create': async ({ settings, image }) => view(await createMachine(services, settings, image)),
    'machine.update': async ({ id, settings }) => {
      known(id)
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
      const { dir, settings } = library.require(id)
      const { state } = runtime.status(id)
      if (state !== 'saved') throw new ServiceError('wrong-state', `The machine '${settings.name}' has no saved state: it is ${state}.`, { state })
      await new SavedState(dir).discard()
      services.stateChanged(id)
    },
  }
}

function snapshotHandlers(services: Services): Pick<Handlers, Extract<CallName, `snapshot.${string}`>> {
  const { library, snapshots, tasks } = services
  const asTask = <T>(kind: string, id: string, work: (progress: Progress) => Promise<T>): Promise<T> =>
    tasks.start(kind, library.require(id).settings.name, work).result
  return {
    'snapshot.list': ({ id }) => snapshots.list(id),
    'snapshot.take': ({ id, name, notes }) => asTask('snapshot.take', id, (progress) =>
      snapshots.take(id, { ...(name === undefined ? {} : { name }), ...(notes === undefined ? {} : { notes }) }, progress)),
    'snapshot.restore': async ({ id, snapshotId, keepCurrent, start }) => {
      const result = await asTask('snapshot.restore', id, (progress) => snapshots.restore(id, snapshotId, keepCurrent ?? true, progress))
      if (start) await startMachine(services, id, false)
      return result
    },
    'snapshot.delete': ({ id, snapshotId }) => snapshots.delete(id, snapshotId),
    'snapshot.change': ({ id, snapshotId, name, notes }) =>
      snapshots.change(id, snapshotId, { ...(name === undefined ? {} : { name }), ...(notes === undefined ? {} : { notes }) }),
  }
}

function trashHandlers({ library, runtime, trashChanged }: Services): Pick<Handlers, Extract<CallName, `trash.${string}`>> {
  return {
    'trash.list': () => library.trash.list(),
    'trash.restore': async ({ id }) => {
      const record = await library.restore(id)
      trashChanged()
      return viewOf(record, runtime.status(record.id))
    },
    'trash.purge': async ({ id }) => {
      await library.purge(id)
      trashChanged()
    },
  }
}

function consoleHandlers({ library, consoles }: Services): Pick<Handlers, Extract<CallName, `console.${string}`>> {
  return {
    'console.open': ({ id, port }, session) => ({ consoleId: session.openConsole(library.require(id).id, port) }),
    'console.history': ({ id, port }) => ({ text: new TextDecoder().decode(consoles.history(library.require(id).id, port)) }),
    'console.write': ({ id, port, text }) => {
      const { settings } = library.require(id)
      if (!consoles.write(id, port, text)) throw new ServiceError('wrong-state', `The machine '${settings.name}' does not run: nobody reads what is typed.`)
    },
    'console.ack': ({ consoleId, bytes }, session) => session.acknowledge(consoleId, bytes),
    'console.close': ({ consoleId }, session) => session.closeConsole(consoleId),
  }
}

export function createHandlers(services: Services): Handlers {
  const { library, images, tasks } = services
  return {
    'host.info': () => ({ version: VERSION, libraryPath: library.home, cpuProfiles: [...CPU_PROFILE_NAMES], defaults: DEFAULT_SETTINGS, pid: process.pid }),
    ...machineHandlers(services),
    ...savedStateHandlers(services),
    ...snapshotHandlers(services),
    ...transferHandlers(),
    ...trashHandlers(services),
    ...consoleHandlers(services),
    'image.list': () => images.list(),
    'image.prepare': async ({ id }) => images.taskOf(await images.prepare(id)),
    'task.list': () => tasks.list(),
    'task.cancel': ({ id }) => tasks.cancel(id),
  }
}
