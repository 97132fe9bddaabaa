/** The manager's end of a machine's process: starts it, talks to it, notices when it dies or hangs. */
import type { ChildProcess } from 'node:child_process'
import { inEnglish, phrase, type LogLine, type Phrase } from '../../../preload/contract'
import {
  fromHost, HUNG_AFTER_MS, type FromHost, type HostFigures, type HostHotBlock, type LaunchConfig, type HostConsolePort, type SaveFigures, type Stalled, type StatePlace, type ToHost,
} from '../../vm-host/protocol'
import type { StartedProcess } from './spare-processes'

const START_TIMEOUT_MS = 60_000
const STOP_TIMEOUT_MS = 10_000
const WATCH_MS = 1000
/** For what a process does for others once its machine has stopped: its translations are kept. */
const LEAVE_TIMEOUT_MS = 30_000

/** What a process that left no report said last of its CPU, and when (ISO 8601). */
export interface LastState { readonly time: string; readonly text: string }

/** How a machine's process ended. */
export type ProcessEnd =
  | { readonly kind: 'power-off' | 'reset' | 'suspended' }
  | { readonly kind: 'refused'; readonly code: string; readonly message: string; readonly details?: unknown }
  | { readonly kind: 'crashed'; readonly message: string; readonly phrase?: Phrase; readonly report?: string; readonly lastState?: LastState }

/** What the process said, in its words, or what is said of it. */
export type MachineLogLine = { readonly level: LogLine['level'] } & (Pick<Extract<FromHost, { type: 'log' }>, 'text' | 'part' | 'details'> | { readonly phrase: Phrase })

export interface MachineProcessEvents {
  /** @param stalled the guest is paused because a disk found no room on the host */
  onHeartbeat(paused: boolean, figures: HostFigures, stalled?: Stalled): void
  onOutput(port: HostConsolePort, bytes: Uint8Array): void
  onLog(line: MachineLogLine): void
  /** Exactly once: the machine's files are free. Its process may go on for a moment, and say something for the log. */
  onEnd(end: ProcessEnd): void
}

export interface MachineProcessOptions {
  readonly process: StartedProcess
  readonly config: LaunchConfig
  readonly events: MachineProcessEvents
}

export type AfterSave = Extract<ToHost, { type: 'save' }>['then']

export interface SaveOptions {
  readonly signal: AbortSignal
  readonly onProgress: (fraction: number) => void
  /** Disk images copied at the same instant. */
  readonly copies?: readonly { readonly from: string; readonly to: string }[]
  /** The state is used at once and only once: it need not be small or durable. */
  readonly quick?: boolean
  /** What is stored there already, where the machine's memory was last stored there, is left out. */
  readonly base?: StatePlace
}

export class MachineProcess {
  private readonly child: ChildProcess
  private end: ProcessEnd | undefined
  private isOver = false
  /** Looks of the watchdog since the process last said something. */
  private silentLooks = 0
  private lastState: LastState | undefined
  private readonly watchdog: NodeJS.Timeout
  private started!: { resolve: () => void; reject: (error: Error) => void }
  /** Resolves when the guest runs; rejects with the reason it does not. */
  readonly running: Promise<void>
  private over!: () => void
  /** Resolves when the machine has ended and nothing of it is open any more. */
  readonly ended: Promise<void>
  /** Resolves when the process is gone. */
  readonly gone: Promise<void>
  private isRunning = false
  private requests = 0
  private readonly questions = new Map<number, { resolve: (answer: unknown) => void; reject: (error: Error) => void }>()
  private save: { resolve: (figures: SaveFigures) => void; reject: (error: Error) => void; onProgress: (fraction: number) => void } | undefined
  private lastSave: Promise<unknown> = Promise.resolve()

