/** Virtio block device over a BlockBackend. Virtio 1.2, section 5.2. Requests run side by side; flush waits for writes before it. */
import type { DeviceState, GuestMemory } from '../../bus/types'
import { VmmError } from '../../errors'
import type { BlockBackend, Logger } from '../../ports'
import type { VirtioDevice, VirtioHost } from '../device'
import { QueueError, readChain, writeChain, type Buffer, type DescriptorChain } from '../queue/virtqueue'

const SECTOR = 512
const Type = { IN: 0, OUT: 1, FLUSH: 4, GET_ID: 8, DISCARD: 11, WRITE_ZEROES: 13 } as const
const Result = { OK: 0, IOERR: 1, UNSUPPORTED: 2 } as const
const F = { SEG_MAX: 1n << 2n, RO: 1n << 5n, BLK_SIZE: 1n << 6n, FLUSH: 1n << 9n, DISCARD: 1n << 13n, WRITE_ZEROES: 1n << 14n } as const
const SEG_MAX = 254
const MAX_RANGE_SECTORS = 1 << 22
const ID_BYTES = 20
const HEADER_BYTES = 16
/** Largest data part of one request. */
const MAX_DATA = 1 << 26

export interface BlkFigures { readBytes: number; writtenBytes: number; requests: number }

interface Request { readonly chain: DescriptorChain; readonly type: number; readonly sector: number; readonly data: readonly Buffer[]; readonly statusAt: number }

export interface VirtioBlkOptions {
  readonly id: string
  readonly serial: string
  readonly memory: GuestMemory
  readonly backend: BlockBackend
  readonly log: Logger
  /** A request finished outside a time slice: wake the machine. */
  readonly onCompletion: () => void
}

export class VirtioBlk implements VirtioDevice {
  readonly id: string
  readonly type = 2
  readonly classCode = 1
  readonly subclass = 0
  readonly features: bigint
  readonly queueSizes = [256]
  readonly stateVersion = 1
  readonly figures: BlkFigures = { readBytes: 0, writtenBytes: 0, requests: 0 }
  private host!: VirtioHost
  /** Grows with every reset: completions of an older epoch are dropped. */
  private epoch = 0
  private readonly inFlight = new Set<Promise<void>>()

  constructor(private readonly options: VirtioBlkOptions) {
    this.id = options.id
    const writable = F.FLUSH | F.DISCARD | F.WRITE_ZEROES
    this.features = F.SEG_MAX | F.BLK_SIZE | (options.backend.readOnly ? F.RO : writable)
  }

  attach(host: VirtioHost): void {
    this.host = host
  }

  /** struct virtio_blk_config, 5.2.4. */
  readConfig(offset: number, size: 1 | 2 | 4): number {
    const bytes = new Uint8Array(64)
    const view = new DataView(bytes.buffer)
    view.setBigUint64(0, BigInt(Math.floor(this.options.backend.sizeBytes / SECTOR)), true)
    view.setUint32(12, SEG_MAX, true)
    view.setUint32(20, SECTOR, true)
    view.setUint32(36, MAX_RANGE_SECTORS, true)
    view.setUint32(40, 1, true)
    view.setUint32(44, this.options.backend.blockSize / SECTOR, true)
    view.setUint32(48, MAX_RANGE_SECTORS, true)
    view.setUint32(52, 1, true)
    view.setUint8(56, 1)
    let value = 0
    for (let i = 0; i < size; i++) value += (bytes[offset + i] ?? 0) * 2 ** (8 * i)
    return value
  }

  writeConfig(): void { /* the cache mode is not the driver's to choose */ }
  activate(): void { /* nothing to prepare */ }

  notify(): void {
    const queue = this.host.queue(0)
    do {
      for (let chain = queue.pop(); chain; chain = queue.pop()) this.start(this.parse(chain))
    } while (queue.enableNotification())
    this.host.notifyUsed(0)
  }

  private parse(chain: DescriptorChain): Request {
    const header = readChain(this.options.memory, chain.readable, HEADER_BYTES)
    if (header.length < HEADER_BYTES) throw new QueueError(`request header of ${header.length} bytes`)
    const last = chain.writable.at(-1)
    if (!last || last.length < 1) throw new QueueError('request without a status byte')
    const view = new DataView(header.buffer)
    const type = view.getUint32(0, true)
    const sector = view.getUint32(8, true) + view.getUint32(12, true) * 2 ** 32
    const writes = type === Type.OUT || type === Type.DISCARD || type === Type.WRITE_ZEROES
    const data = writes ? skip(chain.readable, HEADER_BYTES) : [...chain.writable.slice(0, -1), { gpa: last.gpa, length: last.length - 1 }]
    return { chain, type, sector, data: data.filter((b) => b.length > 0), statusAt: last.gpa + last.length - 1 }
  }

