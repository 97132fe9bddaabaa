/** Disks of a restored machine that are copied while it runs already. */
import type { Filling } from './switch'

export class UnderWay {
  /** Path of the image that a disk is copied from, by the disk's own: it never changes. */
  readonly sources: ReadonlyMap<string, string>
  /** @throws ServiceError with the reason the copies could not be made; what is left is done before the next start */
  readonly done: Promise<void>
  /** As `done`, whatever became of it. */
  readonly ended: Promise<void>
  /** Gets how far it is: 0 … 1. */
  onProgress: (fraction: number) => void = () => undefined

  constructor(filling: Filling) {
    this.sources = new Map(filling.fills.map(({ from, to }) => [to, from]))
    this.done = filling.finish((fraction) => this.onProgress(fraction))
    this.ended = this.done.catch(() => undefined)
  }
}
