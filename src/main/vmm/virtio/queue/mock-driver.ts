/** The driver's side of virtio-pci, as a guest kernel plays it: for tests and fuzzing of every device. Virtio 1.2, 3.1 and 4.1. */
import { BugError } from '../../errors'
import { WindowedSpace } from '../../bus/address-space'
import type { AccessSize } from '../../bus/types'
import type { VirtioDevice } from '../device'
import { VirtioPci } from '../transport/pci'
import { TestMemory } from './test-memory'

const BAR = 0xc000_0000
const MSIX_BAR = 0xc001_0000
const QUEUE_AREA = 0x10000
const QUEUE_STRIDE = 0x8000
const DATA_AREA = 0x80000
const RAM_BYTES = 1 << 21
const Common = {
  deviceFeatureSelect: 0, deviceFeature: 4, driverFeatureSelect: 8, driverFeature: 0xc, configVector: 0x10, queueCount: 0x12, status: 0x14,
  queueSelect: 0x16, queueSize: 0x18, queueVector: 0x1a, queueEnable: 0x1c, queueDesc: 0x20, queueAvail: 0x28, queueUsed: 0x30,
} as const
export const DriverStatus = { ACKNOWLEDGE: 1, DRIVER: 2, DRIVER_OK: 4, FEATURES_OK: 8, NEEDS_RESET: 64 } as const

export interface Segment { readonly bytes?: Uint8Array; readonly length?: number }
/** A part of the chain the driver laid out; `bytes` segments are device-readable, `length` ones device-writable. */
interface Placed { readonly gpa: number; readonly length: number; readonly writable: boolean }
export interface UsedElement { readonly head: number; readonly written: number }

interface DriverQueue { readonly size: number; readonly desc: number; readonly avail: number; readonly used: number; availIndex: number; usedIndex: number; nextDesc: number }

export class MockDriver {
  readonly memory = new TestMemory(RAM_BYTES)
  readonly mmio = new WindowedSpace('mmio')
  readonly transport: VirtioPci
  readonly messages: { address: number; data: number }[] = []
  readonly warnings: string[] = []
  intx = false
  private readonly queues: DriverQueue[] = []
  private nextData = DATA_AREA

  /** @param create builds the device on the driver's memory */
  constructor(create: (memory: TestMemory) => VirtioDevice) {
    this.transport = new VirtioPci({
      device: create(this.memory), memory: this.mmio, guest: this.memory,
      msi: { send: (address, _high, data) => void this.messages.push({ address, data }) },
      intx: { set: (level) => void (this.intx = level) },
      log: { log: (_level, _component, message) => void this.warnings.push(message) },
    })
    const { pci } = this.transport
    pci.writeConfig(0x10 + 16, 4, BAR)
    pci.writeConfig(0x14, 4, MSIX_BAR)
    pci.writeConfig(4, 2, 6)
  }

  common(offset: number, size: AccessSize): number { return this.mmio.read(BAR + offset, size) }
  setCommon(offset: number, size: AccessSize, value: number): void { this.mmio.write(BAR + offset, size, value) }
  config(offset: number, size: AccessSize): number { return this.mmio.read(BAR + 0x2000 + offset, size) }
  setConfig(offset: number, size: AccessSize, value: number): void { this.mmio.write(BAR + 0x2000 + offset, size, value) }
  get isr(): number { return this.mmio.read(BAR + 0x1000, 1) }
  get status(): number { return this.common(Common.status, 1) }
  set status(value: number) { this.setCommon(Common.status, 1, value) }
  get queueCount(): number { return this.common(Common.queueCount, 2) }

  deviceFeatures(): bigint {
    let features = 0n
    for (const word of [0, 1]) {
      this.setCommon(Common.deviceFeatureSelect, 4, word)
      features |= BigInt(this.common(Common.deviceFeature, 4)) << BigInt(32 * word)
    }
    return features
  }

  /** Offers features; false where the device refused FEATURES_OK. */
  negotiate(features: bigint): boolean {
    this.status = DriverStatus.ACKNOWLEDGE | DriverStatus.DRIVER
    for (const word of [0, 1]) {
      this.setCommon(Common.driverFeatureSelect, 4, word)
      this.setCommon(Common.driverFeature, 4, Number((features >> BigInt(32 * word)) & 0xffff_ffffn))
    }
    this.status |= DriverStatus.FEATURES_OK
    return (this.status & DriverStatus.FEATURES_OK) !== 0
  }

  /** The whole initialisation of 3.1.1 with all the device's features less `without`. @param size entries of each queue */
  start(without = 0n, size = 16): this {
    this.status = 0
    this.nextData = DATA_AREA
    if (!this.negotiate(this.deviceFeatures() & ~without)) throw new BugError('the device refused its own features')
    this.queues.length = 0
    for (let i = 0; i < this.queueCount; i++) this.queues.push(this.setUpQueue(i, size))
    this.status |= DriverStatus.DRIVER_OK
    return this
  }

