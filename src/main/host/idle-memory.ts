/** Memory that V8 keeps from busy times for the next ones: given back while there is nothing to do. */
import { Session } from 'node:inspector'

/** Shorter pauses are not idleness: a full collection takes some 100 ms, in which the guest stands still. */
const QUIET_MS = 3000

/** Collects this thread's garbage as development tools ask for it: that shrinks the young generation too. */
export function collectGarbage(): void {
  const session = new Session()
  session.connect()
  // A session must not end while it answers: that never returns.
  session.post('HeapProfiler.collectGarbage', () => setImmediate(() => session.disconnect()))
}

export interface IdleMemoryOptions {
  /** Pieces of work after which there is enough to collect. */
  readonly worth: number
  /** Default: this thread's garbage. */
  readonly collect?: () => void
  /** At each quiet while after work, be it ever so little. */
  readonly rest?: () => void
  readonly quietMs?: number
}

export class IdleMemory {
  private work = 0
  private timer: NodeJS.Timeout | undefined

  constructor(private readonly options: IdleMemoryOptions) {}

  /** A piece of work was done. */
  worked(): void {
    this.work++
    if (this.timer) this.timer.refresh()
    else this.begin()
  }

  /** Something is to rest that did not come of work: it may at the end of the quiet while that has begun, or begins now. */
  stirred(): void {
    if (!this.timer) this.begin()
  }

  private begin(): void {
    this.timer = setTimeout(() => this.quiet(), this.options.quietMs ?? QUIET_MS).unref()
  }

  private quiet(): void {
    const { worth, collect = collectGarbage, rest } = this.options
    this.timer = undefined
    if (this.work >= worth) {
      this.work = 0
      collect()
    }
    rest?.()
  }
}
