/** Virtio console, one port. Virtio 1.2, section 5.3. */
import { VmmError } from '../../errors'
import type { DeviceState, GuestMemory } from '../../bus/types'
import type { CharBackend } from '../../ports'
import type { VirtioDevice, VirtioHost } from '../device'
import { readChain, writeChain, type DescriptorChain } from '../queue/virtqueue'

const RECEIVE = 0
const TRANSMIT = 1
/** Longest piece handed on at once. */
const MAX_WRITE = 1 << 20
/** Input held while the guest offers no buffers. */
const MAX_WAITING = 1 << 20
const F_SIZE = 1n

export class VirtioConsole implements VirtioDevice {
  readonly id = 'virtio-console'
  readonly type = 3
  readonly classCode = 7
  readonly subclass = 0x80
  readonly features = F_SIZE
  readonly queueSizes = [64, 64]
  readonly stateVersion = 1
  private host!: VirtioHost
  private active = false
  private waiting: Uint8Array[] = []
  private columns = 80
  private rows = 25

  constructor(private readonly memory: GuestMemory, private readonly chars: CharBackend) {
    chars.onInput((bytes) => {
      this.accept(bytes)
    })
  }

  /** Input for a guest that does not read is kept up to a limit, as a terminal's input queue does. */
  private accept(bytes: Uint8Array): void {
    const held = this.waiting.reduce((sum, b) => sum + b.length, 0)
    if (bytes.length === 0 || held + bytes.length > MAX_WAITING) return
    this.waiting.push(bytes)
    if (this.active) this.host.guard(() => this.deliver())
  }

  attach(host: VirtioHost): void {
    this.host = host
  }

  /** Tells the guest the size of the terminal. */
  resize(columns: number, rows: number): void {
    this.columns = columns
    this.rows = rows
    if (this.active) this.host.configChanged()
  }

  readConfig(offset: number, size: 1 | 2 | 4): number {
    const config = [this.columns & 0xff, this.columns >> 8, this.rows & 0xff, this.rows >> 8, 1, 0, 0, 0, 0, 0, 0, 0]
    let value = 0
    for (let i = 0; i < size; i++) value += (config[offset + i] ?? 0) * 2 ** (8 * i)
    return value
  }

  writeConfig(): void { /* emergency write is not offered */ }

  activate(): void {
    this.active = true
    this.deliver()
  }

  notify(queue: number): void {
    if (queue === TRANSMIT) this.transmit()
    else this.deliver()
  }

  private transmit(): void {
    const queue = this.host.queue(TRANSMIT)
    do {
      for (let chain = queue.pop(); chain; chain = queue.pop()) {
        this.transmitChain(chain)
        queue.push(chain.head, 0)
      }
    } while (queue.enableNotification())
    this.host.notifyUsed(TRANSMIT)
  }

  /** Long writes go out in pieces: the guest chooses the length, not the size of our allocation. */
  private transmitChain({ readable }: DescriptorChain): void {
    for (const { gpa, length } of readable) {
      for (let done = 0; done < length; done += MAX_WRITE) {
        this.chars.write(readChain(this.memory, [{ gpa: gpa + done, length: Math.min(MAX_WRITE, length - done) }]))
      }
    }
  }

  private deliver(): void {
    const queue = this.host.queue(RECEIVE)
    while (this.waiting.length > 0) {
      const chain = queue.pop()
      if (!chain) break
      const [bytes] = this.waiting
      const written = writeChain(this.memory, chain.writable, bytes)
      if (written < bytes.length) this.waiting[0] = bytes.subarray(written)
      else this.waiting.shift()
      queue.push(chain.head, written)
    }
    queue.enableNotification()
    this.host.notifyUsed(RECEIVE)
  }

  reset(): void {
    this.active = false
  }

  save(): DeviceState {
    return { active: this.active, columns: this.columns, rows: this.rows, waiting: this.waiting.map((b) => b.slice()) }
  }

  restore(state: DeviceState): void {
    if (!Array.isArray(state.waiting)) throw new VmmError('bad-state', `${this.id}: waiting must be a list of bytes`)
    this.active = state.active === true
    this.columns = Number(state.columns)
    this.rows = Number(state.rows)
    this.waiting = state.waiting.map((bytes) => {
      if (!(bytes instanceof Uint8Array)) throw new VmmError('bad-state', `${this.id}: waiting must be a list of bytes`)
      return bytes.slice()
    })
  }
}
