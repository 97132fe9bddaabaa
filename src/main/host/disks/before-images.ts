/**
 * What a disk's file held at an instant, kept while it is copied and written to at the same time (copy before write): before a grain
 * changes for the first time its contents go to a file beside the copy. The copy may then hold any mixture of before and after; putting
 * the grains that were kept in their places makes it that of the instant.
 */
import { open, rm, type FileHandle } from 'node:fs/promises'
import type { BlockFile, WriteWatch } from './block-file'

const GRAIN = 1 << 16
/** Put back at a time. */
const PIECE = 1 << 20

interface Kept { readonly offset: number; readonly length: number; /** In the side file. */ readonly place: number }

export class BeforeImages implements WriteWatch {
  /** By grain: resolves once it is kept, or cannot be. */
  private readonly known = new Map<number, Promise<void>>()
  private readonly kept: Kept[] = []
  private used = 0
  /** Why there cannot be a copy: VmmError `disk-io` of reading the file, or Node's error of writing beside the copy. */
  failure: Error | undefined
  /** Called once, when something could not be kept: the copy is of no use then. */
  onFailure: () => void = () => undefined

  /** @param sizeBytes of the file at the instant: what is written beyond was not there */
  private constructor(private readonly file: BlockFile, private readonly side: string, private readonly sideFile: FileHandle, readonly sizeBytes: number) {}

  /**
   * From now on, until `end`. Nothing may be under way.
   * @param side path of a file that is made; what a killed process left there goes
   * @throws Node's system error of making that file
   */
  static async begin(file: BlockFile, side: string): Promise<BeforeImages> {
    const images = new BeforeImages(file, side, await open(side, 'w+', 0o600), file.size)
    file.watch = images
    return images
  }

  /** Never fails: the write is more important than the copy. */
  async beforeWrite(offset: number, length: number): Promise<void> {
    const waits = new Set<Promise<void>>()
    const last = Math.ceil(Math.min(offset + length, this.sizeBytes) / GRAIN)
    for (let grain = Math.floor(offset / GRAIN); grain < last; grain++) {
      let job = this.known.get(grain)
      if (!job) {
        let end = grain + 1
        while (end < last && !this.known.has(end)) end++
        job = this.keep(grain * GRAIN, Math.min(end * GRAIN, this.sizeBytes))
        for (let i = grain; i < end; i++) this.known.set(i, job)
      }
      waits.add(job)
    }
    await Promise.all(waits)
  }

  private async keep(offset: number, end: number): Promise<void> {
    if (this.failure) return
    const length = end - offset
    const place = this.used
    this.used += length
    try {
      const bytes = new Uint8Array(length)
      await this.file.read(offset, bytes)
      await writeWhole(this.sideFile, bytes, place)
      this.kept.push({ offset, length, place })
    } catch (error) {
      if (this.failure) return
      this.failure = error as Error
      this.onFailure()
    }
  }

  /** @throws `failure` */
  check(): void {
    if (this.failure) throw this.failure
  }

  /**
   * Makes a copy that was begun after this, and has ended, one of the instant. To be called once, before `end`.
   * @throws as `check`; Node's error of writing to the copy
   */
  async applyTo(copy: string): Promise<void> {
    this.stopWatching()
    await Promise.all(this.known.values())
    this.check()
    const target = await open(copy, 'r+')
    try {
      const buffer = Buffer.allocUnsafe(PIECE)
      for (const { offset, length, place } of this.kept) {
        for (let done = 0; done < length; done += PIECE) {
          const piece = buffer.subarray(0, Math.min(PIECE, length - done))
          await readWhole(this.sideFile, piece, place + done)
          await writeWhole(target, piece, offset + done)
        }
      }
    } finally {
      await target.close()
    }
  }

  private stopWatching(): void {
    if (this.file.watch === this) this.file.watch = undefined
  }

  /** Nothing is kept any more, and nothing is left of it. */
  async end(): Promise<void> {
    this.stopWatching()
    await Promise.all(this.known.values())
    await this.sideFile.close()
    await rm(this.side, { force: true })
  }
}

async function writeWhole(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) done += (await file.write(bytes, done, bytes.length - done, position + done)).bytesWritten
}

async function readWhole(file: FileHandle, target: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < target.length;) {
    const { bytesRead } = await file.read(target, done, target.length - done, position + done)
    if (bytesRead === 0) throw new Error(`${target.length - done} bytes at ${position + done} are missing`)
    done += bytesRead
  }
}
