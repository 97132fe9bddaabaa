import { describe, expect, it } from 'vitest'
import { Feature } from '../../src/main/vmm/virtio/device'
import { DriverStatus, MockDriver } from '../../src/main/vmm/virtio/queue/mock-driver'
import { VirtioRng } from '../../src/main/vmm/virtio/rng/device'

const rng = (): MockDriver => new MockDriver((memory) => new VirtioRng(memory, { fill: (target) => void target.fill(0x5a) }))
const config = (driver: MockDriver, offset: number, size: 1 | 2 | 4): number => driver.transport.pci.readConfig(offset, size)

describe('PCI function', () => {
  it('identifies a modern virtio device', () => {
    const driver = rng()
    expect([config(driver, 0, 2), config(driver, 2, 2), config(driver, 8, 1)]).toEqual([0x1af4, 0x1044, 1])
  })

  it('answers the BAR sizing protocol and moves its window', () => {
    const driver = rng()
    const { pci } = driver.transport
    pci.writeConfig(4, 2, 0)
    expect(driver.mmio.read(0xc000_0014, 1)).toBe(0xff)
    pci.writeConfig(0x20, 4, 0xffff_ffff)
    expect(config(driver, 0x20, 4)).toBe(0xffff_c000)
    pci.writeConfig(0x20, 4, 0xd000_0000)
    pci.writeConfig(4, 2, 2)
    expect(driver.mmio.read(0xd000_0012, 2)).toBe(1)
    expect(driver.mmio.read(0xc000_0012, 2)).toBe(0xffff)
  })

  it('lists MSI-X and the five virtio capabilities, each with its structure', () => {
    const driver = rng()
    const found: number[][] = []
    for (let at = config(driver, 0x34, 1); at !== 0; at = config(driver, at + 1, 1)) found.push([config(driver, at, 1), config(driver, at + 3, 1)])
    expect(found.map(([id]) => id)).toEqual([0x11, 9, 9, 9, 9, 9])
    expect(found.slice(1).map(([, type]) => type).sort()).toEqual([1, 2, 3, 4, 5])
  })

  it('reaches the registers through the configuration access capability', () => {
    const driver = rng()
    const { pci } = driver.transport
    let at = config(driver, 0x34, 1)
    while (config(driver, at, 1) !== 9 || config(driver, at + 3, 1) !== 5) at = config(driver, at + 1, 1)
    pci.writeConfig(at + 4, 1, 4)
    pci.writeConfig(at + 8, 4, 0x14)
    pci.writeConfig(at + 12, 4, 1)
    pci.writeConfig(at + 16, 1, 3)
    expect(driver.status).toBe(3)
    expect(config(driver, at + 16, 1)).toBe(3)
  })
})

describe('negotiation', () => {
  it('refuses unknown features and a driver without VERSION_1', () => {
    const driver = rng()
    const offered = driver.deviceFeatures()
    expect(offered & Feature.VERSION_1).not.toBe(0n)
    expect(driver.negotiate(offered | (1n << 50n))).toBe(false)
    driver.status = 0
    expect(driver.negotiate(offered & ~Feature.VERSION_1)).toBe(false)
    driver.status = 0
    expect(driver.negotiate(offered)).toBe(true)
  })

  it('does not go live without FEATURES_OK', () => {
    const driver = rng()
    driver.status = DriverStatus.ACKNOWLEDGE | DriverStatus.DRIVER | DriverStatus.DRIVER_OK
    expect(driver.status & DriverStatus.DRIVER_OK).toBe(0)
  })

  it('a reset forgets everything', () => {
    const driver = rng().start()
    driver.status = 0
    driver.setCommon(0x16, 2, 0)
    expect([driver.status, driver.common(0x1c, 2), driver.common(0x20, 4), driver.common(0x1a, 2)]).toEqual([0, 0, 0, 0xffff])
  })
})

describe('interrupts', () => {
  it('uses INTx until the driver reads ISR', () => {
    const driver = rng().start()
    driver.add(0, [{ length: 8 }])
    driver.kick(0)
    expect(driver.intx).toBe(true)
    expect(driver.isr).toBe(1)
    expect([driver.intx, driver.isr]).toEqual([false, 0])
  })

  it('sends the vector of the queue with MSI-X, and holds it while masked', () => {
    const driver = rng().useMsix().start()
    driver.add(0, [{ length: 8 }])
    driver.kick(0)
    expect(driver.messages).toEqual([{ address: 0xfee0_0000, data: 0x41 }])
    driver.mmio.write(0xc001_0000 + 16 + 12, 4, 1)
    driver.memory.writeU16(driver.rings(0).avail + 4 + 2 * 16, 1)
    driver.add(0, [{ length: 8 }])
    driver.kick(0)
    expect(driver.messages).toHaveLength(1)
    expect(driver.mmio.read(0xc001_0800, 4)).toBe(2)
    driver.mmio.write(0xc001_0000 + 16 + 12, 4, 0)
    expect(driver.messages).toHaveLength(2)
    expect(driver.mmio.read(0xc001_0800, 4)).toBe(0)
    expect(driver.intx).toBe(false)
  })

  it('EVENT_IDX: silent until the used index the driver asked for', () => {
    const driver = rng().useMsix().start()
    driver.memory.writeU16(driver.rings(0).avail + 4 + 2 * 16, 2)
    for (let i = 0; i < 3; i++) {
      driver.add(0, [{ length: 8 }])
      driver.kick(0)
      expect(driver.messages).toHaveLength(i < 2 ? 0 : 1)
    }
    expect(driver.memory.readU16(driver.rings(0).used + 4 + 8 * 16)).toBe(3)
  })

  it('without EVENT_IDX: VIRTQ_AVAIL_F_NO_INTERRUPT', () => {
    const driver = rng().useMsix().start(Feature.EVENT_IDX)
    driver.memory.writeU16(driver.rings(0).avail, 1)
    driver.add(0, [{ length: 8 }])
    driver.kick(0)
    expect(driver.messages).toHaveLength(0)
    expect(driver.takeUsed(0)).toHaveLength(1)
  })
})

