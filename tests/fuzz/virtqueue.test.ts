/** Random rings, descriptors and register writes against every virtio device: never an exception, never a hang, always recoverable. */
import { describe, expect, it } from 'vitest'
import { VirtioBlk } from '../../src/main/vmm/virtio/blk/device'
import { VirtioConsole } from '../../src/main/vmm/virtio/console/device'
import type { VirtioDevice } from '../../src/main/vmm/virtio/device'
import { DriverStatus, MockDriver } from '../../src/main/vmm/virtio/queue/mock-driver'
import type { TestMemory } from '../../src/main/vmm/virtio/queue/test-memory'
import { VirtioRng } from '../../src/main/vmm/virtio/rng/device'

const SEED = Number(process.env.FUZZ_SEED ?? 1)
const ROUNDS = Number(process.env.FUZZ_ROUNDS ?? 1500)
const DISK = 1 << 16

/** mulberry32: the same run for the same seed. */
function random(seed: number): (below: number) => number {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below)
  }
}

const disk = new Uint8Array(DISK)
const backend = {
  sizeBytes: DISK, readOnly: false, blockSize: 512,
  read: async (offset: number, target: Uint8Array) => {
    if (offset + target.length > DISK) throw new RangeError('read past the disk')
    target.set(disk.subarray(offset, offset + target.length))
  },
  write: async (offset: number, source: Uint8Array) => disk.set(source, offset),
  flush: async () => undefined, discard: async () => undefined,
  writeZeroes: async (offset: number, length: number) => {
    if (offset + length > DISK) throw new RangeError('zeroes past the disk')
    disk.fill(0, offset, offset + length)
  },
}

const failures: string[] = []
/** What types at the console device under test. */
const keyboard = { type: (_bytes: Uint8Array): void => undefined }
const devices: Record<string, (memory: TestMemory) => VirtioDevice> = {
  blk: (memory) => new VirtioBlk({
    id: 'disk0', serial: 's', memory, backend, queues: 2, onCompletion: () => undefined,
    log: { log: (_level, _id, message) => void failures.push(message) },
  }),
  console: (memory) => new VirtioConsole(memory, { write: () => undefined, onInput: (receive) => void (keyboard.type = receive) }),
  rng: (memory) => new VirtioRng(memory, { fill: (target) => void target.fill(1) }),
}

function harm(driver: MockDriver, next: (below: number) => number): void {
  const queue = next(driver.queueCount)
  const rings = driver.rings(queue)
  const interesting = [0, 1, 15, 16, 0x80000, 0x1f_fff0, 0x20_0000, 0xffff_ffff, 2 ** 63, rings.desc, rings.avail, rings.used]
  const pick = (): number => interesting[next(interesting.length)]
  switch (next(6)) {
    case 0: case 1: case 2: {
      const length = [0, 1, 15, 16, 17, 32, 512, 513, 4096, 0xffff_ffff][next(10)]
      driver.writeDescriptor(rings.desc, next(16), next(3) === 0 ? pick() : 0x80000 + next(0x100000), length, next(8), next(18))
      break
    }
    case 3: driver.offer(queue, next(20)); break
    case 4: driver.memory.writeU16(rings.avail + next(40), next(0x10000)); break
    default: {
      // Request headers that make sense to the block device.
      const at = 0x80000 + next(0x100000)
      driver.memory.writeU32(at, [0, 1, 4, 8, 11, 13, 77][next(7)])
      driver.memory.writeU32(at + 8, next(200))
      driver.writeDescriptor(rings.desc, 0, at, 16, 1, 1)
      driver.writeDescriptor(rings.desc, 1, 0x100000, 512 * next(4), 1 | (next(2) << 1), 2)
      driver.writeDescriptor(rings.desc, 2, 0x110000, 1, 2)
      driver.offer(queue, 0)
    }
  }
  if (next(2) === 0) driver.kick(queue)
  if (next(20) === 0) driver.setCommon(next(0x40), ([1, 2, 4] as const)[next(3)], pick() >>> 0)
}

describe.each(Object.keys(devices))('%s', (name) => {
  it(`survives ${ROUNDS} hostile drivers (seed ${SEED})`, async () => {
    const next = random(SEED + name.length)
    const driver = new MockDriver(devices[name])
    let broken = 0
    let answered = 0
    for (let round = 0; round < ROUNDS; round++) {
      if (round % 3 === 0) driver.useMsix()
      driver.start()
      for (let i = 0; i < 30; i++) {
        harm(driver, next)
        if (next(10) === 0) keyboard.type(new Uint8Array(next(3000)))
      }
      await new Promise<void>((resolve) => { setImmediate(resolve) })
      if ((driver.status & DriverStatus.NEEDS_RESET) !== 0) broken++
      const used = Array.from({ length: driver.queueCount }, (_, queue) => driver.memory.readU16(driver.rings(queue).used + 2))
      answered += used.some((index) => index !== 0) ? 1 : 0
      driver.transport.restore(structuredClone(driver.transport.save()))
      driver.messages.length = driver.warnings.length = 0
    }
    driver.start()
    expect(driver.status & DriverStatus.NEEDS_RESET, 'a reset heals').toBe(0)
    // Both outcomes must have been reached, or the fuzzer reaches nothing.
    expect(broken).toBeGreaterThan(ROUNDS / 10)
    expect(answered).toBeGreaterThan(ROUNDS / 50)
    expect(failures.filter((f) => /past the disk|out of range|allocation/i.test(f))).toEqual([])
  })
})
