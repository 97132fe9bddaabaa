/** Virtio over PCI, modern interface only. Virtio 1.2, section 4.1. */
import type { AccessSize, AddressSpace, Device, DeviceState, GuestMemory, IrqLine, MsiSink } from '../../bus/types'
import { VmmError } from '../../errors'
import type { Logger } from '../../ports'
import { PciFunction } from '../../devices/pci/function'
import { Feature, type VirtioDevice, type VirtioHost } from '../device'
import { QueueError, Virtqueue } from '../queue/virtqueue'

const BAR = 4
const BAR_SIZE = 0x4000
/** Parts of the BAR. */
const COMMON = 0
const ISR = 0x1000
const DEVICE_CONFIG = 0x2000
const NOTIFY = 0x3000
const NOTIFY_MULTIPLIER = 4
const MSIX_BAR = 1
const MSIX_PBA = 0x800
const NO_VECTOR = 0xffff
const Status = { DRIVER_OK: 4, FEATURES_OK: 8, NEEDS_RESET: 64 } as const
const Isr = { QUEUE: 1, CONFIG: 2 } as const

export interface VirtioPciOptions {
  readonly device: VirtioDevice
  readonly memory: AddressSpace
  readonly guest: GuestMemory
  readonly msi: MsiSink
  readonly intx: IrqLine
  readonly log: Logger
}

export class VirtioPci implements Device, VirtioHost {
  readonly id: string
  readonly stateVersion = 1
  readonly pci: PciFunction
  private readonly queues: Virtqueue[]
  private readonly queueVectors: number[]
  private status = 0
  private isr = 0
  private driverFeatures = 0n
  private deviceFeatureSelect = 0
  private driverFeatureSelect = 0
  private queueSelect = 0
  private configVector = NO_VECTOR
  private generation = 0

  constructor(private readonly options: VirtioPciOptions) {
    const { device } = options
    this.id = device.id
    this.queues = device.queueSizes.map((size) => new Virtqueue(options.guest, size, () => this.hasFeature(Feature.EVENT_IDX)))
    this.queueVectors = device.queueSizes.map(() => NO_VECTOR)
    this.pci = new PciFunction(device.id, {
      vendor: 0x1af4, device: 0x1040 + device.type, classCode: device.classCode, subclass: device.subclass, revision: 1,
      subDevice: 0x1100,
    }, { memory: options.memory, msi: options.msi, intx: options.intx })
    this.describe()
    device.attach(this)
  }

  private get features(): bigint {
    return this.options.device.features | Feature.INDIRECT_DESC | Feature.EVENT_IDX | Feature.VERSION_1
  }

  private describe(): void {
    const { pci } = this
    pci.useIntx()
    pci.addMemoryBar(BAR, BAR_SIZE, {
      read: (offset, size) => this.readBar(offset, size),
      write: (offset, size, value) => this.writeBar(offset, size, value),
    }, this.id)
    pci.addMemoryBar(MSIX_BAR, 0x1000, {
      read: (offset) => (offset < MSIX_PBA ? pci.readMsixTable(offset) : pci.readMsixPending(offset - MSIX_PBA)),
      write: (offset, _size, value) => {
        if (offset < MSIX_PBA) pci.writeMsixTable(offset, value)
      },
    }, `${this.id}-msix`)
    pci.addMsix(this.queues.length + 1, MSIX_BAR, 0, MSIX_PBA)
    const le32 = (v: number): number[] => [v & 0xff, (v >> 8) & 0xff, (v >> 16) & 0xff, v >>> 24]
    const capability = (type: number, offset: number, length: number, extra: number[] = []): number[] =>
      [16 + extra.length, type, BAR, 0, 0, 0, ...le32(offset), ...le32(length), ...extra]
    pci.addCapability(9, capability(1, COMMON, 0x38))
    pci.addCapability(9, capability(3, ISR, 4))
    pci.addCapability(9, capability(4, DEVICE_CONFIG, 0x100))
    pci.addCapability(9, capability(2, NOTIFY, NOTIFY_MULTIPLIER * this.queues.length, le32(NOTIFY_MULTIPLIER)))
    this.addConfigAccess(capability(5, 0, 0, [0, 0, 0, 0]))
  }

  /** VIRTIO_PCI_CAP_PCI_CFG: the BAR through configuration space, for firmware. 4.1.4.9. */
  private addConfigAccess(body: number[]): void {
    const at = this.pci.addCapability(9, body, [0, 0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0])
    const window = at + 16
    const target = (): { offset: number; size: AccessSize } | undefined => {
      const bar = this.pci.readConfig(at + 4, 1)
      const offset = this.pci.readConfig(at + 8, 4)
      const size = this.pci.readConfig(at + 12, 1)
      return bar === BAR && (size === 1 || size === 2 || size === 4) && offset % size === 0 ? { offset, size } : undefined
    }
    this.pci.interceptConfig((offset) => {
      const t = offset === window ? target() : undefined
      return t && this.readBar(t.offset, t.size)
    }, (offset, _size, value) => {
      const t = offset === window ? target() : undefined
      if (t) this.writeBar(t.offset, t.size, value)
      return t !== undefined
    })
  }

