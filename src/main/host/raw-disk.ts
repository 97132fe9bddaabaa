/** A raw image file as a disk. Holes stay holes where the guest discards or writes zeroes. */
import { open, type FileHandle } from 'node:fs/promises'
import { VmmError } from '../vmm/errors'
import type { BlockBackend } from '../vmm/ports'

const SECTOR = 512
const ZERO_CHUNK = 1 << 20

export class RawDisk implements BlockBackend {
  readonly blockSize = SECTOR

  constructor(private readonly file: FileHandle, readonly path: string, readonly sizeBytes: number, readonly readOnly: boolean) {}

  private fail(what: string, offset: number, cause: unknown): VmmError {
    const reason = cause instanceof Error ? cause.message : String(cause)
    return new VmmError('disk-io', `${this.path}: cannot ${what} at byte ${offset}: ${reason}`, { path: this.path, offset }, { cause })
  }

  async read(offset: number, target: Uint8Array): Promise<void> {
    let done = 0
    while (done < target.length) {
      const { bytesRead } = await this.file.read(target, done, target.length - done, offset + done).catch((cause: unknown) => {
        throw this.fail('read', offset, cause)
      })
      if (bytesRead === 0) {
        // A file whose size is no multiple of the sector reads as zeroes to the sector's end.
        target.fill(0, done)
        return
      }
      done += bytesRead
    }
  }

  async write(offset: number, source: Uint8Array): Promise<void> {
    let done = 0
    while (done < source.length) {
      const { bytesWritten } = await this.file.write(source, done, source.length - done, offset + done).catch((cause: unknown) => {
        throw this.fail('write', offset, cause)
      })
      done += bytesWritten
    }
  }

  async flush(): Promise<void> {
    await this.file.datasync().catch((cause: unknown) => {
      throw this.fail('flush', 0, cause)
    })
  }

  /** Node has no hole punching: the data stays, as the contract of discard allows. */
  async discard(): Promise<void> { /* nothing to free */ }

  async writeZeroes(offset: number, length: number): Promise<void> {
    const zeroes = new Uint8Array(Math.min(ZERO_CHUNK, length))
    for (let done = 0; done < length; done += zeroes.length) {
      await this.write(offset + done, zeroes.subarray(0, Math.min(zeroes.length, length - done)))
    }
  }

  async close(): Promise<void> {
    await this.file.close()
  }
}

/** @throws VmmError `disk-io` naming the file */
export async function openRawDisk(path: string, readOnly: boolean): Promise<RawDisk> {
  const fail = (cause: unknown): never => {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new VmmError('disk-io', `${path}: cannot open the disk: ${reason}`, { path }, { cause })
  }
  const file = await open(path, readOnly ? 'r' : 'r+').catch(fail)
  const { size } = await file.stat()
  return new RawDisk(file, path, Math.ceil(size / SECTOR) * SECTOR, readOnly)
}
