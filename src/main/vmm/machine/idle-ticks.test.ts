import { describe, expect, it } from 'vitest'
import { IdleTicks } from './idle-ticks'

const MS = 1e6

/** A guest that arms its timer at each wake, and what it was allowed each time. */
class Guest {
  readonly ticks = new IdleTicks()
  now = 0
  interrupts = 0
  wakes = 0

  /** Wakes with its timer due or late, runs user code or not, arms the timer for the next multiple of its period, and halts. */
  wake(periodNs: number, user = false, interrupts = 1): number {
    this.wakes++
    this.interrupts += interrupts
    const deadline = (Math.floor(this.now / periodNs) + 1) * periodNs
    const late = this.ticks.lateness(this.now, deadline, this.interrupts, () => user)
    this.now = deadline + late
    return late
  }

  run(ns: number, periodNs: number): void {
    for (const end = this.now + ns; this.now < end;) this.wake(periodNs)
  }
}

describe('an idle guest that does nothing but tick', () => {
  it.each([[4, 60], [8, 64], [1, 60]])('of %d ms wakes every %d ms after a while', (period, wakes) => {
    const guest = new Guest()
    guest.run(1000 * MS, period * MS)
    guest.wakes = 0
    const start = guest.now
    guest.run(3840 * MS, period * MS)
    expect((guest.now - start) / guest.wakes / MS).toBeCloseTo(wakes, 1)
  })

  it('is late by an eighth at most of the time it was quiet', () => {
    const guest = new Guest()
    const lates: number[] = []
    while (guest.now < 2000 * MS) {
      const late = guest.wake(4 * MS)
      const sleptFrom = guest.now - late - 4 * MS
      expect(late).toBeLessThanOrEqual(Math.max(sleptFrom / 8, 2 * MS))
      lates.push(late / MS)
    }
    expect(lates).toEqual([...lates].sort((a, b) => a - b))
    expect([lates[0], lates.at(-1)]).toEqual([0, 58])
  })

  it('is exact at first, and again after a wake that did more', () => {
    const guest = new Guest()
    for (let i = 0; i < 5; i++) expect(guest.wake(4 * MS)).toBe(0)
    guest.run(1000 * MS, 4 * MS)
    expect(guest.wake(4 * MS)).toBe(58 * MS)
    expect(guest.wake(4 * MS, true)).toBe(0)
    for (let i = 0; i < 5; i++) expect(guest.wake(4 * MS)).toBe(0)
    guest.run(48 * MS, 4 * MS)
    expect(guest.wake(4 * MS)).toBe(6 * MS)
  })

  it('is exact after an interrupt besides the tick', () => {
    const guest = new Guest()
    guest.run(200 * MS, 4 * MS)
    expect(guest.wake(4 * MS, false, 2)).toBe(0)
  })

  it('halting again before its time changes nothing', () => {
    const guest = new Guest()
    guest.run(200 * MS, 4 * MS)
    const deadline = Math.ceil(guest.now / (4 * MS)) * 4 * MS
    const ask = (interrupts: number): number => guest.ticks.lateness(guest.now, deadline, guest.interrupts += interrupts, () => false)
    expect([ask(1), ask(0), ask(0)]).toEqual([26 * MS, 26 * MS, 26 * MS])
  })
})

describe('what is no tick', () => {
  it('a program that sleeps between the ticks', () => {
    const guest = new Guest()
    guest.run(200 * MS, 4 * MS)
    const at = (deadline: number): number => guest.ticks.lateness(guest.now, deadline, ++guest.interrupts, () => false)
    expect(at(guest.now + 1.7 * MS)).toBe(0)
    expect(at(guest.now + 4 * MS)).toBe(0)
  })

  it('a tickless guest, whose timer is seldom and anywhere', () => {
    const guest = new Guest()
    for (const wait of [3.1, 250, 17.3, 1000, 88, 4, 1203.7]) {
      guest.now += wait * MS
      expect(guest.ticks.lateness(guest.now, guest.now + wait * 1.37 * MS, ++guest.interrupts, () => false)).toBe(0)
    }
  })

  it('a guest whose programs run all the time', () => {
    const guest = new Guest()
    for (let i = 0; i < 100; i++) expect(guest.wake(4 * MS, true)).toBe(0)
  })

  it('a timer faster than any tick', () => {
    const guest = new Guest()
    for (let i = 0; i < 3000; i++) expect(guest.wake(0.1 * MS)).toBe(0)
  })
})
