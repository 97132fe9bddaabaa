/** The file of a qcow2 image: a disk's file, with structures in it and errors that name them. */
import { BlockFile, openFiles } from '../block-file'
import type { CacheMode } from '../cache-mode'
import { DiskFormatError } from '../formats/common/format-error'

export class DiskFile extends BlockFile {
  /** @throws VmmError `disk-io`, `unsupported` */
  static async open(path: string, readOnly: boolean, cache?: CacheMode): Promise<DiskFile> {
    return new DiskFile(await openFiles(path, readOnly, cache), path)
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
}
