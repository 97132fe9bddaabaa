/** Memory that V8 keeps from busy times for the next ones: given back while there is nothing to do. */
import { Session } from 'node:inspector'
import { setFlagsFromString } from 'node:v8'

/** Shorter pauses are not idleness: a full collection takes some 100 ms, in which the guest stands still. */
const QUIET_MS = 2000
/**
 * So many pieces of work in that while do not count. A guest at rest has them too: a timer of systemd's, a page that is written back.
 * Waiting for a while without any put the collection off by up to ten seconds, into the guest's rest.
 */
const STRAY_PIECES = 8

/**
 * Collects this thread's garbage as development tools ask for it: that shrinks the young generation too. The engine would do it twice again
 * once it finds that little happens, some ten seconds later, for nothing; it does not while it may not mark in steps, until `markInSteps`.
 * What is compiled is of one set of flags: code kept for other processes is read before, and written by others.
 */
export function collectGarbage(): void {
  setFlagsFromString('--no-incremental-marking')
  const session = new Session()
  session.connect()
  // A session must not end while it answers: that never returns.
  session.post('HeapProfiler.collectGarbage', () => setImmediate(() => session.disconnect()))
}

/** A thread that works marks its garbage in steps between its work: all at once it would stand still for 0.1 s. */
export function markInSteps(): void {
  setFlagsFromString('--incremental-marking')
}

export interface IdleMemoryOptions {
  /** Pieces of work after which there is enough to collect. */
  readonly worth: number
  /** Default: this thread's garbage. */
  readonly collect?: () => void
  /** At the first while after that which was no quiet one. Default: `markInSteps`. */
  readonly awake?: () => void
  /** At each quiet while after work, be it ever so little. */
  readonly rest?: () => void
  readonly quietMs?: number
  /** False: the quiet while begins again, for something is not finished that collecting would miss. Default: always true. */
  readonly ready?: () => boolean
  /** Pieces of work within the quiet while that do not end it. */
  readonly stray?: number
}

export class IdleMemory {
  private work = 0
  private collected = false
  private timer: NodeJS.Timeout | undefined
  private readonly quietMs: number
  /** When the last pieces of work were done, one more than may be astray: a ring whose oldest place `pieces` tells. */
  private readonly doneAt: number[]
  private pieces = 0

  constructor(private readonly options: IdleMemoryOptions) {
    this.quietMs = options.quietMs ?? QUIET_MS
    this.doneAt = Array.from({ length: (options.stray ?? STRAY_PIECES) + 1 }, () => -Infinity)
  }

  /** A piece of work was done. */
  worked(): void {
    this.work++
    this.doneAt[this.pieces++ % this.doneAt.length] = performance.now()
    if (!this.timer) this.begin(this.quietMs)
  }

  /** Something is to rest that did not come of work: it may at the end of the quiet while that has begun, or begins now. */
  stirred(): void {
    if (!this.timer) this.begin(this.quietMs)
  }

  private begin(ms: number): void {
    this.timer = setTimeout(() => this.ended(), ms).unref()
  }

  /** A while is over: it was a quiet one unless more than stray pieces were done in it. */
  private ended(): void {
    const left = this.doneAt[this.pieces % this.doneAt.length] + this.quietMs - performance.now()
    if (left > 0) this.busy(left)
    else if (this.options.ready?.() === false) this.begin(this.quietMs)
    else this.quiet()
  }

  private busy(left: number): void {
    const { awake = markInSteps } = this.options
    this.begin(Math.ceil(left))
    if (this.collected) awake()
    this.collected = false
  }

  private quiet(): void {
    const { worth, collect = collectGarbage, rest } = this.options
    this.timer = undefined
    if (this.work >= worth) {
      this.work = 0
      this.collected = true
      collect()
    }
    rest?.()
  }
}
