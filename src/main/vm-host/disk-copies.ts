/** Disk images copied with a machine's state: while the guest stands, so whoever waits sees how far it is and can call it off. */
import { stat } from 'node:fs/promises'
import { copyImage, syncFile } from '../host/copy-file'
import { fileError } from './file-error'
import type { ToHost } from './protocol'

type Copy = Extract<ToHost, { type: 'save' }>['copies'][number]

/** Of a save with disks: the rest is its memory. */
const DISKS_SHARE = 0.5

export class DiskCopies {
  private readonly share: number

  /** @param report gets the fraction of the save that is done */
  constructor(private readonly copies: readonly Copy[], private readonly report: (fraction: number) => void) {
    this.share = copies.length > 0 ? DISKS_SHARE : 0
  }

  /** @throws VmmError `disk-io` that names the copy; AbortError. What was copied is the caller's to remove */
  async copyAll(signal: AbortSignal): Promise<void> {
    const sizes = await Promise.all(this.copies.map(({ from }) => stat(from).then(({ blocks }) => blocks, () => 0)))
    const total = Math.max(1, sizes.reduce((sum, size) => sum + size, 0))
    let before = 0
    for (const [i, { from, to }] of this.copies.entries()) {
      const onProgress = (done: number, of: number): void => this.report(this.share * (before + sizes[i] * done / Math.max(1, of)) / total)
      await copyImage(from, to, { durable: false, signal, onProgress }).catch((error: unknown) => {
        signal.throwIfAborted()
        throw fileError(to, error)
      })
      before += sizes[i]
    }
  }

  /** Makes them durable. @throws as `copyAll` */
  async syncAll(): Promise<void> {
    for (const { to } of this.copies) {
      await syncFile(to).catch((error: unknown) => {
        throw fileError(to, error)
      })
    }
  }

  /** Of the memory, which comes after the disks. */
  readonly memoryDone = (fraction: number): void => this.report(this.share + (1 - this.share) * fraction)
}
