/** Writes a machine's state while the guest may run on: pieces are taken, compressed beside it, and appended. */
import { open, rename, rm, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import { deflateRaw } from 'node:zlib'
import { crc32 } from '../../host/crc32'
import { encodeHeader } from '../../host/state-header'
import { encodeMachineState, type CapturedChunk, type MachineCapture } from '../../vmm/machine'
import { VmmError } from '../../vmm/errors'
import { encodeIndex, encodeTrailer, Packing, type PieceRecord, type Section } from './format'
import type { Inherited } from './inherited'
import { pack } from './pack'

const deflate = promisify(deflateRaw) as (bytes: Uint8Array, options: object) => Promise<Buffer>
/** Pieces compressed at the same time: what a turn between two slices can hand to the threads. */
const IN_FLIGHT = 64
const WRITE_BYTES = 1 << 20

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
}

class Appender {
  private pending: Uint8Array[] = []
  private pendingBytes = 0
  position = 0

  constructor(private readonly file: FileHandle) {}

  /** Where the bytes will be. */
  add(bytes: Uint8Array): number {
    const at = this.position
    this.pending.push(bytes)
    this.pendingBytes += bytes.length
    this.position += bytes.length
    return at
  }

  get isFull(): boolean {
    return this.pendingBytes >= WRITE_BYTES
  }

  async flush(): Promise<void> {
    while (this.pending.length > 0) {
      const batch = Buffer.concat(this.pending.splice(0))
      this.pendingBytes = 0
      for (let done = 0; done < batch.length;) done += (await this.file.write(batch, done)).bytesWritten
    }
  }
}

class StateWriter {
  private readonly records: PieceRecord[] = []
  private memoryBytes = 0

  constructor(private readonly out: Appender, private readonly capture: MachineCapture, private readonly options: WriteOptions) {}

  private async writeChunks(): Promise<void> {
    const { out, capture: { memory }, options } = this
    const order = memory.order()
    const running = new Set<Promise<void>>()
    for (let i = 0; i < order.length; i++) {
      options.signal?.throwIfAborted()
      const taken = memory.take(order[i])
      if (taken) {
        const job = this.writeChunk(order[i], taken).finally(() => running.delete(job))
        // A failure is met at the next await; until then it must not count as unhandled.
        job.catch(() => undefined)
        running.add(job)
      }
      if (running.size >= IN_FLIGHT) await Promise.race(running)
      if (out.isFull) {
        await out.flush()
        options.onProgress?.(i / order.length)
      }
    }
    await Promise.all(running)
    await out.flush()
  }

  private async writeChunk(chunk: number, { bytes: plain, mask }: CapturedChunk): Promise<void> {
    const { bytes, packing } = this.options.quick ? { bytes: plain, packing: Packing.RAW } : await pack(plain)
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

function writeError(path: string, error: unknown): Error {
  const { code, message } = error as NodeJS.ErrnoException
  if (code === undefined || typeof code !== 'string' || !/^E[A-Z]+$/.test(code)) return error instanceof Error ? error : new Error(String(error))
  return new VmmError('disk-io', `the state cannot be written to ${path}: ${code === 'ENOSPC' ? 'the disk is full' : message}`, { path, errno: code }, { cause: error })
}

/**
 * Writes `path` as a whole or not at all: a temporary file beside it, synced, then renamed over it. The capture is ended.
 * @throws VmmError `disk-io`; AbortError where the signal said so
 */
export async function writeStateFile(path: string, capture: MachineCapture, options: WriteOptions): Promise<WriteFigures> {
  const start = performance.now()
  const temporary = `${path}.tmp`
  let file: FileHandle | undefined
  try {
    file = await open(temporary, 'w')
    const figures = await new StateWriter(new Appender(file), capture, options).write()
    options.signal?.throwIfAborted()
    if (!options.quick) await file.sync()
    await file.close()
    file = undefined
    await rename(temporary, path)
    if (!options.quick) await syncFolder(dirname(path))
    return { ...figures, copiedPages: capture.memory.copied, ms: performance.now() - start }
  } catch (error) {
    await file?.close().catch(() => undefined)
    await rm(temporary, { force: true }).catch(() => undefined)
    capture.memory.abandon()
    throw writeError(path, error)
  } finally {
    capture.memory.end()
  }
}
