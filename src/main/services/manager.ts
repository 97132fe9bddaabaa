/** The manager: holds the library, runs the machines, answers the contract's calls for any number of clients. */
import { join } from 'node:path'
import { calls, phrase, type CallName, type MachineFigures, type WireError } from '../../preload/contract'
import { Clones } from './clones'
import { ConsoleHub } from './console'
import { screenText } from './console/screen'
import { Disks } from './disks'
import { DiskChanges } from './disks/changes'
import { ServiceError, toWireError } from './errors'
import { invalidParams } from './invalid-params'
import type { Services } from './handler-types'
import { createHandlers } from './handlers'
import { translationsFolder } from './home'
import { Images } from './images'
import { Library } from './library'
import { LibraryLock } from './library/lock'
import { checkDisksFree, startMachine, viewOf } from './machine-actions'
import { logFolder } from './machine-log'
import { MachineUse } from './machine-use'
import { MachineRuntime, type RuntimeStatus } from './runtime'
import { Session, type Emit } from './session'
import { Settings } from './settings'
import { Snapshots } from './snapshots'
import { SavedState } from './snapshots/saved-state'
import { Tasks } from './tasks'
import { ExportJournal } from './transfer/journal'
import type { MachineRecord } from './types'
import { VERSION } from './version'

export type Outcome = { readonly ok: true; readonly result: unknown } | { readonly ok: false; readonly error: WireError }

/** One client's line to the manager, whatever transport carries it. */
export interface ManagerClient {
  /** Checks name and parameters. Never rejects. */
  call(name: string, params: unknown): Promise<Outcome>
  /** Ends what the client had open. */
  close(): void
}

export interface Manager {
  /** @param emit gets every event, and the client's own console data */
  connect(emit: Emit): ManagerClient
  readonly home: string
  /** Machines that have a process now. */
  runningCount(): number
  /** Tells other processes where this manager listens. */
  announce(socket: string): Promise<void>
  /** Calls back when another process took the library over: this one must end. */
  onLost(listener: (reason: string) => void): void
  /** Ends every machine and gives the library free. @param how `stop` unless given; suspended machines go on with `resumeSuspended` */
  shutdown(how?: EndOfMachines): Promise<void>
  /** Starts what the last end of the app suspended. Failures are in the machines' logs; the states are kept. */
  resumeSuspended(): Promise<void>
}

/** `powerOff`: politely; a guest that does not obey in time is suspended. */
export type EndOfMachines = 'stop' | 'suspend' | 'powerOff'

export interface ManagerOptions {
  /** How long a guest may take to switch itself off when the manager ends; a minute unless given. */
  readonly powerOffTimeoutMs?: number
  /** The library's folder. */
  readonly home: string
  /** The bundled entry of the machine process, `out/main/vm-host.cjs`. */
  readonly vmHostEntry: string
  /** Machine processes started ahead, so that a machine starts sooner: for managers that stay. None unless given. */
  readonly spareProcesses?: number
}

/** Machines tell their figures twice a second; clients hear them once. */
const FIGURES_EVERY_MS = 900
const REACH_TIMEOUT_MS = 5000
const POWER_OFF_TIMEOUT_MS = 60_000

/** @throws ServiceError library-locked with `{ pid, socket }`, library-read-only, disk-full */
export async function createManager(options: ManagerOptions): Promise<Manager> {
  const lost = new Set<(reason: string) => void>()
  const lock = await LibraryLock.acquire(options.home, VERSION, (reason) => {
    for (const listener of lost) listener(reason)
  })
  try {
    const library = await Library.open(options.home)
    const manager = new LocalManager(options, lock, library, lost)
    await manager.services.exports.recover()
    await manager.services.snapshots.recoverAll()
    return manager
  } catch (error) {
    await lock.release()
    throw error
  }
}

