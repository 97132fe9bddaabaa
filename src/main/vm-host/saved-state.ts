/** Saving and continuing a machine in its process: freezes it for an instant, writes beside it, loads what is left while it runs. */
import { rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { LazyRam, Machine, MachineCapture } from '../vmm/machine'
import { detailOf, reasonOf, type Note } from './note'
import type { StatePlace } from './protocol'
import { Inherited } from './state-file/inherited'
import { StateFile } from './state-file/reader'
import { syncFolder, writeStateFile, type WriteFigures, type WriteOptions } from './state-file/writer'

/** Pieces unpacked at the same time while the guest runs. */
const IN_FLIGHT = 16
/** The same of what the guest is not known to need: the processors are for the guest. */
const IN_FLIGHT_LATER = 4
/** For what the guest is known to need, before it runs. */
const PREFETCH_WAIT_MS = 15
/** What a saved state is called once the guest has gone on from it (or from a fresh start): never to be used again. */
export const USED_SUFFIX = '.used'

/** From here on the guest changes its disks: the state they belonged to must not come back. Durable. */
export async function setAside(path: string): Promise<void> {
  await rename(path, path + USED_SUFFIX)
  await syncFolder(dirname(path))
}

/** Brings the rest of the memory in while the guest runs. */
export class BackgroundLoad {
  private isStopped = false
  private isDone = false
  private running: Promise<void> | undefined

  /** @param first pages to begin with @param used a name of the file that is of no use any more once it is loaded */
  constructor(private readonly file: StateFile, private readonly lazy: LazyRam, private readonly first: readonly number[], private readonly used: string | undefined) {}

  /** Resolves when all is loaded, or loading was stopped. After a failure it may be called again. @throws VmmError `state-damaged`, `disk-io` */
  run(): Promise<void> {
    if (this.isDone || this.isStopped) return Promise.resolve()
    return this.running ??= this.load().finally(() => (this.running = undefined))
  }

  /**
   * Puts in place what was loaded while the machine was built, and waits a moment for what almost was: the guest would have to wait
   * for each by itself. What cannot be had is for `run`, or for who needs it, to tell.
   */
  async prefetched(): Promise<void> {
    const pieces = this.file.takePrefetched().map(async (piece) => this.lazy.provide(await piece))
    if (pieces.length > 0) await Promise.race([Promise.allSettled(pieces), sleep(PREFETCH_WAIT_MS, undefined, { ref: false })])
  }

  async stop(): Promise<void> {
    this.isStopped = true
    await this.running?.catch(() => undefined)
  }

  private async load(): Promise<void> {
    const { file, lazy } = this
    const running = new Set<Promise<void>>()
    const first = new Set(file.piecesOf(this.first))
    for (const record of new Set([...first, ...file.records])) {
      if (this.isStopped) break
      if (lazy.has(record.chunk, record.live)) continue
      const job: Promise<void> = file.loadAside(record).then((pages) => lazy.provide(pages)).finally(() => running.delete(job))
      job.catch(() => undefined)
      running.add(job)
      if (running.size >= (first.size === 0 || first.has(record) ? IN_FLIGHT : IN_FLIGHT_LATER)) await Promise.race(running)
    }
    await Promise.all(running)
    if (this.isStopped) return
    this.isDone = true
    lazy.finish()
    file.close()
    // What cannot be removed now goes before the machine's next start: no reason to trouble the guest.
    if (this.used !== undefined) await rm(this.used, { force: true }).catch(() => undefined)
  }
}

export interface SaveFigures extends WriteFigures {
  /** How long the guest stood, where it ran on. */
  readonly pauseMs: number
}

export interface Freezable {
  /** Stops guest and clock at once: the machine is between two slices whenever this code runs. */
  freeze(): void
  thaw(): void
}

export interface SaveOptions extends Omit<WriteOptions, 'inherited' | 'alone' | 'signal' | 'beside'> {
  readonly signal: AbortSignal
  readonly machine: Machine
  readonly loop: Freezable
  readonly path: string
  /** The guest runs on while its memory is written; otherwise it stays frozen, also after success. */
  readonly goesOn: boolean
  /** The state the machine's memory was last stored in: what has not changed since is not stored again. */
  readonly base: StateFile | undefined
  /** What belongs to the same instant. */
  readonly beside?: {
    /** Called while the guest stands and no disk request is under way. */
    atInstant(signal: AbortSignal): Promise<void>
    /** Called once it may run, while its memory is written. */
    finish(signal: AbortSignal): Promise<void>
  }
}

/**
 * The state that a save may build on.
 * @param known id of the one the machine's memory was last stored in
 * @returns undefined where the file is that of another state, or cannot be used: then everything is stored
 */
export function openBase(file: StatePlace | undefined, known: string | undefined, warn: Note): StateFile | undefined {
  if (!file || known === undefined) return undefined
  try {
    const base = StateFile.open(file.path, file.memoryDir)
    if (base.header.id === known) return base
    base.close()
  } catch (error) {
    warn(`all memory is stored, and not only what changed: ${reasonOf(error)}`, { reason: 'memoryStoredWhole', ...detailOf(error) })
  }
  return undefined
}

async function captureFrozen({ machine, beside, signal, goesOn, quick }: SaveOptions, inherited: Inherited | undefined): Promise<MachineCapture> {
  await machine.drain()
  await beside?.atInstant(signal)
  return machine.capture({ isBase: goesOn && !quick, ...(inherited && { also: inherited.also }) })
}

/** Where the state or what belongs to it fails, or the signal says so, the other is called off; rejects with what failed first when both have ended. */
async function writeBeside({ beside, signal, ...options }: SaveOptions, capture: MachineCapture, more: Pick<WriteOptions, 'alone' | 'inherited'>): Promise<WriteFigures> {
  const abort = new AbortController()
  const callOff = (): void => abort.abort(signal.reason)
  if (signal.aborted) callOff()
  signal.addEventListener('abort', callOff)
  const belongings = beside?.finish(abort.signal) ?? Promise.resolve()
  belongings.catch((error: unknown) => abort.abort(error))
  try {
    return await writeStateFile(options.path, capture, { ...options, ...more, signal: abort.signal, beside: belongings })
  } catch (error) {
    abort.abort(error)
    await belongings.catch(() => undefined)
    throw error
  } finally {
    signal.removeEventListener('abort', callOff)
  }
}

/** After a failure the guest runs on. @throws what `writeStateFile` throws */
export async function saveMachine(options: SaveOptions): Promise<SaveFigures> {
  const { loop, goesOn, base } = options
  const inherited = base && new Inherited(base)
  const start = performance.now()
  loop.freeze()
  let isFrozen = true
  try {
    const capture = await captureFrozen(options, inherited)
    const pauseMs = performance.now() - start
    if (goesOn) {
      loop.thaw()
      isFrozen = false
    }
    const figures = await writeBeside(options, capture, { alone: !goesOn, ...(inherited && { inherited }) })
    return { ...figures, pauseMs }
  } catch (error) {
    if (isFrozen) loop.thaw()
    throw error
  }
}
