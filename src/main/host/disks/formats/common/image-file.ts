/** Random access to a file that is being parsed: every read is checked against the file's end, and bounded. */
import { open, type FileHandle } from 'node:fs/promises'
import { DiskFormatError } from './format-error'

/** No structure of a disk format that is read at once is larger. */
const MAX_STRUCTURE = 4 << 20

export class ImageFile {
  private constructor(private readonly handle: FileHandle, readonly path: string, readonly size: number) {}

  /** @throws NodeJS.ErrnoException as `open` does; DiskFormatError where it is no regular file */
  static async open(path: string): Promise<ImageFile> {
    const handle = await open(path, 'r')
    try {
      const stat = await handle.stat()
      if (!stat.isFile()) throw new DiskFormatError(path, 'file', 0, 'it is not a regular file')
      return new ImageFile(handle, path, stat.size)
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  fail(structure: string, offset: number, why: string): DiskFormatError {
    return new DiskFormatError(this.path, structure, offset, why)
  }

  /** Refuses a structure that does not lie whole within the file. @throws DiskFormatError */
  checkRange(structure: string, offset: number, length: number): void {
    if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0 || offset + length > this.size) {
      throw this.fail(structure, offset, `${length} bytes there reach past the end of the file (${this.size} bytes)`)
    }
  }

  /** A whole structure. @throws DiskFormatError where it is not within the file or larger than any structure may be */
  async bytes(structure: string, offset: number, length: number): Promise<DataView> {
    if (length > MAX_STRUCTURE) throw this.fail(structure, offset, `it claims ${length} bytes; at most ${MAX_STRUCTURE} are allowed`)
    this.checkRange(structure, offset, length)
    const target = new Uint8Array(length)
    await this.read(structure, offset, target)
    return new DataView(target.buffer)
  }

  /** Fills the target. @throws DiskFormatError where the file ends before */
  async read(structure: string, offset: number, target: Uint8Array): Promise<void> {
    for (let done = 0; done < target.length;) {
      const { bytesRead } = await this.handle.read(target, done, target.length - done, offset + done)
      if (bytesRead === 0) throw this.fail(structure, offset + done, 'the file ends there')
      done += bytesRead
    }
  }

  /** Like {@link read}; what lies past the end of the file reads as zeroes, as sparse and cut-off data areas do. */
  async readPadded(offset: number, target: Uint8Array): Promise<void> {
    const within = Math.max(0, Math.min(target.length, this.size - offset))
    await this.read('data', offset, target.subarray(0, within))
    target.fill(0, within)
  }

  close(): Promise<void> {
    return this.handle.close()
  }
}

/** A 64-bit number as a double. @throws DiskFormatError above 2^53 */
export function u64(file: ImageFile, structure: string, view: DataView, at: number, littleEndian: boolean): number {
  const value = view.getBigUint64(at, littleEndian)
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw file.fail(structure, at, `the number ${value} is out of all bounds`)
  return Number(value)
}

/** Text up to its first NUL, as Latin-1. */
export function text(view: DataView, at: number, length: number): string {
  const bytes = Buffer.from(view.buffer, view.byteOffset + at, length)
  const end = bytes.indexOf(0)
  return bytes.toString('latin1', 0, end < 0 ? length : end)
}