  // ── VirtioHost ────────────────────────────────────────────────────────────────────────────────────────────────

  queue(index: number): Virtqueue {
    return this.queues[index]
  }

  hasFeature(bit: bigint): boolean {
    return (this.driverFeatures & bit) !== 0n
  }

  notifyUsed(index: number): void {
    if (!this.queues[index].shouldInterrupt()) return
    this.interrupt(Isr.QUEUE, this.queueVectors[index])
  }

  configChanged(): void {
    this.generation = (this.generation + 1) & 0xff
    this.interrupt(Isr.CONFIG, this.configVector)
  }

  broken(reason: string): void {
    if ((this.status & Status.NEEDS_RESET) !== 0) return
    this.status |= Status.NEEDS_RESET
    this.options.log.log('warn', this.id, `the driver broke the protocol: ${reason}; the device waits for a reset`, { reason: 'driverBroke', detail: reason })
    if ((this.status & Status.DRIVER_OK) !== 0) this.configChanged()
  }

  private interrupt(bit: number, vector: number): void {
    if (this.pci.msixEnabled) {
      if (vector !== NO_VECTOR) this.pci.signalMsix(vector)
      return
    }
    this.isr |= bit
    this.pci.setIntx(true)
  }

  // ── register windows ──────────────────────────────────────────────────────────────────────────────────────────

  private readBar(offset: number, size: AccessSize): number {
    if (offset >= NOTIFY) return 0
    if (offset >= DEVICE_CONFIG) return this.options.device.readConfig(offset - DEVICE_CONFIG, size)
    if (offset >= ISR) {
      const value = this.isr
      this.isr = 0
      this.pci.setIntx(false)
      return value
    }
    return this.readCommon(offset)
  }

  private writeBar(offset: number, size: AccessSize, value: number): void {
    if (offset >= NOTIFY) return this.kick(Math.floor((offset - NOTIFY) / NOTIFY_MULTIPLIER))
    if (offset >= DEVICE_CONFIG) return this.options.device.writeConfig(offset - DEVICE_CONFIG, size, value)
    if (offset < ISR) this.writeCommon(offset, value)
  }

  private kick(index: number): void {
    if (index >= this.queues.length) return
    this.guard(() => this.options.device.notify(index))
  }

  /** Runs device code while the driver is live; a queue the guest broke breaks the device, nothing else. */
  guard(run: () => void): void {
    if ((this.status & Status.DRIVER_OK) === 0 || (this.status & Status.NEEDS_RESET) !== 0) return
    try {
      run()
    } catch (error) {
      if (!(error instanceof QueueError)) throw error
      this.broken(error.message)
    }
  }

  private selected(): Virtqueue | undefined {
    return this.queues[this.queueSelect] as Virtqueue | undefined
  }

  /** struct virtio_pci_common_cfg, 4.1.4.3. */
  private readCommon(offset: number): number {
    const queue = this.selected()
    const half = (value: number, high: boolean): number => (high ? Math.floor(value / 2 ** 32) : value >>> 0)
    switch (offset) {
      case 0x00: return this.deviceFeatureSelect
      case 0x04: return this.deviceFeatureSelect < 2 ? Number((this.features >> BigInt(32 * this.deviceFeatureSelect)) & 0xffff_ffffn) : 0
      case 0x08: return this.driverFeatureSelect
      case 0x0c: return this.driverFeatureSelect < 2 ? Number((this.driverFeatures >> BigInt(32 * this.driverFeatureSelect)) & 0xffff_ffffn) : 0
      case 0x10: return this.configVector
      case 0x12: return this.queues.length
      case 0x14: return this.status
      case 0x15: return this.generation
      case 0x16: return this.queueSelect
      case 0x18: return queue?.size ?? 0
      case 0x1a: return queue ? this.queueVectors[this.queueSelect] : NO_VECTOR
      case 0x1c: return queue?.ready ? 1 : 0
      case 0x1e: return this.queueSelect
      case 0x20: case 0x24: return queue ? half(queue.descTable, offset === 0x24) : 0
      case 0x28: case 0x2c: return queue ? half(queue.availRing, offset === 0x2c) : 0
      case 0x30: case 0x34: return queue ? half(queue.usedRing, offset === 0x34) : 0
      default: return 0
    }
  }

  private writeCommon(offset: number, value: number): void {
    switch (offset) {
      case 0x00: this.deviceFeatureSelect = value; break
      case 0x08: this.driverFeatureSelect = value; break
      case 0x0c: this.writeDriverFeatures(value); break
      case 0x10: this.configVector = this.acceptVector(value); break
      case 0x14: this.writeStatus(value & 0xff); break
      case 0x16: this.queueSelect = value & 0xffff; break
      default: this.writeQueue(offset, value)
    }
  }

  private acceptVector(value: number): number {
    return (value & 0xffff) < this.pci.vectorCount ? value & 0xffff : NO_VECTOR
  }

