/** Guests that count ticks keep time: what a busy host or a deaf guest missed is made up for, within bounds. */
import { describe, expect, it } from 'vitest'
import { Bench, HPET } from './platform-bench'

const MS = 1e6
const STEP = 50_000

/** A guest that counts ticks of one IRQ and takes each at once, unless it is deaf. */
class Counter {
  readonly at: number[] = []
  deaf = false

  constructor(readonly bench: Bench, private readonly vector: number, private readonly end: () => void = () => undefined) {}

  private serve(): void {
    if (this.deaf || !this.bench.interrupts.pic.intr) return
    expect(this.bench.interrupts.acknowledge()).toBe(this.vector)
    this.at.push(this.bench.time.clock.nowNs())
    this.end()
    if (this.vector >= 0x28) this.bench.out(0xa0, 0x20)
    this.bench.out(0x20, 0x20)
  }

  /** Time that the host gives the guest in small pieces. */
  run(ns: number): void {
    for (let left = ns; left > 0; left -= STEP) {
      this.bench.time.advance(STEP)
      this.serve()
    }
  }

  /** The host is busy with something else. */
  stall(ns: number): void {
    this.bench.time.jump(ns)
    this.serve()
  }

  get ticks(): number {
    return this.at.length
  }
}

function bench(): Bench {
  const made = new Bench()
  made.initPic(0xffff)
  made.setLapic(0xf0, 0x1ff)
  made.setLapic(0x350, 0x700)
  return made
}

/** Channel 0 in mode 2. */
function pit(hz: number): Counter {
  const made = bench()
  const count = Math.round(1_193_182 / hz)
  made.out(0x43, 0x34)
  made.out(0x40, count & 0xff, count >> 8)
  return new Counter(made, 0x20)
}

function rtc(): Counter {
  const made = bench()
  const read = (): void => {
    made.out(0x70, 0x0c)
    made.in(0x71)
  }
  made.out(0x70, 0x0a)
  made.out(0x71, 0x29)
  made.out(0x70, 0x0b)
  made.out(0x71, 0x42)
  read()
  return new Counter(made, 0x28, read)
}

/** Timer 0 in legacy replacement, 100 Hz. */
function hpet(level: boolean): Counter {
  const made = bench()
  const write = (offset: number, value: number): void => made.mmio.write(HPET + offset, 4, value)
  write(0x100, 0x4c | (level ? 2 : 0))
  write(0x108, 1_000_000)
  write(0x10c, 0)
  write(0x108, 1_000_000)
  write(0x10, 3)
  return new Counter(made, 0x20, () => {
    if (level) write(0x20, 1)
  })
}

const TIMERS = [
  ['PIT', () => pit(100), 100], ['RTC', rtc, 128], ['HPET, edge', () => hpet(false), 100], ['HPET, level', () => hpet(true), 100],
] as const

describe.each(TIMERS)('%s', (_name, make, hz) => {
  it('ticks at its rate while nothing disturbs it', () => {
    const guest = make()
    guest.run(2000 * MS)
    expect(Math.abs(guest.ticks - 2 * hz)).toBeLessThanOrEqual(1)
  })

  it('with a host that is busy again and again, does not drift', () => {
    const guest = make()
    for (let i = 0; i < 40; i++) {
      guest.stall(37 * MS)
      guest.run(63 * MS)
    }
    guest.run(200 * MS)
    expect(Math.abs(guest.ticks - 4.2 * hz)).toBeLessThanOrEqual(2)
  })

  it('makes up at twice its rate and no faster', () => {
    const guest = make()
    guest.stall(500 * MS)
    guest.run(1000 * MS)
    // The first is late, the second on time.
    const gaps = guest.at.slice(2).map((at, i) => at - guest.at[i + 1])
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(250 * MS / hz - 2 * STEP)
    const early = guest.at.filter((at) => at <= 700 * MS).length
    expect(early).toBeLessThanOrEqual(0.2 * hz * 2 + 2)
    expect(Math.abs(guest.ticks - 1.5 * hz)).toBeLessThanOrEqual(2)
  })

  it('keeps ticks for a guest that does not listen for a while', () => {
    const guest = make()
    guest.run(100 * MS)
    guest.deaf = true
    guest.run(300 * MS)
    guest.deaf = false
    guest.run(600 * MS)
    expect(Math.abs(guest.ticks - hz)).toBeLessThanOrEqual(2)
  })

  it('owes nothing to a guest that has it masked', () => {
    const guest = make()
    guest.run(100 * MS)
    guest.bench.out(0x21, 0xff)
    guest.stall(300 * MS)
    guest.run(100 * MS)
    guest.bench.out(0x21, 0)
    const before = guest.ticks
    guest.run(500 * MS)
    expect(Math.abs(guest.ticks - before - 0.5 * hz)).toBeLessThanOrEqual(2)
  })

  it('a long stop is the guest\'s loss, and no burst follows', () => {
    const guest = make()
    guest.run(100 * MS)
    guest.stall(60_000 * MS)
    guest.run(500 * MS)
    expect(Math.abs(guest.ticks - 0.6 * hz)).toBeLessThanOrEqual(2)
  })

  it('never owes more than a second', () => {
    const guest = make()
    guest.deaf = true
    for (let i = 0; i < 10; i++) guest.stall(900 * MS)
    guest.deaf = false
    guest.run(3000 * MS)
    expect(Math.abs(guest.ticks - 4 * hz)).toBeLessThanOrEqual(3)
  })

  it('a saved state owes nothing', () => {
    const guest = make()
    guest.stall(500 * MS)
    for (const device of guest.bench.devices) device.restore(device.save(), device.stateVersion)
    const before = guest.ticks
    guest.run(500 * MS)
    expect(Math.abs(guest.ticks - before - 0.5 * hz)).toBeLessThanOrEqual(2)
  })
})