  constructor(private readonly options: MachineProcessOptions) {
    this.running = new Promise<void>((resolve, reject) => (this.started = { resolve, reject }))
    const started = options.process
    this.child = started.child
    this.child.on('message', (message) => this.receive(message))
    this.child.on('error', (error) => (this.end ??= crashed(phrase('run.notStarted', { detail: error.message }))))
    this.ended = new Promise((resolve) => (this.over = resolve))
    this.gone = new Promise((resolve) => {
      this.child.on('close', (code, signal) => {
        const over = (): void => {
          this.closed(code, signal, started.complaints)
          resolve()
        }
        // On a busy computer its end is seen before what it said last.
        if (this.child.connected) this.child.once('disconnect', over)
        else over()
      })
    })
    this.watchdog = setInterval(() => this.watch(), WATCH_MS)
    this.watchdog.unref()
    for (const message of started.unheard.splice(0)) this.receive(message)
    if (started.isReady) this.handle({ type: 'ready' })
  }

  get pid(): number | undefined {
    return this.child.pid
  }

  private receive(raw: unknown): void {
    this.silentLooks = 0
    const parsed = fromHost.safeParse(raw)
    if (!parsed.success) return this.options.events.onLog({ level: 'error', phrase: phrase('log.fromProcessUnknown', { detail: parsed.error.message }) })
    this.handle(parsed.data)
  }

  private handle(message: FromHost): void {
    const { events, config } = this.options
    switch (message.type) {
      case 'ready': this.send({ type: 'launch', config }); break
      case 'running':
        this.isRunning = true
        if (message.restoredMs !== undefined) events.onLog({ level: 'info', phrase: phrase('log.continuedAfter', { ms: Math.round(message.restoredMs) }) })
        this.started.resolve()
        break
      case 'refused': this.end = { kind: 'refused', code: message.code, message: message.message, details: message.details }; break
      case 'heartbeat':
        this.lastState = { time: new Date().toISOString(), text: message.state }
        events.onHeartbeat(message.paused, message.figures, message.stalled)
        break
      case 'output': events.onOutput(message.port, message.bytes); break
      case 'log': events.onLog(message); break
      case 'hot-blocks': this.answered(message.request, message.blocks); break
      case 'wasm': this.answered(message.request, message.text); break
      case 'save-progress': this.save?.onProgress(message.fraction); break
      case 'saved': this.saveEnded((save) => save.resolve(message.figures)); break
      case 'save-failed': this.saveEnded((save) => save.reject(new SaveError(message.code, message.message, message.details))); break
      case 'stopped':
        this.finish(this.end ??= endOf(message))
        this.leave()
        break
    }
  }

  /**
   * Looks are counted, not the time between two: where this computer slept, its clock was set, or this process itself stood still, time
   * has passed in which the machine's could say nothing or was not heard.
   */
  private watch(): void {
    const silent = ++this.silentLooks * WATCH_MS
    const limit = this.isRunning ? HUNG_AFTER_MS : START_TIMEOUT_MS
    if (silent < limit || this.end) return
    this.end = crashed(phrase('run.silent', { seconds: silent / 1000 }))
    this.child.kill('SIGKILL')
  }

  private closed(code: number | null, signal: NodeJS.Signals | null, complaints: string): void {
    const what = signal ? phrase('run.killed', { signal }) : phrase('run.exited', { code: code ?? '?' })
    const detail = complaints.trim().split('\n').slice(-3).join(' ')
    this.finish(this.end ?? crashed(detail === '' ? what : phrase('run.withComplaints', { what, detail })))
  }

  private finish(end: ProcessEnd): void {
    if (this.isOver) return
    this.isOver = true
    clearInterval(this.watchdog)
    this.started.reject(new ProcessEndError(end))
    this.saveEnded((save) => save.reject(SaveError.said('ended', phrase('save.ended'))))
    for (const { reject } of this.questions.values()) reject(new Error('the machine ended'))
    this.questions.clear()
    // Nobody may be waiting for the start any more.
    this.running.catch(() => undefined)
    this.options.events.onEnd(end.kind === 'crashed' && end.report === undefined && this.lastState ? { ...end, lastState: this.lastState } : end)
    this.over()
  }

  /** Its machine is off: whatever it still does must not go on for ever. */
  private leave(): void {
    const timer = setTimeout(() => this.child.kill('SIGKILL'), LEAVE_TIMEOUT_MS)
    timer.unref()
    void this.gone.then(() => clearTimeout(timer))
  }

