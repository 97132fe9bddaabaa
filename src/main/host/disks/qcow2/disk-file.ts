/** The file of a qcow2 image: whole reads and writes, and errors that name file, structure and place. */
import { open, type FileHandle } from 'node:fs/promises'
import { VmmError } from '../../../vmm/errors'
import { DiskFormatError } from '../formats/common/format-error'

export class DiskFile {
  private constructor(private readonly handle: FileHandle, readonly path: string, public size: number) {}

  /** @throws VmmError `disk-io` */
  static async open(path: string, readOnly: boolean): Promise<DiskFile> {
    try {
      const handle = await open(path, readOnly ? 'r' : 'r+')
      return new DiskFile(handle, path, (await handle.stat()).size)
    } catch (cause) {
      throw ioError(path, 'open the disk', 0, cause)
    }
  }

  fail(structure: string, offset: number, why: string): DiskFormatError {
    return new DiskFormatError(this.path, structure, offset, why)
  }

  /** @throws DiskFormatError where the structure does not lie within the file; VmmError `disk-io` */
  async structure(name: string, offset: number, length: number): Promise<DataView> {
    if (!Number.isSafeInteger(offset) || offset < 0 || offset + length > this.size) {
      throw this.fail(name, offset, `${length} bytes there reach past the end of the file (${this.size} bytes)`)
    }
    const bytes = new Uint8Array(length)
    await this.read(offset, bytes)
    return new DataView(bytes.buffer)
  }

  /** What lies past the end of the file reads as zeroes. */
  async read(offset: number, target: Uint8Array): Promise<void> {
    for (let done = 0; done < target.length;) {
      const { bytesRead } = await this.handle.read(target, done, target.length - done, offset + done).catch((cause: unknown) => {
        throw ioError(this.path, 'read', offset + done, cause)
      })
      if (bytesRead === 0) return void target.fill(0, done)
      done += bytesRead
    }
  }

  async write(offset: number, source: Uint8Array): Promise<void> {
    for (let done = 0; done < source.length;) {
      const { bytesWritten } = await this.handle.write(source, done, source.length - done, offset + done).catch((cause: unknown) => {
        throw ioError(this.path, 'write', offset + done, cause)
      })
      done += bytesWritten
    }
    this.size = Math.max(this.size, offset + source.length)
  }

  async sync(): Promise<void> {
    await this.handle.datasync().catch((cause: unknown) => {
      throw ioError(this.path, 'flush', 0, cause)
    })
  }

  async close(): Promise<void> {
    await this.handle.close()
  }
}

function ioError(path: string, what: string, offset: number, cause: unknown): VmmError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new VmmError('disk-io', `${path}: cannot ${what} at byte ${offset}: ${reason}`, { path, offset }, { cause })
}