  private start(request: Request): void {
    const { epoch } = this
    this.figures.requests++
    const work = this.perform(request)
    const finish = (written: number, result: number): void => {
      if (epoch !== this.epoch) return
      this.options.memory.writeU8(request.statusAt, result)
      this.host.queue(0).push(request.chain.head, written + 1)
      this.host.notifyUsed(0)
      this.options.onCompletion()
    }
    const done: Promise<void> = work.then((written) => finish(written, Result.OK), (error: unknown) => {
      const unsupported = error instanceof UnsupportedRequest
      if (!unsupported) this.options.log.log('error', this.id, `request failed: ${error instanceof Error ? error.message : String(error)}`)
      finish(0, unsupported ? Result.UNSUPPORTED : Result.IOERR)
    }).finally(() => this.inFlight.delete(done))
    this.inFlight.add(done)
  }

  private async perform(request: Request): Promise<number> {
    switch (request.type) {
      case Type.IN: return this.read(request)
      case Type.OUT: return this.write(request)
      case Type.FLUSH: return this.flush()
      case Type.GET_ID: return this.identify(request)
      case Type.DISCARD: case Type.WRITE_ZEROES: return this.ranges(request)
      default: throw new UnsupportedRequest()
    }
  }

  /** @throws VmmError where the range is not on the disk */
  private checkRange(sector: number, length: number): number {
    const offset = sector * SECTOR
    if (length > MAX_DATA || length % SECTOR !== 0 || offset + length > this.options.backend.sizeBytes) {
      throw new VmmError('disk-io', `${length} bytes at sector ${sector} are not on a disk of ${this.options.backend.sizeBytes} bytes`)
    }
    return offset
  }

  private async read({ sector, data }: Request): Promise<number> {
    const { epoch } = this
    const bytes = new Uint8Array(data.reduce((sum, b) => sum + b.length, 0))
    await this.options.backend.read(this.checkRange(sector, bytes.length), bytes)
    this.figures.readBytes += bytes.length
    return epoch === this.epoch ? writeChain(this.options.memory, data, bytes) : 0
  }

  private async write({ sector, data }: Request): Promise<number> {
    this.requireWritable()
    const bytes = readChain(this.options.memory, data, MAX_DATA + 1)
    await this.options.backend.write(this.checkRange(sector, bytes.length), bytes)
    this.figures.writtenBytes += bytes.length
    return 0
  }

  private requireWritable(): void {
    if (this.options.backend.readOnly) throw new VmmError('disk-io', 'the disk is read-only')
  }

  private async flush(): Promise<number> {
    // The device promises that writes completed before the flush are durable; those still running are the driver's to order.
    await this.options.backend.flush()
    return 0
  }

  private async identify({ data }: Request): Promise<number> {
    const id = new Uint8Array(ID_BYTES)
    id.set([...this.options.serial].slice(0, ID_BYTES).map((c) => c.charCodeAt(0) & 0x7f))
    return writeChain(this.options.memory, data, id)
  }

  /** struct virtio_blk_discard_write_zeroes: sector, count, flags. */
  private async ranges({ type, data }: Request): Promise<number> {
    this.requireWritable()
    const bytes = readChain(this.options.memory, data, 16)
    if (bytes.length < 16) throw new VmmError('disk-io', 'discard without a range')
    const view = new DataView(bytes.buffer)
    const sector = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32
    const sectors = view.getUint32(8, true)
    const offset = sector * SECTOR
    const length = sectors * SECTOR
    if (sectors > MAX_RANGE_SECTORS || offset + length > this.options.backend.sizeBytes) {
      throw new VmmError('disk-io', `${sectors} sectors at ${sector} are not on the disk`)
    }
    if (type === Type.DISCARD) await this.options.backend.discard(offset, length)
    else await this.options.backend.writeZeroes(offset, length)
    return 0
  }

  /** Resolves when no request is under way: before a snapshot, and before the backend closes. */
  async drain(): Promise<void> {
    while (this.inFlight.size > 0) await Promise.all(this.inFlight)
  }

  reset(): void {
    this.epoch++
  }

  /** Only valid when drained: requests under way are not part of the state. */
  save(): DeviceState { return {} }
  restore(): void { /* the queues hold everything */ }
}

class UnsupportedRequest extends Error {}

/** Buffers without their first `count` bytes. */
function skip(buffers: readonly Buffer[], count: number): Buffer[] {
  let left = count
  const rest: Buffer[] = []
  for (const { gpa, length } of buffers) {
    const drop = Math.min(left, length)
    left -= drop
    if (length > drop) rest.push({ gpa: gpa + drop, length: length - drop })
  }
  return rest
}
