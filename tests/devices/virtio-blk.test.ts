import { describe, expect, it } from 'vitest'
import { VmmError } from '../../src/main/vmm/errors'
import type { BlockBackend } from '../../src/main/vmm/ports'
import { F } from '../../src/main/vmm/virtio/blk/config'
import { VirtioBlk } from '../../src/main/vmm/virtio/blk/device'
import { Feature } from '../../src/main/vmm/virtio/device'
import { DriverStatus, MockDriver, type Segment } from '../../src/main/vmm/virtio/queue/mock-driver'

const IN = 0
const OUT = 1
const DISK = 1 << 20

/** A disk whose operations finish when the test says so, in the order it says. */
class HeldDisk implements BlockBackend {
  readonly bytes = new Uint8Array(DISK)
  readonly blockSize = 512
  readonly clusterSize = 65536
  readonly sizeBytes = DISK
  readonly calls: string[] = []
  held: (() => void)[] | undefined
  failing = false
  isFull = false

  constructor(readonly readOnly = false, readonly writeThrough = false) {}

  private async step(name: string, act: () => void): Promise<void> {
    this.calls.push(name)
    if (this.held) await new Promise<void>((resolve) => this.held?.push(resolve))
    if (this.failing) throw new Error('medium error')
    if (this.isFull && !name.startsWith('read')) throw new VmmError('disk-full', 'disk.img: no room', { path: 'disk.img' })
    act()
  }

  read(offset: number, target: Uint8Array): Promise<void> {
    return this.step(`read ${offset} ${target.length}`, () => target.set(this.bytes.subarray(offset, offset + target.length)))
  }
  write(offset: number, source: Uint8Array): Promise<void> {
    return this.step(`write ${offset} ${source.length}`, () => this.bytes.set(source, offset))
  }
  flush(): Promise<void> { return this.step('flush', () => undefined) }
  discard(offset: number, length: number): Promise<void> { return this.step(`discard ${offset} ${length}`, () => undefined) }
  writeZeroes(offset: number, length: number, keepSpace = false): Promise<void> {
    return this.step(`zero ${offset} ${length}${keepSpace ? ' keep' : ''}`, () => void this.bytes.fill(0, offset, offset + length))
  }
}

interface Rig { readonly disk: HeldDisk; readonly driver: MockDriver; readonly device: VirtioBlk; readonly stalls: string[] }

/** @param waits the device waits where its disk has no room */
function rig(disk = new HeldDisk(), queues = 1, waits = false): Rig {
  let device!: VirtioBlk
  const stalls: string[] = []
  const driver = new MockDriver((memory) => (device = new VirtioBlk({
    id: 'disk0', serial: 'serial-0', memory, backend: disk, queues, onCompletion: () => undefined, log: { log: () => undefined },
    ...(waits ? { onStalled: ({ message }) => void stalls.push(message) } : {}),
  })))
  return { disk, driver, device, stalls }
}

function header(type: number, sector = 0): Segment {
  const view = new DataView(new ArrayBuffer(16))
  view.setUint32(0, type, true)
  view.setUint32(8, sector >>> 0, true)
  view.setUint32(12, Math.floor(sector / 2 ** 32), true)
  return { bytes: new Uint8Array(view.buffer) }
}

type Range = readonly [sector: number, count: number, flags?: number]

/** struct virtio_blk_discard_write_zeroes, as many as are given. */
function ranges(...list: readonly Range[]): Segment {
  const view = new DataView(new ArrayBuffer(16 * list.length))
  list.forEach(([sector, count, flags = 0], i) => {
    view.setUint32(16 * i, sector, true)
    view.setUint32(16 * i + 8, count, true)
    view.setUint32(16 * i + 12, flags, true)
  })
  return { bytes: new Uint8Array(view.buffer) }
}

const range = (...one: Range): Segment => ranges(one)