  /** Who has ended cannot be told anything: how it ended it may have said already, or its exit says so. */
  send(message: ToHost): void {
    if (this.child.connected) this.child.send(message, () => undefined)
  }

  /** Asks the process for something; the answer has the same number. */
  private ask<T>(message: (request: number) => ToHost): Promise<T> {
    if (!this.child.connected) return Promise.reject(new Error('the machine does not run'))
    const request = ++this.requests
    return new Promise<T>((resolve, reject) => {
      this.questions.set(request, { resolve: resolve as (answer: unknown) => void, reject })
      this.send(message(request))
    })
  }

  private answered(request: number, answer: unknown): void {
    this.questions.get(request)?.resolve(answer)
    this.questions.delete(request)
  }

  /** The blocks of guest code that took the most time. Rejects where the machine ends first. */
  hotBlocks(count: number): Promise<readonly HostHotBlock[]> {
    return this.ask((request) => ({ type: 'inspect', request, count }))
  }

  /** The WebAssembly a hot block is now; null where it is interpreted. Rejects where the machine ends first. */
  wasmOf(address: bigint, modeKey: number): Promise<string | null> {
    return this.ask((request) => ({ type: 'show-wasm', request, address, modeKey }))
  }

  private saveEnded(settle: (save: NonNullable<MachineProcess['save']>) => void): void {
    const { save } = this
    this.save = undefined
    if (save) settle(save)
  }

  /**
   * Has the machine write its state to `path`; then it goes on, ends as `suspended`, or stands until it is thawed or stopped.
   * @throws SaveError; the machine then goes on
   */
  saveState(path: string, then: AfterSave, { signal, onProgress, copies = [], quick = false, base }: SaveOptions): Promise<SaveFigures> {
    if (this.save) return Promise.reject(SaveError.said('busy', phrase('save.already')))
    if (signal.aborted) return Promise.reject(new SaveError('cancelled', 'saving was cancelled'))
    const saving = new Promise<SaveFigures>((resolve, reject) => {
      this.save = { resolve, reject, onProgress }
      signal.addEventListener('abort', () => this.send({ type: 'cancel-save' }), { once: true })
      this.send({ type: 'save', path, then, copies: [...copies], quick, ...(base && { base }) })
      if (!this.child.connected) this.saveEnded((save) => save.reject(SaveError.said('ended', phrase('save.off'))))
    })
    this.lastSave = saving.catch(() => undefined)
    return saving
  }

  /** Resolves when no state is being saved. */
  async saveOver(): Promise<void> {
    await this.lastSave
  }

  /** Ends the machine without asking the guest. Resolves as `ended`. */
  async stop(): Promise<void> {
    this.send({ type: 'stop' })
    const timer = setTimeout(() => this.child.kill('SIGKILL'), STOP_TIMEOUT_MS)
    // A stopped (SIGSTOP) or spinning process would never read the message.
    await this.ended
    clearTimeout(timer)
  }
}

/** Why a machine could not be saved: `busy`, `ended`, `cancelled`, or the code of a VmmError. */
export class SaveError extends Error {
  constructor(readonly code: string, message: string, readonly details?: unknown, readonly phrase?: Phrase) {
    super(message)
  }

  static said(code: string, what: Phrase): SaveError {
    return new SaveError(code, inEnglish(what), undefined, what)
  }
}

/** Why a machine did not come to run. */
export class ProcessEndError extends Error {
  constructor(readonly end: ProcessEnd) {
    super(end.kind === 'refused' || end.kind === 'crashed' ? end.message : `the machine stopped at once (${end.kind})`)
  }
}

const crashed = (what: Phrase): ProcessEnd & { kind: 'crashed' } => ({ kind: 'crashed', message: inEnglish(what), phrase: what })

function endOf(message: Extract<FromHost, { type: 'stopped' }>): ProcessEnd {
  const { reason, report } = message
  switch (reason.kind) {
    case 'power-off': case 'reset': case 'suspended': return { kind: reason.kind }
    case 'triple-fault': return { ...crashed(phrase('run.guestCrashed', { detail: reason.detail })), ...(report ? { report } : {}) }
    case 'error': return { kind: 'crashed', message: reason.message, ...(report ? { report } : {}) }
  }
}
