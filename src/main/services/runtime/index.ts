/** Runs machines: one process each, their states, figures and ends. */
import { appendFile, mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { phrase, type HotBlock, type LogLine, type Machine, type MachineFigures, type MachineSettings, type MachineState, type Phrase, type Said } from '../../../preload/contract'
import { MachineProcess, SaveError, type AfterSave, type ProcessEnd } from '../../engines/embedded/machine-process'
import { PreparedProcess } from '../../engines/embedded/prepared-process'
import { SpareProcesses } from '../../engines/embedded/spare-processes'
import type { HostFigures, LaunchConfig, SaveFigures, Stalled, StatePlace } from '../../vm-host/protocol'
import type { ConsoleHub } from '../console'
import { logSaid } from '../core-said'
import { ServiceError, whyOf } from '../errors'
import { logLineOf } from '../machine-log'
import type { SavedState } from '../snapshots/saved-state'
import type { Progress } from '../types'
import { reportPath, writeReport, type Crash } from './crash-report'
import { crashProblem, endedMeanwhile, endSaid, notPrepared, saveFailure, stallProblem, startFailure } from './failures'

/** What the runtime needs to know of a machine. */
export interface RunnableMachine {
  readonly id: string
  readonly settings: MachineSettings
  readonly logDir: string
  /** UUID; see `MachineRecord`. */
  readonly generationId?: string
  /** Images that disks are being copied from, by the disks' paths: it starts before they are there, and is told by `disksThere`. */
  readonly sources?: ReadonlyMap<string, string>
}

export interface RuntimeStatus {
  readonly state: Exclude<MachineState, 'damaged'>
  readonly problem?: Said
  readonly waitsFor?: Machine['waitsFor']
  readonly pid?: number
  /** ISO 8601. */
  readonly startedAt?: string
}

/** A machine that stands since it was saved. Its process holds all of it until one of these is called. */
export interface Held {
  /** Ends it. Resolves when it is off. */
  end(): Promise<void>
  /** Lets it go on as it was. */
  goOn(): void
}

interface Running {
  readonly process: MachineProcess
  readonly machine: RunnableMachine
  state: RuntimeStatus['state']
  readonly startedAt: string
  figures: MachineFigures | null
  forced: boolean
  /** Why it is paused, where nobody asked for that. */
  stalled?: Stalled | undefined
}

export interface RuntimeOptions {
  /** Bundled entry of the machine process. */
  readonly entry: string
  /** Processes started ahead of the machines that will need them; none unless given. */
  readonly spareProcesses?: number | undefined
  readonly consoles: ConsoleHub
  /** Folder of translated code that the machines share. */
  readonly translationsDir: string
  /** Folder of what guests needed first after they were continued; nothing is noted unless given. */
  readonly workingSetsDir?: string | undefined
  /** Of a machine of the library; undefined where there is none. */
  readonly savedState: (id: string) => SavedState | undefined
  /** What a machine is called. */
  readonly nameOf: (id: string) => string
  readonly onStateChanged: (id: string) => void
  readonly onFigures: (id: string, figures: MachineFigures) => void
}

/** A machine that just started, or an app that just opened, comes first. */
const SPARE_DELAY_MS = 1000

export class MachineRuntime {
  private readonly running = new Map<string, Running>()
  /** How the last run ended, where that is worth telling. */
  private readonly problems = new Map<string, Said>()
  /** Ended to make room for a snapshot of themselves, whose files are not in place yet. */
  private readonly restoring = new Set<string>()
  private logging: Promise<void> = Promise.resolve()
  /** Processes for machines that are about to start. */
  private readonly prepared = new Map<string, PreparedProcess>()
  /** Ends of processes whose machines are off. */
  private readonly leaving = new Set<Promise<void>>()
  private readonly spares: SpareProcesses

  constructor(private readonly options: RuntimeOptions) {
    this.spares = new SpareProcesses({ entry: options.entry, count: options.spareProcesses ?? 0, delayMs: SPARE_DELAY_MS })
  }

  status(id: string): RuntimeStatus {
    const run = this.running.get(id)
    if (run) return { state: run.state, startedAt: run.startedAt, ...(run.process.pid === undefined ? {} : { pid: run.process.pid }), ...stallOf(run) }
    if (this.restoring.has(id)) return { state: 'restoring' }
    const problem = this.problems.get(id)
    if (this.options.savedState(id)?.exists) return { state: 'saved', ...(problem === undefined ? {} : { problem }) }
    return problem === undefined ? { state: 'stopped' } : { state: 'crashed', problem }
  }

  get runningCount(): number {
    return this.running.size
  }

  figures(id: string): MachineFigures | null {
    return this.running.get(id)?.figures ?? null
  }

  private require(id: string, action: Phrase, ...states: RuntimeStatus['state'][]): Running {
    const run = this.running.get(id)
    if (!run || !states.includes(run.state)) {
      const { state } = this.status(id)
      throw new ServiceError('wrong-state', phrase('machine.cannot', { name: this.options.nameOf(id), action, state: phrase(`state.${state}`) }), { state })
    }
    return run
  }

  /**
   * Resolves when the guest runs. A saved machine goes on where it was, unless `fresh`.
   * @throws ServiceError with the reason it does not
   */
  async start(machine: RunnableMachine, fresh = false): Promise<void> {
    if (this.running.has(machine.id)) throw new ServiceError('wrong-state', phrase('machine.already', { name: machine.settings.name, state: phrase(`state.${this.status(machine.id).state}`) }))
    this.problems.delete(machine.id)
    const isResumed = !fresh && this.options.savedState(machine.id)?.exists === true
    const run: Running = {
      process: this.launch(machine, fresh), machine, state: 'starting', startedAt: new Date().toISOString(), figures: null, forced: false,
    }
    this.running.set(machine.id, run)
    this.connectConsoles(run)
    this.options.onStateChanged(machine.id)
    try {
      await run.process.running
    } catch (error) {
      throw startFailure(error)
    }
    this.log(machine, 'info', phrase(isResumed ? 'log.resumed' : 'log.started', { pid: run.process.pid ?? '?' }))
    this.setState(run, 'running')
  }

  private launch(machine: RunnableMachine, fresh: boolean): MachineProcess {
    const saved = this.options.savedState(machine.id)
    const { id } = machine
    const prepared = this.prepared.get(id)
    this.prepared.delete(id)
    const process = new MachineProcess({
      process: prepared?.take() ?? this.spares.take(),
      config: this.configOf(machine, saved?.exists ? { path: saved.path, memoryDir: saved.memory.folder, use: fresh ? 'discard' : 'resume' } : undefined),
      events: {
        onHeartbeat: (paused, figures, stalled) => this.heartbeat(id, paused, figures, stalled),
        onOutput: (port, bytes) => this.options.consoles.output(id, port, bytes),
        onLog: (line) => this.log(machine, line.level, 'phrase' in line ? line.phrase : logSaid(line.text, line.details, line.part)),
        onEnd: (end) => this.ended(machine, end),
      },
    })
    this.leaving.add(process.gone)
    void process.gone.then(() => this.leaving.delete(process.gone))
    return process
  }

  private configOf({ settings, logDir, id, sources, generationId = id }: RunnableMachine, savedState: LaunchConfig['savedState']): LaunchConfig {
    return {
      name: settings.name, uuid: id, generationId, memoryMiB: settings.memoryMiB, cpuProfile: settings.cpuProfile, kernel: settings.kernel,
      initrd: settings.initrd, commandLine: settings.commandLine, disks: settings.disks.map((disk) => diskOf(disk, sources?.get(disk.path))),
      onReset: settings.onReset, maxTier: settings.maxTier, logDir, translationsDir: this.options.translationsDir, workingSetsDir: this.options.workingSetsDir,
      ...(savedState && { savedState }),
    }
  }

  /**
   * Has a process make what it can of a machine that is about to be started, while its files are still put in place. Its start takes
   * that process; whoever prepared it says `unprepare` when there is none.
   * @param state what it will go on from, whatever its name then @param images one for each disk, of the same shape
   * @param wholeState all of the state is read and checked
   */
  prepare(machine: RunnableMachine, state: StatePlace, images: readonly string[], wholeState: boolean): void {
    this.unprepare(machine.id)
    this.prepared.set(machine.id, new PreparedProcess(this.spares.take(), this.configOf(machine, { ...state, use: 'resume' }), images, wholeState))
  }

  /** Resolves when the machine that `prepare` was called for is built, and would run. @throws ServiceError with the reason it would not */
  async requirePrepared(id: string): Promise<void> {
    await this.prepared.get(id)?.built.catch((error: unknown) => {
      throw notPrepared(error)
    })
  }

  unprepare(id: string): void {
    this.prepared.get(id)?.drop()
    this.prepared.delete(id)
  }

  /** Disks that a machine was started without are in their places. */
  disksThere(id: string): void {
    this.running.get(id)?.process.send({ type: 'disks-there' })
  }

  /** They will never be: it ends, and says why. */
  async disksFailed(id: string, error: unknown): Promise<void> {
    const run = this.running.get(id)
    if (!run) return
    this.log(run.machine, 'error', phrase('log.disksNotMade', { why: whyOf(error) }))
    await this.endNow(run, 'stopping')
  }

  private connectConsoles({ machine, process }: Running): void {
    for (const port of ['ttyS0', 'hvc0'] as const) {
      this.options.consoles.connect(machine.id, port, {
        input: (bytes) => process.send({ type: 'input', port, bytes }),
        acknowledge: (count) => process.send({ type: 'ack', port, count }),
      })
    }
  }

  private heartbeat(id: string, paused: boolean, figures: HostFigures, stalled?: Stalled): void {
    const run = this.running.get(id)
    if (!run) return
    run.stalled = stalled
    run.figures = { timeMs: performance.now(), ...figures }
    this.options.onFigures(id, run.figures)
    if (run.state === 'running' && paused) this.setState(run, 'paused')
    else if (run.state === 'paused' && !paused) this.setState(run, 'running')
  }

  private setState(run: Running, state: RuntimeStatus['state']): void {
    if (run.state === state || this.running.get(run.machine.id) !== run) return
    run.state = state
    this.options.onStateChanged(run.machine.id)
  }

  private ended(machine: RunnableMachine, end: ProcessEnd): void {
    const run = this.running.get(machine.id)
    this.running.delete(machine.id)
    for (const port of ['ttyS0', 'hvc0'] as const) this.options.consoles.connect(machine.id, port, undefined)
    if (end.kind === 'crashed' && !run?.forced) {
      this.problems.set(machine.id, crashProblem(this.reported(machine, end)))
      this.log(machine, 'error', end.phrase ?? end.message)
    } else this.log(machine, 'info', endSaid(end))
    this.options.onStateChanged(machine.id)
  }

  /** A process that was killed or hung wrote no report: what it said last is written down. */
  private reported(machine: RunnableMachine, end: Crash): Crash {
    const { lastState } = end
    const path = reportPath(machine.logDir, end)
    if (!lastState || path === undefined) return end
    this.logging = this.logging.then(() => writeReport(path, machine.settings.name, end.message, lastState)).catch(() => {
      // The report is a courtesy: of one that could not be written nobody is told.
      this.problems.set(machine.id, crashProblem(end))
      this.options.onStateChanged(machine.id)
    })
    return { ...end, report: path }
  }

  /** Lines are written one after the other; a log that cannot be written must not stop a machine. */
  private log(machine: RunnableMachine, level: LogLine['level'], said: Said): void {
    const line = `${JSON.stringify(logLineOf(level, said))}\n`
    this.logging = this.logging
      .then(() => mkdir(machine.logDir, { recursive: true }))
      .then(() => appendFile(join(machine.logDir, 'machine.log'), line))
      .catch(() => undefined)
  }

  /** Guest code that took the most time. @throws ServiceError wrong-state, machine-crashed */
  async hotBlocks(id: string, count: number): Promise<HotBlock[]> {
    const { process } = this.require(id, phrase('act.inspected'), 'running', 'paused')
    const blocks = await process.hotBlocks(count).catch(endedMeanwhile(this.options.nameOf(id)))
    const hex = (address: bigint): string => `0x${address.toString(16)}`
    return blocks.map(({ address, cpl, lines, ...rest }) => ({
      ...rest, address: hex(address), ring: cpl, lines: lines.map((line) => ({ ...line, address: hex(line.address) })),
    }))
  }

  /** The WebAssembly a hot block is now; null where it is interpreted. @throws as `hotBlocks` */
  async wasmOf(id: string, address: string, modeKey: number): Promise<string | null> {
    const { process } = this.require(id, phrase('act.inspected'), 'running', 'paused')
    return process.wasmOf(BigInt(address), modeKey).catch(endedMeanwhile(this.options.nameOf(id)))
  }

  pause(id: string): void {
    this.require(id, phrase('act.paused'), 'running').process.send({ type: 'pause' })
  }

  resume(id: string): void {
    this.require(id, phrase('act.resumed'), 'paused').process.send({ type: 'resume' })
  }

  reset(id: string): void {
    this.require(id, phrase('act.reset'), 'running', 'paused').process.send({ type: 'reset' })
  }

  /** Presses the power button; whether the guest listens is its own affair. */
  powerOff(id: string): void {
    this.require(id, phrase('act.switchedOff'), 'running').process.send({ type: 'power-button' })
  }

  /** Resolves when the machine is off. @param state what it is meanwhile: `restoring` where it makes room for a snapshot of itself */
  async forceStop(id: string, state: 'stopping' | 'restoring' = 'stopping'): Promise<void> {
    await this.endNow(this.require(id, phrase('act.stopped'), 'starting', 'running', 'paused', 'stopping'), state)
  }

  /**
   * Writes the machine's state and ends it. Where that fails the machine goes on as it was.
   * @throws ServiceError disk-full, cancelled, machine-crashed, internal
   */
  async suspend(id: string, progress: Progress): Promise<SaveFigures> {
    const saved = this.options.savedState(id)
    this.require(id, phrase('act.suspended'), 'running', 'paused')
    if (!saved) throw new ServiceError('not-found', phrase('machine.none', { id }))
    await saved.prepare()
    return this.saveTo(id, saved.path, [], 'end', progress)
  }

  /** Settings a machine was started with; undefined where it does not run. */
  settingsOf(id: string): MachineSettings | undefined {
    return this.running.get(id)?.machine.settings
  }

  /** Whoever saves saw it run: where it has crashed since, that is the reason, not the order of the calls. @throws ServiceError machine-crashed, wrong-state */
  private requireForSaving(id: string): Running {
    if (this.status(id).state === 'crashed') throw saveFailure(SaveError.said('ended', phrase('save.off')), this.options.nameOf(id))
    return this.require(id, phrase('act.saved'), 'running', 'paused')
  }

  /**
   * The state of a running machine into a file of its own, and disk images copied at the same instant.
   * @param quick the state is used at once and only once: it need not be small or durable
   * @throws as `suspend`; the machine then goes on
   */
  async saveTo(
    id: string, path: string, copies: readonly { readonly from: string; readonly to: string }[], then: AfterSave, progress: Progress,
    quick = false,
  ): Promise<SaveFigures> {
    const run = this.requireForSaving(id)
    const { state } = run
    const memory = this.options.savedState(id)?.memory
    if (then !== 'go-on') this.setState(run, then === 'hold' ? 'restoring' : 'saving')
    try {
      const base = await memory?.base()
      const onProgress = (fraction: number): void => progress.report(fraction)
      const figures = await run.process.saveState(path, then, { signal: progress.signal, onProgress, copies, quick, ...(base && { base }) })
      if (then === 'end') await run.process.ended
      return figures
    } catch (error) {
      if (then !== 'go-on') this.setState(run, state)
      // What was kept for it to build on. Where even that fails it goes with the next snapshot that is deleted.
      await memory?.collect().catch(() => undefined)
      throw saveFailure(error, this.options.nameOf(id))
    }
  }

  /**
   * As `saveTo`; the machine then stands, and is `restoring`, until it is said what becomes of it.
   * @throws as `saveTo`; the machine then goes on
   */
  async saveAndHold(id: string, path: string, copies: readonly { readonly from: string; readonly to: string }[], progress: Progress): Promise<Held> {
    const run = this.requireForSaving(id)
    const { state } = run
    await this.saveTo(id, path, copies, 'hold', progress)
    return {
      end: () => this.endNow(run, 'restoring'),
      goOn: () => {
        run.process.send({ type: 'thaw' })
        this.setState(run, state)
      },
    }
  }

  private async endNow(run: Running, state: 'stopping' | 'restoring'): Promise<void> {
    run.forced = true
    if (state === 'restoring') this.restoring.add(run.machine.id)
    this.setState(run, state)
    await run.process.stop()
  }

  /** What took the place of a machine that was ended as `restoring` is there. */
  restored(id: string): void {
    if (this.restoring.delete(id)) this.options.onStateChanged(id)
  }

  /** Ends every machine. @param how where a machine cannot be suspended, it is stopped */
  async shutdown(how: 'stop' | 'suspend'): Promise<void> {
    this.spares.close()
    for (const id of [...this.prepared.keys()]) this.unprepare(id)
    await Promise.all([...this.running.values()].map((run) => this.endRun(run, how)))
    await Promise.all(this.leaving)
    await this.logging
  }

  private async endRun(run: Running, how: 'stop' | 'suspend'): Promise<void> {
    const { id } = run.machine
    if (how === 'suspend' && (run.state === 'running' || run.state === 'paused')) {
      try {
        // A snapshot that was called off just now.
        await run.process.saveOver()
        await this.suspend(id, { report: () => undefined, signal: new AbortController().signal })
        return await this.options.savedState(id)?.markResume()
      } catch (error) {
        this.log(run.machine, 'error', phrase('log.notSuspended', { why: whyOf(error) }))
      }
    }
    if (this.running.get(id) !== run) return
    if (run.state === 'saving' || run.state === 'restoring') await run.process.ended
    else await this.forceStop(id)
  }
}

/** @param madeFrom the image it is being copied from */
const diskOf = (disk: MachineSettings['disks'][number], madeFrom: string | undefined): LaunchConfig['disks'][number] => ({ ...disk, ...(madeFrom !== undefined && { madeFrom }) })

function stallOf({ state, stalled }: Running): Pick<RuntimeStatus, 'problem' | 'waitsFor'> {
  if (state !== 'paused' || !stalled) return {}
  const problem = stallProblem(stalled)
  return stalled.cause === 'memory' ? { problem } : { problem, waitsFor: { kind: 'host-disk', path: stalled.path } }
}
