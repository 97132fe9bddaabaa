/** Runs one machine for a manager: launches it, carries out commands, reports life and end. */
import { randomUUID } from 'node:crypto'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Behind, giveWay, NodeWasmEngine } from '../host'
import { DiskFormatError } from '../host/disks/formats/common/format-error'
import { createCpuKit, type Machine, type MachinePorts } from '../vmm/machine'
import { VmmError } from '../vmm/errors'
import type { BlockBackend, LogLevel } from '../vmm/ports'
import { buildMachine, type BuildContext, type BuiltMachine } from './build-machine'
import { ConsolePort } from './console-port'
import { DiskCopies } from './disk-copies'
import { KernelFiles } from './kernel-files'
import { MachineLoop } from './loop'
import { MachineAhead } from './machine-ahead'
import { MachineDisks } from './machine-disks'
import { detailOf, reasonOf, type Note } from './note'
import { HEARTBEAT_MS, toHost, type FromHost, type HostFigures, type HostHotBlock, type HostStop, type LaunchConfig, type Stalled, type ToHost } from './protocol'
import { heapTrimmer, prebuiltPorts, readPrebuilt } from './prebuilt'
import { BackgroundLoad, openBase, saveMachine, setAside, USED_SUFFIX } from './saved-state'
import { StateFile } from './state-file/reader'
import type { TouchRecorder } from './touch-recorder'
import type { WarmStart } from './warm-start'

function described(error: unknown): { code: string; message: string; details?: unknown } {
  if (error instanceof VmmError) return { code: error.code, message: error.message, details: error.details }
  if (error instanceof DiskFormatError) return { code: error.code, message: error.message, details: error.details }
  return { code: 'internal', message: error instanceof Error ? error.message : String(error) }
}

type SaveMessage = Extract<ToHost, { type: 'save' }>

export class VmHost {
  private readonly wasm = new NodeWasmEngine()
  private prepared: Pick<MachinePorts, 'cpuKit' | 'interpreter' | 'translator'> | undefined
  /** A machine that is built before it is launched; undefined where that failed. */
  private ahead: Promise<MachineAhead | undefined> | undefined
  private machine: Machine | undefined
  private loop: MachineLoop | undefined
  private readonly disks = new MachineDisks()
  private config: LaunchConfig | undefined
  private compiler: string | undefined
  private warmStart: WarmStart | undefined
  private holds = 0
  /** What the guest waits for where the host's disk is full. */
  private stalled: Stalled | undefined
  private savedState: StateFile | undefined
  /** Id of the state that holds the machine's memory but for what changed since. */
  private storedIn: string | undefined
  private loading: BackgroundLoad | undefined
  private touches: TouchRecorder | undefined
  private saving: { readonly done: Promise<void>; readonly abort: AbortController } | undefined
  /** Somebody else than its guest ends the machine. */
  private isToldToStop = false
  private isEnding = false
  private readonly ports: Record<'ttyS0' | 'hvc0', ConsolePort>

  /** @param send to the manager @param exit ends the process once everything is closed */
  constructor(private readonly send: (message: FromHost) => void, private readonly exit: (code: number) => void) {
    const hold = (held: boolean): void => this.setHold(held)
    this.ports = { ttyS0: new ConsolePort('ttyS0', send, hold), hvc0: new ConsolePort('hvc0', send, hold) }
  }

  private log(level: LogLevel, ...[text, details]: Parameters<Note>): void {
    this.send({ type: 'log', level, text, details })
  }

  private readonly warn: Note = (message, details) => this.log('warn', message, details)

  private setHold(held: boolean): void {
    this.holds += held ? 1 : -1
    this.loop?.hold(this.holds > 0)
  }

  /** Makes what every machine needs: before the launch message comes it costs nobody time. */
  prepare(): Pick<MachinePorts, 'cpuKit' | 'interpreter' | 'translator'> {
    if (this.prepared) return this.prepared
    const prebuilt = readPrebuilt(__dirname, __filename)
    this.compiler = prebuilt.compiler
    const ports = prebuiltPorts(prebuilt, true)
    return this.prepared = { ...ports, cpuKit: createCpuKit(this.wasm, ports.interpreter) }
  }

