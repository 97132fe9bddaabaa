/** Machine processes started ahead of need: who starts a machine does not wait for Node and tier 0. */
import { fork, type ChildProcess } from 'node:child_process'
import type { Socket } from 'node:net'
import { freemem } from 'node:os'

/** What a spare holds (Node, the program, tier 0 compiled) must not be missing elsewhere. */
const LEAST_FREE_BYTES = 512 << 20
/** Characters of what a process wrote to its standard error, for a message when it dies. */
const COMPLAINT_CHARS = 4000

/** One thread of the engine's own compiles beside the guest's: more would take the guest's place on a computer with two cores. */
const ENGINE_FLAGS = ['--v8-pool-size=1'] as const

/**
 * Of glibc (decision 6). What has as many bytes as the first says is mapped alone, and goes back to the computer when it is freed. By
 * itself glibc raises the limit to 32 MiB, and what a busy guest's translator leaves is holes. Less than V8's segments of 32 KiB would be
 * one mapping each of those. With the second, what is free at a heap's end stays for the next one: giving it back and asking for it again
 * is a fourteenth of a cold boot. `malloc_trim` gives it back while the guest is quiet, but of the main heap alone: hence the third.
 */
const ALLOCATOR = { MALLOC_MMAP_THRESHOLD_: '40960', MALLOC_TRIM_THRESHOLD_: '67108864', MALLOC_ARENA_MAX: '1' } as const

/** A machine's process that has not been told its machine yet. */
export interface StartedProcess {
  readonly child: ChildProcess
  /** Whether it has said `ready`; otherwise it still will. */
  isReady: boolean
  /** The end of what it wrote to its standard error. */
  complaints: string
  /** Messages for whoever launches a machine in it, in their order. */
  readonly unheard: unknown[]
}

export function startProcess(entry: string): StartedProcess {
  const child = fork(entry, [], {
    serialization: 'advanced', stdio: ['ignore', 'ignore', 'pipe', 'ipc'], env: { ...ALLOCATOR, ...process.env, ELECTRON_RUN_AS_NODE: '1' }, execArgv: [...ENGINE_FLAGS],
  })
  const started: StartedProcess = { child, isReady: false, complaints: '', unheard: [] }
  child.stderr?.on('data', (chunk: Buffer) => (started.complaints = (started.complaints + chunk.toString()).slice(-COMPLAINT_CHARS)))
  return started
}

interface Spare {
  readonly started: StartedProcess
  /** Takes the listeners of this file away. */
  readonly release: () => void
}

/** Whether this process may not end while the other one lives: one that waits for work keeps nobody from ending. */
function holdOpen(child: ChildProcess, hold: boolean): void {
  // Types know only of a stream, but a pipe is a socket.
  for (const handle of [child, child.channel, child.stderr as Socket | null]) {
    if (hold) handle?.ref()
    else handle?.unref()
  }
}

export interface SpareOptions {
  /** The bundled entry of `src/main/vm-host`. */
  readonly entry: string
  /** Processes kept; 0 for none. */
  readonly count: number
  /** From the last demand until a new one is started: the machine that took one has the processors first. */
  readonly delayMs: number
}

export class SpareProcesses {
  private readonly spares: Spare[] = []
  private timer: NodeJS.Timeout | undefined
  private isClosed = false

  constructor(private readonly options: SpareOptions) {
    this.fillLater()
  }

  /** Those that a machine could have now. */
  get readyCount(): number {
    return this.spares.filter(({ started: { isReady, child } }) => isReady && child.connected).length
  }

  get pids(): number[] {
    return this.spares.flatMap(({ started: { child: { pid } } }) => (pid === undefined ? [] : [pid]))
  }

  private fillLater(): void {
    if (this.options.count === 0 || this.isClosed) return
    clearTimeout(this.timer)
    this.timer = setTimeout(() => this.fill(), this.options.delayMs)
    this.timer.unref()
  }

  private fill(): void {
    while (this.spares.length < this.options.count && freemem() >= LEAST_FREE_BYTES) this.add()
  }

  private add(): void {
    const started = startProcess(this.options.entry)
    const { child } = started
    const onMessage = (): void => void (started.isReady = true)
    // One that dies is missed at the next demand, not before: whatever killed it could kill the next one too.
    const forget = (): void => this.forget(started)
    child.once('message', onMessage)
    child.on('error', forget)
    child.on('exit', forget)
    const release = (): void => {
      child.off('message', onMessage)
      child.off('error', forget)
      child.off('exit', forget)
    }
    holdOpen(child, false)
    this.spares.push({ started, release })
  }

  private forget(gone: StartedProcess): void {
    const at = this.spares.findIndex(({ started }) => started === gone)
    if (at >= 0) this.spares.splice(at, 1)
  }

  /** A process for a machine: one that waits already, else a new one. */
  take(): StartedProcess {
    this.fillLater()
    const at = this.spares.findIndex(({ started: { isReady, child } }) => isReady && child.connected)
    if (at < 0) return startProcess(this.options.entry)
    const [{ started, release }] = this.spares.splice(at, 1)
    release()
    holdOpen(started.child, true)
    return started
  }

  /** Ends those that wait. */
  close(): void {
    this.isClosed = true
    clearTimeout(this.timer)
    for (const { started } of this.spares.splice(0)) started.child.kill('SIGKILL')
  }
}
