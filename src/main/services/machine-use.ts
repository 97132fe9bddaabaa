/** Who works on a machine's files just now: what would change them must wait for what reads them. */
import { phrase, type Phrase } from '../../preload/contract'
import { ServiceError } from './errors'

/**
 * `change`: snapshots are taken or restored, the machine becomes a template, …: nothing else at the same time.
 * `read`: its disks are copied: others may read too, it must not start.
 * `read-snapshots`: only files of snapshots are copied: it may run and start.
 */
export type Use = 'change' | 'read' | 'read-snapshots'

interface Entry {
  readonly use: Use
  /** Such as `use.cloning`. */
  readonly what: Phrase
}

export class MachineUse {
  private readonly entries = new Map<string, Set<Entry>>()
  /** By machine: what is over soon. */
  private readonly passing = new Map<string, Promise<unknown>>()

  /** What keeps the machine from being used so, for people. */
  private obstacle(id: string, use: Use): Phrase | undefined {
    for (const entry of this.entries.get(id) ?? []) if (use === 'change' || entry.use === 'change') return entry.what
    return undefined
  }

  /** @throws ServiceError machine-busy */
  async during<T>(id: string, name: string, use: Use, what: Phrase, work: () => Promise<T>): Promise<T> {
    const passing = this.passing.get(id)
    if (passing) await passing
    const obstacle = this.obstacle(id, use)
    if (obstacle !== undefined) throw new ServiceError('machine-busy', phrase('use.busy', { name, what: obstacle }), { id })
    return this.noted(id, { use, what }, work)
  }

  private async noted<T>(id: string, entry: Entry, work: () => Promise<T>): Promise<T> {
    const entries = this.entries.get(id) ?? new Set()
    this.entries.set(id, entries.add(entry))
    try {
      return await work()
    } finally {
      entries.delete(entry)
      if (entries.size === 0) this.entries.delete(id)
    }
  }

  /** Something that is over soon: the machine may run and start, who wants to use it otherwise waits. @param end never rejects */
  whilePassing(id: string, what: Phrase, end: Promise<unknown>): void {
    const passing = this.noted(id, { use: 'read-snapshots', what }, () => end).finally(() => {
      if (this.passing.get(id) === passing) this.passing.delete(id)
    })
    this.passing.set(id, passing)
  }

  /** @throws ServiceError machine-busy where it must not start now */
  requireStartable(id: string, name: string): void {
    for (const { use, what } of this.entries.get(id) ?? []) {
      if (use !== 'read-snapshots') throw new ServiceError('machine-busy', phrase('use.busy', { name, what }), { id })
    }
  }

  /** @throws ServiceError machine-busy where anybody uses it */
  requireUnused(id: string, name: string): void {
    const [first] = this.entries.get(id) ?? []
    if (first) throw new ServiceError('machine-busy', phrase('use.busy', { name, what: first.what }), { id })
  }
}