  /** A message as it came off the wire. */
  receive(raw: unknown): void {
    const parsed = toHost.safeParse(raw)
    if (!parsed.success) {
      this.log('error', `a message was not understood: ${parsed.error.message}`, { reason: 'toProcessUnknown', detail: parsed.error.message })
      return
    }
    this.handle(parsed.data)
  }

  private handle(message: ToHost): void {
    switch (message.type) {
      case 'prepare': this.ahead ??= this.buildAhead(message); break
      case 'launch': void this.launch(message.config); break
      case 'disks-there': void this.openLate(); break
      case 'pause': this.pause(); break
      case 'resume': this.resume(); break
      case 'reset': this.machine?.reset(); break
      case 'power-button': this.machine?.pressPowerButton(); break
      case 'stop': this.stop(); break
      case 'save': this.save(message); break
      case 'inspect': this.send({ type: 'hot-blocks', request: message.request, blocks: this.hotBlocks(message.count) }); break
      case 'show-wasm': this.send({ type: 'wasm', request: message.request, text: this.machine?.wasmOf(message.address, message.modeKey) ?? null }); break
      case 'thaw': this.loop?.thaw(); break
      case 'cancel-save': this.saving?.abort.abort(); break
      case 'input': this.ports[message.port].input(message.bytes); break
      case 'ack': this.ports[message.port].acknowledge(message.count); break
    }
  }

  private pause(): void {
    this.touches?.end()
    this.loop?.pause()
    this.beat()
  }

  /** Also tries again what could not be done. */
  private resume(): void {
    const { stalled } = this
    this.stalled = undefined
    if (stalled) this.machine?.retryDisks()
    this.loop?.resume()
    if (stalled) this.load()
    this.beat()
  }

  /** The guest stands until somebody has mended what is wrong and says so: nothing of it is lost. */
  private stall(cause: Stalled['cause'], error: VmmError): void {
    if (this.stalled) return
    this.stalled = { cause, path: String(error.details.path), message: error.message, details: error.details }
    this.warn(`paused: ${error.message}`, { reason: 'paused', ...detailOf(error) })
    this.pause()
  }

  private hotBlocks(count: number): HostHotBlock[] {
    return (this.machine?.hotBlocks(count) ?? []).map((block) => ({ ...block, lines: block.lines.map((line) => ({ ...line })) }))
  }

  /** The manager is gone or wants the machine off: end without asking the guest. */
  stop(): void {
    this.isToldToStop = true
    if (this.loop) this.loop.stop({ kind: 'power-off' })
    else void this.closeFiles().then(() => this.exit(0))
  }

  /** Where it fails the machine is built once more when it is launched. */
  private async buildAhead({ config, images, wholeState }: Extract<ToHost, { type: 'prepare' }>): Promise<MachineAhead | undefined> {
    try {
      if (wholeState && config.savedState) StateFile.checkWhole(config.savedState)
      const ahead = await MachineAhead.build(config, images, this.context())
      this.send({ type: 'prepared' })
      return ahead
    } catch (error) {
      this.send({ type: 'not-prepared', ...described(error) })
      return undefined
    }
  }

  /** Of one machine: what was made ahead for it is its own. */
  private context(): BuildContext {
    const prepared = this.prepare()
    // Some megabytes of it are of use only until the machine is made.
    this.prepared = undefined
    return {
      program: __filename, compiler: this.compiler, warn: this.warn,
      ports: {
        wasm: this.wasm, ...prepared, log: { log: (level, part, text, details) => this.send({ type: 'log', level, text, part, details }) },
        serial: this.ports.ttyS0, console: this.ports.hvc0, onDiskFull: (error) => this.stall('disk-full', error),
      },
    }
  }

