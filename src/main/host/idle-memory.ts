/** Memory that V8 keeps from busy times for the next ones: given back while there is nothing to do. */
import { Session } from 'node:inspector'

/** Shorter pauses are not idleness: a full collection takes some 100 ms, in which the guest stands still. */
const QUIET_MS = 3000

/** Collects this thread's garbage as development tools ask for it: that shrinks the young generation too. */
function collectGarbage(): void {
  const session = new Session()
  session.connect()
  // A session must not end while it answers: that never returns.
  session.post('HeapProfiler.collectGarbage', () => setImmediate(() => session.disconnect()))
}

export class IdleMemory {
  private work = 0
  private timer: NodeJS.Timeout | undefined

  /** @param worth pieces of work after which there is enough to collect @param collect default: this thread's garbage */
  constructor(private readonly worth: number, private readonly collect: () => void = collectGarbage, private readonly quietMs = QUIET_MS) {}

  /** A piece of work was done. */
  worked(): void {
    this.work++
    if (this.timer) this.timer.refresh()
    else this.timer = setTimeout(() => this.quiet(), this.quietMs).unref()
  }

  private quiet(): void {
    if (this.work < this.worth) return
    this.work = 0
    this.collect()
  }
}
