/** Random register traffic at every platform device: nothing throws, memory stays bounded, state survives a round trip. */
import { describe, expect, it } from 'vitest'
import { Bench, HPET, IOAPIC, LAPIC } from '../devices/platform-bench'
import type { AccessSize } from '../../src/main/vmm/bus/types'

type Range = readonly [base: number, length: number]
const PORTS: readonly Range[] = [[0x20, 2], [0xa0, 2], [0x4d0, 2], [0x40, 4], [0x61, 1], [0x70, 2], [0x3f8, 8], [0x60, 1], [0x64, 1], [0x600, 0x20], [0x92, 1]]
const WINDOWS: readonly Range[] = [[IOAPIC, 0x50], [HPET, 0x170], [LAPIC, 0x1000]]

/** Mulberry32: seeded, so that a failure repeats. */
const random = (seed: number) => (): number => {
  seed = (seed + 0x6d2b79f5) | 0
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
}

function hammer(bench: Bench, next: () => number): void {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(next() * list.length)]
  const size = pick([1, 2, 4] as const) as AccessSize
  const value = next() < 0.5 ? Math.floor(next() * 256) : Math.floor(next() * 2 ** 32)
  const action = next()
  if (action < 0.05) return bench.time.jump(next() * 10 ** (next() * 10))
  if (action < 0.08) return bench.type(Uint8Array.of(value))
  if (action < 0.1) return bench.interrupts.gsiLine(Math.floor(next() * 24)).set(next() < 0.5)
  if (action < 0.15) return void (bench.interrupts.pendingVector() >= 0 && bench.interrupts.acknowledge())
  if (action < 0.17) return void bench.interrupts.lapic.writeMsr(Math.floor(next() * 0x100), BigInt(value))
  if (action < 0.175) return void bench.interrupts.lapic.writeApicBase(0xfee0_0000n | (BigInt(pick([2, 3, 0])) << 10n))
  if (action < 0.18) return bench.interrupts.lapic.writeTscDeadline(BigInt(value) * BigInt(value))
  const mmio = next() < 0.4
  const [base, length] = pick(mmio ? WINDOWS : PORTS)
  const offset = mmio && next() < 0.8 ? Math.floor((next() * length) / 16) * 16 : Math.floor(next() * length)
  const space = mmio ? bench.mmio : bench.io
  if (next() < 0.4) {
    const read = space.read(base + offset, size)
    if (!(read >= 0 && read < 2 ** (8 * size))) throw new Error(`0x${(base + offset).toString(16)} size ${size} read ${read}`)
  } else space.write(base + offset, size, value)
}

describe('platform devices under random traffic', () => {
  it.each(Array.from({ length: 12 }, (_, i) => i + 1))('seed %i: nothing throws, state survives save and restore', (seed) => {
    const bench = new Bench()
    const next = random(seed)
    for (let round = 0; round < 20; round++) {
      for (let step = 0; step < 2000; step++) hammer(bench, next)
      const saved = bench.devices.map((device) => structuredClone(device.save()))
      const twin = new Bench()
      // Devices drive their lines when restored; the controllers, which remember every line, come last.
      ;[...twin.devices].reverse().forEach((device, i) => device.restore(saved[saved.length - 1 - i], device.stateVersion))
      twin.devices.forEach((device, i) => expect(device.save(), device.id).toEqual(saved[i]))
    }
    for (const device of bench.devices) device.reset()
    bench.devices.forEach((device) => expect(() => device.save()).not.toThrow())
  })

  it('keeps what a guest can make a device remember small', () => {
    const bench = new Bench()
    for (let i = 0; i < 5000; i++) bench.out(0x64, 0xaa)
    expect((bench.i8042.save().queue as unknown[]).length).toBeLessThanOrEqual(256)
  })
})
