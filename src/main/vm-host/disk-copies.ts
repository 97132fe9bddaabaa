/**
 * Disk images copied with a machine's state, as they are at one instant. The guest stands only while that is marked: then it runs on
 * while they are copied, and what it overwrites is kept for the copy first. Whoever waits sees how far it is and can call it off.
 */
import { stat } from 'node:fs/promises'
import type { OpenDisk } from '../host'
import { copyImage, shareBlocks, syncFile } from '../host/copy-file'
import type { BeforeImages } from '../host/disks/before-images'
import { fileError } from './file-error'
import type { ToHost } from './protocol'

type Copy = Extract<ToHost, { type: 'save' }>['copies'][number]

/** A copy that is not made yet. */
interface Begun extends Copy {
  readonly before: BeforeImages
  /** On the host's disk. */
  readonly bytes: number
}

/** Of a save with disks: the rest is its memory. */
const DISKS_SHARE = 0.5
/** Stands beside a copy until it is made. */
const SIDE_SUFFIX = '.before'

export class DiskCopies {
  private readonly share: number
  private begun: Begun[] = []
  private disksDone = 0
  private memoryDoneTo = 0

  /**
   * @param disks those of the machine: images it writes are copied through them
   * @param report gets the fraction of the save that is done
   */
  constructor(private readonly copies: readonly Copy[], private readonly disks: readonly OpenDisk[], private readonly report: (fraction: number) => void) {
    this.share = copies.length > 0 ? DISKS_SHARE : 0
  }

  /**
   * This is the instant: no request is under way, and the guest stands. Where the file system shares blocks the copies are made.
   * @throws VmmError `disk-io` that names the copy, `disk-full`. What there is of copies is the caller's to remove, here and below
   */
  async begin(signal: AbortSignal): Promise<void> {
    // The medium is not waited for: copies read what was written, wherever it is.
    for (const disk of this.disks) await disk.settle?.()
    for (const copy of this.copies) {
      signal.throwIfAborted()
      await this.beginOne(copy, signal).catch((error: unknown) => {
        signal.throwIfAborted()
        throw fileError(copy.to, error)
      })
    }
  }

  private async beginOne({ from, to }: Copy, signal: AbortSignal): Promise<void> {
    if (await shareBlocks(from, to)) return
    const before = await this.disks.find(({ path, readOnly }) => path === from && !readOnly)?.keepBefore?.(to + SIDE_SUFFIX)
    // Of an image that is not written through here nobody would know what changes: it is copied while the guest stands.
    if (!before) return copyImage(from, to, { durable: false, signal })
    this.begun.push({ from, to, before, bytes: await stat(from).then(({ blocks }) => blocks * 512, () => 0) })
  }

  /** Makes the rest of them; the guest may run. @throws VmmError `disk-io` that names the copy; AbortError */
  async finish(signal: AbortSignal): Promise<void> {
    const total = Math.max(1, this.begun.reduce((sum, { bytes }) => sum + bytes, 0))
    let before = 0
    for (const copy of this.begun) {
      await this.make(copy, signal, (fraction) => this.tell({ disks: (before + fraction * copy.bytes) / total }))
      before += copy.bytes
    }
    this.tell({ disks: 1 })
  }

  private async make({ from, to, before }: Begun, signal: AbortSignal, onProgress: (fraction: number) => void): Promise<void> {
    const abort = new AbortController()
    const callOff = (): void => abort.abort()
    signal.addEventListener('abort', callOff)
    before.onFailure = callOff
    try {
      signal.throwIfAborted()
      before.check()
      await copyImage(from, to, {
        durable: false, signal: abort.signal, onProgress: (done, of) => onProgress(done / Math.max(1, of)), sizeBytes: before.sizeBytes,
      })
      await before.applyTo(to)
    } catch (error) {
      signal.throwIfAborted()
      throw fileError(to, before.failure ?? error)
    } finally {
      signal.removeEventListener('abort', callOff)
    }
  }

  /** Makes them durable. @throws as `finish` */
  async syncAll(): Promise<void> {
    for (const { to } of this.copies) {
      await syncFile(to).catch((error: unknown) => {
        throw fileError(to, error)
      })
    }
  }

  /** In any case, at the end: nothing is kept any more. */
  async end(): Promise<void> {
    for (const { before } of this.begun.splice(0)) await before.end().catch(() => undefined)
  }

  /** Of the memory, which is written at the same time. */
  readonly memoryDone = (fraction: number): void => this.tell({ memory: fraction })

  private tell({ disks = this.disksDone, memory = this.memoryDoneTo }: { disks?: number; memory?: number }): void {
    this.disksDone = disks
    this.memoryDoneTo = memory
    this.report(this.share * disks + (1 - this.share) * memory)
  }
}