  private async launch(config: LaunchConfig): Promise<void> {
    this.config = config
    const start = performance.now()
    try {
      this.machine = await this.build(config)
      if (config.savedState && config.savedState.use !== 'restore') await setAside(config.savedState.path)
    } catch (error) {
      this.send({ type: 'refused', ...described(error) })
      await this.closeFiles()
      return this.exit(1)
    }
    const loop = this.loop = new MachineLoop(this.machine, { trimHeap: heapTrimmer(__dirname) })
    // A machine that was saved while it waited for room asks for it again before it runs.
    if (this.stalled) loop.pause()
    await this.startLoading(config)
    this.send({ type: 'running', ...(this.savedState ? { restoredMs: performance.now() - start } : {}) })
    this.beat()
    const timer = setInterval(() => this.beat(), HEARTBEAT_MS)
    const reason = await this.loop.run()
    await this.endSaving(reason)
    clearInterval(timer)
    await this.end(this.machine, reason)
  }

  /** What the machine was at an instant is wanted also where its guest has switched itself off since. */
  private async endSaving({ kind }: HostStop): Promise<void> {
    this.isEnding = true
    if (this.isToldToStop || kind === 'error') this.saving?.abort.abort()
    await this.saving?.done
  }

  /** The machine's files are free before anybody hears that it has stopped; what is kept of it for others comes after that. */
  private async end(machine: Machine, reason: HostStop): Promise<void> {
    this.touches?.end()
    await this.loading?.stop()
    await this.disks.giveUpLate()
    await machine.drain()
    const report = await this.report(reason)
    await this.closeFiles()
    this.beat()
    this.send({ type: 'stopped', reason, ...report })
    if (reason.kind !== 'error') {
      giveWay(Behind.NEXT_MACHINE)
      this.warmStart?.save(machine)
    }
    this.exit(0)
  }

  private async build(config: LaunchConfig): Promise<Machine> {
    const ahead = await this.ahead
    this.ahead = undefined
    const kernel = ahead ? undefined : new KernelFiles(config)
    const disks: BlockBackend[] = []
    for (const settings of config.disks) disks.push(await this.disks.add(settings))
    const built = await this.takeAhead(ahead, config, disks) ?? buildMachine(config, kernel ?? new KernelFiles(config), disks, this.context())
    this.warmStart = built.warmStart
    this.touches = built.touches
    this.savedState = built.state
    this.storedIn = built.state?.header.id
    return built.machine
  }

  private async openLate(): Promise<void> {
    await this.disks.openLate().catch((error: unknown) => this.loop?.stop({ kind: 'error', ...described(error) }))
  }

  private async takeAhead(ahead: MachineAhead | undefined, config: LaunchConfig, disks: readonly BlockBackend[]): Promise<BuiltMachine | undefined> {
    if (!ahead) return undefined
    const built = await ahead.launchedAs(config, disks)
    if (built) {
      this.log('debug', 'the machine was built ahead', { reason: 'builtAhead' })
      return built
    }
    this.warn('the machine that was built ahead is not the one to be launched', { reason: 'aheadNotUsed' })
    ahead.drop()
    return undefined
  }

  /** What is left of a continued machine's memory comes in beside the guest; a discarded state goes. */
  private async startLoading({ savedState }: LaunchConfig): Promise<void> {
    const lazy = this.machine?.lazyRam
    if (savedState?.use === 'discard') void rm(savedState.path + USED_SUFFIX, { force: true }).catch(() => undefined)
    if (!this.savedState || !lazy) return
    lazy.onFailure = (error) => this.stall('memory', error)
    this.touches?.begin(lazy)
    this.loading = new BackgroundLoad(this.savedState, lazy, this.touches?.known ?? [], savedState?.use === 'resume' ? savedState.path + USED_SUFFIX : undefined)
    await this.loading.prefetched()
    this.load()
  }

  private load(): void {
    const { loading } = this
    if (loading) void this.loop?.attend(loading.run()).catch((error: unknown) => this.loadFailed(error))
  }

  private loadFailed(error: unknown): void {
    if (error instanceof VmmError) this.stall('memory', error)
    else this.loop?.stop({ kind: 'error', ...described(error) })
  }

  private save(message: SaveMessage): void {
    const { machine, loop } = this
    const refuse = (): void => this.send({ type: 'save-failed', code: 'busy', message: 'the machine does not run' })
    if (!machine || !loop) return refuse()
    this.touches?.end()
    const abort = new AbortController()
    // The manager asks for one at a time: one that has answered puts itself in order yet.
    const before = this.saving?.done ?? Promise.resolve()
    const done = loop.attend(before.then(() => this.isEnding ? refuse() : this.performSave(machine, loop, message, abort.signal))).finally(() => {
      if (this.saving === saving) this.saving = undefined
    })
    const saving = this.saving = { abort, done }
  }

