/** Virtio block device over a BlockBackend. Virtio 1.2, section 5.2. Requests run side by side; see README.md. */
import type { DeviceState, GuestMemory } from '../../bus/types'
import { VmmError } from '../../errors'
import type { BlockBackend, Logger } from '../../ports'
import type { VirtioDevice, VirtioHost } from '../device'
import { fillFromChain, writeChain } from '../queue/virtqueue'
import { BufferPool } from './buffer-pool'
import { CONFIG_WRITEBACK, encodeConfig, F } from './config'
import { parseRequest, Result, rangesOf, transferRange, Type, UnsupportedRequest, type BlkRequest } from './request'

const ID_BYTES = 20
/** Request queues a disk may have; each has an MSI-X vector of its own. */
export const MAX_DISK_QUEUES = 8
const QUEUE_SIZE = 256

export interface BlkFigures { readBytes: number; writtenBytes: number; requests: number }

export interface VirtioBlkOptions {
  readonly id: string
  readonly serial: string
  readonly memory: GuestMemory
  readonly backend: BlockBackend
  readonly log: Logger
  /** A request finished outside a time slice: wake the machine. */
  readonly onCompletion: () => void
  /** A request found no room on the host and waits for `retry`. Without this it is an I/O error. */
  readonly onStalled?: (error: VmmError) => void
  /** Request queues, 1 to MAX_DISK_QUEUES; 1 unless given. More than one offers VIRTIO_BLK_F_MQ. */
  readonly queues?: number
}

/** A request under way, as a saved state names it. */
interface Started { readonly queue: number; readonly head: number; readonly epoch: number }

/** One that waits for room on the host. */
interface Stalled extends Started { readonly request: BlkRequest }

export class VirtioBlk implements VirtioDevice {
  readonly id: string
  readonly type = 2
  readonly classCode = 1
  readonly subclass = 0
  readonly features: bigint
  readonly queueSizes: readonly number[]
  readonly stateVersion = 2
  readonly figures: BlkFigures = { readBytes: 0, writtenBytes: 0, requests: 0 }
  private host!: VirtioHost
  /** Grows with every reset: completions of an older epoch are dropped. */
  private epoch = 0
  private readonly inFlight = new Map<Promise<void>, Started>()
  /** Under way when the state was saved; started again by `resume`. */
  private interrupted: Started[] = []
  private stalled: Stalled[] = []
  private readonly buffers = new BufferPool()
  private writeback = true
  /** While requests of an older epoch may touch the backend: resolves when none does. Otherwise requests start at once. */
  private barrier: Promise<void> | undefined

  constructor(private readonly options: VirtioBlkOptions) {
    const { id, queues = 1, backend } = options
    if (!Number.isInteger(queues) || queues < 1 || queues > MAX_DISK_QUEUES) {
      throw new VmmError('bad-config', `${id}: a disk has 1 to ${MAX_DISK_QUEUES} queues, not ${queues}`)
    }
    this.id = id
    this.queueSizes = new Array<number>(queues).fill(QUEUE_SIZE)
    // Where the owner wants write-through there is no cache to speak of: nothing to flush, nothing to choose.
    const writable = F.DISCARD | F.WRITE_ZEROES | (backend.writeThrough ? 0n : F.FLUSH | F.CONFIG_WCE)
    this.features = F.SIZE_MAX | F.SEG_MAX | F.BLK_SIZE | F.TOPOLOGY | (queues > 1 ? F.MQ : 0n) | (backend.readOnly ? F.RO : writable)
  }

  attach(host: VirtioHost): void {
    this.host = host
  }

  /** struct virtio_blk_config, 5.2.4. */
  readConfig(offset: number, size: 1 | 2 | 4): number {
    const bytes = encodeConfig({ backend: this.options.backend, queues: this.queueSizes.length, writeback: this.writeback })
    let value = 0
    for (let i = 0; i < size; i++) value += (bytes[offset + i] ?? 0) * 2 ** (8 * i)
    return value
  }

  /** The driver chooses between write-back (1) and write-through (0). 5.2.5.2. */
  writeConfig(offset: number, _size: 1 | 2 | 4, value: number): void {
    if (offset === CONFIG_WRITEBACK && this.host.hasFeature(F.CONFIG_WCE)) this.writeback = (value & 1) !== 0
  }

  /** A driver that cannot flush gets every write on stable storage before its answer. */
  private get writesThrough(): boolean {
    if (this.options.backend.writeThrough) return true
    return this.host.hasFeature(F.CONFIG_WCE) ? !this.writeback : !this.host.hasFeature(F.FLUSH)
  }

  activate(): void { /* nothing to prepare */ }

  notify(index: number): void {
    const queue = this.host.queue(index)
    do {
      for (let chain = queue.pop(); chain; chain = queue.pop()) {
        this.figures.requests++
        this.start(index, parseRequest(this.options.memory, chain))
      }
    } while (queue.enableNotification())
  }

  private start(queue: number, request: BlkRequest): void {
    const { epoch } = this
    const done: Promise<void> = (this.barrier ? this.barrier.then(() => this.perform(request)) : this.perform(request))
      .then((written) => this.finish(epoch, queue, request, written, Result.OK), (error: unknown) => this.fail(epoch, queue, request, error))
      .finally(() => this.inFlight.delete(done))
    this.inFlight.set(done, { queue, head: request.chain.head, epoch })
  }

