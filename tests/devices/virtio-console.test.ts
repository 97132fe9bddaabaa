import { describe, expect, it } from 'vitest'
import { VirtioConsole } from '../../src/main/vmm/virtio/console/device'
import { DriverStatus, MockDriver } from '../../src/main/vmm/virtio/queue/mock-driver'
import { VirtioRng } from '../../src/main/vmm/virtio/rng/device'

const text = (bytes: Iterable<number>): string => String.fromCharCode(...bytes)
const bytes = (value: string): Uint8Array => Uint8Array.from([...value].map((c) => c.charCodeAt(0)))

function rig(): { driver: MockDriver; device: VirtioConsole; type: (value: Uint8Array) => void; said: () => string } {
  let type: (value: Uint8Array) => void = () => undefined
  let device!: VirtioConsole
  const heard: Uint8Array[] = []
  const driver = new MockDriver((memory) => (device = new VirtioConsole(memory, {
    write: (b) => void heard.push(b), onInput: (receive) => void (type = receive),
  })))
  return { driver, device, type: (value) => type(value), said: () => heard.map(text).join('') }
}

describe('virtio-console', () => {
  it('hands on what the guest says, whole and in order', () => {
    const { driver, said } = rig()
    driver.start()
    driver.add(1, [{ bytes: bytes('hello ') }, { bytes: bytes('world') }])
    driver.add(1, [{ bytes: bytes('!') }])
    driver.kick(1)
    expect(said()).toBe('hello world!')
    expect(driver.takeUsed(1)).toHaveLength(2)
  })

  it('spreads input over the buffers offered and keeps the rest', () => {
    const { driver, type } = rig()
    type(bytes('early '))
    driver.start()
    const parts = [driver.add(0, [{ length: 4 }]), driver.add(0, [{ length: 4 }])]
    driver.kick(0)
    expect(driver.takeUsed(0).map((u) => u.written)).toEqual([4, 2])
    expect(text(parts.flatMap(({ writable }) => [...driver.bytes(writable[0], 4)])).slice(0, 6)).toBe('early ')
    type(bytes('later'))
    const { writable } = driver.add(0, [{ length: 64 }])
    driver.kick(0)
    expect(driver.takeUsed(0)).toEqual([expect.objectContaining({ written: 5 })])
    expect(text(driver.bytes(writable[0], 5))).toBe('later')
  })

  it('input onto a broken queue breaks the device, not the host', () => {
    const { driver, type } = rig()
    driver.start()
    driver.offer(0, 99)
    expect(() => type(bytes('x'))).not.toThrow()
    expect(driver.status & DriverStatus.NEEDS_RESET).not.toBe(0)
    type(bytes('y'))
    expect(driver.warnings).toHaveLength(1)
  })

  it('holds at most 1 MiB of input for a guest that does not read', () => {
    const { driver, device, type } = rig()
    driver.start()
    for (let i = 0; i < 40; i++) type(new Uint8Array(1 << 16))
    const waiting = device.save().waiting as Uint8Array[]
    expect(waiting.reduce((sum, b) => sum + b.length, 0)).toBe(1 << 20)
  })

  it('tells a new size by a configuration interrupt', () => {
    const { driver, device } = rig()
    driver.start()
    const generation = driver.common(0x15, 1)
    device.resize(132, 43)
    expect([driver.config(0, 2), driver.config(2, 2), driver.isr, driver.common(0x15, 1)]).toEqual([132, 43, 2, generation + 1])
  })

  it('saves input that waits', () => {
    const { device, type } = rig()
    type(bytes('abc'))
    const other = rig()
    other.device.restore(structuredClone(device.save()))
    other.driver.start()
    const { writable } = other.driver.add(0, [{ length: 8 }])
    other.driver.kick(0)
    expect(text(other.driver.bytes(writable[0], 3))).toBe('abc')
    expect(() => other.device.restore({ waiting: [1] })).toThrow(/waiting/)
  })
})

describe('virtio-rng', () => {
  it('fills every writable buffer, at most 4096 bytes a request', () => {
    const driver = new MockDriver((memory) => new VirtioRng(memory, { fill: (target) => void target.fill(0xa5) })).start()
    const { writable } = driver.add(0, [{ length: 10 }, { length: 8000 }])
    driver.kick(0)
    expect(driver.takeUsed(0)).toEqual([{ head: 0, written: 4096 }])
    expect(driver.bytes(writable[0], 10)).toEqual(new Uint8Array(10).fill(0xa5))
    expect([driver.memory.readU8(writable[1] + 4085), driver.memory.readU8(writable[1] + 4086)]).toEqual([0xa5, 0])
  })
})