  private writeDriverFeatures(value: number): void {
    if (this.driverFeatureSelect > 1 || (this.status & Status.FEATURES_OK) !== 0) return
    const shift = BigInt(32 * this.driverFeatureSelect)
    this.driverFeatures = (this.driverFeatures & ~(0xffff_ffffn << shift)) | (BigInt(value >>> 0) << shift)
  }

  private writeStatus(value: number): void {
    if (value === 0) return this.resetDevice()
    const fresh = value & ~this.status
    this.status = (value & ~Status.NEEDS_RESET) | (this.status & Status.NEEDS_RESET)
    if ((fresh & Status.FEATURES_OK) !== 0 && ((this.driverFeatures & ~this.features) !== 0n || !this.hasFeature(Feature.VERSION_1))) {
      this.status &= ~Status.FEATURES_OK
    }
    // A driver that skipped the negotiation is not live.
    if ((this.status & Status.FEATURES_OK) === 0) this.status &= ~Status.DRIVER_OK
    if ((fresh & this.status & Status.DRIVER_OK) !== 0) this.guard(() => this.options.device.activate())
  }

  private writeQueue(offset: number, value: number): void {
    const queue = this.selected()
    if (!queue) return
    const merge = (old: number, high: boolean): number =>
      high ? (old % 2 ** 32) + (value >>> 0) * 2 ** 32 : Math.floor(old / 2 ** 32) * 2 ** 32 + (value >>> 0)
    if (offset === 0x1a) this.queueVectors[this.queueSelect] = this.acceptVector(value)
    // Rings must not move under a running queue.
    if (offset === 0x1c && (value & 1) !== 0) this.enableQueue(queue)
    if (queue.ready) return
    switch (offset) {
      case 0x18: if (value > 0 && value <= queue.maxSize && (value & (value - 1)) === 0) queue.size = value; break
      case 0x20: case 0x24: queue.descTable = merge(queue.descTable, offset === 0x24); break
      case 0x28: case 0x2c: queue.availRing = merge(queue.availRing, offset === 0x2c); break
      case 0x30: case 0x34: queue.usedRing = merge(queue.usedRing, offset === 0x34); break
      default: break
    }
  }

  private enableQueue(queue: Virtqueue): void {
    if (queue.ready) return
    if (queue.ringsAreValid()) queue.ready = true
    else this.broken(`queue ${this.queueSelect} has rings outside memory or not aligned`)
  }

  // ── lifecycle ─────────────────────────────────────────────────────────────────────────────────────────────────

  private resetDevice(): void {
    this.options.device.reset()
    for (const queue of this.queues) queue.reset()
    this.queueVectors.fill(NO_VECTOR)
    this.status = this.isr = this.deviceFeatureSelect = this.driverFeatureSelect = this.queueSelect = 0
    this.driverFeatures = 0n
    this.configVector = NO_VECTOR
    this.pci.setIntx(false)
  }

  reset(): void {
    this.resetDevice()
    this.pci.reset()
  }

  save(): DeviceState {
    return {
      status: this.status, isr: this.isr, driverFeatures: this.driverFeatures, deviceFeatureSelect: this.deviceFeatureSelect,
      driverFeatureSelect: this.driverFeatureSelect, queueSelect: this.queueSelect, configVector: this.configVector,
      generation: this.generation, queueVectors: [...this.queueVectors], queues: this.queues.map((q) => q.save()),
      pci: this.pci.save(), device: this.options.device.save(), deviceVersion: this.options.device.stateVersion,
    }
  }

  /** Call when the whole machine is restored: requests that were under way start again. */
  resume(): void {
    this.guard(() => this.options.device.resume?.())
  }

  restore(state: DeviceState): void {
    if (Number(state.deviceVersion) > this.options.device.stateVersion) {
      throw new VmmError('bad-state', `${this.id}: device state version ${String(state.deviceVersion)} is newer than this program knows`)
    }
    const { queues, queueVectors, driverFeatures } = state
    if (!Array.isArray(queues) || queues.length !== this.queues.length) throw new VmmError('bad-state', `${this.id}: saved with another number of queues`)
    if (typeof driverFeatures !== 'bigint') throw new VmmError('bad-state', `${this.id}: driverFeatures must be an integer`)
    this.driverFeatures = driverFeatures
    for (const field of ['status', 'isr', 'deviceFeatureSelect', 'driverFeatureSelect', 'queueSelect', 'configVector', 'generation'] as const) {
      this[field] = Number(state[field])
    }
    queues.forEach((saved, i) => this.queues[i].restore(saved as DeviceState))
    if (!Array.isArray(queueVectors) || queueVectors.length !== this.queueVectors.length) throw new VmmError('bad-state', `${this.id}: queueVectors`)
    queueVectors.forEach((vector, i) => (this.queueVectors[i] = this.acceptVector(Number(vector))))
    this.pci.restore(state.pci as DeviceState)
    this.options.device.restore(state.device as DeviceState)
  }
}
