/** A machine without a manager whose disk finds no room on the host: the guest stands, and it is tried again every few seconds. */
import type { Machine } from '../vmm/machine'
import type { VmmError } from '../vmm/errors'

const RETRY_MS = 2000

export interface FullDiskOptions {
  readonly machine: Pick<Machine, 'retryDisks' | 'drain'>
  readonly loop: { pause(): void; resume(): void }
  readonly say: (text: string) => void
  readonly retryMs?: number
}

export class FullDisk {
  private isStalled = false
  private isTold = false
  private timer: NodeJS.Timeout | undefined

  constructor(private readonly options: FullDiskOptions) {}

  /** A request found no room. */
  stalled(error: VmmError): void {
    if (this.isStalled) return
    this.isStalled = true
    const { loop, say, retryMs = RETRY_MS } = this.options
    loop.pause()
    if (!this.isTold) say(`${error.message}. The guest waits and loses nothing; it goes on when there is room`)
    this.isTold = true
    this.timer = setTimeout(() => void this.retry(), retryMs)
  }

  private async retry(): Promise<void> {
    const { machine, loop, say } = this.options
    this.isStalled = false
    machine.retryDisks()
    await machine.drain()
    // What has no room still has said so by now, and set the timer again.
    if (this.hasStalledAgain()) return
    this.isTold = false
    say('there is room on the disk again: the guest goes on')
    loop.resume()
  }

  private hasStalledAgain(): boolean {
    return this.isStalled
  }

  /** The machine has ended. */
  end(): void {
    clearTimeout(this.timer)
  }
}
