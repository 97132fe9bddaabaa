import { describe, expect, it } from 'vitest'
import { append, sampleBetween, SERIES_LENGTH, type FigureCounters } from './figure-series'

const counters = (changes: Partial<FigureCounters>): FigureCounters => ({
  timeMs: 0, instructions: 0, guestRunNs: 0, interrupts: 0, readBytes: 0, writtenBytes: 0, exits: {}, residentGuestBytes: 0, processBytes: 0, processCpuSeconds: 0, unimplemented: {}, ...changes,
})

describe('figure series', () => {
  const before = counters({ timeMs: 1_000, instructions: 1e6, guestRunNs: 1e9, exits: { hlt: 10 } })

  it('turns counters into rates', () => {
    const now = counters({ timeMs: 3_000, instructions: 201e6, guestRunNs: 2e9, interrupts: 500, readBytes: 4096, exits: { hlt: 30, pio: 8 } })
    const sample = sampleBetween(before, now)
    expect(sample?.cpuShare).toBeCloseTo(0.5)
    expect(sample?.mips).toBeCloseTo(200)
    expect(sample?.interruptRate).toBe(250)
    expect(sample?.readRate).toBe(2048)
    expect(sample?.exitRates).toEqual({ hlt: 10, pio: 4 })
  })

  it('counts from zero after a new start and never goes negative', () => {
    const sample = sampleBetween(before, counters({ timeMs: 2_000, instructions: 5e5, guestRunNs: 1e8 }))
    expect(sample?.mips).toBeCloseTo(5)
    expect(sample?.cpuShare).toBeCloseTo(0.1)
  })

  it('an idle guest has no speed rather than an infinite one', () => {
    expect(sampleBetween(before, { ...before, timeMs: 5_000 })?.mips).toBe(0)
  })

  it('refuses readings too close together', () => {
    expect(sampleBetween(before, { ...before, timeMs: 1_010 })).toBeUndefined()
  })

  it('names what the guest used and we lack, most frequent first', () => {
    const now = counters({ timeMs: 2_000, unimplemented: { aesenc: 1, vaddps: 7 } })
    expect(sampleBetween(before, now)?.unimplemented).toEqual(['vaddps', 'aesenc'])
  })

  it('takes the load of the whole process where the host knows it', () => {
    const from = counters({ timeMs: 1_000, processCpuSeconds: 3 })
    expect(sampleBetween(from, counters({ timeMs: 2_000, guestRunNs: 1e8, processCpuSeconds: 3.5 }))?.cpuShare).toBeCloseTo(0.5)
  })

  it('keeps the newest samples', () => {
    const sample = sampleBetween(before, { ...before, timeMs: 5_000 })
    if (!sample) throw new Error('no sample')
    let series = append([], sample)
    for (let i = 0; i < 200; i++) series = append(series, { ...sample, mips: i })
    expect(series).toHaveLength(SERIES_LENGTH)
    expect(series.at(-1)?.mips).toBe(199)
  })
})
