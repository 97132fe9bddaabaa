/** Buffers for the data of requests, used again: a fresh megabyte for each costs more than moving the megabyte. */

const SMALLEST = 4096
/** Kept for later, all together. */
const MAX_KEPT_BYTES = 16 << 20

export class BufferPool {
  /** By size in bytes, a power of two. */
  private readonly free = new Map<number, Uint8Array[]>()
  private keptBytes = 0

  /** Exactly `length` bytes, of any content: the caller fills all of them. Goes back with `give`. */
  take(length: number): Uint8Array {
    let size = SMALLEST
    while (size < length) size *= 2
    const buffer = this.free.get(size)?.pop()
    if (buffer) this.keptBytes -= size
    return (buffer ?? new Uint8Array(size)).subarray(0, length)
  }

  /** Nobody reads or writes it any more. */
  give(taken: Uint8Array): void {
    const size = taken.buffer.byteLength
    if (this.keptBytes + size > MAX_KEPT_BYTES) return
    this.keptBytes += size
    const list = this.free.get(size)
    const buffer = new Uint8Array(taken.buffer)
    if (list) list.push(buffer)
    else this.free.set(size, [buffer])
  }

  /** Keeps none of those that nobody has. */
  release(): void {
    this.free.clear()
    this.keptBytes = 0
  }
}
