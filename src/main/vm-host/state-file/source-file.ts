/** A file of a state's memory, open for reading: the state's own, or that of another one it builds on. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { damaged, decodeHeader, MAX_HEADER_BYTES, type StateHeader } from '../../host/state-header'
import { VmmError } from '../../vmm/errors'

export class SourceFile {
  readonly bytes: number
  readonly header: StateHeader
  private isOpen = true

  /** @throws VmmError `disk-io`, `state-damaged`, `state-mismatch` */
  static open(path: string): SourceFile {
    let fd: number
    try {
      fd = openSync(path, 'r')
    } catch (cause) {
      throw new VmmError('disk-io', `the saved state ${path} cannot be opened: ${(cause as Error).message}`, { path }, { cause })
    }
    try {
      return new SourceFile(path, fd)
    } catch (error) {
      closeSync(fd)
      throw error
    }
  }

  /** @param id the state it must be of @param needer path of the state that needs it @throws VmmError `state-damaged`, `state-mismatch` */
  static openBase(path: string, id: string, needer: string): SourceFile {
    let file: SourceFile
    try {
      file = SourceFile.open(path)
    } catch (error) {
      if (error instanceof VmmError && error.code !== 'disk-io') throw error
      throw damaged(needer, `its base ${path}`, `cannot be read: ${(error as Error).message}`)
    }
    if (file.header.id === id) return file
    file.close()
    throw damaged(needer, `its base ${path}`, 'is the file of another state')
  }

  private constructor(readonly path: string, private readonly fd: number) {
    this.bytes = fstatSync(fd).size
    this.header = decodeHeader(path, this.readAt(0, Math.min(this.bytes, MAX_HEADER_BYTES), 'the header'))
  }

  /** @param section for the message where it is not there @throws VmmError `state-damaged`, `disk-io` */
  readAt(offset: number, length: number, section: string): Buffer {
    const bytes = Buffer.allocUnsafe(length)
    for (let done = 0; done < length;) {
      const count = this.read(bytes, done, offset + done, section)
      if (count === 0) throw damaged(this.path, section, 'is cut off')
      done += count
    }
    return bytes
  }

  private read(target: Buffer, at: number, position: number, section: string): number {
    try {
      return readSync(this.fd, target, at, target.length - at, position)
    } catch (cause) {
      throw new VmmError('disk-io', `the saved state ${this.path} cannot be read: ${section}: ${(cause as Error).message}`, { path: this.path, section }, { cause })
    }
  }

  close(): void {
    if (!this.isOpen) return
    this.isOpen = false
    closeSync(this.fd)
  }
}
