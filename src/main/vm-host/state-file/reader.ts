/** Reads a machine's state: what it is at once, its memory when it is touched. */
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { brotliDecompress, brotliDecompressSync, inflateRaw, inflateRawSync } from 'node:zlib'
import { crc32 } from '../../host/crc32'
import { damaged, type StateHeader } from '../../host/state-header'
import { CHUNK_BYTES, CHUNK_PAGES, decodeMachineState, PAGE_SIZE, type MachineState, type PageSource, type StoredPages } from '../../vmm/machine'
import type { StatePlace } from '../protocol'
import { decodeIndex, decodeTrailer, Packing, pagesIn, TRAILER_BYTES, type PieceRecord, type Section } from './format'
import { SourceFile } from './source-file'

const inflate = promisify(inflateRaw) as (bytes: Uint8Array, options: object) => Promise<Buffer>
const unbrotli = promisify(brotliDecompress) as (bytes: Uint8Array, options: object) => Promise<Buffer>
/**
 * Pieces loaded before the machine is there to take them: as many as Node's threads unpack while it is built. With more, on a
 * computer whose processors are all busy, what they cost this thread delays the guest by more than it saves.
 */
const MOST_PREFETCHED = Math.min(256, 32 * Math.max(1, availableParallelism() - 1))
/** Node goes back and forth between its threads for each `chunkSize` that comes out. */
const MOST_CHUNK = { maxOutputLength: CHUNK_BYTES, chunkSize: CHUNK_BYTES }
const PAGES_PER_MIB = 2 ** 20 / PAGE_SIZE
const MOST_MACHINE = { maxOutputLength: 64 << 20 }

/** How a state in a machine's folder finds the files of its bases. */
export const baseFile = (memoryDir: string, id: string): string => join(memoryDir, `${id}.nbs`)

export class StateFile implements PageSource {
  readonly state: MachineState
  readonly header: StateHeader
  /** In the order they are to be loaded: what was in use comes first. */
  readonly records: readonly PieceRecord[]
  /** This file, then its bases. */
  private readonly sources: SourceFile[] = []
  /** By page, position in `records` plus one; 0 where the page is zero. */
  private readonly pieceOf: Uint32Array
  private readonly masks: Uint16Array
  private prefetched: readonly Promise<StoredPages>[] = []

  /**
   * Everything but the memory is checked at once; each piece of that when it is loaded.
   * @param memoryDir where the files of its bases are
   * @throws VmmError `state-damaged` naming file and section, `state-mismatch`, `bad-state`, `disk-io`
   */
  static open(path: string, memoryDir: string): StateFile {
    const file = SourceFile.open(path)
    try {
      return new StateFile(file, memoryDir)
    } catch (error) {
      file.close()
      throw error
    }
  }

  /** Reads all of it, and what it needs of its bases. @throws VmmError as `open` and `load` */
  static checkWhole({ path, memoryDir }: StatePlace): void {
    const file = StateFile.open(path, memoryDir)
    try {
      for (const record of file.records) file.read(record)
    } finally {
      file.close()
    }
  }

  private constructor(file: SourceFile, memoryDir: string) {
    const { path, header } = file
    this.header = header
    if (file.bytes < header.bytes + TRAILER_BYTES) throw damaged(path, 'the file', 'is too short')
    const trailer = decodeTrailer(path, file.readAt(file.bytes - TRAILER_BYTES, TRAILER_BYTES, 'the end'), header.bytes, file.bytes)
    const machine = this.section(file, trailer.machine, 'the machine section')
    const index = this.section(file, trailer.index, 'the index')
    try {
      this.sources.push(file)
      for (const id of header.bases) this.sources.push(SourceFile.openBase(baseFile(memoryDir, id), id, path))
      this.records = decodeIndex(path, header.version, index, (source) => (source === 0 ? trailer.machine.offset : this.sources[source] ? Infinity : 0))
      this.state = decodeMachineState(this.unpackMachine(file, machine))
      const pages = this.state.hardware.memoryMiB * PAGES_PER_MIB
      this.pieceOf = new Uint32Array(pages)
      this.masks = new Uint16Array(pages / CHUNK_PAGES)
      this.records.forEach((record, i) => this.place(path, record, i))
    } catch (error) {
      for (const base of this.sources.splice(1)) base.close()
      throw error
    }
  }