  private fail(epoch: number, queue: number, request: BlkRequest, error: unknown): void {
    const { onStalled, log } = this.options
    if (onStalled && error instanceof VmmError && error.code === 'disk-full') {
      if (epoch !== this.epoch) return
      this.stalled.push({ queue, head: request.chain.head, epoch, request })
      return onStalled(error)
    }
    const unsupported = error instanceof UnsupportedRequest
    if (!unsupported) {
      const detail = error instanceof Error ? error.message : String(error)
      log.log('error', this.id, `request failed: ${detail}`, { reason: 'requestFailed', detail, cause: error instanceof VmmError ? error.details : undefined })
    }
    this.finish(epoch, queue, request, 0, unsupported ? Result.UNSUPPORTED : Result.IOERR)
  }

  /** Keeps no buffers for requests to come. */
  releaseBuffers(): void {
    this.buffers.release()
  }

  /** Starts anew what found no room on the host, in the order it came. */
  retry(): void {
    const { stalled } = this
    this.stalled = []
    for (const { queue, request } of stalled) this.start(queue, request)
  }

  private finish(epoch: number, queue: number, request: BlkRequest, written: number, result: number): void {
    if (epoch !== this.epoch) return
    this.options.memory.writeU8(request.statusAt, result)
    this.host.queue(queue).push(request.chain.head, written + 1)
    this.host.notifyUsed(queue)
    this.options.onCompletion()
  }

  private async perform(request: BlkRequest): Promise<number> {
    switch (request.type) {
      case Type.IN: return this.read(request)
      case Type.OUT: return this.write(request)
      case Type.FLUSH: return this.flush()
      case Type.GET_ID: return this.identify(request)
      case Type.DISCARD: case Type.WRITE_ZEROES: return this.clear(request)
      default: throw new UnsupportedRequest()
    }
  }

  private async read(request: BlkRequest): Promise<number> {
    const { epoch } = this
    // The range is checked before anything is allocated: the length is the guest's.
    const { offset, length } = transferRange(request, this.options.backend.sizeBytes)
    const bytes = this.buffers.take(length)
    try {
      await this.options.backend.read(offset, bytes)
      this.figures.readBytes += length
      return epoch === this.epoch ? writeChain(this.options.memory, request.data, bytes) : 0
    } finally {
      this.buffers.give(bytes)
    }
  }

  private async write(request: BlkRequest): Promise<number> {
    this.requireWritable()
    const { offset, length } = transferRange(request, this.options.backend.sizeBytes)
    const bytes = this.buffers.take(length)
    try {
      fillFromChain(this.options.memory, request.data, bytes)
      await this.options.backend.write(offset, bytes)
    } finally {
      this.buffers.give(bytes)
    }
    if (this.writesThrough) await this.options.backend.flush()
    this.figures.writtenBytes += length
    return 0
  }

  private requireWritable(): void {
    if (this.options.backend.readOnly) throw new VmmError('disk-io', 'the disk is read-only')
  }

  /** Durable: every write answered before the flush was sent. Those still under way are the driver's to order. */
  private async flush(): Promise<number> {
    await this.options.backend.flush()
    return 0
  }

  private async identify({ data }: BlkRequest): Promise<number> {
    const id = new Uint8Array(ID_BYTES)
    id.set([...this.options.serial].slice(0, ID_BYTES).map((c) => c.charCodeAt(0) & 0x7f))
    return writeChain(this.options.memory, data, id)
  }

  private async clear(request: BlkRequest): Promise<number> {
    this.requireWritable()
    const { backend, memory } = this.options
    // All ranges are checked before the first is touched.
    for (const { offset, length, unmap } of rangesOf(memory, request, backend.sizeBytes)) {
      if (request.type === Type.DISCARD) await backend.discard(offset, length)
      else await backend.writeZeroes(offset, length, !unmap)
    }
    if (this.writesThrough) await backend.flush()
    return 0
  }

  /** Requests are under way. */
  get isBusy(): boolean {
    return this.inFlight.size > 0
  }

  /** Resolves when no request is under way, other than such as wait for room on the host: before a snapshot, and before the backend closes. */
  async drain(): Promise<void> {
    while (this.inFlight.size > 0) await Promise.all(this.inFlight.keys())
  }

  reset(): void {
    this.epoch++
    this.writeback = true
    this.interrupted = []
    this.stalled = []
    // A late write of the old driver must not land on top of one of the new driver's.
    if (this.inFlight.size === 0) return
    const barrier = Promise.all(this.inFlight.keys()).then(() => {
      if (this.barrier === barrier) this.barrier = undefined
    })
    this.barrier = barrier
  }

  /** Requests under way are recorded, also those that wait; `resume` performs them again, which does no harm: each is idempotent. */
  save(): DeviceState {
    const started = [...this.inFlight.values()].filter(({ epoch }) => epoch === this.epoch).concat(this.stalled, this.interrupted)
    return { writeback: this.writeback, inFlight: started.map(({ queue, head }) => ({ queue, head })) }
  }

  /** Accepts version 1 (no fields). */
  restore(state: DeviceState): void {
    this.reset()
    this.writeback = state.writeback !== false
    const { inFlight } = state
    if (inFlight === undefined) return
    if (!Array.isArray(inFlight)) throw new VmmError('bad-state', `${this.id}: inFlight must be a list`)
    this.interrupted = inFlight.map((entry: DeviceState) => {
      const { queue, head } = entry
      if (typeof queue !== 'number' || typeof head !== 'number' || !(queue in this.queueSizes)) throw new VmmError('bad-state', `${this.id}: inFlight`)
      return { queue, head, epoch: this.epoch }
    })
  }

  resume(): void {
    const started = this.interrupted
    this.interrupted = []
    for (const { queue, head } of started) this.start(queue, parseRequest(this.options.memory, this.host.queue(queue).chainAt(head)))
  }
}