class LocalManager implements Manager {
  readonly home: string
  private readonly sessions = new Set<Session>()
  private readonly tasks = new Tasks()
  private readonly runtime: MachineRuntime
  private readonly consoles: ConsoleHub
  private readonly handlers: ReturnType<typeof createHandlers>
  readonly services: Services
  private readonly stateListeners = new Set<(id: string) => void>()
  private readonly figuresSent = new Map<string, number>()
  private ending: Promise<void> | undefined

  constructor(private readonly options: ManagerOptions, private readonly lock: LibraryLock, private readonly library: Library, private readonly lost: Set<(reason: string) => void>) {
    this.home = options.home
    const consoles = this.consoles = new ConsoleHub((id) => this.logsOf(id), (id, reason) => console.error(`nestbox: the console log of ${id} cannot be written: ${reason}`))
    this.runtime = this.createRuntime(consoles)
    library.onDidChange((id) => this.recordChanged(id))
    library.onDidClaim((names) => this.emit('machine.namesClaimed', { names }))
    this.tasks.onDidChange((task) => this.emit('task.changed', task))
    const settings = new Settings(options.home)
    settings.onDidChange((value) => this.emit('preferences.changed', value))
    const use = new MachineUse()
    const disksFree = (record: MachineRecord): Promise<void> => checkDisksFree({ library, runtime: this.runtime }, record)
    const snapshots = new Snapshots({
      library, runtime: this.runtime, use,
      checkDisksFree: disksFree,
      screen: (id) => screenText(consoles.history(id, 'ttyS0')),
      changed: (id) => this.snapshotsChanged(id),
    })
    const disks = new Disks(library, this.runtime)
    this.services = {
      snapshots, use, checkDisksFree: disksFree,
      exports: new ExportJournal(options.home),
      clones: new Clones({ library, runtime: this.runtime, snapshots, use, checkDisksFree: disksFree }),
      disks, diskChanges: new DiskChanges(disks, library, this.runtime), settings, library, consoles, runtime: this.runtime, images: new Images(options.home, this.tasks), tasks: this.tasks, sessions: this.sessions,
      reached: (id, state) => this.reached(id, state),
      trashChanged: () => this.emit('trash.changed', {}),
      snapshotsChanged: (id) => this.snapshotsChanged(id),
      stateChanged: (id) => this.machineChanged(id),
    }
    this.handlers = createHandlers(this.services)
  }

  /** A machine that is just being deleted is no longer listed; its logs are where its folder was. */
  private logsOf(id: string): string {
    return logFolder(this.library.get(id)?.dir ?? join(this.options.home, 'trash', id))
  }

  private createRuntime(consoles: ConsoleHub): MachineRuntime {
    const { vmHostEntry, spareProcesses, home } = this.options
    return new MachineRuntime({
      entry: vmHostEntry, spareProcesses, consoles, translationsDir: translationsFolder(home), workingSetsDir: join(home, 'cache', 'working-sets'),
      savedState: (id) => this.savedState(id),
      nameOf: (id) => this.library.get(id)?.settings.name ?? id,
      onStateChanged: (id) => this.machineChanged(id),
      onFigures: (id, figures) => this.figuresCame(id, figures),
    })
  }

  private readonly emit: Emit = (name, payload) => {
    for (const session of this.sessions) session.emit(name, payload)
  }

  private savedState(id: string): SavedState | undefined {
    const dir = this.library.get(id)?.dir
    return dir === undefined ? undefined : new SavedState(dir)
  }

  private figuresCame(id: string, figures: MachineFigures): void {
    const now = Date.now()
    if (now - (this.figuresSent.get(id) ?? 0) < FIGURES_EVERY_MS) return
    this.figuresSent.set(id, now)
    this.emit('machine.figures', { id, figures })
  }

  /** A linked clone that came, went or has another name: the snapshot it needs tells of it. */
  private recordChanged(id: string): void {
    this.machineChanged(id)
    const base = (this.library.get(id) ?? this.library.trash.records().find((record) => record.id === id))?.base
    if (base?.snapshotId !== undefined) this.emit('snapshot.changed', { id: base.machineId })
  }

