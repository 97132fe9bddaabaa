/** Work that takes time: seen, followed and cancelled by every client. */
import { randomUUID } from 'node:crypto'
import { phrase, type Task, type Said } from '../../../preload/contract'
import { ServiceError, toWireError } from '../errors'
import type { Progress, Stop } from '../types'

/** Finished tasks that are remembered, for a client that comes late. */
const KEPT = 50
/** A download reports thousands of times; a client is told a few times a second. */
const TELL_EVERY_MS = 100

interface Entry {
  task: Task
  readonly abort: AbortController
  lastTold: number
  timer?: NodeJS.Timeout
}

export interface StartedTask<T> {
  readonly task: Task
  /** Settles with the work; a rejection nobody waits for is no trouble, the task shows it. */
  readonly result: Promise<T>
}

export class Tasks {
  private readonly entries = new Map<string, Entry>()
  private readonly listeners = new Set<(task: Task) => void>()

  onDidChange(listener: (task: Task) => void): Stop {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /** Oldest first. */
  list(): Task[] {
    return [...this.entries.values()].map(({ task }) => task)
  }

  /** @param kind identifier the interface translates @param subject what it is about, for people */
  start<T>(kind: string, subject: string, work: (progress: Progress) => Promise<T>, { cancellable = true } = {}): StartedTask<T> {
    const task: Task = { id: randomUUID(), kind, subject, state: 'running', cancellable }
    const entry: Entry = { task, abort: new AbortController(), lastTold: 0 }
    this.entries.set(task.id, entry)
    this.tell(entry)
    const result = this.run(entry, work)
    result.catch(() => undefined)
    return { task, result }
  }

  private async run<T>(entry: Entry, work: (progress: Progress) => Promise<T>): Promise<T> {
    const { signal } = entry.abort
    try {
      const result = await work({ signal, report: (fraction, detail) => this.report(entry, fraction, detail) })
      this.finish(entry, { state: 'done', progress: 1 })
      return result
    } catch (thrown) {
      if (signal.aborted) {
        this.finish(entry, { state: 'cancelled' })
        throw new ServiceError('cancelled', phrase('task.cancelled', { subject: entry.task.subject }))
      }
      this.finish(entry, { state: 'failed', error: toWireError(thrown) })
      throw thrown
    }
  }

  private report(entry: Entry, fraction: number | undefined, detail: Said | undefined): void {
    if (entry.task.state !== 'running') return
    const { progress: _old, ...rest } = entry.task
    entry.task = { ...rest, ...(fraction === undefined ? {} : { progress: Math.min(1, Math.max(0, fraction)) }), ...(detail === undefined ? {} : { detail }) }
    const wait = entry.lastTold + TELL_EVERY_MS - Date.now()
    if (wait <= 0) this.tell(entry)
    else entry.timer ??= setTimeout(() => this.tell(entry), wait)
  }

  private finish(entry: Entry, change: Partial<Task>): void {
    entry.task = { ...entry.task, ...change, cancellable: false }
    this.tell(entry)
    const finished = [...this.entries.values()].filter(({ task }) => task.state !== 'running')
    for (const old of finished.slice(0, Math.max(0, finished.length - KEPT))) this.entries.delete(old.task.id)
  }

  private tell(entry: Entry): void {
    clearTimeout(entry.timer)
    entry.timer = undefined
    entry.lastTold = Date.now()
    for (const listener of this.listeners) listener(entry.task)
  }

  /** @throws ServiceError not-found, wrong-state */
  cancel(id: string): void {
    const entry = this.entries.get(id)
    if (!entry) throw new ServiceError('not-found', phrase('task.none', { id }))
    if (entry.task.state !== 'running') throw new ServiceError('wrong-state', phrase('task.over', { state: phrase(`taskState.${entry.task.state}`) }))
    entry.abort.abort()
  }

  cancelAll(): void {
    for (const { abort } of this.entries.values()) abort.abort()
  }
}
