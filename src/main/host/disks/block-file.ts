/** The file of a disk: whole reads and writes in the disk's cache mode, and errors that name file and place. */
import { constants, open, type FileHandle } from 'node:fs/promises'
import { VmmError } from '../../vmm/errors'
import { CACHE_BEHAVIOUR, type CacheMode } from './cache-mode'
import { AlignedBuffers, DIRECT_ALIGN } from './direct'

/** What is used of Node's file handle. */
export type FilePort = Pick<FileHandle, 'read' | 'write' | 'datasync' | 'close'>

export interface OpenFiles {
  readonly file: FilePort
  /** The same file, past the host's cache. */
  readonly direct?: FilePort
  readonly size: number
  readonly cache: CacheMode
}

/** Errors after which a write succeeds once there is room: the guest can wait for that. */
const FULL: Readonly<Record<string, { readonly reason: string; readonly why: string }>> = {
  ENOSPC: { reason: 'diskFull', why: "the host's disk is full" },
  EDQUOT: { reason: 'diskQuota', why: "the quota on the host's disk is used up" },
  EFBIG: { reason: 'diskFileLimit', why: 'the file has the largest size that the host allows it' },
}

/** Told of a write before it changes anything; the write waits for it. */
export interface WriteWatch {
  beforeWrite(offset: number, length: number): Promise<void>
}

export class BlockFile {
  /** At most one at a time. To be set while nothing is being written. */
  watch: WriteWatch | undefined
  private readonly buffers: AlignedBuffers | undefined

  constructor(private readonly files: OpenFiles, readonly path: string, public size = files.size) {
    this.buffers = files.direct && new AlignedBuffers()
  }

  get cache(): CacheMode {
    return this.files.cache
  }

  /** What lies past the end of the file reads as zeroes. */
  async read(offset: number, target: Uint8Array): Promise<void> {
    for (let done = 0; done < target.length;) {
      const count = await this.readSome(offset + done, target.subarray(done)).catch((cause: unknown) => {
        throw ioError(this.path, 'read', offset + done, cause)
      })
      if (count === 0) return void target.fill(0, done)
      done += count
    }
  }

  /** @throws VmmError `disk-full` where the host has no room: the same write can succeed later; `disk-io` */
  async write(offset: number, source: Uint8Array): Promise<void> {
    if (this.watch) await this.watch.beforeWrite(offset, source.length)
    for (let done = 0; done < source.length;) {
      done += await this.writeSome(offset + done, source.subarray(done)).catch((cause: unknown) => {
        throw fullError(this.path, offset + done, cause) ?? ioError(this.path, 'write', offset + done, cause)
      })
      this.size = Math.max(this.size, offset + done)
    }
  }

  /** What is not aligned goes through the host's cache, which the kernel keeps in step with what does not. */
  private directFor(offset: number, length: number): { file: FilePort; buffers: AlignedBuffers } | undefined {
    const { buffers, files: { direct } } = this
    return direct && buffers && offset % DIRECT_ALIGN === 0 && length % DIRECT_ALIGN === 0 ? { file: direct, buffers } : undefined
  }

  private async readSome(offset: number, target: Uint8Array): Promise<number> {
    const direct = this.directFor(offset, target.length)
    if (!direct) return (await this.files.file.read(target, 0, target.length, offset)).bytesRead
    return direct.buffers.with(async (buffer) => {
      const { bytesRead } = await direct.file.read(buffer, 0, Math.min(buffer.length, target.length), offset)
      target.set(buffer.subarray(0, bytesRead))
      return bytesRead
    })
  }

  private async writeSome(offset: number, source: Uint8Array): Promise<number> {
    const direct = this.directFor(offset, source.length)
    if (!direct) return (await this.files.file.write(source, 0, source.length, offset)).bytesWritten
    return direct.buffers.with(async (buffer) => {
      const length = Math.min(buffer.length, source.length)
      buffer.set(source.subarray(0, length))
      return (await direct.file.write(buffer, 0, length, offset)).bytesWritten
    })
  }

  /** Resolves once what was written is on stable storage; in mode `unsafe` at once. */
  async sync(): Promise<void> {
    if (!CACHE_BEHAVIOUR[this.cache].syncs) return
    await this.files.file.datasync().catch((cause: unknown) => {
      throw ioError(this.path, 'flush', 0, cause)
    })
  }

  async close(): Promise<void> {
    await this.files.direct?.close()
    await this.files.file.close()
  }
}

const reasonOf = (cause: unknown): string => (cause instanceof Error ? cause.message : String(cause))

function ioError(path: string, what: string, offset: number, cause: unknown): VmmError {
  return new VmmError('disk-io', `${path}: cannot ${what} at byte ${offset}: ${reasonOf(cause)}`, { path, offset }, { cause })
}

function fullError(path: string, offset: number, cause: unknown): VmmError | undefined {
  const full = FULL[(cause as NodeJS.ErrnoException).code ?? '']
  return full && new VmmError('disk-full', `${path}: cannot write at byte ${offset}: ${full.why}`, { reason: full.reason, path, offset }, { cause })
}

async function openDirect(path: string, flags: number): Promise<FileHandle> {
  // Not every system has it.
  const direct = (constants as Partial<typeof constants>).O_DIRECT
  const refuse = (why: string, cause?: unknown): VmmError => new VmmError('unsupported',
    `${path}: the disk cannot be used past the host's cache (cache modes none and directsync): ${why}`, { reason: 'diskNoDirect', path, detail: why }, { cause })
  if (direct === undefined) throw refuse('this system does not offer it')
  return open(path, flags | direct).catch((cause: unknown) => {
    throw refuse((cause as NodeJS.ErrnoException).code === 'EINVAL' ? 'its file system does not offer it' : reasonOf(cause), cause)
  })
}

/** @throws VmmError `disk-io`; `unsupported` where the cache mode cannot be had for this file */
export async function openFiles(path: string, readOnly: boolean, cache: CacheMode = 'writeback'): Promise<OpenFiles> {
  const flags = readOnly ? constants.O_RDONLY : constants.O_RDWR
  const file = await open(path, flags).catch((cause: unknown) => {
    throw ioError(path, 'open the disk', 0, cause)
  })
  try {
    const { size } = await file.stat()
    return { file, size, cache, ...(CACHE_BEHAVIOUR[cache].direct ? { direct: await openDirect(path, flags) } : {}) }
  } catch (error) {
    await file.close()
    throw error
  }
}
