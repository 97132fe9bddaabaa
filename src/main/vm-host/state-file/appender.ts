/** Appends to a file that is to be durable at the end: what is written goes to the medium while more is made. */
import { writeSync } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'

/** What is worth a call of the system. */
const WRITE_BYTES = 1 << 20
/** Bytes that wait to be written before whoever makes them has to wait as well. */
const BACKLOG_BYTES = 8 << 20
/** Bytes after which the medium gets its first work: at the end there is little left to wait for. */
const SYNC_BYTES = 16 << 20

export interface AppenderOptions {
  /** `sync` waits for the medium. */
  readonly durable: boolean
  /** Nothing else of this process waits: what is added is written at once, which is cheaper than asking another thread. */
  readonly alone: boolean
}

export class Appender {
  private pending: Uint8Array[] = []
  private pendingBytes = 0
  private writing: Promise<void> | undefined
  private syncing: Promise<void> | undefined
  private unsynced = 0
  /** The first thing that went wrong: from then on nothing is written, and every wait says so. */
  private failure: { readonly error: unknown } | undefined
  /** Where the next bytes will be. */
  position = 0

  constructor(private readonly file: FileHandle, private readonly options: AppenderOptions) {}

  /** Where the bytes will be. They may change once they are written: at once where nothing else waits. @throws Node's system error */
  add(bytes: Uint8Array): number {
    const at = this.position
    this.position += bytes.length
    if (this.options.alone) this.writeHere(bytes)
    else {
      this.pending.push(bytes)
      this.pendingBytes += bytes.length
    }
    return at
  }

  /** To be called between two `add`: writes where that is worth it. @throws Node's system error */
  async relieve(): Promise<void> {
    if (this.failure) throw this.failure.error
    if (this.pendingBytes < WRITE_BYTES) return
    const written = this.flush()
    // What fails is latched: the next call says so.
    written.catch(() => undefined)
    if (this.pendingBytes >= BACKLOG_BYTES) await written
  }

  /** Resolves when nothing is pending. @throws Node's system error */
  async flush(): Promise<void> {
    // What is added in the instant in which a write ends is not part of it.
    do await (this.writing ??= this.write().finally(() => (this.writing = undefined)))
    while (this.pending.length > 0 && !this.failure)
    if (this.failure) throw this.failure.error
  }

  private async write(): Promise<void> {
    try {
      while (this.pending.length > 0 && !this.failure) {
        const batch = this.pending.splice(0)
        this.pendingBytes = 0
        await this.writeAside(Buffer.concat(batch))
      }
    } catch (error) {
      this.failure ??= { error }
    }
  }

  private writeHere(bytes: Uint8Array): void {
    for (let done = 0; done < bytes.length;) done += writeSync(this.file.fd, bytes, done)
    this.syncAhead(bytes.length)
  }

  private async writeAside(bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length;) done += (await this.file.write(bytes, done)).bytesWritten
    this.syncAhead(bytes.length)
  }

  /** The system tells of a failed write to the medium only once: whoever hears of it here must not let it go. */
  private syncAhead(more: number): void {
    this.unsynced += more
    if (!this.options.durable || this.syncing || this.unsynced < SYNC_BYTES) return
    this.unsynced = 0
    this.syncing = this.file.datasync().catch((error: unknown) => {
      this.failure ??= { error }
    }).finally(() => (this.syncing = undefined))
  }

  /** Everything is on the medium, where it has to be. @throws Node's system error */
  async sync(): Promise<void> {
    await this.flush()
    await this.syncing
    if (this.failure) throw this.failure.error
    if (this.options.durable) await this.file.sync()
  }

  /** After a failure: resolves when the file is used no more. */
  async settle(): Promise<void> {
    this.failure ??= { error: new Error('given up') }
    await this.writing
    await this.syncing
  }
}