  private snapshotsChanged(id: string): void {
    this.emit('snapshot.changed', { id })
    this.machineChanged(id)
  }

  private machineChanged(id: string): void {
    const record = this.library.get(id)
    if (record) this.emit('machine.changed', viewOf(record, this.runtime.status(id)))
    else this.emit('machine.removed', { id })
    for (const listener of this.stateListeners) listener(id)
  }

  private reached(id: string, state: RuntimeStatus['state'], timeoutMs = REACH_TIMEOUT_MS): Promise<void> {
    if (this.runtime.status(id).state === state) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        clearTimeout(timer)
        this.stateListeners.delete(listener)
      }
      const listener = (changed: string): void => {
        if (changed !== id || this.runtime.status(id).state !== state) return
        settle()
        resolve()
      }
      const timer = setTimeout(() => {
        settle()
        reject(new ServiceError('machine-busy', phrase('machine.notReached', { name: this.library.get(id)?.settings.name ?? id, wanted: phrase(`state.${state}`), state: phrase(`state.${this.runtime.status(id).state}`) })))
      }, timeoutMs)
      this.stateListeners.add(listener)
    })
  }

  connect(emit: Emit): ManagerClient {
    const session = new Session(this.consoles, emit)
    this.sessions.add(session)
    return {
      call: (name, params) => this.call(session, name, params),
      close: () => {
        session.close()
        this.sessions.delete(session)
      },
    }
  }

  private async call(session: Session, name: string, params: unknown): Promise<Outcome> {
    try {
      if (!Object.hasOwn(calls, name)) throw new ServiceError('unsupported', phrase('call.none', { name }))
      if (this.ending) throw new ServiceError('disconnected', phrase('call.ending'))
      return { ok: true, result: await this.dispatch(session, name as CallName, params) }
    } catch (error) {
      return { ok: false, error: toWireError(error) }
    }
  }

  private dispatch<N extends CallName>(session: Session, name: N, raw: unknown): unknown {
    const parsed = calls[name].params.safeParse(raw)
    if (!parsed.success) {
      const issues = parsed.error.issues.map(({ path, message }) => ({ path: path.join('.'), message }))
      throw new ServiceError('invalid-argument', invalidParams(parsed.error.issues), { issues })
    }
    const handler = this.handlers[name] as (params: unknown, session: Session) => unknown
    return handler(parsed.data, session)
  }

  runningCount(): number {
    return this.runtime.runningCount
  }

  announce(socket: string): Promise<void> {
    return this.lock.announce(socket)
  }

  onLost(listener: (reason: string) => void): void {
    this.lost.add(listener)
  }

  async resumeSuspended(): Promise<void> {
    const ids = this.library.list().filter(({ dir }) => new SavedState(dir).resumesOnStart).map(({ id }) => id)
    // Nobody asked: a client would hear of the failure, here the machine's log does.
    await Promise.all(ids.map((id) => startMachine(this.services, id, false).catch(() => undefined)))
  }

  shutdown(how: EndOfMachines = 'stop'): Promise<void> {
    this.ending ??= this.end(how)
    return this.ending
  }

  /** Presses the power button of every machine that runs and waits until they are off, or for as long as is decent. */
  private async powerOffAll(): Promise<void> {
    const ids = this.library.list().map(({ id }) => id).filter((id) => this.runtime.status(id).state === 'running')
    // Who cannot be switched off is suspended next.
    await Promise.allSettled(ids.map(async (id) => {
      this.runtime.powerOff(id)
      await this.reached(id, 'stopped', this.options.powerOffTimeoutMs ?? POWER_OFF_TIMEOUT_MS)
    }))
  }

  private async end(how: EndOfMachines): Promise<void> {
    this.tasks.cancelAll()
    if (how === 'powerOff') await this.powerOffAll()
    await this.runtime.shutdown(how === 'stop' ? 'stop' : 'suspend')
    await this.services.snapshots.settled()
    for (const session of this.sessions) session.close()
    await this.lock.release()
  }
}