  private section(file: SourceFile, { offset, length, crc }: Section, name: string): Buffer {
    const bytes = file.readAt(offset, length, name)
    if (crc32(bytes) !== crc) throw damaged(file.path, name, 'has a wrong checksum')
    return bytes
  }

  private unpackMachine(file: SourceFile, bytes: Buffer): string {
    try {
      return inflateRawSync(bytes, MOST_MACHINE).toString()
    } catch {
      throw damaged(file.path, 'the machine section', 'cannot be unpacked')
    }
  }

  private place(path: string, { chunk, live, source, offset, length }: PieceRecord, position: number): void {
    const { path: base, bytes } = this.sources[source]
    // The index is whole, so it is the other file that is not as it was.
    if (source > 0 && offset + length > bytes) throw damaged(path, `its base ${base}`, 'is cut off')
    if (chunk >= this.masks.length) throw damaged(path, 'the index', 'names memory the machine has not')
    if ((this.masks[chunk] & live) !== 0) throw damaged(path, 'the index', `has a page of memory chunk ${chunk} twice`)
    this.masks[chunk] |= live
    for (let i = 0; i < CHUNK_PAGES; i++) if ((live >>> i) & 1) this.pieceOf[chunk * CHUNK_PAGES + i] = position + 1
  }

  get path(): string {
    return this.sources[0].path
  }

  maskOf(chunk: number): number {
    return this.masks[chunk]
  }

  private read(record: PieceRecord): Buffer {
    const file = this.sources[record.source]
    const bytes = file.readAt(record.offset, record.length, nameOf(record))
    if (crc32(bytes) !== record.crc) throw damaged(file.path, nameOf(record), 'has a wrong checksum')
    return bytes
  }

  private whole(record: PieceRecord, bytes: Uint8Array): StoredPages {
    if (bytes.length !== pagesIn(record.mask) * PAGE_SIZE) throw damaged(this.sources[record.source].path, nameOf(record), 'has a wrong length')
    return { chunk: record.chunk, mask: record.mask, live: record.live, bytes }
  }

  private unpackError(record: PieceRecord): Error {
    return damaged(this.sources[record.source].path, nameOf(record), 'cannot be unpacked')
  }

  load(page: number): StoredPages {
    const record = this.records[this.pieceOf[page] - 1]
    const bytes = this.read(record)
    return this.whole(record, record.packing === Packing.RAW ? bytes : this.unpack(record, bytes))
  }

  private unpack(record: PieceRecord, bytes: Buffer): Buffer {
    try {
      return (record.packing === Packing.BROTLI ? brotliDecompressSync : inflateRawSync)(bytes, MOST_CHUNK)
    } catch {
      throw this.unpackError(record)
    }
  }

  /** The pieces that hold these pages, each once, in their order; pages that are zero are in none. */
  piecesOf(pages: readonly number[]): PieceRecord[] {
    const positions = new Set(pages.map((page) => this.pieceOf[page] ?? 0))
    positions.delete(0)
    return [...positions].map((position) => this.records[position - 1])
  }

  get pageCount(): number {
    return this.pieceOf.length
  }

  /** Begins to load the pieces that hold these pages, as many as fit. */
  prefetch(pages: readonly number[]): void {
    this.prefetched = this.piecesOf(pages).slice(0, MOST_PREFETCHED).map((record) => this.loadAside(record))
    // Whoever takes a piece hears of it.
    for (const piece of this.prefetched) piece.catch(() => undefined)
  }

  /** What `prefetch` began to load; once. */
  takePrefetched(): readonly Promise<StoredPages>[] {
    const { prefetched } = this
    this.prefetched = []
    return prefetched
  }

  /** As `load`, unpacked beside the running guest. */
  async loadAside(record: PieceRecord): Promise<StoredPages> {
    const bytes = this.read(record)
    if (record.packing === Packing.RAW) return this.whole(record, bytes)
    const unpacked = await (record.packing === Packing.BROTLI ? unbrotli : inflate)(bytes, MOST_CHUNK).catch(() => {
      throw this.unpackError(record)
    })
    return this.whole(record, unpacked)
  }

  close(): void {
    for (const source of this.sources) source.close()
  }
}

/** Where in the guest's memory, for people. */
function nameOf({ chunk }: PieceRecord): string {
  return `memory chunk ${chunk} (guest memory from 0x${(chunk * CHUNK_BYTES).toString(16)})`
}
