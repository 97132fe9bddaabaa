/**
 * What waits to be translated, and what of it comes first. While much code is hot for the first time there is more of it than one
 * thread translates, so a job is small, and made of what the guest runs most at the time; the rest waits for the next one.
 */

/** Host time that a smaller batch waits for company, in nanoseconds. */
const PATIENCE_NS = 30e6
/** The same where it holds a program's inner loop: one reported twice, or a block that ran this often since it was hot. */
const URGENT_NS = 1e6
const URGENT_ENTRIES = 200_000
/** Hot loops gain so much that few are waited for, and take ten times as long to translate as a block. */
const LOOP_BATCH = 4

export interface HotQueueOptions {
  /** Blocks translated at once: enough that a module's fixed cost does not count, few enough that what is hottest is there soon. */
  readonly batch: number
  /** Entries until a block is hot, below zero since then (`DecodeCache.entriesLeft`). */
  readonly entriesLeft: (head: number) => number
  /** Nanoseconds, monotonic. */
  readonly now: () => number
}

/** Head records. */
export interface HotCode {
  /** Of blocks of tier 0. */
  readonly blocks: readonly number[]
  /** Of blocks of tier 1 that a loop begins with. */
  readonly loops: readonly number[]
}

export class HotQueue {
  /** By head: entries left when it was last looked at. */
  private readonly entries = new Map<number, number>()
  private readonly heads = new Set<number>()
  /** Those of loops reported more than once. */
  private readonly repeated = new Set<number>()
  private since = 0

  constructor(private readonly options: HotQueueOptions) {}

  private get blocks(): number {
    return this.entries.size
  }

  private get loops(): number {
    return this.heads.size
  }

  get isEmpty(): boolean {
    return this.blocks + this.loops === 0
  }

  /** How long something has waited. */
  get waitedNs(): number {
    return this.isEmpty ? 0 : this.options.now() - this.since
  }

  addBlock(head: number): void {
    this.startWaiting()
    this.entries.set(head, 0)
  }

  /** @returns false where it waits already */
  addLoop(head: number): boolean {
    this.startWaiting()
    if (this.heads.has(head)) this.repeated.add(head)
    const isNew = !this.heads.has(head)
    this.heads.add(head)
    return isNew
  }

  private startWaiting(): void {
    if (this.isEmpty) this.since = this.options.now()
  }

  /** @param slowness a factor for how long is waited, and how much is translated at once */
  isFull(slowness: number): boolean {
    return this.blocks >= this.options.batch * slowness || this.loops >= LOOP_BATCH * slowness
  }

  /** What is no full batch should wait no longer. @param slowness as above */
  isOverdue(slowness: number): boolean {
    const waited = this.waitedNs / slowness
    return waited >= PATIENCE_NS || (waited >= URGENT_NS && this.hasInnerLoop)
  }

  /** A loop that was reported again, or a block entered so often since it was hot. */
  private get hasInnerLoop(): boolean {
    return this.repeated.size > 0 || [...this.entries.keys()].some((head) => this.options.entriesLeft(head) <= -URGENT_ENTRIES)
  }

  takeAll(): HotCode {
    return this.take(Infinity, Infinity)
  }

  /** A batch: those first that ran most since they were looked at last, and loops in their order, but those reported again first. */
  takeBatch(slowness: number): HotCode {
    return this.take(Math.ceil(this.options.batch * slowness), Math.ceil(LOOP_BATCH * slowness))
  }

  private take(blocks: number, loops: number): HotCode {
    const recent = [...this.entries].map(([head, left]) => ({ head, entries: left - this.options.entriesLeft(head) }))
    recent.sort((a, b) => b.entries - a.entries)
    const taken = {
      blocks: recent.slice(0, blocks).map(({ head }) => head),
      loops: [...this.repeated, ...this.heads].filter((head, i, all) => all.indexOf(head) === i).slice(0, loops),
    }
    for (const head of taken.blocks) this.entries.delete(head)
    for (const head of this.entries.keys()) this.entries.set(head, this.options.entriesLeft(head))
    for (const head of taken.loops) {
      this.heads.delete(head)
      this.repeated.delete(head)
    }
    return taken
  }

  clear(): void {
    this.entries.clear()
    this.heads.clear()
    this.repeated.clear()
  }
}
