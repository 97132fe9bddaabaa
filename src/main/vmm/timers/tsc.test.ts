import { expect, it } from 'vitest'
import type { VirtualClock } from '../bus/types'
import { TimeStampCounter } from './tsc'

function counterAt(khz: number): { tsc: TimeStampCounter; at: (ns: number) => void } {
  let now = 0
  const clock = { nowNs: () => now } as VirtualClock
  return { tsc: new TimeStampCounter(clock, khz), at: (ns) => (now = ns) }
}

/** The counter by halves, as RDTSC gets it. */
function halves(tsc: TimeStampCounter): bigint {
  const view = new DataView(new ArrayBuffer(16))
  tsc.readInto(view, 4, 12)
  return BigInt(view.getUint32(4, true)) | (BigInt(view.getUint32(12, true)) << 32n)
}

const exactly = (ns: number, khz: number): bigint => (BigInt(Math.floor(ns)) * BigInt(khz)) / 1_000_000n

it.each([1_000_000, 2_400_123, 999_983])('counts exactly at %i kHz, whole and by halves', (khz) => {
  const { tsc, at } = counterAt(khz)
  for (const ns of [0, 0.9, 1, 999_999.5, 1e6, 1e9 + 1, 3.6e12 + 17, 8.64e13 + 123_456_789, 9.4e14]) {
    at(ns)
    expect(tsc.read()).toBe(exactly(ns, khz))
    expect(halves(tsc)).toBe(exactly(ns, khz))
  }
})

it('goes on from what was written, also beyond the numbers JavaScript holds exactly', () => {
  const { tsc, at } = counterAt(2_000_000)
  for (const value of [0n, 5n, 1n << 52n, (1n << 53n) - 2n, 1n << 60n, (1n << 64n) - 10n, 7n]) {
    at(1000)
    tsc.write(value)
    expect([tsc.read(), halves(tsc)]).toEqual([value, value])
    at(2000)
    const later = BigInt.asUintN(64, value + 2000n)
    expect([halves(tsc), tsc.read()]).toEqual([later, later])
  }
})

it('does not step back where the clock does, and follows a saved offset', () => {
  const { tsc, at } = counterAt(1_000_000)
  at(5000)
  expect(halves(tsc)).toBe(5000n)
  at(4900)
  expect([tsc.read(), halves(tsc)]).toEqual([5000n, 5000n])
  tsc.write(100n)
  const saved = tsc.save()
  const other = counterAt(1_000_000)
  other.tsc.restore(saved)
  other.at(6000)
  expect([other.tsc.read(), halves(other.tsc)]).toEqual([1200n, 1200n])
})
