/**
 * The driver's side of a virtio device in a whole machine: queues of eight entries. All it knows is in guest memory, so that one made
 * on a restored machine goes on where the first one was. Virtio 1.2, sections 2.7 and 4.1.4.
 */
import { Layout } from '../../src/main/vmm/firmware/layout'
import type { Rig } from './rig'

const ENTRIES = 8
const QUEUES_AT = 0x40_8000
const Common = { driverFeatureSelect: 8, driverFeature: 0xc, queueCount: 0x12, status: 0x14, queueSelect: 0x16, queueSize: 0x18, queueEnable: 0x1c, desc: 0x20, avail: 0x28, used: 0x30 } as const
const [DEVICE_CONFIG, NOTIFY] = [0x2000, 0x3000]
const VERSION_1 = 32

interface Part { readonly gpa: number; readonly length: number; readonly writable?: boolean }

export class VirtioDriver {
  private readonly bar: number

  constructor(private readonly rig: Rig, private readonly slot: number) {
    this.bar = Layout.pciWindow + slot * 0x1_0000
  }

  private get mmio(): Rig['inner']['board']['mmio'] { return this.rig.inner.board.mmio }
  private get ram(): Rig['inner']['ram'] { return this.rig.inner.ram }

  private at(queue: number): { desc: number; avail: number; used: number } {
    const desc = QUEUES_AT + this.slot * 0x2000 + queue * 0x400
    return { desc, avail: desc + 0x100, used: desc + 0x200 }
  }

  /** @param features numbers of those wanted besides VIRTIO_F_VERSION_1 */
  start(features: readonly number[] = []): this {
    const { io } = this.rig.inner.board
    io.write(0xcf8, 4, 0x8000_0000 + (this.slot << 11) + 4)
    io.write(0xcfc, 2, 6)
    const set = (offset: number, size: 1 | 2 | 4, value: number): void => this.mmio.write(this.bar + offset, size, value)
    set(Common.status, 1, 3)
    for (const word of [0, 1]) {
      set(Common.driverFeatureSelect, 4, word)
      set(Common.driverFeature, 4, [...features, VERSION_1].filter((bit) => bit >> 5 === word).reduce((sum, bit) => sum + 2 ** (bit & 31), 0))
    }
    set(Common.status, 1, 0xb)
    for (let queue = 0; queue < this.mmio.read(this.bar + Common.queueCount, 2); queue++) {
      set(Common.queueSelect, 2, queue)
      set(Common.queueSize, 2, ENTRIES)
      for (const part of ['desc', 'avail', 'used'] as const) set(Common[part], 4, this.at(queue)[part])
      set(Common.queueEnable, 2, 1)
    }
    set(Common.status, 1, 0xf)
    return this
  }

  /** Makes a chain available and tells the device. @param first its first descriptor */
  offer(queue: number, first: number, parts: readonly Part[]): void {
    const { desc, avail } = this.at(queue)
    parts.forEach(({ gpa, length, writable }, i) => {
      const more = i + 1 < parts.length
      const at = desc + 16 * (first + i)
      for (const [offset, value] of [[0, gpa], [4, 0], [8, length]]) this.ram.writeU32(at + offset, value)
      this.ram.writeU16(at + 12, (more ? 1 : 0) | (writable ? 2 : 0))
      this.ram.writeU16(at + 14, more ? first + i + 1 : 0)
    })
    const index = this.ram.readU16(avail + 2)
    this.ram.writeU16(avail + 4 + 2 * (index % ENTRIES), first)
    this.ram.writeU16(avail + 2, index + 1)
    this.mmio.write(this.bar + NOTIFY + 4 * queue, 2, queue)
  }

  /** A request of one sector to a virtio-blk device, whose header and status lie beside the data. */
  block(queue: number, first: number, { type, sector, data }: { type: number; sector: number; data: number }): void {
    const header = data + 0x800
    for (const [offset, value] of [[0, type], [4, 0], [8, sector], [12, 0]]) this.ram.writeU32(header + offset, value)
    if (type === 1) this.ram.write(data, Uint8Array.from({ length: 512 }, (_, i) => (i * 7 + sector) & 0xff))
    this.offer(queue, first, [{ gpa: header, length: 16 }, { gpa: data, length: 512, writable: type === 0 }, { gpa: header + 16, length: 1, writable: true }])
  }

  /** What the device has returned so far: head and length of each. */
  used(queue: number): number[][] {
    const { used } = this.at(queue)
    return Array.from({ length: this.ram.readU16(used + 2) }, (_, i) => [this.ram.readU32(used + 4 + 8 * i), this.ram.readU32(used + 8 + 8 * i)])
  }

  config(offset: number): number { return this.mmio.read(this.bar + DEVICE_CONFIG + offset, 1) }
  setConfig(offset: number, value: number): void { this.mmio.write(this.bar + DEVICE_CONFIG + offset, 1, value) }
}
