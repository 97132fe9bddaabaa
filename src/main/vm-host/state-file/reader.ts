/** Reads a machine's state: what it is at once, its memory when it is touched. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { promisify } from 'node:util'
import { inflateRaw, inflateRawSync } from 'node:zlib'
import { CHUNK_BYTES, decodeMachineState, PAGE_SIZE, type ChunkSource, type MachineState } from '../../vmm/machine'
import { VmmError } from '../../vmm/errors'
import { checkHeader, crc32, damaged, decodeIndex, decodeTrailer, HEADER_BYTES, pagesIn, TRAILER_BYTES, type ChunkRecord, type Section } from './format'

const inflate = promisify(inflateRaw) as (bytes: Uint8Array, options: object) => Promise<Buffer>
const MOST_CHUNK = { maxOutputLength: CHUNK_BYTES }
const MOST_MACHINE = { maxOutputLength: 64 << 20 }
const VERIFY_BYTES = 4 << 20

export class StateFile implements ChunkSource {
  readonly state: MachineState
  /** In the order they were written: what was in use comes first. */
  readonly records: readonly ChunkRecord[]
  readonly fileBytes: number
  private readonly byChunk = new Map<number, ChunkRecord>()
  private isOpen = true

  /** @throws VmmError `state-damaged` naming the section, `state-mismatch`, `bad-state`, `disk-io` */
  static open(path: string): StateFile {
    let fd: number
    try {
      fd = openSync(path, 'r')
    } catch (cause) {
      throw new VmmError('disk-io', `the saved state ${path} cannot be opened: ${(cause as Error).message}`, { path }, { cause })
    }
    try {
      return new StateFile(path, fd)
    } catch (error) {
      closeSync(fd)
      throw error
    }
  }

  private constructor(readonly path: string, private readonly fd: number) {
    this.fileBytes = fstatSync(fd).size
    if (this.fileBytes < HEADER_BYTES + TRAILER_BYTES) throw damaged(path, 'the file', 'is too short')
    checkHeader(path, this.readAt(0, HEADER_BYTES, 'the header'))
    const trailer = decodeTrailer(path, this.readAt(this.fileBytes - TRAILER_BYTES, TRAILER_BYTES, 'the end'), this.fileBytes)
    const machine = this.section(trailer.machine, 'the machine section')
    this.records = decodeIndex(path, this.section(trailer.index, 'the index'), trailer.machine.offset)
    for (const record of this.records) this.byChunk.set(record.chunk, record)
    this.state = decodeMachineState(this.unpack(machine, MOST_MACHINE, 'the machine section').toString())
    const chunks = (this.state.hardware.memoryMiB << 20) / CHUNK_BYTES
    if (this.records.some(({ chunk }) => chunk >= chunks)) throw damaged(path, 'the index', 'names memory the machine has not')
  }

  private readAt(offset: number, length: number, section: string): Buffer {
    const bytes = Buffer.allocUnsafe(length)
    for (let done = 0; done < length;) {
      const count = readSync(this.fd, bytes, done, length - done, offset + done)
      if (count === 0) throw damaged(this.path, section, 'is cut off')
      done += count
    }
    return bytes
  }

  private section({ offset, length, crc }: Section, name: string): Buffer {
    const bytes = this.readAt(offset, length, name)
    if (crc32(bytes) !== crc) throw damaged(this.path, name, 'has a wrong checksum')
    return bytes
  }

  private unpack(bytes: Uint8Array, limit: object, section: string): Buffer {
    try {
      return inflateRawSync(bytes, limit)
    } catch {
      throw damaged(this.path, section, 'cannot be unpacked')
    }
  }

  /** Checksums of all chunks. @throws VmmError `state-damaged` */
  verify(): void {
    for (let first = 0; first < this.records.length;) {
      // Chunks lie one behind the other: one read serves many.
      let last = first
      const start = this.records[first].offset
      const endOf = (i: number): number => this.records[i].offset + this.records[i].length
      while (last + 1 < this.records.length && this.records[last + 1].offset === endOf(last) && endOf(last + 1) - start <= VERIFY_BYTES) last++
      const bytes = this.readAt(start, endOf(last) - start, 'the memory section')
      for (let i = first; i <= last; i++) {
        const { offset, length } = this.records[i]
        this.check(this.records[i], bytes.subarray(offset - start, offset - start + length))
      }
      first = last + 1
    }
  }

  private check({ chunk, crc }: ChunkRecord, bytes: Uint8Array): void {
    if (crc32(bytes) !== crc) throw damaged(this.path, `memory chunk ${chunk}`, 'has a wrong checksum')
  }

  private whole({ chunk, mask }: ChunkRecord, bytes: Uint8Array): Uint8Array {
    if (bytes.length !== pagesIn(mask) * PAGE_SIZE) throw damaged(this.path, `memory chunk ${chunk}`, 'has a wrong length')
    return bytes
  }

  maskOf(chunk: number): number {
    return this.byChunk.get(chunk)?.mask ?? 0
  }

  load(chunk: number): Uint8Array {
    const record = this.byChunk.get(chunk)
    if (!record) throw damaged(this.path, `memory chunk ${chunk}`, 'is missing')
    const name = `memory chunk ${chunk}`
    const bytes = this.readAt(record.offset, record.length, name)
    this.check(record, bytes)
    return this.whole(record, record.raw ? bytes : this.unpack(bytes, MOST_CHUNK, name))
  }

  /** As `load`, unpacked beside the running guest. */
  async loadAside(record: ChunkRecord): Promise<Uint8Array> {
    const bytes = this.readAt(record.offset, record.length, `memory chunk ${record.chunk}`)
    this.check(record, bytes)
    if (record.raw) return this.whole(record, bytes)
    const unpacked = await inflate(bytes, MOST_CHUNK).catch(() => {
      throw damaged(this.path, `memory chunk ${record.chunk}`, 'cannot be unpacked')
    })
    return this.whole(record, unpacked)
  }

  close(): void {
    if (!this.isOpen) return
    this.isOpen = false
    closeSync(this.fd)
  }
}
