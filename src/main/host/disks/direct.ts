/** Buffers that the kernel takes for reads and writes past its cache: aligned, which only WebAssembly memories promise in Node. */

/** Offsets, lengths and addresses are multiples of this: enough for media of 512 and of 4096 byte sectors. */
export const DIRECT_ALIGN = 4096
const WASM_PAGE = 65536
/** Of one buffer. */
const BUFFER_BYTES = 1 << 20
/** Transfers past the cache at the same time. */
const MAX_BUFFERS = 8

export class AlignedBuffers {
  private readonly free: Uint8Array[] = []
  private made = 0
  private readonly waiting: ((buffer: Uint8Array) => void)[] = []

  /** Runs with a buffer of 1 MiB of its own, when there is one. */
  async with<T>(use: (buffer: Uint8Array) => Promise<T>): Promise<T> {
    const buffer = await this.take()
    try {
      return await use(buffer)
    } finally {
      const next = this.waiting.shift()
      if (next) next(buffer)
      else this.free.push(buffer)
    }
  }

  private async take(): Promise<Uint8Array> {
    const free = this.free.pop()
    if (free) return free
    if (this.made === MAX_BUFFERS) return new Promise((resolve) => this.waiting.push(resolve))
    this.made++
    const pages = BUFFER_BYTES / WASM_PAGE
    return new Uint8Array(new WebAssembly.Memory({ initial: pages, maximum: pages }).buffer)
  }
}