/** One request from kick to answer. */
async function request({ driver, device }: Rig, parts: Segment[], indirect = false): Promise<{ status: number; written: number; data: number[] }> {
  const { writable } = driver.add(0, [...parts, { length: 1 }], indirect)
  driver.kick(0)
  await device.drain()
  const [used] = driver.takeUsed(0)
  return { status: driver.memory.readU8(writable[writable.length - 1]), written: used.written, data: writable.slice(0, -1) }
}

describe('virtio-blk', () => {
  it('tells its geometry and features', () => {
    const { driver } = rig()
    driver.start()
    expect([driver.config(0, 4), driver.config(4, 4), driver.config(12, 4), driver.config(20, 4), driver.config(32, 1)]).toEqual([DISK / 512, 0, 254, 512, 1])
    expect(rig(new HeldDisk(true)).driver.deviceFeatures() & F.RO).not.toBe(0n)
  })

  it('has the configuration space of 5.2.4', () => {
    const driver = rig(new HeldDisk(), 8).driver.start()
    const topology = { physicalBlockExp: driver.config(24, 1), alignment: driver.config(25, 1), minimum: driver.config(26, 2), optimum: driver.config(28, 4) }
    expect(topology).toEqual({ physicalBlockExp: 3, alignment: 0, minimum: 8, optimum: 128 })
    const [sizeMax, segMax] = [driver.config(8, 4), driver.config(12, 4)]
    expect(sizeMax * segMax).toBeLessThanOrEqual(1 << 26)
    const discard = { sectors: driver.config(36, 4), ranges: driver.config(40, 4), alignment: driver.config(44, 4) }
    expect(discard).toEqual({ sectors: 1 << 22, ranges: 64, alignment: 128 })
    expect([driver.config(48, 4), driver.config(52, 4), driver.config(56, 1)]).toEqual([1 << 22, 64, 1])
    expect(driver.config(200, 4)).toBe(0)
    const offered = rig().driver.deviceFeatures()
    for (const bit of [1, 2, 6, 9, 10, 11, 13, 14]) expect((offered >> BigInt(bit)) & 1n, `feature ${bit}`).toBe(1n)
    expect(rig(new HeldDisk(true)).driver.deviceFeatures() & (F.FLUSH | F.DISCARD | F.WRITE_ZEROES)).toBe(0n)
  })

  it('has one to eight queues, and tells of several', () => {
    expect(rig().driver.deviceFeatures() & F.MQ).toBe(0n)
    const eight = rig(new HeldDisk(), 8).driver
    expect(eight.deviceFeatures() & F.MQ).not.toBe(0n)
    eight.start()
    expect([eight.queueCount, eight.config(34, 2), eight.transport.pci.vectorCount]).toEqual([8, 8, 9])
    for (const queues of [0, 9, 1.5]) expect(() => rig(new HeldDisk(), queues)).toThrow(/1 to 8 queues/)
  })

  it('answers each request on the queue it came by, with that queue’s vector', async () => {
    const { disk, driver, device } = rig(new HeldDisk(), 8)
    driver.start(Feature.EVENT_IDX).useMsix()
    disk.held = []
    const order = [5, 0, 7, 2, 5]
    const heads = order.map((queue, i) => driver.add(queue, [header(OUT, i), { bytes: new Uint8Array(512).fill(i + 1) }, { length: 1 }]).head)
    for (const queue of new Set(order)) driver.kick(queue)
    await settle()
    expect(disk.calls, 'queues do not wait for each other').toHaveLength(5)
    for (const release of disk.held.splice(0).reverse()) release()
    await device.drain()
    const answered = [...new Set(order)].map((queue) => [queue, driver.takeUsed(queue).map(({ head }) => head)])
    // Within a queue the last one was done first.
    expect(answered).toEqual([[5, [heads[4], heads[0]]], [0, [heads[1]]], [7, [heads[2]]], [2, [heads[3]]]])
    expect([1, 3, 4, 6].flatMap((queue) => driver.takeUsed(queue))).toEqual([])
    const vectors = driver.messages.map(({ data }) => data - 0x41)
    expect([...vectors].sort()).toEqual([0, 2, 5, 5, 7])
    expect(disk.bytes[4 * 512]).toBe(5)
  })

  it('a driver may use fewer queues than there are', async () => {
    const r = rig(new HeldDisk(), 4)
    r.driver.start(F.MQ)
    expect((await request(r, [header(IN), { length: 512 }])).status).toBe(0)
  })

  it.each([false, true])('writes and reads back over several segments (indirect: %s)', async (indirect) => {
    const r = rig()
    r.driver.start()
    const data = Uint8Array.from({ length: 1536 }, (_, i) => i * 7)
    const out = await request(r, [header(OUT, 3), { bytes: data.subarray(0, 500) }, { bytes: data.subarray(500) }], indirect)
    expect(out).toMatchObject({ status: 0, written: 1 })
    expect(r.disk.bytes.slice(1536, 3072)).toEqual(data)
    const back = await request(r, [header(IN, 3), { length: 1000 }, { length: 536 }], indirect)
    expect(back).toMatchObject({ status: 0, written: 1537 })
    expect([...r.driver.bytes(back.data[0], 1000), ...r.driver.bytes(back.data[1], 536)]).toEqual([...data])
  })

  it('answers GET_ID, DISCARD, WRITE_ZEROES and FLUSH', async () => {
    const r = rig()
    r.driver.start()
    const id = await request(r, [header(8), { length: 20 }])
    expect(String.fromCharCode(...r.driver.bytes(id.data[0], 8))).toBe('serial-0')
    r.disk.bytes.fill(9)
    expect((await request(r, [header(13), range(2, 4, 1)])).status).toBe(0)
    expect(r.disk.bytes.subarray(1023, 1026)).toEqual(Uint8Array.of(9, 0, 0))
    expect((await request(r, [header(11), range(8, 8)])).status).toBe(0)
    expect((await request(r, [header(4)])).status).toBe(0)
    expect(r.disk.calls).toEqual(['zero 1024 2048', 'discard 4096 4096', 'flush'])
  })

  it('takes lists of ranges, and keeps the space where the driver does not let go of it', async () => {
    const r = rig()
    r.driver.start()
    expect((await request(r, [header(13), ranges([0, 1, 1], [8, 2])])).status).toBe(0)
    expect((await request(r, [header(11), ranges([1, 1], [2, 3], [9, 1])])).status).toBe(0)
    expect(r.disk.calls.splice(0)).toEqual(['zero 0 512', 'zero 4096 1024 keep', 'discard 512 512', 'discard 1024 1536', 'discard 4608 512'])
    expect((await request(r, [header(11), ranges([0, 1], [DISK / 512, 1])])).status, 'one wrong range').toBe(1)
    expect((await request(r, [header(11), ranges(...new Array<Range>(65).fill([0, 1]))])).status, 'too many').toBe(1)
    expect((await request(r, [header(11), { bytes: new Uint8Array(24) }])).status, 'half a range').toBe(1)
    expect(r.disk.calls).toEqual([])
  })

  it.each<[string, Segment[], number]>([
    ['read past the end', [header(IN, DISK / 512), { length: 512 }], 1],
    ['sector near 2^64', [header(IN, 2 ** 63), { length: 512 }], 1],
    ['part of a sector', [header(IN), { length: 100 }], 1],
    ['discard past the end', [header(11), range(DISK / 512 - 1, 2)], 1],
    ['discard with a reserved flag', [header(11), range(0, 1, 1)], 2],
    ['no range', [header(13)], 1],
    ['an unknown request', [header(99)], 2],
  ])('%s is refused by the status byte, without touching the disk', async (_name, parts, status) => {
    const r = rig()
    r.driver.start()
    expect((await request(r, parts)).status).toBe(status)
    expect(r.disk.calls).toEqual([])
    expect(r.driver.status & DriverStatus.NEEDS_RESET).toBe(0)
  })

  it('does not allocate what a chain of repeated buffers promises', async () => {
    const r = rig()
    const { driver, device } = r
    driver.start(0n, 256)
    const table = driver.allocate(16 * 130)
    const head = driver.allocate(16)
    driver.writeDescriptor(table, 0, head, 16, 1, 1)
    for (let i = 1; i < 129; i++) driver.writeDescriptor(table, i, 0, 2 << 20, 3, i + 1)
    driver.writeDescriptor(table, 129, head, 1, 2)
    driver.writeDescriptor(driver.rings(0).desc, 0, table, 16 * 130, 4)
    driver.offer(0, 0)
    driver.kick(0)
    await device.drain()
    expect([driver.memory.readU8(head), r.disk.calls]).toEqual([1, []])
  })

  it('a request without header or status byte breaks the device', () => {
    for (const parts of [[{ bytes: new Uint8Array(8) }, { length: 1 }], [header(IN)]]) {
      const { driver } = rig()
      driver.start()
      driver.add(0, parts)
      driver.kick(0)
      expect(driver.status & DriverStatus.NEEDS_RESET).not.toBe(0)
    }
  })

  it('host errors and writes to a read-only disk are I/O errors', async () => {
    const failing = rig()
    failing.driver.start()
    failing.disk.failing = true
    expect((await request(failing, [header(IN), { length: 512 }])).status).toBe(1)
    const readOnly = rig(new HeldDisk(true))
    readOnly.driver.start()
    expect((await request(readOnly, [header(OUT), { bytes: new Uint8Array(512) }])).status).toBe(1)
    expect(readOnly.disk.calls).toEqual([])
  })

  it('write-through, chosen or for want of FLUSH, flushes each write before its answer', async () => {
    const r = rig()
    const write = [header(OUT), { bytes: new Uint8Array(512) }]
    r.driver.start()
    await request(r, write)
    r.driver.setConfig(32, 1, 0)
    expect(r.driver.config(32, 1)).toBe(0)
    await request(r, write)
    r.driver.start(F.CONFIG_WCE | F.FLUSH)
    await request(r, write)
    expect(r.disk.calls).toEqual(['write 0 512', 'write 0 512', 'flush', 'write 0 512', 'flush'])
  })

  it('a disk that is to write through offers no cache, and flushes whatever the driver asked for', async () => {
    const r = rig(new HeldDisk(false, true))
    expect(r.driver.deviceFeatures() & (F.FLUSH | F.CONFIG_WCE)).toBe(0n)
    r.driver.start()
    await request(r, [header(OUT), { bytes: new Uint8Array(512) }])
    await request(r, [header(13), range(4, 1)])
    expect(r.disk.calls).toEqual(['write 0 512', 'flush', 'zero 2048 512 keep', 'flush'])
  })

  it('leaves what finds no room unanswered, and does it again in order', async () => {
    const r = rig(new HeldDisk(), 2, true)
    const { disk, driver, device, stalls } = r
    driver.start()
    disk.isFull = true
    driver.add(0, [header(OUT, 1), { bytes: new Uint8Array(512).fill(1) }, { length: 1 }])
    driver.add(1, [header(OUT, 1), { bytes: new Uint8Array(512).fill(2) }, { length: 1 }])
    const flush = driver.add(0, [header(4), { length: 1 }])
    const read = driver.add(0, [header(IN, 1), { length: 512 }, { length: 1 }])
    driver.kick(0)
    driver.kick(1)
    await device.drain()
    expect(stalls).toHaveLength(3)
    expect(driver.takeUsed(0).map(({ head }) => head), 'reads go on').toEqual([read.head])
    device.retry()
    await device.drain()
    expect([stalls.length, driver.takeUsed(0).length, driver.takeUsed(1).length], 'still full').toEqual([6, 0, 0])
    disk.isFull = false
    device.retry()
    await device.drain()
    const answered = driver.takeUsed(0)
    expect([answered.length, answered.at(-1)?.head, driver.takeUsed(1).length]).toEqual([2, flush.head, 1])
    expect(driver.memory.readU8(flush.writable[0])).toBe(0)
    expect(disk.bytes[512]).toBe(2)
    device.retry()
    await device.drain()
    expect([driver.takeUsed(0), driver.takeUsed(1)], 'nothing is done twice').toEqual([[], []])
  })

  it('forgets what finds no room at a reset, and keeps it in a saved state', async () => {
    const first = rig(new HeldDisk(), 1, true)
    first.driver.start()
    first.disk.isFull = true
    first.driver.add(0, [header(OUT, 5), { bytes: new Uint8Array(512).fill(0x33) }, { length: 1 }])
    first.driver.kick(0)
    await first.device.drain()
    const state = structuredClone(first.driver.transport.save())
    const second = rig(new HeldDisk(), 1, true)
    second.driver.memory.bytes.set(first.driver.memory.bytes)
    second.driver.transport.restore(state)
    second.driver.transport.resume()
    await second.device.drain()
    expect(second.disk.bytes[2560]).toBe(0x33)
    first.driver.status = 0
    first.disk.isFull = false
    first.device.retry()
    await first.device.drain()
    expect(first.disk.bytes[2560]).toBe(0)
  })

  it('without anybody to wait for, no room is an I/O error', async () => {
    const r = rig()
    r.driver.start()
    r.disk.isFull = true
    expect((await request(r, [header(OUT), { bytes: new Uint8Array(512) }])).status).toBe(1)
  })

  it('has several requests under way and answers in the order they finish', async () => {
    const { disk, driver, device } = rig()
    driver.start(Feature.EVENT_IDX)
    disk.held = []
    const heads = [0, 1, 2].map((i) => driver.add(0, [header(IN, i), { length: 512 }, { length: 1 }]).head)
    driver.kick(0)
    expect(disk.calls, 'started within the kick').toHaveLength(3)
    const [first, second, third] = disk.held
    third(); await settle()
    first(); await settle()
    second(); await device.drain()
    expect(driver.takeUsed(0).map((u) => u.head)).toEqual([heads[2], heads[0], heads[1]])
  })

  it('drops answers from before a reset, and old writes land before new ones', async () => {
    const { disk, driver, device } = rig()
    driver.start()
    disk.held = []
    driver.add(0, [header(OUT), { bytes: new Uint8Array(512).fill(1) }, { length: 1 }])
    driver.add(0, [header(IN, 8), { length: 512 }, { length: 1 }])
    driver.kick(0)
    await settle()
    const late = disk.held
    driver.status = 0
    driver.memory.bytes.fill(0xee)
    disk.held = undefined
    driver.start()
    driver.add(0, [header(OUT), { bytes: new Uint8Array(512).fill(2) }, { length: 1 }])
    driver.kick(0)
    await settle()
    expect(disk.calls, 'the new write waits for the old ones').toHaveLength(2)
    const before = driver.memory.bytes.slice()
    late.forEach((release) => release())
    await device.drain()
    expect(driver.takeUsed(0)).toHaveLength(1)
    expect(disk.bytes[0]).toBe(2)
    const changed = before.findIndex((byte, i) => byte !== driver.memory.bytes[i] && i >= 0x100000)
    expect(changed).toBe(-1)
  })

  it('a state saved with requests under way performs them after the restore', async () => {
    const first = rig()
    first.driver.start()
    first.disk.held = []
    const data = new Uint8Array(512).fill(0x77)
    first.driver.add(0, [header(OUT, 5), { bytes: data }, { length: 1 }])
    first.driver.kick(0)
    await settle()
    const state = structuredClone(first.driver.transport.save())
    const second = rig()
    second.driver.memory.bytes.set(first.driver.memory.bytes)
    second.driver.transport.restore(state)
    second.driver.transport.resume()
    await second.device.drain()
    expect(second.disk.bytes.slice(2560, 3072)).toEqual(data)
    expect(second.driver.memory.readU16(first.driver.rings(0).used + 2)).toBe(1)
  })
})

async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve()
}
