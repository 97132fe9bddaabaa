/** What all writers of disk formats share: the source they read, walking it block by block, and the file they fill. */
import { open, type FileHandle } from 'node:fs/promises'

/** The disk to be written in another format. */
export interface DiskSource {
  /** A multiple of 512. */
  readonly sizeBytes: number
  read(offset: number, target: Uint8Array): Promise<void>
  /** Lets holes be skipped without reading them. */
  extent?(offset: number, length: number): Promise<{ readonly length: number; readonly zero: boolean }>
}

export interface WriteOptions {
  readonly signal?: AbortSignal
  /** @param done bytes of the source dealt with @param total all of them */
  readonly onProgress?: (done: number, total: number) => void
}

const ZEROES = new Uint8Array(64 << 10)

export function isZero(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += ZEROES.length) {
    const part = Buffer.from(bytes.buffer, bytes.byteOffset + at, Math.min(ZEROES.length, bytes.length - at))
    if (part.compare(ZEROES, 0, part.length) !== 0) return false
  }
  return true
}

/** So much is asked about at once: work can be cancelled in between. */
const LOOK_AHEAD_BYTES = 1 << 30

/** What is known of the holes of a source that is walked from front to back. */
class Ahead {
  private end = 0
  private isZero = false

  constructor(private readonly source: DiskSource) {}

  /** How many bytes from the offset on are one hole, 0 where something may be stored there. */
  async hole(offset: number): Promise<number> {
    const { source } = this
    if (!source.extent) return 0
    if (offset >= this.end) {
      const { length, zero } = await source.extent(offset, Math.min(LOOK_AHEAD_BYTES, source.sizeBytes - offset))
      this.end = offset + length
      this.isZero = zero
    }
    return this.isZero ? this.end - offset : 0
  }
}

/**
 * Hands every block that is not all zeroes to `store`, in order; the last one is filled up with zeroes.
 * The bytes are valid until the promise of `store` resolves.
 * @throws AbortError when the signal says so
 */
export async function forEachBlock(source: DiskSource, blockBytes: number, options: WriteOptions, store: (index: number, bytes: Uint8Array) => Promise<void>): Promise<void> {
  const buffer = new Uint8Array(blockBytes)
  const total = source.sizeBytes
  const ahead = new Ahead(source)
  for (let offset = 0; offset < total;) {
    options.signal?.throwIfAborted()
    const hole = await ahead.hole(offset)
    let length = Math.min(blockBytes, total - offset)
    if (hole >= length) length = Math.max(length, hole - hole % blockBytes)
    else {
      await source.read(offset, buffer.subarray(0, length))
      buffer.fill(0, length)
      if (!isZero(buffer)) await store(offset / blockBytes, buffer)
    }
    offset += length
    options.onProgress?.(offset, total)
  }
}

/** A new file, written from front to back or anywhere. */
export class OutputFile {
  /** Where {@link append} writes next. */
  position = 0

  private constructor(private readonly handle: FileHandle) {}

  /** @throws system error EEXIST where there is such a file */
  static async create(path: string): Promise<OutputFile> {
    return new OutputFile(await open(path, 'wx', 0o600))
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      const { bytesWritten } = await this.handle.write(bytes, done, bytes.length - done, offset + done)
      done += bytesWritten
    }
  }

  async append(bytes: Uint8Array): Promise<void> {
    await this.write(this.position, bytes)
    this.position += bytes.length
  }

  /** Grows the file with a hole. */
  async growTo(length: number): Promise<void> {
    await this.handle.truncate(length)
  }

  async finish(): Promise<void> {
    await this.handle.sync()
    await this.handle.close()
  }

  async abandon(): Promise<void> {
    await this.handle.close()
  }
}

/**
 * Makes the file with what `fill` writes, on stable storage when it resolves. What a failure or a cancel leaves is the caller's to
 * remove: writers are given temporary names.
 */
export async function writeImage(path: string, fill: (out: OutputFile) => Promise<void>): Promise<void> {
  const out = await OutputFile.create(path)
  try {
    await fill(out)
  } catch (error) {
    await out.abandon()
    throw error
  }
  await out.finish()
}
