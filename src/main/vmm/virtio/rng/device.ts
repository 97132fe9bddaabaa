/** Virtio entropy device. Virtio 1.2, section 5.4. */
import type { DeviceState, GuestMemory } from '../../bus/types'
import type { EntropySource } from '../../ports'
import type { VirtioDevice, VirtioHost } from '../device'
import { writeChain } from '../queue/virtqueue'

/** Most bytes given for one request: a driver asks again. */
const MAX_REQUEST = 4096

export class VirtioRng implements VirtioDevice {
  readonly id = 'virtio-rng'
  readonly type = 4
  readonly classCode = 0xff
  readonly subclass = 0
  readonly features = 0n
  readonly queueSizes = [64]
  readonly stateVersion = 1
  private host!: VirtioHost

  constructor(private readonly memory: GuestMemory, private readonly entropy: EntropySource) {}

  attach(host: VirtioHost): void {
    this.host = host
  }

  readConfig(): number { return 0 }
  writeConfig(): void { /* the device has no configuration */ }
  activate(): void { /* nothing to prepare */ }
  reset(): void { /* requests are answered at once: none can be under way */ }

  notify(): void {
    const queue = this.host.queue(0)
    do {
      for (let chain = queue.pop(); chain; chain = queue.pop()) {
        const wanted = chain.writable.reduce((sum, b) => sum + b.length, 0)
        const bytes = new Uint8Array(Math.min(wanted, MAX_REQUEST))
        this.entropy.fill(bytes)
        queue.push(chain.head, writeChain(this.memory, chain.writable, bytes))
      }
    } while (queue.enableNotification())
    this.host.notifyUsed(0)
  }

  save(): DeviceState { return {} }
  restore(): void { /* no state */ }
}