  private setUpQueue(index: number, size: number): DriverQueue {
    const desc = QUEUE_AREA + index * QUEUE_STRIDE
    const queue = { size, desc, avail: desc + 16 * size, used: desc + 0x4000, availIndex: 0, usedIndex: 0, nextDesc: 0 }
    this.memory.bytes.fill(0, desc, desc + QUEUE_STRIDE)
    this.setCommon(Common.queueSelect, 2, index)
    this.setCommon(Common.queueSize, 2, size)
    this.setCommon(Common.queueVector, 2, index + 1)
    for (const [at, value] of [[Common.queueDesc, queue.desc], [Common.queueAvail, queue.avail], [Common.queueUsed, queue.used]]) {
      this.setCommon(at, 4, value)
      this.setCommon(at + 4, 4, 0)
    }
    this.setCommon(Common.queueEnable, 2, 1)
    return queue
  }

  /** Switches MSI-X on: vector v sends data 0x40 + v. */
  useMsix(): this {
    for (let v = 0; v < this.transport.pci.vectorCount; v++) {
      const at = MSIX_BAR + 16 * v
      this.mmio.write(at, 4, 0xfee0_0000)
      this.mmio.write(at + 8, 4, 0x40 + v)
      this.mmio.write(at + 12, 4, 0)
    }
    this.transport.pci.writeConfig(0x42, 2, 0x8000)
    return this
  }

  allocate(length: number): number {
    const at = this.nextData
    this.nextData = at + Math.ceil(length / 16) * 16
    if (this.nextData > RAM_BYTES) throw new BugError('the mock driver ran out of memory')
    return at
  }

  writeDescriptor(table: number, index: number, gpa: number, length: number, flags: number, next = 0): void {
    const at = table + 16 * index
    this.memory.writeU32(at, gpa >>> 0)
    this.memory.writeU32(at + 4, Math.floor(gpa / 2 ** 32))
    this.memory.writeU32(at + 8, length)
    this.memory.writeU16(at + 12, flags)
    this.memory.writeU16(at + 14, next)
  }

  private place(segments: readonly Segment[]): Placed[] {
    return segments.map(({ bytes, length }) => {
      const size = bytes?.length ?? length ?? 0
      const gpa = this.allocate(size)
      if (bytes) this.memory.write(gpa, bytes)
      return { gpa, length: size, writable: bytes === undefined }
    })
  }

  private describe(table: number, first: number, placed: readonly Placed[], size: number): void {
    placed.forEach(({ gpa, length, writable }, i) => {
      const more = i + 1 < placed.length
      this.writeDescriptor(table, (first + i) % size, gpa, length, (more ? 1 : 0) | (writable ? 2 : 0), more ? (first + i + 1) % size : 0)
    })
  }

  /** Makes a chain available without a kick. Returns its head and where the writable parts lie. */
  add(queueIndex: number, segments: readonly Segment[], indirect = false): { head: number; writable: readonly number[] } {
    const queue = this.queues[queueIndex]
    const placed = this.place(segments)
    const head = queue.nextDesc
    if (indirect) {
      const table = this.allocate(16 * placed.length)
      this.describe(table, 0, placed, placed.length)
      this.writeDescriptor(queue.desc, head, table, 16 * placed.length, 4)
    } else this.describe(queue.desc, head, placed, queue.size)
    queue.nextDesc = (head + (indirect ? 1 : placed.length)) % queue.size
    this.offer(queueIndex, head)
    return { head, writable: placed.filter((p) => p.writable).map((p) => p.gpa) }
  }

  /** Puts any head, right or wrong, into the avail ring. */
  offer(queueIndex: number, head: number): void {
    const queue = this.queues[queueIndex]
    this.memory.writeU16(queue.avail + 4 + 2 * (queue.availIndex % queue.size), head)
    queue.availIndex = (queue.availIndex + 1) & 0xffff
    this.memory.writeU16(queue.avail + 2, queue.availIndex)
  }

  kick(queueIndex: number): void {
    this.mmio.write(BAR + 0x3000 + 4 * queueIndex, 2, queueIndex)
  }

  /** What the device returned since the last call. */
  takeUsed(queueIndex: number): UsedElement[] {
    const queue = this.queues[queueIndex]
    const taken: UsedElement[] = []
    while (this.memory.readU16(queue.used + 2) !== queue.usedIndex) {
      const at = queue.used + 4 + 8 * (queue.usedIndex % queue.size)
      taken.push({ head: this.memory.readU32(at), written: this.memory.readU32(at + 4) })
      queue.usedIndex = (queue.usedIndex + 1) & 0xffff
    }
    return taken
  }

  rings(queueIndex: number): Readonly<DriverQueue> { return this.queues[queueIndex] }

  bytes(gpa: number, length: number): Uint8Array { return this.memory.bytes.slice(gpa, gpa + length) }
}
