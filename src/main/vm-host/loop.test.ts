import { describe, expect, it } from 'vitest'
import type { Machine, SliceResult } from '../vmm/machine'
import { MachineLoop } from './loop'

const NS_PER_MS = 1e6

/** A guest that does nothing but wake up every so often. */
class TickingGuest {
  awaitsHost = false
  loose = false
  readonly wakes: number[] = []
  slices = 0
  private next = performance.now()
  private wake: () => void = () => undefined

  constructor(private readonly periodMs: number, private readonly ticks: number) {}

  get machine(): Machine {
    return this as unknown as Machine
  }

  runSlice(): SliceResult {
    const now = performance.now()
    this.slices++
    if (now >= this.next) {
      this.wakes.push(now - this.next)
      while (this.next <= now) this.next += this.periodMs
    }
    if (this.wakes.length >= this.ticks) return { kind: 'stopped', reason: { kind: 'power-off' } }
    return { kind: 'idle', wakeNs: Math.max(0, this.next - now) * NS_PER_MS, loose: this.loose }
  }

  onWake(wake: () => void): void { this.wake = wake }
  interrupt(): void { this.wake() }
  resumeClock(): void { /* it has none */ }
  pauseClock(): void { /* it has none */ }
}

/** What a quarter of the values does not exceed: other processes of a busy computer make the rest late. */
const lowerQuartile = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 2]

/** What the event loop takes between two turns while `work` goes on, milliseconds. */
async function timeOfTurn(work: Promise<unknown>): Promise<number> {
  let isOver = false
  void work.finally(() => (isOver = true))
  const waits: number[] = []
  for (let last = performance.now(); !isOver;) {
    await new Promise<void>((resolve) => setImmediate(resolve))
    waits.push(performance.now() - last)
    last = performance.now()
  }
  return lowerQuartile(waits)
}

describe('the loop that gives a machine its time', () => {
  it.each([1, 4, 10])('wakes a guest that ticks every %d ms once for each tick, on time', async (periodMs) => {
    const guest = new TickingGuest(periodMs, 40)
    expect(await new MachineLoop(guest.machine).run()).toEqual({ kind: 'power-off' })
    // One slice for a tick; a second one where the host's timer was early.
    expect(guest.slices).toBeLessThanOrEqual(1.5 * guest.wakes.length)
    expect(lowerQuartile(guest.wakes)).toBeLessThan(0.4)
  })

  it('does not make a disk request or a save wait for the end of a nap', async () => {
    const waiting = new TickingGuest(3, 20)
    waiting.awaitsHost = true
    expect(await timeOfTurn(new MachineLoop(waiting.machine).run())).toBeLessThan(1)
    const saved = new TickingGuest(3, 20)
    const loop = new MachineLoop(saved.machine)
    const run = loop.run()
    expect(await timeOfTurn(loop.attend(run))).toBeLessThan(1)
    expect(await run).toEqual({ kind: 'power-off' })
  })

  it('naps for no guest whose timer may be late', async () => {
    const guest = new TickingGuest(3, 20)
    guest.loose = true
    expect(await timeOfTurn(new MachineLoop(guest.machine).run())).toBeLessThan(1)
    expect(lowerQuartile(guest.wakes)).toBeLessThan(2)
  })

  it('hears commands within a few milliseconds, whatever the guest waits for', async () => {
    for (const periodMs of [4, 60_000]) {
      const guest = new TickingGuest(periodMs, 1000)
      const loop = new MachineLoop(guest.machine)
      const run = loop.run()
      await new Promise<void>((resolve) => setTimeout(resolve, 20))
      const start = performance.now()
      loop.stop({ kind: 'suspended' })
      expect(await run).toEqual({ kind: 'suspended' })
      expect(performance.now() - start).toBeLessThan(50)
    }
  })

  it('gives a slice at once to a guest that an input wakes', async () => {
    const guest = new TickingGuest(60_000, 1000)
    const loop = new MachineLoop(guest.machine)
    const run = loop.run()
    await new Promise<void>((resolve) => setTimeout(resolve, 20))
    const before = guest.slices
    guest.interrupt()
    await new Promise<void>((resolve) => setTimeout(resolve, 20))
    expect(guest.slices).toBe(before + 1)
    loop.stop({ kind: 'power-off' })
    await run
  })

  it('gives back what a thread left that ended while the guest is quiet, once', async () => {
    const guest = new TickingGuest(60_000, 1000)
    let ended = 0
    let trimmed = 0
    Object.assign(guest, { hasTranslatorRunning: true, restTranslator: () => Promise.resolve(ended++ === 0) })
    const loop = new MachineLoop(guest.machine, { trimHeap: () => trimmed++ })
    const run = loop.run()
    for (let i = 0; i < 10; i++) {
      await new Promise<void>((resolve) => setTimeout(resolve, 500))
      guest.interrupt()
    }
    loop.stop({ kind: 'power-off' })
    await run
    expect(ended).toBeGreaterThan(1)
    expect(trimmed).toBe(1)
  }, 15_000)
})
