/** One reader of a console: gets history, then what is new, never more than a window ahead of what it acknowledged. */

/** Most bytes under way to a reader. */
export const WINDOW_BYTES = 256 * 1024
const CHUNK_BYTES = 64 * 1024

export class ConsoleViewer {
  private readonly queue: Uint8Array[] = []
  private queued = 0
  private unacknowledged = 0
  private isClosed = false

  /** @param onDrain called when everything queued has been sent: the source may go on @param answers a terminal, which answers what a guest asks it */
  constructor(private readonly onChunk: (bytes: Uint8Array) => void, private readonly onDrain: () => void, readonly answers = true) {}

  /** Bytes that wait for the reader. */
  get backlog(): number {
    return this.queued
  }

  push(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
      const chunk = bytes.subarray(at, at + CHUNK_BYTES)
      this.queue.push(chunk)
      this.queued += chunk.length
    }
    this.pump()
  }

  acknowledge(count: number): void {
    this.unacknowledged = Math.max(0, this.unacknowledged - count)
    this.pump()
  }

  private pump(): void {
    const had = this.queued
    while (!this.isClosed && this.queue.length > 0 && this.unacknowledged < WINDOW_BYTES) {
      const chunk = this.queue.shift() as Uint8Array
      this.queued -= chunk.length
      this.unacknowledged += chunk.length
      this.onChunk(chunk)
    }
    if (had > 0 && this.queued === 0) this.onDrain()
  }

  close(): void {
    this.isClosed = true
    this.queue.length = 0
    this.queued = 0
    this.onDrain()
  }
}
