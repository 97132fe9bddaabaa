import { describe, expect, it } from 'vitest'
import type { FigureCounters } from './figure-series'
import { perSecond, sharesOf, tierShares } from './inspection'

const counters = (changes: Partial<FigureCounters>): FigureCounters => ({
  timeMs: 0, instructions: 0, guestRunNs: 0, interrupts: 0, readBytes: 0, writtenBytes: 0, exits: {}, residentGuestBytes: 0, processBytes: 0, processCpuSeconds: 0, unimplemented: {}, ...changes,
})

describe('inspection', () => {
  it('shows the time between two readings, idle time included', () => {
    const before = counters({ timeMs: 1_000, idleNs: 100, tierNs: { t0: 50, t1: 50 } })
    const now = counters({ timeMs: 2_000, idleNs: 600, tierNs: { t2: 250, t0: 50, t1: 300 } })
    expect(tierShares(now, before)).toEqual([{ name: 't0', share: 0 }, { name: 't1', share: 0.25 }, { name: 't2', share: 0.25 }, { name: 'idle', share: 0.5 }])
  })

  it('has nothing to show where nothing ran or nothing is counted', () => {
    expect(sharesOf(undefined, undefined)).toEqual([])
    expect(sharesOf({ ring0: 5 }, { ring0: 5 })).toEqual([])
  })

  it('counts from zero after a new start', () => {
    expect(sharesOf({ ring0: 10, ring3: 30 }, { ring0: 900, ring3: 0 })).toEqual([{ name: 'ring0', share: 0.25 }, { name: 'ring3', share: 0.75 }])
    const [before, now] = [counters({ timeMs: 0, tlbMisses: 90 }), counters({ timeMs: 2_000, tlbMisses: 10 })]
    expect(perSecond(now, before, 'tlbMisses')).toBe(5)
    expect(perSecond(now, before, 'exceptions')).toBeUndefined()
  })
})
