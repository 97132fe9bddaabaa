/** Writes a machine's state while the guest may run on: pieces are taken, compressed beside it, and appended. */
import { open, rename, rm, type FileHandle } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { dirname } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { promisify } from 'node:util'
import { deflateRaw } from 'node:zlib'
import { crc32 } from '../../host/crc32'
import { encodeHeader } from '../../host/state-header'
import { CHUNK_BYTES, encodeMachineState, type CapturedChunk, type MachineCapture } from '../../vmm/machine'
import { fileError } from '../file-error'
import { Appender } from './appender'
import { encodeIndex, encodeTrailer, Packing, type PieceRecord, type Section } from './format'
import type { Inherited } from './inherited'
import { pack, type Packed } from './pack'

const deflate = promisify(deflateRaw) as (bytes: Uint8Array, options: object) => Promise<Buffer>
/** Pieces compressed at the same time: what a turn between two slices can hand to the threads. */
const IN_FLIGHT = 64
/** The same where somebody waits for the end: what the other processors do beside the one that writes. */
const IN_FLIGHT_ALONE = Math.max(1, Math.min(availableParallelism() - 1, 4))
/** Between two reports of how far it is. */
const PROGRESS_CHUNKS = 64

export interface WriteFigures {
  readonly fileBytes: number
  /** Guest memory in the file, before compression. */
  readonly memoryBytes: number
  /** Pages copied because the guest wrote to them first. */
  readonly copiedPages: number
  readonly ms: number
}

export interface WriteOptions {
  /** UUID of the state. */
  readonly id: string
  /** What the capture left out because it is stored already. */
  readonly inherited?: Inherited
  readonly signal?: AbortSignal
  /** 0 … 1. */
  readonly onProgress?: (fraction: number) => void
  /** Of a state that is used at once and only once: neither compressed nor made durable. */
  readonly quick?: boolean
  /** Somebody waits for the end, and the guest stands: what the threads cannot pack meanwhile is stored as it is. */
  readonly alone?: boolean
  /** What belongs to the state and is written at the same time: the file gets its name only once that is there. */
  readonly beside?: Promise<void>
}

class StateWriter {
  private readonly records: PieceRecord[] = []
  /** Pieces being packed by Node's threads. */
  private readonly running = new Set<Promise<void>>()
  private memoryBytes = 0
  /** Of a piece that is written before the next one is taken. */
  private readonly scratch = new Uint8Array(CHUNK_BYTES)

  constructor(private readonly out: Appender, private readonly capture: MachineCapture, private readonly options: WriteOptions) {}

  private async writeChunks(): Promise<void> {
    const { out, capture: { memory }, options } = this
    const order = memory.order()
    for (let i = 0; i < order.length; i++) {
      options.signal?.throwIfAborted()
      await this.writeChunk(order[i])
      await out.relieve()
      if (i % PROGRESS_CHUNKS === 0) options.onProgress?.(i / order.length)
    }
    await Promise.all(this.running)
    await out.flush()
  }

  /** Resolves when there is room for the next one. */
  private writeChunk(chunk: number): Promise<void> | void {
    const { capture: { memory }, running, options } = this
    if (options.alone && running.size >= IN_FLIGHT_ALONE) {
      this.store(chunk, memory.take(chunk, this.scratch))
      // What the threads have packed meanwhile is taken from them, and whoever wants to cancel is heard.
      return turn()
    }
    const taken = memory.take(chunk)
    if (!taken || options.quick) return this.store(chunk, taken)
    const job = pack(taken.bytes).then((packed) => this.add(chunk, taken, packed)).finally(() => running.delete(job))
    // A failure is met at the next await; until then it must not count as unhandled.
    job.catch(() => undefined)
    running.add(job)
    if (!options.alone && running.size >= IN_FLIGHT) return Promise.race(running)
  }

  /** As it is. */
  private store(chunk: number, taken: CapturedChunk | undefined): void {
    if (taken) this.add(chunk, taken, { bytes: taken.bytes, packing: Packing.RAW })
  }

  private add(chunk: number, { bytes: plain, mask }: CapturedChunk, { bytes, packing }: Packed): void {
    this.memoryBytes += plain.length
    this.records.push({ chunk, source: 0, offset: this.out.add(bytes), length: bytes.length, mask, live: mask, packing, crc: crc32(bytes) })
  }

  private section(bytes: Uint8Array): Section {
    return { offset: this.out.add(bytes), length: bytes.length, crc: crc32(bytes) }
  }

  /** In the order of loading: what is in use now, then file by file. */
  private order(kept: readonly PieceRecord[]): PieceRecord[] {
    const { hotChunks } = this.capture.memory
    const all = [...this.records, ...kept]
    return [...all.filter(({ chunk }) => hotChunks.has(chunk)), ...all.filter(({ chunk }) => !hotChunks.has(chunk))]
  }

  async write(): Promise<{ memoryBytes: number; fileBytes: number }> {
    const { out, capture, options } = this
    const { bases, records } = options.inherited?.after(capture.memory) ?? { bases: [], records: [] }
    out.add(encodeHeader(options.id, bases))
    await this.writeChunks()
    const machine = this.section(await deflate(Buffer.from(encodeMachineState(capture.state)), { level: 6 }))
    const index = this.section(encodeIndex(this.order(records)))
    out.add(encodeTrailer({ machine, index }))
    await out.flush()
    return { memoryBytes: this.memoryBytes, fileBytes: out.position }
  }
}

export async function syncFolder(path: string): Promise<void> {
  // Folders cannot be opened on Windows, where a rename is durable by itself.
  const folder = await open(path, 'r').catch(() => undefined)
  await folder?.sync().catch(() => undefined)
  await folder?.close()
}

/**
 * Writes `path` as a whole or not at all: a temporary file beside it, synced, then renamed over it. The capture is ended.
 * @throws VmmError `disk-io`; AbortError where the signal said so
 */
export async function writeStateFile(path: string, capture: MachineCapture, options: WriteOptions): Promise<WriteFigures> {
  const start = performance.now()
  const temporary = `${path}.tmp`
  let file: FileHandle | undefined
  let out: Appender | undefined
  try {
    file = await open(temporary, 'w')
    const figures = await new StateWriter(out = new Appender(file, { durable: !options.quick, alone: options.alone ?? false }), capture, options).write()
    options.signal?.throwIfAborted()
    await out.sync()
    await options.beside
    await file.close()
    file = undefined
    await rename(temporary, path)
    if (!options.quick) await syncFolder(dirname(path))
    return { ...figures, copiedPages: capture.memory.copied, ms: performance.now() - start }
  } catch (error) {
    await out?.settle()
    await file?.close().catch(() => undefined)
    await rm(temporary, { force: true }).catch(() => undefined)
    capture.memory.abandon()
    throw fileError(path, error)
  } finally {
    capture.memory.end()
  }
}