  private async performSave(machine: Machine, loop: MachineLoop, { path, then, copies, quick = false, base: place }: SaveMessage, signal: AbortSignal): Promise<void> {
    const id = randomUUID()
    const goesOn = then === 'go-on'
    const disks = new DiskCopies(copies, this.disks.open, (fraction) => this.send({ type: 'save-progress', fraction }))
    const base = openBase(place, this.storedIn, this.warn)
    // Before the guest stands, and of one that ends at its end. It never fails. A fork is waited for: it has those of the last snapshot.
    const warm = goesOn && !quick ? this.warmStart?.saveAside(machine) : undefined
    try {
      // Before the guest stands: what the medium takes long for has happened by then.
      if (copies.length > 0) await this.disks.flush()
      const figures = await saveMachine({
        machine, loop, path, signal, id, goesOn, quick, base, onProgress: disks.memoryDone,
        beside: {
          atInstant: () => disks.begin(signal),
          // A state that the disks themselves belong to must not be on stable storage before they are.
          finish: async (until) => void await Promise.all([disks.finish(until), goesOn ? undefined : this.disks.flush()]),
        },
      })
      if (goesOn && !quick) this.storedIn = id
      await warm
      // The guest runs again; of what is used at once who uses it sees to this.
      if (!quick) await disks.syncAll()
      this.send({ type: 'saved', path, figures })
      if (then === 'end') loop.stop({ kind: 'suspended' })
    } catch (error) {
      this.send({ type: 'save-failed', ...(signal.aborted ? { code: 'cancelled', message: 'saving was cancelled' } : described(error)) })
    } finally {
      base?.close()
      await disks.end()
      await warm
    }
  }

  private figures(machine: Machine): HostFigures {
    const f = machine.figures()
    const cpu = process.cpuUsage()
    return {
      instructions: f.instructions, guestRunNs: f.guestRunNs, idleNs: f.idleNs, tierNs: { ...f.tierNs }, ringNs: { ...f.ringNs },
      modeNs: { ...f.modeNs }, samples: f.samples, exceptions: f.exceptions, tlbMisses: f.tlbMisses, blocksDecoded: f.blocksDecoded,
      codeInvalidations: f.codeInvalidations, translations: { ...f.translations }, interrupts: f.interrupts,
      exits: { ...f.exits }, readBytes: f.disk.readBytes, writtenBytes: f.disk.writtenBytes, residentGuestBytes: f.residentGuestBytes,
      processBytes: process.memoryUsage.rss(), processCpuSeconds: (cpu.user + cpu.system) / 1e6, unimplemented: { ...f.unimplemented },
    }
  }

  private beat(): void {
    if (this.machine && this.loop) this.send({
      type: 'heartbeat', paused: this.loop.isPaused, figures: this.figures(this.machine), state: this.machine.describe(), ...(this.stalled ? { stalled: this.stalled } : {}),
    })
  }

  /** A crash leaves a report with the machine's last state. */
  private async report(reason: HostStop): Promise<{ report?: string }> {
    if ((reason.kind !== 'triple-fault' && reason.kind !== 'error') || !this.machine || !this.config) return {}
    const what = reason.kind === 'error' ? `${reason.code}: ${reason.message}` : `triple fault: ${reason.detail}`
    const path = join(this.config.logDir, `crash-${new Date().toISOString().replaceAll(':', '-')}.txt`)
    try {
      await mkdir(this.config.logDir, { recursive: true })
      await writeFile(path, `${this.config.name}\n${what}\n\n${this.machine.describe()}\n`)
      return { report: path }
    } catch {
      // The report is a courtesy; the manager hears of the crash either way.
      return {}
    }
  }

  private async closeFiles(): Promise<void> {
    this.savedState?.close()
    await this.disks.close((error) => this.log('error', `a disk was not closed in order: ${reasonOf(error)}`, { reason: 'diskNotClosed', ...detailOf(error) }))
  }
}
