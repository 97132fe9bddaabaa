/** Saving and continuing a machine in its process: freezes it for an instant, writes beside it, loads what is left while it runs. */
import { rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { LazyRam, Machine, MachineCapture } from '../vmm/machine'
import { StateFile } from './state-file/reader'
import { syncFolder, writeStateFile, type WriteFigures, type WriteOptions } from './state-file/writer'

/** Files up to this size are checked as a whole before the guest runs; of larger ones each piece when it is loaded. */
const VERIFY_UP_TO_BYTES = 128 << 20
/** Pieces unpacked at the same time while the guest runs. */
const IN_FLIGHT = 16
/** What a saved state is called once the guest has gone on from it (or from a fresh start): never to be used again. */
export const USED_SUFFIX = '.used'

/** @throws VmmError `state-damaged`, `state-mismatch`, `bad-state`, `disk-io` */
export function openSavedState(path: string): StateFile {
  const file = StateFile.open(path)
  try {
    if (file.fileBytes <= VERIFY_UP_TO_BYTES) file.verify()
    return file
  } catch (error) {
    file.close()
    throw error
  }
}

/** From here on the guest changes its disks: the state they belonged to must not come back. Durable. */
export async function setAside(path: string): Promise<void> {
  await rename(path, path + USED_SUFFIX)
  await syncFolder(dirname(path))
}

/** Brings the rest of the memory in while the guest runs. */
export class BackgroundLoad {
  private isStopped = false
  /** Resolves when all is loaded, or loading was stopped. */
  readonly finished: Promise<void>

  /** @param used the file is of no use any more once it is loaded @param onError a piece cannot be loaded: the guest cannot go on */
  constructor(private readonly file: StateFile, private readonly lazy: LazyRam, private readonly used: boolean, onError: (error: unknown) => void) {
    this.finished = this.run().catch((error: unknown) => {
      file.close()
      onError(error)
    })
  }

  stop(): Promise<void> {
    this.isStopped = true
    return this.finished
  }

  private async run(): Promise<void> {
    const { file, lazy } = this
    const running = new Set<Promise<void>>()
    for (const record of file.records) {
      if (this.isStopped) break
      if (lazy.isLoaded(record.chunk)) continue
      const job: Promise<void> = file.loadAside(record)
        .then((bytes) => lazy.provide(record.chunk, { mask: record.mask, bytes })).finally(() => running.delete(job))
      job.catch(() => undefined)
      running.add(job)
      if (running.size >= IN_FLIGHT) await Promise.race(running)
    }
    await Promise.all(running)
    if (!this.isStopped) lazy.finish()
    file.close()
    if (this.used) await rm(file.path + USED_SUFFIX, { force: true })
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

export interface SaveOptions extends WriteOptions {
  readonly machine: Machine
  readonly loop: Freezable
  readonly path: string
  /** The guest runs on while its memory is written; otherwise it stays frozen, also after success. */
  readonly goesOn: boolean
  /** Called while the guest stands and no disk request is under way: what belongs to the same instant. */
  readonly atInstant: () => Promise<void>
}

async function captureFrozen({ machine, atInstant }: SaveOptions): Promise<MachineCapture> {
  await machine.drain()
  await atInstant()
  return machine.capture()
}

/** After a failure the guest runs on. @throws what `writeStateFile` throws */
export async function saveMachine(options: SaveOptions): Promise<SaveFigures> {
  const { loop, goesOn } = options
  const start = performance.now()
  loop.freeze()
  let isFrozen = true
  try {
    const capture = await captureFrozen(options)
    const pauseMs = performance.now() - start
    if (goesOn) {
      loop.thaw()
      isFrozen = false
    }
    return { ...(await writeStateFile(options.path, capture, options)), pauseMs }
  } catch (error) {
    if (isFrozen) loop.thaw()
    throw error
  }
}