describe('a hostile queue', () => {
  const breaks: [string, RegExp, (driver: MockDriver) => void][] = [
    ['head outside the table', /descriptor 16 of a table of 16/, (d) => d.offer(0, 16)],
    ['a cycle', /does not end/, (d) => { d.writeDescriptor(d.rings(0).desc, 0, 0x80000, 4, 3, 0); d.offer(0, 0) }],
    ['next outside the table', /descriptor 99/, (d) => { d.writeDescriptor(d.rings(0).desc, 0, 0x80000, 4, 3, 99); d.offer(0, 0) }],
    ['a buffer outside memory', /not in memory/, (d) => { d.writeDescriptor(d.rings(0).desc, 0, 0x1f_fff0, 0x20, 2); d.offer(0, 0) }],
    ['a buffer that wraps', /not in memory/, (d) => { d.writeDescriptor(d.rings(0).desc, 0, 2 ** 64 - 4096, 0xffff_ffff, 2); d.offer(0, 0) }],
    ['a readable part after a writable one', /readable buffer after/, (d) => {
      d.writeDescriptor(d.rings(0).desc, 0, 0x80000, 4, 3, 1); d.writeDescriptor(d.rings(0).desc, 1, 0x80000, 4, 0); d.offer(0, 0)
    }],
    ['an indirect table that points to itself', /nested/, (d) => {
      d.writeDescriptor(d.rings(0).desc, 0, d.rings(0).desc, 32, 4); d.offer(0, 0)
    }],
    ['an indirect table of odd length', /indirect table of 17/, (d) => { d.writeDescriptor(d.rings(0).desc, 0, 0x80000, 17, 4); d.offer(0, 0) }],
    ['an indirect table outside memory', /not in memory/, (d) => { d.writeDescriptor(d.rings(0).desc, 0, 0xf000_0000, 16, 4); d.offer(0, 0) }],
    ['indirect with next', /in a chain/, (d) => { d.writeDescriptor(d.rings(0).desc, 0, 0x80000, 16, 5, 1); d.offer(0, 0) }],
    ['an avail index too far ahead', /ahead/, (d) => d.memory.writeU16(d.rings(0).avail + 2, 17)],
  ]

  it.each(breaks)('%s: the device asks for a reset, once, and works again after it', (_name, reason, harm) => {
    const driver = rng().useMsix().start()
    harm(driver)
    driver.kick(0)
    driver.kick(0)
    expect(driver.status & DriverStatus.NEEDS_RESET).not.toBe(0)
    expect(driver.warnings).toHaveLength(1)
    expect(driver.warnings[0]).toMatch(reason)
    expect(driver.takeUsed(0)).toEqual([])
    driver.start()
    const { writable } = driver.add(0, [{ length: 8 }])
    driver.kick(0)
    expect(driver.takeUsed(0)).toEqual([{ head: 0, written: 8 }])
    expect(driver.bytes(writable[0], 8)).toEqual(new Uint8Array(8).fill(0x5a))
  })

  it('rings outside memory break the device when the queue is enabled', () => {
    const driver = rng()
    driver.negotiate(driver.deviceFeatures())
    driver.setCommon(0x24, 4, 7)
    driver.setCommon(0x1c, 2, 1)
    expect(driver.common(0x1c, 2)).toBe(0)
    expect(driver.status & DriverStatus.NEEDS_RESET).not.toBe(0)
  })
})

describe('save and restore', () => {
  it('another transport goes on where the first stopped', () => {
    const first = rng().useMsix().start()
    first.add(0, [{ length: 8 }])
    first.kick(0)
    const state = structuredClone(first.transport.save())
    const second = rng()
    second.memory.bytes.set(first.memory.bytes)
    second.transport.restore(state)
    expect(second.transport.save()).toEqual(state)
    const rings = first.rings(0)
    second.memory.writeU16(rings.avail + 4 + 2, 0)
    second.memory.writeU16(rings.avail + 2, 2)
    second.memory.writeU16(rings.avail + 4 + 2 * 16, 1)
    second.kick(0)
    expect(second.memory.readU16(rings.used + 2)).toBe(2)
    expect(second.messages).toEqual([{ address: 0xfee0_0000, data: 0x41 }])
  })

  it('refuses a state it cannot use, naming the field', () => {
    const { transport } = rng()
    const state = transport.save()
    expect(() => transport.restore({ ...state, queues: [] })).toThrow(/number of queues/)
    expect(() => transport.restore({ ...state, queues: [{ size: 3 }] })).toThrow(/size/)
    expect(() => transport.restore({ ...state, deviceVersion: 99 })).toThrow(/newer/)
  })
})
